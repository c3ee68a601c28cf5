package engine_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	dto "github.com/prometheus/client_model/go"

	"github.com/sluiceflow/sluice/pkg/subject"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/engine"
	"github.com/sluiceflow/sluice/services/internal/dead"
	"github.com/sluiceflow/sluice/services/internal/fault"
	"github.com/sluiceflow/sluice/services/internal/journal"
	"github.com/sluiceflow/sluice/services/internal/testkit"
)

// poisonous says which commands panic.
func poisonous(cmd *sluicev1.Command) bool {
	return cmd.GetCompleteWork().GetOutcome().GetOutputs()["poison"] != nil
}

// lines is a log that is read while it is written.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), text)
}

// letters waits for that many dead letters and returns them, newest first.
func (w *world) letters(want int) []dead.Stored {
	w.t.Helper()
	var list []dead.Stored
	w.until(fmt.Sprintf("there are %d dead letters", want), func() bool {
		var err error
		list, _, err = dead.Open(w.bus).List(w.t.Context(), "", 0, 100)
		return err == nil && len(list) == want
	})
	return list
}

// startPoisonable starts an engine that panics at some commands, and puts what
// DEAD does not take back for a moment only.
func (w *world) startPoisonable() (*running, *engine.Engine) {
	w.t.Helper()
	var e *engine.Engine
	r := w.startOn(w.bus, func(prepared *engine.Engine) {
		e = prepared
		engine.PutBackSoon(e)
		engine.PanicAt(e, poisonous)
	})
	return r, e
}

// waiting is how many messages wait for room in DEAD in a partition.
func (r *running) waiting(t *testing.T, partition int) float64 {
	t.Helper()
	families, err := r.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "sluice_dead_waiting" && slices.ContainsFunc(m.GetLabel(), func(l *dto.LabelPair) bool {
				return l.GetName() == "partition" && l.GetValue() == strconv.Itoa(partition)
			}) {
				return m.GetGauge().GetValue()
			}
		}
	}
	t.Fatalf("no figure of partition %d", partition)
	return 0
}

func (w *world) garbage(flowID, text string) {
	w.t.Helper()
	msg := &nats.Msg{
		Subject: w.bus.Space.Command(subject.SourceHook, w.bus.Partition(flowID), flowID), Data: []byte("\xff\xff" + text),
		Header: nats.Header{"Some-Header": {"kept", "not kept"}, "Bad-Bytes": {"\xff"}},
	}
	if err := w.bus.Publish(w.t.Context(), msg); err != nil {
		w.t.Fatal(err)
	}
}

// fillDead puts letters into DEAD until it takes no more.
func (w *world) fillDead() {
	w.t.Helper()
	for size := 64 << 10; size >= 16; size /= 2 {
		for n := 0; ; n++ {
			msg := &nats.Msg{Subject: w.bus.Space.Dead("filler", fmt.Sprintf("%d-%d", size, n)), Data: make([]byte, size)}
			if w.bus.Publish(w.t.Context(), msg) != nil {
				break
			}
		}
	}
}

func (w *world) emptyDead() {
	w.t.Helper()
	stream, err := w.bus.JS.Stream(w.t.Context(), w.bus.Dead())
	if err == nil {
		err = stream.Purge(w.t.Context())
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func smallDead(t *testing.T) *world {
	t.Helper()
	cfg := testkit.BusConfig(t, testkit.JetStream(t))
	cfg.DeadMaxBytes = 1 << 20
	w := worldOn(t, testkit.BusOn(t, cfg))
	w.fillDead()
	return w
}

func ignored(history []journal.Stored) (list []*sluicev1.CompletionIgnored) {
	for _, c := range history {
		for _, e := range c.Commit.GetEvents() {
			if e.GetCompletionIgnored() != nil {
				list = append(list, e.GetCompletionIgnored())
			}
		}
	}
	return list
}

func TestALetterSaysAllOfItsMessage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r, _ := w.startPoisonable()
	w.garbage("f", "nonsense")
	l := w.letters(1)[0]
	whole, err := dead.Open(w.bus).Get(t.Context(), l.ID)
	if err != nil || string(whole.GetData()) != "\xff\xffnonsense" || whole.Size != 10 {
		t.Errorf("data %q of %d bytes (%v)", whole.GetData(), whole.Size, err)
	}
	if l.GetWhat() != "command" || l.GetClass() != "garbage" || l.GetReason() == "" || l.GetStream() != w.bus.Commands(0) ||
		l.GetSequence() != 1 || l.GetDeliveries() != 1 || l.GetStoredNs() == 0 || l.GetDeadNs() < l.GetStoredNs() ||
		l.GetSubject() != w.bus.Space.Command(subject.SourceHook, w.bus.Partition("f"), "f") || l.GetHeaders()["Some-Header"] != "kept" {
		t.Errorf("letter %v", l)
	}
	w.idle()
	if got := r.figure(t, "sluice_dead_letters_total"); got != 1 {
		t.Errorf("%v are counted", got)
	}
}

// Rule 9 and the first invariant: what got a 2xx stands in the history, also
// when it can never be decided.
func TestPoisonedCompletionsStandInTheHistory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startPoisonable()
	w.begin("poison-h", chain(t))
	inv := w.invocation("poison-h", "a")
	w.send(subject.SourceHook, success(inv, "poison", "1"))
	stray := success(inv, "x", "1")
	stray.GetCompleteWork().Work = &sluicev1.WorkRef{Run: inv.GetWork().GetRun(), StepId: "nope", Attempt: 1}
	w.send(subject.SourceHook, stray)
	classes := map[string]bool{}
	for _, l := range w.letters(2) {
		classes[l.GetClass()] = true
	}
	if !classes["panic"] || !classes["impossible"] {
		t.Errorf("classes %v", classes)
	}
	w.send(subject.SourceHook, success(inv, "x", "1"))
	w.invocation("poison-h", "b")
	w.idle()
	history, err := w.journal.History(t.Context(), "poison-h")
	if err != nil {
		t.Fatal(err)
	}
	list := ignored(history)
	if len(list) != 2 || !list[0].GetDead() || !list[1].GetDead() {
		t.Fatalf("ignored %v", list)
	}
	if !strings.Contains(list[0].GetReason()+list[1].GetReason(), "panics") {
		t.Errorf("reasons %q, %q", list[0].GetReason(), list[1].GetReason())
	}
}

func TestMisplacedCommandsAreDead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	w.begin("f", chain(t))
	inv := w.invocation("f", "a")
	w.send(subject.SourceReport, success(inv, "x", "1")) // a completion may not come from the dispatcher
	elsewhere, err := w.bus.CommandMsg(subject.SourceHook, success(inv, "x", "1"))
	if err != nil {
		t.Fatal(err)
	}
	right := elsewhere.Subject
	for _, subj := range []string{
		w.bus.Space.Command(subject.SourceHook, (w.bus.Partition("f")+1)%w.bus.Config.Partitions, "f"),
		w.bus.Space.Command(subject.SourceHook, w.bus.Partition("g"), "g"),
		strings.Replace(right, ".hook.", ".nobody.", 1),
	} {
		if err := w.bus.Publish(t.Context(), &nats.Msg{Subject: subj, Data: elsewhere.Data}); err != nil {
			t.Fatal(err)
		}
	}
	for _, l := range w.letters(4) {
		if l.GetClass() != "misplaced" {
			t.Errorf("letter %v", l)
		}
	}
	w.idle()
	if history, err := w.journal.History(t.Context(), "f"); err != nil || len(history) != 1 {
		t.Errorf("%d commits (%v)", len(history), err)
	}
}

// Rule 9: a DEAD that is full blocks nobody and shows, without a line for each
// message.
func TestFullDeadBlocksNobodyAndShows(t *testing.T) {
	t.Parallel()
	w := smallDead(t)
	log := &lines{}
	w.log = slog.New(slog.NewTextHandler(log, nil))
	r, e := w.startPoisonable()
	w.begin("f", chain(t))
	inv := w.invocation("f", "a")
	text := strings.Repeat("x", 5000)
	for range 3 {
		w.garbage("f", text)
	}
	partition := w.bus.Partition("f")
	w.until("three messages wait", func() bool { return r.waiting(t, partition) == 3 })
	if err := e.Checks(t.Context())["dead"]; err == nil || !strings.HasPrefix(err.Error(), "degraded: 3 messages") {
		t.Errorf("check: %v", err)
	}
	w.send(subject.SourceHook, success(inv, "x", "1"))
	w.invocation("f", "b") // the partition goes on
	w.until("they come back", func() bool { return r.figure(t, "sluice_engine_put_back_total") > 6 })
	w.emptyDead()
	w.letters(3)
	w.idle()
	w.until("none waits", func() bool { return r.waiting(t, partition) == 0 })
	if err := e.Checks(t.Context())["dead"]; err != nil {
		t.Errorf("check: %v", err)
	}
	if began, ended := log.count("DEAD takes no letters"), log.count("DEAD takes letters again"); began != 1 || ended != 1 {
		t.Errorf("%d lines when it began and %d when it ended, want 1 and 1", began, ended)
	}
}

// Rule 9: past a thousand that wait in a partition the oldest letters make room.
func TestTheOldestLettersMakeRoom(t *testing.T) {
	t.Parallel()
	w := smallDead(t)
	log := &lines{}
	w.log = slog.New(slog.NewTextHandler(log, nil))
	before, _, err := dead.Open(w.bus).List(t.Context(), "", 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	oldest, newest := before[len(before)-1].ID, before[0].ID
	text := strings.Repeat("x", 2000)
	for i := range 1001 {
		w.garbage("f", fmt.Sprint(text, i))
	}
	r := w.startOn(w.bus, nil)
	w.until("room was made", func() bool { return r.figure(t, "sluice_dead_letters_dropped_total") > 0 })
	w.until("there are letters of them", func() bool {
		list, _, err := dead.Open(w.bus).List(t.Context(), dead.Command, 0, 10)
		return err == nil && len(list) > 0
	})
	if _, err := dead.Open(w.bus).Get(t.Context(), oldest); fault.KindOf(err) != fault.NotFound {
		t.Errorf("the oldest letter: %v", err)
	}
	if _, err := dead.Open(w.bus).Get(t.Context(), newest); err != nil {
		t.Errorf("a newer letter: %v", err)
	}
	if log.count("the oldest dead letters were dropped") == 0 {
		t.Error("it was not logged")
	}
}

// What is redriven once its cause is gone is carried out, once, also when who
// redrove it died before the letter was deleted.
func TestRedrivenLettersAreCarriedOutOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	w.begin("f", chain(t))
	inv := w.invocation("f", "a")
	early := success(inv, "y", "1")
	early.GetCompleteWork().Work = &sluicev1.WorkRef{Run: inv.GetWork().GetRun(), StepId: "b", Attempt: 1}
	w.send(subject.SourceHook, early) // b has not started
	letter := w.letters(1)[0]
	first := letter.GetStoredNs()

	w.until("an engine redrives", func() bool { // too early for the flow: it is dead again
		return dead.Open(w.bus).Ask(t.Context(), letter.ID, "me") == nil
	})
	w.until("it is a letter again", func() bool {
		list, _, err := dead.Open(w.bus).List(t.Context(), "", 0, 10)
		return err == nil && len(list) == 1 && list[0].ID != letter.ID
	})
	again := w.letters(1)[0]
	if again.GetStoredNs() != first || again.GetDeadNs() <= letter.GetDeadNs() || again.GetRedrives() != 1 || again.GetSequence() == letter.GetSequence() {
		t.Errorf("first %v, now %v", letter, again)
	}

	w.send(subject.SourceHook, success(inv, "x", "1"))
	w.invocation("f", "b")
	whole, err := dead.Open(w.bus).Get(t.Context(), again.ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"one", "two"} { // it was stored, and who did that died
		msg := &nats.Msg{Subject: whole.GetSubject(), Data: whole.GetData(), Header: nats.Header{jetstream.MsgIDHeader: {id}}}
		if err := w.bus.Publish(t.Context(), msg); err != nil {
			t.Fatal(err)
		}
	}
	if err := dead.Open(w.bus).Ask(t.Context(), again.ID, "me"); err != nil {
		t.Fatal(err)
	}
	w.letters(0)
	w.send(subject.SourceHook, success(w.invocation("f", "c"), "z", "1"))
	history := w.ended("f")
	w.idle()
	if n := count(history, func(e *sluicev1.Event) bool { return e.GetWorkSucceeded() != nil && e.GetStepId() == "b" }); n != 1 {
		t.Errorf("b succeeded %d times", n)
	}
	if n := len(ignored(history)); n != 1 {
		t.Errorf("%d completions were ignored, want the one of the dead letter", n)
	}
	if err := dead.Open(w.bus).Ask(t.Context(), again.ID, "me"); fault.KindOf(err) != fault.NotFound {
		t.Errorf("redriven again: %v", err)
	}
}
