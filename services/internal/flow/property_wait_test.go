package flow_test

import (
	"slices"

	"pgregory.net/rapid"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// drawWait makes a step wait, with limits that make waits end in each way.
func drawWait(t *rapid.T) stepOption {
	w := &sluicev1.Wait{TimeoutMs: rapid.SampledFrom([]int64{0, 0, 700, 5000}).Draw(t, "given up after")}
	switch rapid.IntRange(0, 3).Draw(t, "waits for") {
	case 0:
		w.UntilNs = new(start + rapid.Int64Range(-5, 40).Draw(t, "moment")*second)
	case 1:
		w.Approval = &sluicev1.WaitApproval{Approvers: rapid.Uint32Range(1, 3).Draw(t, "approvers")}
	case 2:
		w.Message = &sluicev1.WaitMessage{Name: "paid", Key: &sluicev1.Script{Language: "cel", Source: "1"}}
	default:
		w.DurationMs = rapid.SampledFrom([]int64{1, 700, 5000, 30_000}).Draw(t, "duration")
	}
	if w.GetTimeoutMs() > 0 && rapid.Bool().Draw(t, "on timeout") {
		w.OnTimeout = &sluicev1.WaitOutputs{Outputs: map[string][]byte{"late": []byte("true")}}
	}
	return waits(w)
}

// checkWaits looks at the log alone: a wait has no token and is called by nobody;
// it ends by itself no sooner than its time, and when it is given up it comes to
// what its step says.
func checkWaits(t *rapid.T, l *life) {
	began, at := map[string]*sluicev1.Event{}, map[string]int64{}
	said := map[string][]*sluicev1.ApprovalGiven{}
	for _, c := range l.log {
		for _, inv := range l.state.Effects(c).Invocations {
			if w := inv.GetWork(); inv.GetScript() == nil && waitOf(l, w.GetStepId()) != nil {
				t.Fatalf("somebody is called for %s, which waits", w.GetStepId())
			}
		}
		for n, e := range c.GetEvents() {
			wait := waitOf(l, e.GetStepId())
			if wait == nil || e.Item == nil {
				continue
			}
			if e.GetToken() != "" && e.GetCompletionIgnored() == nil {
				t.Fatalf("%s of %s has a token", word(e), key(e))
			}
			switch {
			case e.GetWorkStarted() != nil:
				began[key(e)], at[key(e)], said[key(e)] = e, c.GetTimeNs(), nil
			case e.GetApprovalGiven() != nil:
				checkVoter(t, l, said[key(e)], e)
				said[key(e)] = append(said[key(e)], e.GetApprovalGiven())
			case e.GetWorkSucceeded() != nil && wait.GetApproval() != nil && !byHand(c, e.GetStepId()):
				checkApproved(t, l, c, said[key(e)], n)
			case e.GetWorkSucceeded() != nil && wait.GetMessage() != nil && !byHand(c, e.GetStepId()):
				if before := c.GetEvents()[n-1]; before.GetMessageTaken() == nil && before.GetWorkTimedOut() == nil || key(before) != key(e) {
					t.Fatalf("%s succeeds, and no message came:\n%s", key(e), l.trace())
				}
			case e.GetWorkSucceeded() != nil && !byHand(c, e.GetStepId()):
				checkOver(t, l, c, began[key(e)].GetWorkStarted(), n)
			case e.GetWorkTimedOut() != nil:
				if c.GetTimeNs() < at[key(e)]+wait.GetTimeoutMs()*1_000_000 {
					t.Fatalf("%s is given up too soon", key(e))
				}
			case e.GetRetryScheduled() != nil, e.GetWorkNotCompleted() != nil:
				t.Fatalf("%s of %s, which waits", word(e), key(e))
			}
		}
	}
}

// checkOver looks at the success, at that place of its commit, of a wait that
// began so.
func checkOver(t *rapid.T, l *life, c *sluicev1.Commit, began *sluicev1.WorkStarted, n int) {
	e := c.GetEvents()[n]
	gaveUp := slices.ContainsFunc(c.GetEvents()[:n], func(other *sluicev1.Event) bool {
		return other.GetWorkTimedOut() != nil && key(other) == key(e)
	})
	switch {
	case began == nil:
		t.Fatalf("%s is over and did not begin:\n%s", key(e), l.trace())
	case gaveUp && waitOf(l, e.GetStepId()).GetOnTimeout() == nil:
		t.Fatalf("%s was given up, and succeeds", key(e))
	case !gaveUp && (began.GetWaitUntilNs() == 0 || c.GetTimeNs() < began.GetWaitUntilNs()):
		t.Fatalf("%s is over before its time", key(e))
	case !gaveUp && began.GetDeadlineNs() != 0 && began.GetDeadlineNs() < began.GetWaitUntilNs():
		t.Fatalf("%s is over, and should have been given up before", key(e))
	}
}

// checkVoter sees to it that each person counts once, and nobody after a rejection.
func checkVoter(t *rapid.T, l *life, before []*sluicev1.ApprovalGiven, e *sluicev1.Event) {
	for _, given := range before {
		if !given.GetApproved() || given.GetVoter() == e.GetApprovalGiven().GetVoter() {
			t.Fatalf("%s after %v:\n%s", word(e), given, l.trace())
		}
	}
	if len(before) >= int(waitOf(l, e.GetStepId()).GetApproval().GetApprovers()) {
		t.Fatalf("%s after %d approvals:\n%s", word(e), len(before), l.trace())
	}
}

// checkApproved looks at the success, at that place of its commit, of what people
// were asked.
func checkApproved(t *rapid.T, l *life, c *sluicev1.Commit, said []*sluicev1.ApprovalGiven, n int) {
	e := c.GetEvents()[n]
	approval, last := waitOf(l, e.GetStepId()).GetApproval(), len(said)-1
	outputs := e.GetWorkSucceeded().GetOutputs()
	switch {
	case c.GetEvents()[n-1].GetWorkTimedOut() != nil: // and gives what its step says
	case last < 0 || c.GetEvents()[n-1].GetApprovalGiven() != said[last]:
		t.Fatalf("%s is decided, and nobody said anything:\n%s", key(e), l.trace())
	case !said[last].GetApproved():
		if got := string(c.GetValues()[outputs["approved"]-1]); got != "false" {
			t.Fatalf("%s was rejected, and gives %s", key(e), got)
		}
	case last+1 != int(approval.GetApprovers()):
		t.Fatalf("%s succeeds with %d approvals of %d", key(e), last+1, approval.GetApprovers())
	}
}

// drawDecision is what somebody says of what a work item asks, or of one that asks
// nothing.
func drawDecision(t *rapid.T, w *sluicev1.WorkRef) *sluicev1.Command {
	return decide(w, rapid.IntRange(0, 3).Draw(t, "approves") > 0, rapid.SampledFrom([]string{"link/1", "link/2", "key/ann"}).Draw(t, "voter"))
}

// drawDelivery is a message for a work item, which may wait for it, or did, or never
// will.
func drawDelivery(t *rapid.T, w *sluicev1.WorkRef) *sluicev1.Command {
	return deliverTo(w, box(&office{}, "1"), rapid.Uint64Range(1, 3).Draw(t, "message"))
}

func deliverTo(w *sluicev1.WorkRef, mailbox string, number uint64) *sluicev1.Command {
	return &sluicev1.Command{FlowId: "f", Kind: &sluicev1.Command_DeliverMessage{DeliverMessage: &sluicev1.DeliverMessage{
		Work: w, Mailbox: mailbox, Message: &sluicev1.MessageRef{Run: 7, Number: number}, Outputs: map[string][]byte{"paid": []byte("1")},
	}}}
}

// answers are what others would send for work items that wait for messages, by what
// the log asks for: the key, and then the message.
func answers(l *life) []*sluicev1.Command {
	var all []*sluicev1.Command
	for _, c := range l.log {
		fx := l.state.Effects(c)
		for _, inv := range fx.Invocations {
			if waitOf(l, inv.GetWork().GetStepId()) != nil && !inv.GetScript().GetPredicate() {
				all = append(all, scriptResult(inv.GetWork(), succeeded("result", "1")))
			}
		}
		for _, cmd := range fx.Commands {
			if await := cmd.GetAwaitMessage(); await != nil {
				all = append(all, deliverTo(await.GetWork(), cmd.GetFlowId(), 1))
			}
		}
	}
	return all
}

// asked are the work items that ask people now.
func asked(l *life) []*sluicev1.WorkRef {
	var open []*sluicev1.WorkRef
	for i := range l.state.Steps {
		for j, it := range l.state.Steps[i].Items {
			id := l.state.Plan.Steps[i].ID
			if yes, _ := l.state.Asks(id, uint32(j)); yes {
				w := itemRef(id, j, it.Attempt)
				w.Generation = it.Generation
				open = append(open, w)
			}
		}
	}
	return open
}

func waitOf(l *life, stepID string) *sluicev1.Wait {
	i, ok := l.state.Plan.Index[stepID]
	if !ok {
		return nil
	}
	return l.state.Plan.Steps[i].Proto.GetWait()
}
