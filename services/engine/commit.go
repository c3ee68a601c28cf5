package engine

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/fault"
	"github.com/sluiceflow/sluice/services/internal/flow"
	"github.com/sluiceflow/sluice/services/internal/journal"
)

// errConflict means that somebody else was first: load and decide again.
var errConflict = errors.New("the flow has another last commit")

// The server's codes for an expected last sequence that is not the last one: by
// the check against what is stored, and by that against what is in flight.
const (
	codeWrongLastSequence = 10071
	codeInflightSequence  = 10164
)

// proposal is a commit on its way to the log.
type proposal struct {
	commit   *sluicev1.Commit
	checksum []byte
	bytes    int
	ack      jetstream.PubAckFuture
}

// propose publishes a commit behind the flow's last one, and does not wait.
func (e *Engine) propose(ctx context.Context, en *entry, c *sluicev1.Commit) (*proposal, error) {
	c.PreviousChecksum = en.checksum
	data, err := proto.Marshal(c)
	if err != nil {
		return nil, fault.New(fault.Internal, "engine.propose", err)
	}
	p := &proposal{commit: c, checksum: journal.Checksum(data), bytes: len(data)}
	msg := e.commitMsg(en, c, data, p.checksum)
	bus.Inject(ctx, msg.Header)
	if p.ack, err = e.bus.PublishAsync(ctx, e.flowsOf(c.GetFlowId()), msg); err != nil {
		return nil, fault.New(fault.Unavailable, "engine.propose", err)
	}
	return p, nil
}

// flowsOf names the stream that holds a flow.
func (e *Engine) flowsOf(flowID string) string {
	return e.bus.Flows(e.bus.Shard(e.bus.Partition(flowID)))
}

// commitMsg makes the message of a commit: the fence, what a load needs, and
// CloudEvents' binary mode for whoever subscribes.
func (e *Engine) commitMsg(en *entry, c *sluicev1.Commit, data, checksum []byte) *nats.Msg {
	space, id := e.bus.Space, c.GetFlowId()
	partition, kind := e.bus.Partition(id), flow.Kind(c)
	snapshot := en.snapshot
	if c.GetSnapshot() != nil || c.GetRevision() == 1 {
		snapshot = 0 // the message itself
	}
	revision := strconv.FormatUint(c.GetRevision(), 10)
	msg := &nats.Msg{
		Subject: space.Flow(kind, partition, id),
		Data:    data,
		Header: nats.Header{
			jetstream.ExpectedLastSubjSeqHeader:     {strconv.FormatUint(en.sequence, 10)},
			jetstream.ExpectedLastSubjSeqSubjHeader: {space.Fence(partition, id)},
			bus.HeaderChecksum:                      {hex.EncodeToString(checksum)},
			bus.HeaderSnapshot:                      {strconv.FormatUint(snapshot, 10)},
			bus.HeaderRevision:                      {revision},
			"ce-specversion":                        {"1.0"},
			"ce-id":                                 {id + "/" + revision},
			"ce-source":                             {"/sluice/" + space.Namespace()},
			"ce-type":                               {"sluice.flow." + string(kind)},
			"ce-time":                               {time.Unix(0, c.GetTimeNs()).UTC().Format(time.RFC3339Nano)},
			"ce-subject":                            {id},
			"content-type":                          {"application/protobuf"},
		},
	}
	if en.state != nil && en.state.HasOpen() {
		msg.Header.Set(bus.HeaderOpen, "true")
	}
	if status := flow.Turned(c); status != "" {
		msg.Header.Set(bus.HeaderStatus, status)
	}
	return msg
}

// settle waits for the fate of a proposal. On success the entry is past it. It
// returns errConflict, or an error of kind [fault.Unavailable] when the fate is
// not known or the log takes nothing: the next commit's expected sequence then
// decides what became of it.
func (e *Engine) settle(ctx context.Context, en *entry, p *proposal) error {
	ack, err := await(ctx, p.ack)
	if err != nil {
		return err
	}
	if p.commit.GetSnapshot() != nil || p.commit.GetRevision() == 1 {
		en.snapshot, en.bytes = ack.Sequence, 0
	}
	en.bytes += p.bytes
	en.sequence, en.checksum = ack.Sequence, p.checksum
	e.metrics.commits.Inc()
	return nil
}

// await waits for a publish's ack.
func await(ctx context.Context, future jetstream.PubAckFuture) (*jetstream.PubAck, error) {
	select {
	case ack := <-future.Ok():
		return ack, nil
	case err := <-future.Err():
		var api *jetstream.APIError
		if errors.As(err, &api) && (api.ErrorCode == codeWrongLastSequence || api.ErrorCode == codeInflightSequence) {
			return nil, errConflict
		}
		return nil, fault.New(fault.Unavailable, "engine.await", err)
	case <-ctx.Done():
		return nil, fault.New(fault.Unavailable, "engine.await", ctx.Err())
	}
}

// giveUp writes the end of a flow whose history does not hang together, behind
// whatever its last commit is.
func (e *Engine) giveUp(ctx context.Context, loaded *journal.Loaded, reason string) error {
	id := loaded.State.ID
	partition := e.bus.Partition(id)
	last, err := e.bus.Last(ctx, e.bus.Flows(e.bus.Shard(partition)), e.bus.Space.Fence(partition, id))
	if err != nil {
		return err //nolint:wrapcheck // it says all
	}
	if last == nil || last.Sequence != loaded.Sequence {
		return nil // it is another flow by now: look again
	}
	revision := revisionOf(last.Header)
	if revision == 0 { // its headers are garbled, and each commit that was not trimmed is one message
		if revision, err = e.bus.Count(ctx, e.flowsOf(id), e.bus.Space.Fence(partition, id)); err != nil {
			return err //nolint:wrapcheck // it says all
		}
	}
	text := "the history of this flow is damaged: " + reason
	c := &sluicev1.Commit{
		FlowId: id, Revision: revision + 1, TimeNs: e.clock.now(),
		PreviousChecksum: journal.Checksum(last.Data),
		Events: []*sluicev1.Event{
			{Kind: &sluicev1.Event_FlowFailed{FlowFailed: &sluicev1.FlowFailed{Error: text}}},
			{Kind: &sluicev1.Event_FlowDeactivated{FlowDeactivated: &sluicev1.FlowDeactivated{}}},
		},
	}
	data, err := proto.Marshal(c)
	if err != nil {
		return fault.New(fault.Internal, "engine.giveUp", err)
	}
	msg := e.commitMsg(&entry{sequence: last.Sequence}, c, data, journal.Checksum(data))
	msg.Header.Set(bus.HeaderBroken, headerText(text))
	ack, err := e.bus.PublishAsync(ctx, e.flowsOf(id), msg)
	if err != nil {
		return fault.New(fault.Unavailable, "engine.giveUp", err)
	}
	if _, err := await(ctx, ack); err != nil && !errors.Is(err, errConflict) {
		return fmt.Errorf("end flow %s: %w", id, err)
	}
	return nil
}

// headerText is a text on one line.
func headerText(text string) string {
	b := []byte(text)
	for i, c := range b {
		if c < ' ' || c == 0x7f {
			b[i] = ' '
		}
	}
	return string(b)
}

// purge forgets a retired flow's history, up to and with a sequence.
func (e *Engine) purge(ctx context.Context, flowID string, sequence uint64) error {
	partition := e.bus.Partition(flowID)
	stream, err := e.bus.JS.Stream(ctx, e.bus.Flows(e.bus.Shard(partition)))
	if err != nil {
		return fault.New(fault.Unavailable, "engine.purge", err)
	}
	err = stream.Purge(ctx, jetstream.WithPurgeSubject(e.bus.Space.Fence(partition, flowID)), jetstream.WithPurgeSequence(sequence+1))
	if err != nil {
		return fault.New(fault.Unavailable, "engine.purge", err)
	}
	return nil
}
