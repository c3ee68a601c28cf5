package flow

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// An Approval is what one person said of what a work item waits for.
type Approval struct {
	Approved bool
	Voter    string // tells people apart
	By       string // the person's name
	Comment  string
	At       int64 // Unix nanoseconds
}

// decideApproval takes what one person says. Each one counts once, and the first
// that rejects ends the wait. Who comes too late is told what was decided.
func (t *Turn) decideApproval(c *sluicev1.DecideApproval, at Position) Verdict {
	work := c.GetWork()
	if work.GetRun() != t.s.Run {
		return refused(sluicev1.ReplyCode_REPLY_CODE_NOT_FOUND, fmt.Sprintf("flow %q is another one by now", t.s.ID))
	}
	i, it := t.s.item(work.GetStepId(), work.GetItem())
	if it == nil || t.s.Plan.Steps[i].Proto.GetWait().GetApproval() == nil {
		return refused(sluicev1.ReplyCode_REPLY_CODE_UNKNOWN_STEP,
			fmt.Sprintf("flow %q asks nobody for work item %d of step %q", t.s.ID, work.GetItem(), work.GetStepId()))
	}
	t.expire(i, int(work.GetItem()), at.Time)
	if work.GetGeneration() != it.Generation {
		return refused(sluicev1.ReplyCode_REPLY_CODE_CONFLICT, "It was asked anew since: this answer does not count any more.")
	}
	if verdict, known := t.s.voted(i, it, c); known {
		return verdict
	}
	if it.Status != sluicev1.WorkStatus_WORK_STATUS_ACTIVE || t.s.over() {
		return refused(sluicev1.ReplyCode_REPLY_CODE_CONFLICT, t.s.standsAs(i, it))
	}
	t.emit(t.workEvent(i, int(work.GetItem()), &sluicev1.Event{Kind: &sluicev1.Event_ApprovalGiven{ApprovalGiven: &sluicev1.ApprovalGiven{
		Approved: c.GetApproved(), Voter: c.GetVoter(), By: c.GetBy(), Comment: c.GetComment(),
	}}}))
	if !c.GetApproved() || len(it.Approvals) >= t.s.Approvers(i) {
		t.succeed(i, int(work.GetItem()), &sluicev1.Outcome{Success: true, Outputs: decisionOf(it.Approvals)}, nil, false)
	}
	verdict := done()
	verdict.Reply.Detail = t.s.standsAs(i, it)
	return verdict
}

// voted knows who has said something before: the same again changes nothing.
func (s *State) voted(i int, it *Item, c *sluicev1.DecideApproval) (Verdict, bool) {
	before := slices.IndexFunc(it.Approvals, func(a Approval) bool { return a.Voter == c.GetVoter() })
	switch {
	case before < 0:
		return Verdict{}, false
	case it.Approvals[before].Approved == c.GetApproved():
		return refused(sluicev1.ReplyCode_REPLY_CODE_REPEATED, s.standsAs(i, it)), true
	}
	return refused(sluicev1.ReplyCode_REPLY_CODE_CONFLICT, s.standsAs(i, it)), true
}

// Approvers is how many people must approve what the step with that place in the
// plan asks; 0 where it asks nobody.
func (s *State) Approvers(i int) int {
	if s.Plan.Steps[i].Proto.GetWait().GetApproval() == nil {
		return 0
	}
	return max(1, int(s.Plan.Steps[i].Proto.GetWait().GetApproval().GetApprovers()))
}

// standsAs says, for people, what has become of what a work item asks them.
func (s *State) standsAs(i int, it *Item) string {
	rejected := slices.IndexFunc(it.Approvals, func(a Approval) bool { return !a.Approved })
	switch {
	case rejected >= 0:
		return "It was rejected by " + it.Approvals[rejected].By + "."
	case it.succeeded() && len(it.Approvals) >= s.Approvers(i):
		return "It was approved by " + names(it.Approvals) + "."
	case it.succeeded():
		return "It was decided otherwise, or not in time."
	case it.final():
		return "It was not decided: " + it.Error + "."
	case s.over():
		return "It is not asked any more: the flow is " + s.lot() + "."
	case it.Status != sluicev1.WorkStatus_WORK_STATUS_ACTIVE:
		return "It is not asked at the moment."
	case len(it.Approvals) > 0:
		return "It is not decided yet. Approved so far by " + names(it.Approvals) + "."
	}
	return "It is not decided yet."
}

// Asks reports whether a work item asks people now, and says for them what has
// become of it.
func (s *State) Asks(step string, place uint32) (open bool, says string) {
	i, it := s.item(step, place)
	if it == nil || s.Plan.Steps[i].Proto.GetWait().GetApproval() == nil {
		return false, ""
	}
	return it.Status == sluicev1.WorkStatus_WORK_STATUS_ACTIVE && !s.over(), s.standsAs(i, it)
}

func names(given []Approval) string {
	list := make([]string, len(given))
	for i := range given {
		list[i] = given[i].By
	}
	return strings.Join(list, ", ")
}

// decisionOf are the outputs of a work item that people decided: who rejected it,
// or all who approved.
func decisionOf(given []Approval) map[string][]byte {
	if last := len(given) - 1; !given[last].Approved {
		given = given[last:]
	}
	var comments []string
	for _, a := range given {
		if a.Comment != "" {
			comments = append(comments, a.Comment)
		}
	}
	return map[string][]byte{
		"approved": jsonText(given[0].Approved), "by": jsonText(names(given)), "comment": jsonText(strings.Join(comments, "\n")),
	}
}

func jsonText(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("a string or boolean has no JSON: %v", err))
	}
	return text
}

func approvalOf(e *sluicev1.ApprovalGiven, at int64) Approval {
	return Approval{Approved: e.GetApproved(), Voter: e.GetVoter(), By: e.GetBy(), Comment: e.GetComment(), At: at}
}

func snapshotApprovals(list []Approval) []*sluicev1.ApprovalState {
	var out []*sluicev1.ApprovalState
	for _, a := range list {
		out = append(out, &sluicev1.ApprovalState{Approved: a.Approved, Voter: a.Voter, By: a.By, Comment: a.Comment, GivenNs: a.At})
	}
	return out
}

func restoreApprovals(list []*sluicev1.ApprovalState) []Approval {
	var out []Approval
	for _, a := range list {
		out = append(out, Approval{
			Approved: a.GetApproved(), Voter: a.GetVoter(), By: a.GetBy(), Comment: a.GetComment(), At: a.GetGivenNs(),
		})
	}
	return out
}
