package dispatcher

import (
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/dead"
)

// A place names a message for ever: a store that lost its tail uses a sequence
// again, but not together with the time.
type place struct {
	stream   string
	sequence uint64
	storedNS int64
}

// String is what parkings are counted under.
func (p place) String() string {
	return p.stream + ":" + strconv.FormatUint(p.sequence, 10) + ":" + strconv.FormatInt(p.storedNS, 10)
}

// A call is one delivered invocation, from its arrival until it is settled.
type call struct {
	msg   jetstream.Msg
	place place
	// deliveries counts how often NATS delivered it, from 1.
	deliveries uint64
	inv        *sluicev1.Invocation
	target     *target
	// garbage says why there is nothing to call; nil for an invocation.
	garbage error
	// touched is when NATS last heard that it is being worked on. It belongs to
	// the desk.
	touched time.Time
}

// newCall decodes a message. It returns an error only for a message that is
// none of JetStream's.
func newCall(b *bus.Bus, msg jetstream.Msg, known *targets, now time.Time) (*call, error) {
	meta, err := msg.Metadata()
	if err != nil {
		return nil, fmt.Errorf("read the place of a message: %w", err)
	}
	c := &call{
		msg:        msg,
		place:      place{meta.Stream, meta.Sequence.Stream, meta.Timestamp.UnixNano()},
		deliveries: meta.NumDelivered,
		touched:    now,
		inv:        &sluicev1.Invocation{},
	}
	if c.garbage = c.decode(b); c.garbage == nil {
		c.target = known.of(c.inv.GetEndpoint())
	}
	return c, nil
}

func (c *call) decode(b *bus.Bus) error {
	if err := proto.Unmarshal(c.msg.Data(), c.inv); err != nil {
		return dead.Poisoned(dead.Garbage, "it is no invocation: %v", err)
	}
	stepID, _, flowID, err := b.Space.ParseInvoke(c.msg.Subject())
	if err != nil {
		return dead.Poisoned(dead.Misplaced, "%v", err)
	}
	work := c.inv.GetWork()
	if flowID != c.inv.GetFlowId() || stepID != work.GetStepId() {
		return dead.Poisoned(dead.Misplaced, "subject and message name different steps or flows")
	}
	if c.inv.GetCallback() != nil {
		return c.decodeCallback(stepID)
	}
	if c.inv.GetToken() == "" || work.GetAttempt() == 0 {
		return dead.Poisoned(dead.Impossible, "it has no token or no attempt")
	}
	switch c.inv.GetType() {
	case sluicev1.StepType_STEP_TYPE_SYNC, sluicev1.StepType_STEP_TYPE_ASYNC:
		return nil
	case sluicev1.StepType_STEP_TYPE_UNSPECIFIED, sluicev1.StepType_STEP_TYPE_SCRIPT,
		sluicev1.StepType_STEP_TYPE_FLOW, sluicev1.StepType_STEP_TYPE_WAIT:
	}
	return dead.Poisoned(dead.Impossible, "steps of type %s are not called", c.inv.GetType())
}

func (c *call) async() bool { return c.inv.GetType() == sluicev1.StepType_STEP_TYPE_ASYNC }

// slot names what the call takes its slot from. All that can never be called
// shares one: it is answered at once.
func (c *call) slot() string {
	if c.target.refused != nil {
		return ""
	}
	return c.target.slot
}
