package bus

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/sluiceflow/sluice/services/internal/fault"
)

// A Stored message is one that a stream holds.
type Stored struct {
	Subject  string
	Sequence uint64
	Time     time.Time
	Header   nats.Header
	Data     []byte
}

type msgGetRequest struct {
	Sequence uint64 `json:"seq,omitempty"`
	LastFor  string `json:"last_by_subj,omitempty"`
	NextFor  string `json:"next_by_subj,omitempty"`
}

type msgGetResponse struct {
	Message *struct {
		Subject  string    `json:"subject"`
		Sequence uint64    `json:"seq"`
		Header   string    `json:"hdrs"`
		Data     string    `json:"data"`
		Time     time.Time `json:"time"`
	} `json:"message"`
	Error *struct {
		Code        int    `json:"code"`
		ErrCode     int    `json:"err_code"`
		Description string `json:"description"`
	} `json:"error"`
}

const codeNoMessage = 10037

// Last returns the last message of a stream whose subject matches, or nil when
// there is none. It asks the stream's leader, for replicas lag. An error is of
// kind [fault.Unavailable].
func (b *Bus) Last(ctx context.Context, stream, filter string) (*Stored, error) {
	return b.get(ctx, stream, msgGetRequest{LastFor: filter})
}

// Next is [Bus.Last] for the first message at or after a sequence.
func (b *Bus) Next(ctx context.Context, stream, filter string, from uint64) (*Stored, error) {
	return b.get(ctx, stream, msgGetRequest{NextFor: filter, Sequence: from})
}

func (b *Bus) get(ctx context.Context, stream string, asked msgGetRequest) (*Stored, error) {
	request, err := json.Marshal(asked)
	if err != nil {
		return nil, fault.New(fault.Internal, "bus.get", err)
	}
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	msg, err := b.NC.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+stream, request)
	if err != nil {
		return nil, unavailable("bus.get", fmt.Errorf("read %s: %w", stream, err))
	}
	var response msgGetResponse
	if err := json.Unmarshal(msg.Data, &response); err != nil {
		return nil, fault.New(fault.Internal, "bus.get", err)
	}
	switch {
	case response.Error != nil && response.Error.ErrCode == codeNoMessage:
		return nil, nil //nolint:nilnil // no message is no failure
	case response.Error != nil:
		return nil, unavailable("bus.get", fmt.Errorf("read %s: %s", stream, response.Error.Description))
	case response.Message == nil:
		return nil, fault.Newf(fault.Internal, "bus.get", "read %s: an answer without a message", stream)
	}
	m := response.Message
	stored := &Stored{Subject: m.Subject, Sequence: m.Sequence, Time: m.Time}
	if stored.Data, err = base64.StdEncoding.DecodeString(m.Data); err != nil {
		return nil, fault.New(fault.Internal, "bus.get", err)
	}
	header, err := base64.StdEncoding.DecodeString(m.Header)
	if err != nil {
		return nil, fault.New(fault.Internal, "bus.get", err)
	}
	if len(header) > 0 {
		if stored.Header, err = nats.DecodeHeadersMsg(header); err != nil {
			return nil, fault.New(fault.Internal, "bus.get", err)
		}
	}
	return stored, nil
}
