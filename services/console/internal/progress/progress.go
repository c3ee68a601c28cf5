// Package progress keeps what workers said of late of how far they are.
package progress

import (
	"context"
	"fmt"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

const (
	// kept is how many work items are remembered: those that were heard last.
	kept = 1 << 16
	// window is how many heartbeats may wait; what is more is dropped, for the
	// next one says more.
	window = 4096
)

// Last is the last heartbeat of a work item.
type Last struct {
	Progress float64
	Message  string
	At       time.Time
}

// Follower hears heartbeats as they pass by on NATS. They are stored nowhere
// else that a console may read: one that has just started knows of none.
type Follower struct {
	nc      *nats.Conn
	subject string
	last    *lru.Cache[key, Last]
}

type key struct {
	flowID, stepID   string
	run              uint64
	item, generation uint32
}

// NewFollower returns a follower of a subject.
func NewFollower(nc *nats.Conn, subject string) *Follower {
	last, err := lru.New[key, Last](kept)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	return &Follower{nc: nc, subject: subject, last: last}
}

// Run follows until ctx ends.
func (f *Follower) Run(ctx context.Context) error {
	heard := make(chan *nats.Msg, window)
	sub, err := f.nc.ChanSubscribe(f.subject, heard)
	if err != nil {
		return fmt.Errorf("hear heartbeats: %w", err)
	}
	defer sub.Unsubscribe() //nolint:errcheck // it ends with the connection too
	for {
		select {
		case <-ctx.Done():
			return nil
		case msg := <-heard:
			f.take(msg.Data)
		}
	}
}

// take remembers a heartbeat; what is none is dropped.
func (f *Follower) take(data []byte) {
	var h sluicev1.Heartbeat
	if proto.Unmarshal(data, &h) != nil {
		return
	}
	f.last.Add(keyOf(h.GetFlowId(), h.GetWork()), Last{
		Progress: h.GetProgress(), Message: h.GetMessage(), At: time.Unix(0, h.GetTimeNs()).UTC(),
	})
}

// Of returns the last heartbeat of a work item, in whichever attempt.
func (f *Follower) Of(flowID string, work *sluicev1.WorkRef) (Last, bool) {
	return f.last.Get(keyOf(flowID, work))
}

func keyOf(flowID string, w *sluicev1.WorkRef) key {
	return key{flowID: flowID, stepID: w.GetStepId(), run: w.GetRun(), item: w.GetItem(), generation: w.GetGeneration()}
}
