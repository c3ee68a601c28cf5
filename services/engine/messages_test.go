package engine_test

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/sluiceflow/sluice/pkg/step"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/flow"
	"github.com/sluiceflow/sluice/services/internal/journal"
	"github.com/sluiceflow/sluice/services/internal/verify"
	"github.com/sluiceflow/sluice/services/internal/verify/check"
)

// paidStep waits for the payment of an order.
func paidStep(t *testing.T) []byte {
	t.Helper()
	return planned(t, []string{"a"}, waitStep("a", &sluicev1.Wait{Message: &sluicev1.WaitMessage{
		Name: "paid", Key: &sluicev1.Script{Language: "cel", Source: "order + 1"},
	}}, in("order"), out("amount")))
}

func (w *world) beginOrder(id string, planBytes []byte, order string) {
	w.t.Helper()
	cmd := startCommand(id, planBytes, "request")
	cmd.GetStartFlow().Init = map[string][]byte{"order": []byte(order)}
	w.wantOK(cmd)
}

func paidBox(t *testing.T, key string) string {
	t.Helper()
	digest, err := step.CanonicalDigest([]byte(key))
	if err != nil {
		t.Fatal(err)
	}
	return flow.MailboxID("paid", digest)
}

func paid(t *testing.T, key, id, amount string) *sluicev1.Command {
	t.Helper()
	return &sluicev1.Command{FlowId: paidBox(t, key), Kind: &sluicev1.Command_PostMessage{PostMessage: &sluicev1.PostMessage{
		Name: "paid", Key: []byte(key), Id: id, TtlMs: 3_600_000, Outputs: map[string][]byte{"amount": []byte(amount)},
	}}}
}

func (w *world) wantAmount(id, amount string) []journal.Stored {
	w.t.Helper()
	history := w.wantEnd(id, sluicev1.FlowStatus_FLOW_STATUS_COMPLETED)
	if got := string(w.state(id).Attributes["amount"].Value); got != amount {
		w.t.Errorf("flow %s has the amount %s, want %s", id, got, amount)
	}
	return history
}

// Flows and messages meet, whichever comes first, across the partitions of one
// installation; the same message again changes nothing.
func TestMessagesMeetFlows(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	plan := paidStep(t)
	for n := range 20 {
		key := strconv.Itoa(n + 1)
		if n%2 == 0 {
			w.wantOK(paid(t, key, "m-1", key))
		}
		w.beginOrder(fmt.Sprintf("f%d", n), plan, strconv.Itoa(n))
	}
	for n := 1; n < 20; n += 2 {
		w.wantOK(paid(t, strconv.Itoa(n+1), "m-1", strconv.Itoa(n+1)))
		if reply := w.ask(paid(t, strconv.Itoa(n+1), "m-1", "0")); reply.GetCode() != sluicev1.ReplyCode_REPLY_CODE_REPEATED {
			t.Errorf("the same message again: %v", reply)
		}
	}
	for n := range 20 {
		history := w.wantAmount(fmt.Sprintf("f%d", n), strconv.Itoa(n+1))
		if taken := count(history, func(e *sluicev1.Event) bool { return e.GetMessageTaken() != nil }); taken != 1 {
			t.Errorf("f%d took %d messages", n, taken)
		}
	}
	w.idle()
	w.until("nobody waits any more", func() bool {
		for n := range 20 {
			if mail := w.state(paidBox(t, strconv.Itoa(n+1))).Snapshot().GetMailbox(); len(mail.GetWaiters())+len(mail.GetMessages()) > 0 {
				return false
			}
		}
		return true
	})
}

// Engines that are ended between a flow and its mailbox lose nothing.
func TestMessagesOutliveTheEngine(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stop := w.start()
	plan := paidStep(t)
	for n := range 10 {
		w.beginOrder(fmt.Sprintf("f%d", n), plan, "16")
	}
	stop()
	stop = w.start()
	for n := range 9 {
		w.wantOK(paid(t, "17", fmt.Sprintf("m-%d", n), "3"))
	}
	stop()
	w.start()
	w.until("nine of ten flows took a message", func() bool {
		done := 0
		for n := range 10 {
			if w.state(fmt.Sprintf("f%d", n)).Final() {
				done++
			}
		}
		return done == 9
	})
	w.until("one waits", func() bool { // the script that makes its key may be late
		mail := w.state(paidBox(t, "17")).Snapshot().GetMailbox()
		return len(mail.GetWaiters()) == 1 && len(mail.GetMessages()) == 0
	})
}

// What a mailbox does not need any more is purged, however long it is in use.
func TestTheHistoryOfAMailboxIsTrimmed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	plan := paidStep(t)
	for n := range 120 {
		w.wantOK(paid(t, "17", "", "3"))
		w.beginOrder(fmt.Sprintf("f%d", n), plan, "16")
	}
	for n := range 120 {
		w.wantAmount(fmt.Sprintf("f%d", n), "3")
	}
	w.idle()
	history, err := w.journal.History(t.Context(), paidBox(t, "17"))
	if err != nil {
		t.Fatal(err)
	}
	if len(history) > 100 || history[0].Commit.GetSnapshot() == nil {
		t.Errorf("%d commits are kept, from revision %d on", len(history), history[0].Commit.GetRevision())
	}
	_, err = verify.Run(t.Context(), verify.Options{Bus: w.bus, Report: func(f check.Finding) error {
		t.Errorf("verify finds %+v", f)
		return nil
	}})
	if err != nil {
		t.Error(err)
	}
}

// A wait for a message of which the key cannot be made fails with the script's
// reason, and one that is given up leaves its mailbox.
func TestWaitsForMessagesThatFail(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	w.beginOrder("f", paidStep(t), `"x"`)
	w.wantEnd("f", sluicev1.FlowStatus_FLOW_STATUS_FAILED)
	late := planned(t, []string{"a"}, waitStep("a", &sluicev1.Wait{TimeoutMs: 3000, Message: &sluicev1.WaitMessage{
		Name: "paid", Key: &sluicev1.Script{Language: "cel", Source: "17"},
	}, OnTimeout: &sluicev1.WaitOutputs{Outputs: map[string][]byte{"amount": []byte("0")}}}, out("amount")))
	w.begin("g", late)
	w.wantAmount("g", "0")
	w.until("the mailbox knows that g waits no more", func() bool {
		s := w.state(paidBox(t, "17"))
		return s.Exists() && len(s.Snapshot().GetMailbox().GetWaiters()) == 0
	})
	if due, ok := w.state(paidBox(t, "17")).NextDeadline(); !ok || time.Until(time.Unix(0, due)) > time.Hour {
		t.Error("the empty mailbox is kept for ever")
	}
}
