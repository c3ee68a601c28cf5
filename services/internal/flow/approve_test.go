package flow_test

import (
	"strings"
	"testing"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/flow"
)

// decide is what somebody says of what a work item asks people.
func decide(w *sluicev1.WorkRef, approved bool, voter string) *sluicev1.Command {
	_, by, _ := strings.Cut(voter, "/")
	return &sluicev1.Command{FlowId: "f", Kind: &sluicev1.Command_DecideApproval{DecideApproval: &sluicev1.DecideApproval{
		Work: w, Approved: approved, Voter: voter, By: by, Comment: "says " + by,
	}}}
}

// asking begins a flow whose step a asks so many people.
func asking(t *testing.T, approvers uint32) *life {
	t.Helper()
	return begin(t, planned(t, []string{"a"}, step("a",
		typedOutput("approved", "boolean"), output("by"), output("comment"),
		waits(&sluicev1.Wait{Approval: &sluicev1.WaitApproval{Approvers: approvers}, TimeoutMs: 60_000}))), nil)
}

// wantReply decides and fails the test unless the answer is that one.
func (l *life) wantReply(cmd *sluicev1.Command, code sluicev1.ReplyCode, says string) {
	l.t.Helper()
	reply := l.do(cmd).Reply
	if reply.GetCode() != code || !strings.Contains(reply.GetDetail(), says) {
		l.t.Fatalf("%v: %v, want %v, %q", cmd, reply, code, says)
	}
}

const (
	replyOK       = sluicev1.ReplyCode_REPLY_CODE_OK
	replyRepeated = sluicev1.ReplyCode_REPLY_CODE_REPEATED
	replyConflict = sluicev1.ReplyCode_REPLY_CODE_CONFLICT
)

func TestAnApproval(t *testing.T) {
	t.Parallel()
	l := asking(t, 1)
	l.wantReply(decide(ref("a", 1), true, "key/ann"), replyOK, "approved by ann")
	l.wantStatus(sluicev1.FlowStatus_FLOW_STATUS_COMPLETED)
	l.wantAttribute("approved", "true")
	l.wantAttribute("by", `"ann"`)
	l.wantAttribute("comment", `"says ann"`)
	l.wantReply(decide(ref("a", 1), true, "key/ann"), replyRepeated, "approved by ann")
	l.wantReply(decide(ref("a", 1), false, "key/ann"), replyConflict, "approved by ann")
	l.wantReply(decide(ref("a", 1), false, "key/bob"), replyConflict, "approved by ann")
	if len(l.log) != 2 {
		t.Errorf("what came late is in the history:\n%s", l.trace())
	}
}

func TestARejectionEndsIt(t *testing.T) {
	t.Parallel()
	l := asking(t, 3)
	l.wantReply(decide(ref("a", 1), true, "link/1"), replyOK, "not decided yet")
	l.wantReply(decide(ref("a", 1), false, "key/bob"), replyOK, "rejected by bob")
	l.wantAttribute("approved", "false")
	l.wantAttribute("by", `"bob"`)
	l.wantReply(decide(ref("a", 1), true, "link/2"), replyConflict, "rejected by bob")
}

// Each person counts once, by whatever way the first answer came.
func TestApprovalsOfSeveralPeople(t *testing.T) {
	t.Parallel()
	l := asking(t, 2)
	l.wantReply(decide(ref("a", 1), true, "link/1"), replyOK, "so far by 1")
	l.wantReply(decide(ref("a", 1), true, "link/1"), replyRepeated, "so far by 1")
	l.wantReply(decide(ref("a", 1), false, "link/1"), replyConflict, "so far by 1")
	l.wantStatus(sluicev1.FlowStatus_FLOW_STATUS_ACTIVE)
	l.wantReply(decide(ref("a", 1), true, "key/ann"), replyOK, "approved by 1, ann")
	l.wantAttribute("by", `"1, ann"`)
	l.wantAttribute("comment", `"says 1\nsays ann"`)
}

// An answer is judged by when it was stored.
func TestAnApprovalThatIsLate(t *testing.T) {
	t.Parallel()
	l := asking(t, 1)
	intime := delivery{decide(ref("a", 1), true, "link/1"), l.position()}
	l.now += 61 * second
	l.deliver(intime)
	l.wantAttribute("approved", "true")

	l = asking(t, 2)
	l.do(decide(ref("a", 1), true, "link/1"))
	l.now += 61 * second
	l.wantReply(decide(ref("a", 1), true, "link/2"), replyConflict, "waited in vain")
	l.wantStatus(sluicev1.FlowStatus_FLOW_STATUS_FAILED)
}

func TestAnApprovalThatIsAskedAnew(t *testing.T) {
	t.Parallel()
	l := asking(t, 2)
	l.do(decide(ref("a", 1), true, "link/1"))
	l.do(override(doRetry, "a"))
	if given := l.step("a").Items[0].Approvals; len(given) > 0 {
		t.Errorf("asked anew, it has %v", given)
	}
	l.do(override(doFail, "a"))
	l.do(retry())
	l.wantReply(decide(ref("a", 1), true, "link/1"), replyConflict, "asked anew")
	again := ref("a", 2)
	again.Generation = 1
	l.wantReply(decide(again, true, "link/1"), replyOK, "so far")
}

func TestWhatCannotBeApproved(t *testing.T) {
	t.Parallel()
	l := asking(t, 1)
	other := ref("a", 1)
	other.Run++
	l.wantReply(decide(other, true, "link/1"), sluicev1.ReplyCode_REPLY_CODE_NOT_FOUND, "another")
	l.wantReply(decide(ref("b", 1), true, "link/1"), sluicev1.ReplyCode_REPLY_CODE_UNKNOWN_STEP, "asks nobody")
	l.wantReply(decide(itemRef("a", 1, 1), true, "link/1"), sluicev1.ReplyCode_REPLY_CODE_UNKNOWN_STEP, "asks nobody")
	l.do(pause())
	l.wantReply(decide(ref("a", 1), true, "link/1"), replyOK, "approved by 1") // what runs may end
	l = asking(t, 1)
	l.do(override(doComplete, "a", "approved", "false"))
	l.wantReply(decide(ref("a", 1), true, "link/1"), replyConflict, "decided otherwise")
	l = asking(t, 1)
	l.do(cancel())
	l.wantReply(decide(ref("a", 1), true, "link/1"), replyConflict, "the flow is canceled")
	if v := newLife(t).do(decide(ref("a", 1), true, "link/1")); v.Kind != flow.Absent || v.Reply == nil {
		t.Errorf("of a flow that is not there: %v", v)
	}
}
