package check

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strconv"

	"google.golang.org/protobuf/proto"

	"github.com/sluiceflow/sluice/pkg/subject"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/flow"
	"github.com/sluiceflow/sluice/services/internal/journal"
)

// maxFindings bounds what is said about one flow.
const maxFindings = 20

// History takes the commits of one flow in the order of their stream, and
// gathers what is wrong with them. It keeps the flow's state and no commit.
type History struct {
	stream string
	flowID string
	space  subject.Space
	plans  flow.Plans

	state *flow.State
	// sound is true while the state is what all commits so far made.
	sound bool

	any      bool   // a commit came
	sequence uint64 // of the last commit
	revision uint64 // of the last commit
	checksum []byte // of the last commit; nil where that cannot be known
	snapshot uint64 // sequence of the commit that a load begins with
	retired  bool   // the last commit says that the history is about to go

	outcomes map[work]outcome
	found    []Finding
	more     int
}

// work names what has one outcome: a work item in one generation.
type work struct {
	step             string
	item, generation uint32
}

type outcome struct {
	revision uint64
	digest   string
}

// NewHistory returns a history that no commit has come of yet.
func NewHistory(space subject.Space, stream, flowID string, plans flow.Plans) *History {
	return &History{
		stream: stream, flowID: flowID, space: space, plans: plans, state: flow.New(flowID, plans), sound: true,
		outcomes: map[work]outcome{},
	}
}

// Suspect reports whether something seems wrong so far.
func (h *History) Suspect() bool { return len(h.found) > 0 }

// Sequence is the place of the last commit in its stream.
func (h *History) Sequence() uint64 { return h.sequence }

// State returns the flow as its commits made it, or nil where that is not known.
func (h *History) State() *flow.State {
	if !h.sound || !h.any {
		return nil
	}
	return h.state
}

// Findings returns what is wrong once all commits came. Missing commits of a
// flow that was retired are none: its purge is under way.
func (h *History) Findings() []Finding {
	var out []Finding
	for _, f := range h.found {
		if h.retired && (f.Kind == Gap || f.Kind == NoBeginning) {
			continue
		}
		out = append(out, f)
	}
	if h.more > 0 && len(out) > 0 {
		out[len(out)-1].Detail += fmt.Sprintf(" (and %d more findings of this flow)", h.more)
	}
	return out
}

// Add takes the next commit, and returns it, or nil where it cannot be read.
func (h *History) Add(m *bus.Stored) *sluicev1.Commit {
	commit, err := journal.Parse(m.Data, m.Header)
	if err != nil {
		h.report(Finding{Kind: Break, Sequence: m.Sequence, Detail: err.Error()})
		h.pass(m, h.said(m), nil)
		return nil
	}
	h.place(m, commit)
	if h.restored(m, commit) {
		h.any, h.revision, h.checksum = true, commit.GetRevision()-1, commit.GetPreviousChecksum()
	}
	h.links(m, commit)
	h.decided(m, commit)
	if reason := m.Header.Get(bus.HeaderBroken); reason != "" {
		h.report(Finding{Kind: GivenUp, Sequence: m.Sequence, Revision: commit.GetRevision(), Detail: reason})
		h.sound = false
	}
	h.replay(m, commit)
	h.retired = flow.Kind(commit) == subject.KindRetired
	h.pass(m, commit.GetRevision(), journal.Checksum(m.Data))
	return commit
}

// restored begins with the snapshot of a mailbox whose history was trimmed: what
// came before it is not needed any more.
func (h *History) restored(m *bus.Stored, c *sluicev1.Commit) bool {
	if h.any || !subject.IsMailbox(h.flowID) || c.GetSnapshot() == nil {
		return false
	}
	state, err := flow.Restore(h.flowID, c.GetSnapshot(), h.plans)
	if err != nil {
		h.wrong(Snapshot, m, c, err.Error())
		return false
	}
	h.state = state
	return true
}

// pass goes past a commit. Without a checksum it is a damaged one.
func (h *History) pass(m *bus.Stored, revision uint64, checksum []byte) {
	h.any, h.sequence, h.revision, h.checksum = true, m.Sequence, revision, checksum
	h.sound = h.sound && checksum != nil
}

// said is the revision that a damaged commit's header gives, or the next one.
func (h *History) said(m *bus.Stored) uint64 {
	if n, err := strconv.ParseUint(m.Header.Get(bus.HeaderRevision), 10, 64); err == nil {
		return n
	}
	return h.revision + 1
}

// place checks that a commit stands where it belongs, and that what its headers
// say of it is so.
func (h *History) place(m *bus.Stored, c *sluicev1.Commit) {
	if c.GetFlowId() != h.flowID {
		h.wrong(Misplaced, m, c, fmt.Sprintf("a commit of flow %q", c.GetFlowId()))
	}
	if kind, _, _, err := h.space.ParseFlow(m.Subject); err == nil && kind != flow.Kind(c) {
		h.wrong(Misplaced, m, c, fmt.Sprintf("the subject says %s, the events say %s", kind, flow.Kind(c)))
	}
	if said := m.Header.Get(bus.HeaderRevision); said != strconv.FormatUint(c.GetRevision(), 10) {
		h.wrong(Break, m, c, fmt.Sprintf("the header says revision %q", said))
	}
}

// links checks that a commit follows the one before it.
func (h *History) links(m *bus.Stored, c *sluicev1.Commit) {
	switch revision := c.GetRevision(); {
	case !h.any && revision != 1:
		h.wrong(NoBeginning, m, c, fmt.Sprintf("the history begins with revision %d", revision))
	case !h.any && len(c.GetPreviousChecksum()) != 0:
		h.wrong(Break, m, c, "the first commit names one before it")
	case !h.any:
	case revision > h.revision+1:
		h.wrong(Gap, m, c, revisions(h.revision+1, revision-1)+" missing before it")
	case revision <= h.revision:
		h.wrong(Break, m, c, fmt.Sprintf("revision %d comes after revision %d", revision, h.revision))
	case h.checksum != nil && !bytes.Equal(c.GetPreviousChecksum(), h.checksum):
		h.wrong(Break, m, c, fmt.Sprintf("it follows a commit with checksum %s, sequence %d has %s",
			hex.EncodeToString(c.GetPreviousChecksum()), h.sequence, hex.EncodeToString(h.checksum)))
	}
}

func revisions(from, to uint64) string {
	if from == to {
		return fmt.Sprintf("revision %d is", from)
	}
	return fmt.Sprintf("revisions %d to %d are", from, to)
}

// decided checks that each work item gets one outcome.
func (h *History) decided(m *bus.Stored, c *sluicev1.Commit) {
	for _, e := range c.GetEvents() {
		var digest []byte
		switch k := e.GetKind().(type) {
		case *sluicev1.Event_WorkSucceeded:
			digest = k.WorkSucceeded.GetDigest()
		case *sluicev1.Event_WorkFailed:
			digest = k.WorkFailed.GetDigest()
		default:
			continue
		}
		w := work{e.GetStepId(), e.GetItem(), e.GetGeneration()}
		if before, ok := h.outcomes[w]; ok {
			what := "another outcome"
			if before.digest == string(digest) {
				what = "the same outcome again"
			}
			h.report(Finding{
				Kind: TwoOutcomes, Sequence: m.Sequence, Revision: c.GetRevision(), StepID: w.step, Item: w.item,
				Detail: fmt.Sprintf("%s for token %s, which revision %d had decided", what, e.GetToken(), before.revision),
			})
			continue
		}
		h.outcomes[w] = outcome{c.GetRevision(), string(digest)}
	}
}

// replay checks snapshots against the state, and makes the next state.
func (h *History) replay(m *bus.Stored, c *sluicev1.Commit) {
	if !h.sound {
		return
	}
	if c.GetSnapshot() != nil && !proto.Equal(h.state.Snapshot(), c.GetSnapshot()) {
		h.report(Finding{
			Kind: Snapshot, Sequence: m.Sequence, Revision: c.GetRevision(),
			Detail: "its snapshot is not the state that the commits before it make",
		})
	}
	from := h.snapshot
	if c.GetSnapshot() != nil || c.GetRevision() == 1 {
		from = 0 // the message itself
		h.snapshot = m.Sequence
	}
	if said := m.Header.Get(bus.HeaderSnapshot); said != strconv.FormatUint(from, 10) {
		h.report(Finding{
			Kind: Snapshot, Sequence: m.Sequence, Revision: c.GetRevision(),
			Detail: fmt.Sprintf("the header lets a load begin with sequence %q, it should be %d", said, from),
		})
	}
	if err := h.state.Replay(c); err != nil {
		h.wrong(Replay, m, c, err.Error())
	}
}

// wrong reports what makes the state unknown from here on.
func (h *History) wrong(kind Kind, m *bus.Stored, c *sluicev1.Commit, detail string) {
	h.sound = false
	h.report(Finding{Kind: kind, Sequence: m.Sequence, Revision: c.GetRevision(), Detail: detail})
}

func (h *History) report(f Finding) {
	if len(h.found) >= maxFindings {
		h.more++
		return
	}
	f.Stream, f.FlowID = h.stream, h.flowID
	h.found = append(h.found, f)
}
