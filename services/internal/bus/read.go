package bus

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
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
	// Header is nil for a message without headers, and for one whose headers
	// cannot be read: consumers get that so too.
	Header nats.Header
	Data   []byte
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
// kind [fault.Unavailable]; so is that of a message which the server has and
// cannot read.
func (b *Bus) Last(ctx context.Context, stream, filter string) (*Stored, error) {
	asked := msgGetRequest{LastFor: filter}
	last, err := b.get(ctx, stream, asked)
	if err != nil || last != nil {
		return last, err
	}
	// The server says the same of a message that is not there and of one whose
	// file is damaged.
	n, err := b.Count(ctx, stream, filter)
	if err != nil || n == 0 {
		return nil, err
	}
	if last, err = b.get(ctx, stream, asked); err == nil && last == nil {
		err = unavailable("bus.Last", fmt.Errorf("%s cannot read the last of its %d messages on %s", stream, n, filter))
	}
	return last, err
}

// Count is how many messages of a subject a stream has, whether or not they can
// be read. An error is of kind [fault.Unavailable].
func (b *Bus) Count(ctx context.Context, stream, filter string) (uint64, error) {
	request, err := json.Marshal(map[string]string{"subjects_filter": filter})
	if err != nil {
		return 0, fault.New(fault.Internal, "bus.Count", err)
	}
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	var response struct {
		State struct {
			Subjects map[string]uint64 `json:"subjects"`
		} `json:"state"`
		Error *struct {
			Description string `json:"description"`
		} `json:"error"`
	}
	msg, err := b.NC.RequestWithContext(ctx, "$JS.API.STREAM.INFO."+stream, request)
	if err == nil {
		err = json.Unmarshal(msg.Data, &response)
	}
	if err == nil && response.Error != nil {
		err = errors.New(response.Error.Description)
	}
	if err != nil {
		return 0, unavailable("bus.Count", fmt.Errorf("count in %s: %w", stream, err))
	}
	var n uint64
	for _, of := range response.State.Subjects {
		n += of
	}
	return n, nil
}

// Next returns the first message at or after a sequence whose subject matches, or
// nil when there is none that can be read. An error is of kind
// [fault.Unavailable].
func (b *Bus) Next(ctx context.Context, stream, filter string, from uint64) (*Stored, error) {
	return b.get(ctx, stream, msgGetRequest{NextFor: filter, Sequence: from})
}

// At returns the message with a sequence, or nil where there is none that can be
// read. An error is of kind [fault.Unavailable].
func (b *Bus) At(ctx context.Context, stream string, sequence uint64) (*Stored, error) {
	return b.get(ctx, stream, msgGetRequest{Sequence: sequence})
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
	if len(header) == 0 {
		return stored, nil
	}
	if stored.Header, err = nats.DecodeHeadersMsg(header); err != nil {
		stored.Header = nil
	}
	return stored, nil
}
