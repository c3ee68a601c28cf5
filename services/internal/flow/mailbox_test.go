package flow_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	pkgstep "github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/pkg/subject"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/flow"
	"github.com/sluiceflow/sluice/services/internal/plan"
)

// waitsFor makes a step wait for a message.
func waitsFor(name string, timeoutMS int64) stepOption {
	return waits(&sluicev1.Wait{
		Message:   &sluicev1.WaitMessage{Name: name, Key: &sluicev1.Script{Language: "cel", Source: "order"}},
		TimeoutMs: timeoutMS,
	})
}

// An aggregate is a flow or a mailbox with its log, as an engine has it.
type aggregate struct {
	state, replica *flow.State
	log            []*sluicev1.Commit
	wakeAt         int64
}

// An office is flows and mailboxes, and what is on its way between them.
type office struct {
	t     tb
	all   map[string]*aggregate
	order []string // ids, so that what is drawn is the same again
	sent  []delivery
	now   int64
	seq   uint64
	runs  uint64
	floor uint64
	gone  int // mailboxes that were retired
}

func newOffice(t tb) *office { return &office{t: t, all: map[string]*aggregate{}, now: start} }

func (o *office) of(id string) *aggregate {
	a := o.all[id]
	if a == nil {
		a = &aggregate{state: flow.New(id, plan.Decode), replica: flow.New(id, plan.Decode)}
		o.all[id] = a
		if !slices.Contains(o.order, id) {
			o.order = append(o.order, id)
		}
	}
	return a
}

// send puts a command on its way.
func (o *office) send(cmd *sluicev1.Command) {
	o.seq++
	o.sent = append(o.sent, delivery{cmd, flow.Position{Sequence: o.seq, Time: o.now}})
}

// deliver decides a command. What follows is sent, unless the engine dies before
// that: then the command comes again.
func (o *office) deliver(d delivery, dies bool) flow.Verdict {
	o.t.Helper()
	id := d.cmd.GetFlowId()
	a := o.of(id)
	o.runs++
	turn := a.state.Begin(flow.Env{Now: o.now, Run: o.runs, Floor: o.floor, Token: mint})
	verdict := turn.Apply(d.cmd, d.at)
	commit := turn.Commit()
	if due := turn.Due(); due != 0 && (a.wakeAt == 0 || due < a.wakeAt) {
		a.wakeAt = due
	}
	if commit != nil {
		o.store(a, commit)
	}
	if dies {
		o.sent = append(o.sent, d)
		return verdict
	}
	for _, cmd := range verdict.Answer {
		o.send(cmd)
	}
	switch {
	case commit != nil:
		o.follow(a, commit)
	case verdict.Kind == flow.Repeat:
		for _, c := range a.log {
			if c.GetRevision() == verdict.Revision {
				o.follow(a, c)
			}
		}
	case verdict.Kind == flow.Postponed:
		o.sent = append(o.sent, d)
	}
	return verdict
}

// store keeps a commit, and checks that replay, snapshot and restore agree.
func (o *office) store(a *aggregate, c *sluicev1.Commit) {
	o.t.Helper()
	stored := reparse(o.t, c)
	if snap := stored.GetSnapshot(); snap != nil && subject.IsMailbox(a.state.ID) {
		a.log = nil // it is trimmed
	}
	a.log = append(a.log, stored)
	if err := a.replica.Replay(stored); err != nil {
		o.t.Fatalf("replay of %s: %v", a.state.ID, err)
	}
	want := a.state.Snapshot()
	if got := a.replica.Snapshot(); !proto.Equal(got, want) {
		o.t.Fatalf("replay of %s differs\nreplay: %v\nstate:  %v", a.state.ID, got, want)
	}
	restored, err := flow.Restore(a.state.ID, reparse(o.t, want), plan.Decode)
	if err != nil {
		o.t.Fatalf("restore of %s: %v", a.state.ID, err)
	}
	if got := restored.Snapshot(); !proto.Equal(got, want) {
		o.t.Fatalf("restored %s differs\nrestored: %v\nstate:    %v", a.state.ID, got, want)
	}
	if one, _ := restored.NextDeadline(); true {
		if two, _ := a.state.NextDeadline(); one != two {
			o.t.Fatalf("restored, the next deadline of %s is %d, and was %d", a.state.ID, one, two)
		}
	}
}

// follow sends what a commit asks for.
func (o *office) follow(a *aggregate, c *sluicev1.Commit) {
	fx := a.state.Effects(c)
	for _, cmd := range fx.Commands {
		o.send(cmd)
	}
	for _, inv := range fx.Invocations {
		if inv.GetScript() == nil {
			continue
		}
		o.send(&sluicev1.Command{FlowId: inv.GetFlowId(), Kind: &sluicev1.Command_ScriptResult{ScriptResult: &sluicev1.ScriptResult{
			Work: inv.GetWork(), Outcome: &sluicev1.Outcome{Success: true, Outputs: map[string][]byte{"result": inv.GetArguments()["order"]}},
		}}})
	}
	if fx.Retired {
		o.gone++
		delete(o.all, a.state.ID)
	}
}

// settle delivers what is on its way in order, and wakes whoever is due, until
// nothing is on its way.
func (o *office) settle() {
	o.t.Helper()
	for range 20_000 {
		if len(o.sent) == 0 {
			return
		}
		d := o.sent[0]
		o.sent = o.sent[1:]
		o.deliver(d, false)
		if len(o.sent) == 0 {
			o.floor = o.seq
		}
	}
	o.t.Fatalf("there is no end of what is sent")
}

// pass lets time go by: whoever asked to be woken until then is, in time.
func (o *office) pass(ns int64) {
	o.t.Helper()
	until := o.now + ns
	for range 10_000 {
		next, id := int64(0), ""
		for _, other := range o.order {
			if a := o.all[other]; a != nil && a.wakeAt != 0 && (next == 0 || a.wakeAt < next) {
				next, id = a.wakeAt, other
			}
		}
		if id == "" || next > until {
			o.now = max(o.now, until)
			return
		}
		o.now = max(o.now, next)
		o.all[id].wakeAt = 0
		o.floor = o.seq
		o.send(&sluicev1.Command{FlowId: id, Kind: &sluicev1.Command_Wake{Wake: &sluicev1.Wake{}}})
		o.settle()
	}
	o.t.Fatalf("somebody is woken again and again")
}

func (o *office) begin(id, order string, timeoutMS int64) {
	cmd := startFlow(planned(o.t, []string{"a"}, step("a", required("order"), output("amount"), waitsFor("paid", timeoutMS))), map[string]string{"order": order})
	cmd.FlowId = id
	o.send(cmd)
}

func box(o *office, order string) string {
	digest, err := pkgstep.CanonicalDigest(json.RawMessage(order))
	if err != nil {
		o.t.Fatalf("%v", err)
	}
	return flow.MailboxID("paid", digest)
}

func (o *office) post(order, id, amount string, ttlMS int64) *sluicev1.Command {
	return &sluicev1.Command{FlowId: box(o, order), Kind: &sluicev1.Command_PostMessage{PostMessage: &sluicev1.PostMessage{
		Name: "paid", Key: []byte(order), Id: id, TtlMs: ttlMS, Outputs: map[string][]byte{"amount": []byte(amount)},
	}}}
}

func (o *office) want(id string, status sluicev1.FlowStatus, amount string) {
	o.t.Helper()
	s := o.of(id).state
	if got := string(s.Attributes["amount"].Value); s.Status != status || got != amount {
		o.t.Fatalf("flow %s is %s (%s) with the amount %q, want %s with %q", id, flow.StatusName(s.Status), s.Error, got, flow.StatusName(status), amount)
	}
}

const (
	flowActive    = sluicev1.FlowStatus_FLOW_STATUS_ACTIVE
	flowCompleted = sluicev1.FlowStatus_FLOW_STATUS_COMPLETED
	flowFailed    = sluicev1.FlowStatus_FLOW_STATUS_FAILED
	hourMS        = int64(3_600_000)
)

func TestAMessageMeetsItsWaiter(t *testing.T) {
	t.Parallel()
	for name, early := range map[string]bool{"after it": false, "before it": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOffice(t)
			if early {
				o.send(o.post("17", "m-1", "12.50", hourMS))
				o.settle()
			}
			o.begin("f", "17.0", 0) // an equal number
			o.settle()
			if !early {
				o.want("f", flowActive, "")
				o.send(o.post("18", "", "1", hourMS)) // another key
				o.settle()
				o.want("f", flowActive, "")
				o.send(o.post("17", "m-1", "12.50", hourMS))
				o.settle()
			}
			o.want("f", flowCompleted, "12.50")
			// The same id again is no message, another is kept for the next one.
			o.send(o.post("17", "m-1", "13", hourMS))
			o.send(o.post("17", "m-2", "14", hourMS))
			o.begin("g", "17", 0)
			o.begin("h", "17", 0)
			o.settle()
			o.want("g", flowCompleted, "14")
			o.want("h", flowActive, "")
		})
	}
}

func TestMessagesAreForgotten(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	o.send(o.post("17", "m-1", "1", 1000))
	o.settle()
	o.pass(1001 * 1_000_000)
	o.begin("f", "17", 5000)
	o.settle()
	o.want("f", flowActive, "")
	o.send(o.post("17", "m-1", "2", hourMS)) // its id is forgotten too
	o.settle()
	o.want("f", flowCompleted, "2")
	if o.pass(2 * hourMS * 1_000_000); o.gone != 1 || o.all[box(o, "17")] != nil {
		t.Errorf("the empty mailbox is still there; %d are gone", o.gone)
	}
}

func TestWhoWaitsNoMoreLeavesTheMessageToOthers(t *testing.T) {
	t.Parallel()
	for name, cmd := range map[string]*sluicev1.Command{
		"timeout": wake(), "cancel": cancel(), "complete": override(doComplete, "a", "amount", "0"), "fail": override(doFail, "a"), "skip": override(doSkip, "a"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOffice(t)
			o.begin("f", "17", 5000)
			o.settle()
			o.now += 5 * second
			o.send(reparse(t, cmd))
			o.settle()
			if !o.of("f").state.Final() {
				t.Fatalf("f goes on")
			}
			if waiters := o.of(box(o, "17")).state.Snapshot().GetMailbox().GetWaiters(); len(waiters) > 0 {
				t.Errorf("the mailbox still has %v", waiters)
			}
			o.begin("g", "17", 0)
			o.settle()
			o.send(o.post("17", "", "3", hourMS))
			o.settle()
			o.want("g", flowCompleted, "3")
		})
	}
}

// Begun anew by hand, a work item is another waiter.
func TestAWaitForAMessageIsRetried(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	o.begin("f", "17", 0)
	o.settle()
	o.send(override(doRetry, "a"))
	o.settle()
	o.send(override(doFail, "a"))
	o.settle()
	o.want("f", flowFailed, "")
	o.send(retry())
	o.settle()
	if waiters := o.of(box(o, "17")).state.Snapshot().GetMailbox().GetWaiters(); len(waiters) != 1 || waiters[0].GetAttempt() != 3 {
		t.Errorf("the waiters are %v", waiters)
	}
	o.send(o.post("17", "", "3", hourMS))
	o.settle()
	o.want("f", flowCompleted, "3")
}

func TestAMailboxIsBounded(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	for n := range 1001 {
		v := o.deliver(delivery{o.post("17", fmt.Sprintf("m-%d", n), "3", hourMS), flow.Position{Sequence: uint64(n + 1), Time: o.now}}, false)
		if full := v.Reply.GetCode() == replyConflict; full != (n == 1000) {
			t.Fatalf("message %d: %v", n, v.Reply)
		}
	}
	if n := len(o.of(box(o, "17")).log); n > 1200 {
		t.Errorf("%d commits are kept", n)
	}
	o = newOffice(t)
	for n := range 500 { // taken one by one
		id := fmt.Sprintf("f%d", n)
		o.begin(id, "17", 0)
		o.send(o.post("17", "", "3", hourMS))
		o.settle()
		o.want(id, flowCompleted, "3")
	}
	if n := len(o.of(box(o, "17")).log); n > 130 {
		t.Errorf("%d commits are kept of a mailbox that is empty", n)
	}
}

// Whatever is lost, repeated and reordered: a message is taken once at most, and
// when all has come through nobody waits beside a message that is kept, and none
// is lost.
func TestMessagesMeetTheirWaiters(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		o := newOffice(t)
		keys := []string{"1", `"1"`}
		flows := rapid.IntRange(1, 5).Draw(t, "flows")
		orders, posted := map[string]string{}, map[string]int{}
		for f := range flows {
			id := fmt.Sprintf("f%d", f)
			orders[id] = rapid.SampledFrom(keys).Draw(t, "order")
			o.begin(id, orders[id], rapid.SampledFrom([]int64{0, 0, 3000}).Draw(t, "timeout"))
		}
		var past []delivery
		for range rapid.IntRange(1, 60).Draw(t, "rounds") {
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				key, n := rapid.SampledFrom(keys).Draw(t, "key"), len(posted)
				if rapid.IntRange(0, 3).Draw(t, "again") == 0 {
					n = rapid.IntRange(0, n).Draw(t, "which")
				}
				posted[fmt.Sprintf("%s/%d", key, n)]++
				o.send(o.post(key, fmt.Sprintf("m-%d", n), strconv.Itoa(n), 100*hourMS))
			case 1:
				cmd := rapid.SampledFrom([]*sluicev1.Command{cancel(), override(doRetry, "a"), override(doFail, "a"), retry(), pause(), resume()}).Draw(t, "by hand")
				cmd = reparse(t, cmd)
				cmd.FlowId = fmt.Sprintf("f%d", rapid.IntRange(0, flows-1).Draw(t, "flow"))
				o.send(cmd)
			case 2:
				o.now += rapid.Int64Range(0, 20*second).Draw(t, "time")
				if len(o.order) > 0 {
					o.send(&sluicev1.Command{FlowId: rapid.SampledFrom(o.order).Draw(t, "woken"), Kind: &sluicev1.Command_Wake{Wake: &sluicev1.Wake{}}})
				}
			default:
				if len(o.sent) == 0 {
					continue
				}
				i := rapid.IntRange(0, len(o.sent)-1).Draw(t, "delivered")
				d := o.sent[i]
				o.sent = slices.Delete(o.sent, i, i+1)
				past = append(past, d)
				if v := o.deliver(d, rapid.IntRange(0, 4).Draw(t, "dies") == 0); v.Kind == flow.Impossible {
					t.Fatalf("%v: impossible: %s", d.cmd, v.Reason)
				}
				if again := rapid.SampledFrom(past).Draw(t, "repeated"); rapid.IntRange(0, 3).Draw(t, "repeat") == 0 {
					if rapid.Bool().Draw(t, "as new") && again.cmd.GetStartFlow() == nil {
						o.send(again.cmd)
					} else {
						o.deliver(again, false)
					}
				}
			}
		}
		for f := range flows { // what nobody holds back any more comes through
			o.send(&sluicev1.Command{FlowId: fmt.Sprintf("f%d", f), Kind: &sluicev1.Command_ResumeFlow{ResumeFlow: &sluicev1.ResumeFlow{}}})
		}
		o.settle()
		o.pass(25 * 3600 * second)
		for _, key := range keys { // as the sweep does
			o.send(&sluicev1.Command{FlowId: box(o, key), Kind: &sluicev1.Command_Wake{Wake: &sluicev1.Wake{}}})
		}
		o.settle()
		o.checkMessages(t, keys, posted)
	})
}

// checkMessages compares what was posted with what was taken, kept and given.
func (o *office) checkMessages(t *rapid.T, keys []string, posted map[string]int) {
	taken := map[string]int{}
	for _, id := range o.order {
		if subject.IsMailbox(id) {
			continue
		}
		for _, c := range o.of(id).log {
			for _, e := range c.GetEvents() {
				if m := e.GetMessageTaken(); m != nil {
					taken[fmt.Sprintf("%d/%d", m.GetMessage().GetRun(), m.GetMessage().GetNumber())]++
				}
			}
		}
	}
	total := 0
	for message, n := range taken {
		if total++; n > 1 {
			t.Fatalf("message %s was taken %d times", message, n)
		}
	}
	kept := 0
	for _, key := range keys {
		mail := o.of(box(o, key)).state.Snapshot().GetMailbox()
		kept += len(mail.GetMessages())
		for _, w := range mail.GetWaiters() {
			it := o.of(w.GetFlowId()).state.Steps[0].Items[w.GetItem()]
			waits := it.Status == sluicev1.WorkStatus_WORK_STATUS_ACTIVE && it.Attempt == w.GetAttempt() && o.of(w.GetFlowId()).state.Ending.At == 0
			if w.GetMessage() != nil || !waits || len(mail.GetMessages()) > 0 {
				t.Fatalf("%v waits beside %v", w, mail.GetMessages())
			}
		}
		checkEachWaits(t, o, key, mail.GetWaiters())
	}
	if total+kept != len(posted) {
		t.Fatalf("%d messages were posted, %d taken and %d are kept", len(posted), total, kept)
	}
}

// checkEachWaits sees to it that the mailbox knows of each work item that waits for
// a message of that key.
func checkEachWaits(t *rapid.T, o *office, key string, waiters []*sluicev1.WaiterState) {
	for _, id := range o.order {
		s := o.of(id).state
		if subject.IsMailbox(id) || len(s.Steps) == 0 || string(s.Attributes["order"].Value) != key || s.Ending.At != 0 {
			continue
		}
		for _, it := range s.Steps[0].Items {
			if it.Status == sluicev1.WorkStatus_WORK_STATUS_ACTIVE && !slices.ContainsFunc(waiters, func(w *sluicev1.WaiterState) bool {
				return w.GetFlowId() == id && w.GetAttempt() == it.Attempt
			}) {
				t.Fatalf("the mailbox does not know that %s waits", id)
			}
		}
	}
}
