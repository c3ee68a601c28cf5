package verify

import (
	"context"
	"fmt"
	"hash/crc32"
	"reflect"
	"time"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/fault"
	"github.com/sluiceflow/sluice/services/internal/verify/check"
)

const (
	// looks is how often a flow that seems damaged is read before what was seen
	// twice is reported.
	looks     = 6
	lookPause = 200 * time.Millisecond
)

// pass is a read of a FLOWS stream for some of its flows.
type pass struct {
	filter   string
	part, of uint32 // the flows whose id has this remainder
}

func (p pass) takes(flowID string) bool {
	return p.of == 1 || crc32.ChecksumIEEE([]byte(flowID))%p.of == p.part
}

// passes splits the flows of a shard so that those of a pass fit into memory.
func (w *walk) passes(shard int, bytes uint64) []pass {
	limit := uint64(w.PassBytes) //nolint:gosec // positive
	if bytes <= limit {
		return []pass{{filter: w.Bus.Space.FlowEvents(""), of: 1}}
	}
	var partitions []int
	for p := shard; p < w.Bus.Config.Partitions; p += w.Bus.Config.Shards {
		partitions = append(partitions, p)
	}
	of := uint32(bytes/(limit*uint64(len(partitions)))) + 1 //nolint:gosec // a store of 2^32 passes fits nowhere
	var out []pass
	for _, p := range partitions {
		for part := range of {
			out = append(out, pass{filter: w.Bus.Space.Flows("", p), part: part, of: of})
		}
	}
	return out
}

// named is a sequence and who names it.
type named struct {
	sequence uint64
	by       check.Finding
}

// lookAtFlows checks every history.
func (w *walk) lookAtFlows(ctx context.Context) error {
	for k := range w.Bus.Config.Shards {
		stream, err := w.Bus.JS.Stream(ctx, w.Bus.Flows(k))
		if err != nil {
			return fault.New(fault.Unavailable, "verify.flows", err)
		}
		state := stream.CachedInfo().State
		passes := w.passes(k, state.Bytes)
		before := w.summary.Commits
		s := &shard{walk: w, stream: w.Bus.Flows(k), commands: w.Bus.Commands(k)}
		for i, p := range passes {
			at := Progress{Stream: s.stream, Pass: i + 1, Passes: len(passes), Last: state.LastSeq}
			if err := s.read(ctx, p, at); err != nil {
				return err
			}
		}
		if err := s.lookAtTail(ctx); err != nil {
			return err
		}
		if read := w.summary.Commits - before; uint64(read) < state.Msgs { //nolint:gosec // not negative
			if err := s.lookForUnreadable(ctx, &reader{bus: s.Bus, stream: s.stream, filter: anything}); err != nil {
				return err
			}
		}
	}
	return nil
}

// shard is a FLOWS stream that is walked through.
type shard struct {
	*walk

	stream, commands string
	places           check.Places
	named            named // the last sequence of COMMANDS that a commit names
	histories        map[string]*check.History
}

func (s *shard) read(ctx context.Context, p pass, at Progress) error {
	r := &reader{bus: s.Bus, stream: s.stream, filter: p.filter, from: 1, last: at.Last}
	s.histories = map[string]*check.History{}
	for {
		page, err := r.next(ctx)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			break
		}
		for _, m := range page {
			if err := s.take(ctx, p, m); err != nil {
				return err
			}
		}
		at.Sequence = page[len(page)-1].Sequence
		s.progress(at)
	}
	if err := s.lookAtFamilies(ctx, at.Last); err != nil {
		return err
	}
	return s.lookAtTokens(ctx)
}

// take gives a commit to its flow's history.
func (s *shard) take(ctx context.Context, p pass, m *bus.Stored) error {
	_, partition, flowID, err := s.Bus.Space.ParseFlow(m.Subject)
	if err != nil || partition != s.Bus.Partition(flowID) {
		if p.part != 0 {
			return nil // said once
		}
		s.summary.Commits++
		return s.report(check.Finding{
			Kind: check.Misplaced, Stream: s.stream, Sequence: m.Sequence, FlowID: flowID,
			Detail: fmt.Sprintf("subject %q is none that a commit goes to", m.Subject),
		})
	}
	if !p.takes(flowID) {
		return nil
	}
	s.summary.Commits++
	h, known := s.histories[flowID]
	if !known {
		s.summary.Flows++
		h = check.NewHistory(s.Bus.Space, s.stream, flowID, s.plans)
		s.histories[flowID] = h
	}
	if h == nil {
		return nil // looked at alone
	}
	if c := h.Add(m); c != nil {
		if err := s.folded(c); err != nil {
			return err
		}
	}
	if !h.Suspect() {
		return nil
	}
	s.histories[flowID] = nil
	return s.lookAlone(ctx, flowID)
}

// folded looks at the places of the commands that a commit folded.
func (s *shard) folded(c *sluicev1.Commit) error {
	f := check.Finding{
		Kind: check.LostTail, Stream: s.commands, FlowID: c.GetFlowId(), Revision: c.GetRevision(),
	}
	for _, cause := range c.GetCause() {
		f.Sequence = cause.GetSequence()
		if f.Sequence > s.named.sequence {
			s.named = named{f.Sequence, f}
		}
		if !s.places.Add(cause) {
			continue
		}
		f.Detail = fmt.Sprintf("the %s that this revision folded has the sequence of an earlier command: the stream had lost its end", cause.GetKind())
		if err := s.report(f); err != nil {
			return err
		}
	}
	return nil
}

// lookAtTail compares what commits name of COMMANDS with what it has.
func (s *shard) lookAtTail(ctx context.Context) error {
	stream, err := s.Bus.JS.Stream(ctx, s.commands)
	if err != nil {
		return fault.New(fault.Unavailable, "verify.flows", err)
	}
	last := stream.CachedInfo().State.LastSeq
	if s.named.sequence <= last {
		return nil
	}
	f := s.named.by
	f.Detail = fmt.Sprintf("a commit folded sequence %d, and the stream ends at %d", s.named.sequence, last)
	return s.report(f)
}

// lookAlone reads a flow that seems damaged by itself, until two looks in a row
// find the same. It returns with nothing where a look finds nothing.
func (s *shard) lookAlone(ctx context.Context, flowID string) error {
	var before []check.Finding
	for n := range looks {
		found, err := s.readAlone(ctx, flowID)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return nil
		}
		if n > 0 && reflect.DeepEqual(found, before) {
			break
		}
		before = found
		if err := wait(ctx, lookPause); err != nil {
			return err
		}
	}
	for _, f := range before {
		if err := s.report(f); err != nil {
			return err
		}
	}
	return nil
}

// readAlone checks the history of one flow as it is now.
func (s *shard) readAlone(ctx context.Context, flowID string) ([]check.Finding, error) {
	stream, err := s.Bus.JS.Stream(ctx, s.stream)
	if err != nil {
		return nil, fault.New(fault.Unavailable, "verify.flows", err)
	}
	h := check.NewHistory(s.Bus.Space, s.stream, flowID, s.plans)
	r := &reader{
		bus: s.Bus, stream: s.stream, filter: s.Bus.Space.Fence(s.Bus.Partition(flowID), flowID), from: 1,
		last: stream.CachedInfo().State.LastSeq,
	}
	for {
		page, err := r.next(ctx)
		if err != nil {
			return nil, err
		}
		if len(page) == 0 {
			return h.Findings(), nil
		}
		for _, m := range page {
			h.Add(m)
		}
	}
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return fault.New(fault.Unavailable, "verify.wait", ctx.Err())
	case <-time.After(d):
		return nil
	}
}
