package verify

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/sluiceflow/sluice/services/internal/fault"
	"github.com/sluiceflow/sluice/services/internal/verify/check"
)

// infoTimeout is how long a server may take to describe a stream.
const infoTimeout = 10 * time.Second

// lookAtStreams asks the server what it knows of its own damage, and whether
// consumers are past the end of what they read.
func (w *walk) lookAtStreams(ctx context.Context) error {
	names := []string{w.Bus.Dead()}
	for k := range w.Bus.Config.Shards {
		names = append(names, w.Bus.Commands(k), w.Bus.Timers(k), w.Bus.Flows(k), w.Bus.Invocations(k))
	}
	for _, name := range names {
		if err := w.lookAtStream(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) lookAtStream(ctx context.Context, name string) error {
	stream, err := w.Bus.JS.Stream(ctx, name)
	if err != nil {
		return fault.New(fault.Unavailable, "verify.streams", fmt.Errorf("look at %s: %w", name, err))
	}
	past := map[string]uint64{}
	consumers := stream.ListConsumers(ctx)
	for info := range consumers.Info() {
		past[info.Name] = max(info.Delivered.Stream, info.AckFloor.Stream)
	}
	if err := consumers.Err(); err != nil {
		return fault.New(fault.Unavailable, "verify.streams", fmt.Errorf("list the consumers of %s: %w", name, err))
	}
	// The stream is asked after its consumers, so it can only be past them.
	state, err := w.state(ctx, name)
	if err != nil {
		return err
	}
	for consumer, sequence := range past {
		if sequence <= state.Last {
			continue
		}
		err := w.report(check.Finding{
			Kind: check.LostTail, Stream: name, Sequence: sequence,
			Detail: fmt.Sprintf("consumer %s was given sequence %d, and the stream ends at %d", consumer, sequence, state.Last),
		})
		if err != nil {
			return err
		}
	}
	return w.lostBlocks(name, state)
}

func (w *walk) lostBlocks(name string, state streamState) error {
	if state.Lost == nil {
		return nil
	}
	f := check.Finding{
		Kind: check.Unreadable, Stream: name,
		Detail: fmt.Sprintf("the server dropped %d messages, %d bytes, whose files are damaged", len(state.Lost.Messages), state.Lost.Bytes),
	}
	if len(state.Lost.Messages) > 0 {
		f.Sequence = state.Lost.Messages[0]
	}
	return w.report(f)
}

// streamState is what a server says of a stream. The client's own type leaves
// out what was lost.
type streamState struct {
	Messages uint64 `json:"messages"`
	Last     uint64 `json:"last_seq"`
	Lost     *struct {
		Messages []uint64 `json:"msgs"`
		Bytes    uint64   `json:"bytes"`
	} `json:"lost"`
}

func (w *walk) state(ctx context.Context, name string) (streamState, error) {
	ctx, cancel := context.WithTimeout(ctx, infoTimeout)
	defer cancel()
	var answer struct {
		State streamState `json:"state"`
		Error *struct {
			Description string `json:"description"`
		} `json:"error"`
	}
	msg, err := w.Bus.NC.RequestWithContext(ctx, "$JS.API.STREAM.INFO."+name, nil)
	if err == nil {
		err = json.Unmarshal(msg.Data, &answer)
	}
	if err == nil && answer.Error != nil {
		err = fmt.Errorf("%s", answer.Error.Description)
	}
	if err != nil {
		return streamState{}, fault.New(fault.Unavailable, "verify.state", fmt.Errorf("look at %s: %w", name, err))
	}
	return answer.State, nil
}
