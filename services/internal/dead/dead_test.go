package dead_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluiceflow/sluice/pkg/subject"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/dead"
	"github.com/sluiceflow/sluice/services/internal/fault"
	"github.com/sluiceflow/sluice/services/internal/testkit"
)

func box(t *testing.T, b *bus.Bus) *dead.Box {
	t.Helper()
	made, err := dead.NewBox(b, "test", slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func put(t *testing.T, b *bus.Bus, letters ...*sluicev1.DeadLetter) {
	t.Helper()
	to := box(t, b)
	for _, l := range letters {
		if err := to.Put(t.Context(), l, 0); err != nil {
			t.Fatal(err)
		}
	}
}

// letter is one of a command that can be redriven.
func letter(b *bus.Bus, sequence uint64) *sluicev1.DeadLetter {
	return &sluicev1.DeadLetter{
		What: dead.Command, Stream: b.Commands(0), Sequence: sequence, StoredNs: int64(sequence), DeadNs: 1000,
		Subject: b.Space.Command(subject.SourceHook, b.Partition("f"), "f"), Data: []byte("original"), Class: "garbage", Reason: "x",
	}
}

func ids(t *testing.T, b *bus.Bus, what string, before uint64, limit int) ([]uint64, bool) {
	t.Helper()
	page, more, err := dead.Open(b).List(t.Context(), what, before, limit)
	if err != nil {
		t.Fatal(err)
	}
	list := []uint64{}
	for _, l := range page {
		if l.Data != nil || l.Size == 0 {
			t.Errorf("letter %d is listed with %d bytes of data, size %d", l.ID, len(l.Data), l.Size)
		}
		list = append(list, l.ID)
	}
	return list, more
}

func TestLettersAreStoredOnce(t *testing.T) {
	t.Parallel()
	b := testkit.Bus(t)
	later := letter(b, 7)
	later.StoredNs++ // a store that lost its tail gave the sequence out again
	put(t, b, letter(b, 7), letter(b, 7), later)
	if n, err := dead.Open(b).Count(t.Context()); err != nil || n != 2 {
		t.Errorf("%d letters (%v), want 2", n, err)
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	b := testkit.Bus(t)
	if list, more := ids(t, b, "", 0, 10); len(list) != 0 || more {
		t.Errorf("of none: %v, %v", list, more)
	}
	for n := range uint64(40) {
		l := letter(b, n+1)
		if n%10 == 0 {
			l.What = dead.Invocation
		}
		put(t, b, l)
	}
	for _, id := range []uint64{40, 37, 36, 35, 20, 1} {
		if err := dead.Open(b).Drop(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		if err := dead.Open(b).Drop(t.Context(), id); fault.KindOf(err) != fault.NotFound {
			t.Errorf("dropped twice: %v", err)
		}
	}
	if err := dead.Open(b).Drop(t.Context(), 999); fault.KindOf(err) != fault.NotFound {
		t.Errorf("one that never was: %v", err)
	}
	var all []uint64
	before, more := uint64(0), true
	for pages := 0; more; pages++ {
		var list []uint64
		list, more = ids(t, b, "", before, 3)
		all = append(all, list...)
		before = list[len(list)-1]
		if pages > 20 {
			t.Fatal("the pages do not end")
		}
	}
	if len(all) != 34 || all[0] != 39 || all[33] != 2 || !slices.IsSortedFunc(all, func(a, b uint64) int { return int(b) - int(a) }) {
		t.Errorf("letters %v", all)
	}
	if list, more := ids(t, b, dead.Invocation, 0, 2); !slices.Equal(list, []uint64{31, 21}) || !more {
		t.Errorf("invocations %v, %v", list, more)
	}
	if list, more := ids(t, b, dead.Invocation, 21, 5); !slices.Equal(list, []uint64{11}) || more {
		t.Errorf("invocations %v, %v", list, more)
	}
}

// A message that fits into no letter, or into no DEAD, is cut: it must not come
// again for ever.
func TestWhatIsTooLargeIsCut(t *testing.T) {
	t.Parallel()
	cfg := testkit.BusConfig(t, testkit.JetStream(t))
	cfg.DeadMaxBytes = 1 << 20
	b := testkit.BusOn(t, cfg)
	data, headers := letter(b, 1), letter(b, 2)
	data.Data = bytes.Repeat([]byte("x"), 7<<20)
	headers.Headers = map[string]string{"Big": strings.Repeat("x", 2<<20)}
	for i, l := range []*sluicev1.DeadLetter{data, headers} {
		whole := max(len(l.GetData()), 1)
		put(t, b, l)
		got, err := dead.Open(b).Get(t.Context(), uint64(i+1))
		if err != nil || got.Size != uint64(whole) || got.GetCutFrom() != uint64(whole) || got.GetReason() != "x" {
			t.Fatalf("letter %d: size %d, cut from %d (%v)", i+1, got.Size, got.GetCutFrom(), err)
		}
		if err := dead.Open(b).Redrive(t.Context(), got.ID); fault.KindOf(err) != fault.Conflict {
			t.Errorf("redriven: %v", err)
		}
		if err := dead.Open(b).Drop(t.Context(), got.ID); err != nil {
			t.Error(err)
		}
	}
}

func TestWhatCannotBeRedriven(t *testing.T) {
	t.Parallel()
	b := testkit.Bus(t)
	hook := b.Space.Command(subject.SourceHook, 0, "f")
	for name, l := range map[string]*sluicev1.DeadLetter{
		"of another kind than its subject": {What: dead.Invocation, Subject: hook},
		"of an unknown kind":               {What: "surprise", Subject: hook},
		"of a subject of nobody":           {What: dead.Command, Subject: "sluice.cmd.nobody.0.f"},
		"of a history":                     {What: dead.Command, Subject: b.Space.Flow(subject.KindCompleted, 0, "f")},
	} {
		l.Stream, l.Sequence, l.StoredNs = "S", 1, time.Now().UnixNano()
		put(t, b, l)
		id, _ := newest(t, b)
		if err := dead.Open(b).Redrive(t.Context(), id); fault.KindOf(err) != fault.Conflict {
			t.Errorf("%s: %v", name, err)
		}
	}
	raw := &nats.Msg{Subject: b.Space.Dead("command", "x"), Data: []byte("\xff\xff")}
	if err := b.Publish(t.Context(), raw); err != nil {
		t.Fatal(err)
	}
	id, l := newest(t, b)
	if !l.Unreadable || l.GetWhat() != "command" || l.GetReason() == "" {
		t.Errorf("what is no letter is shown as %+v", l)
	}
	if err := dead.Open(b).Redrive(t.Context(), id); fault.KindOf(err) != fault.Conflict {
		t.Errorf("what is no letter: %v", err)
	}
}

func newest(t *testing.T, b *bus.Bus) (uint64, dead.Stored) {
	t.Helper()
	page, _, err := dead.Open(b).List(t.Context(), "", 0, 1)
	if err != nil || len(page) != 1 {
		t.Fatalf("%d letters (%v)", len(page), err)
	}
	return page[0].ID, page[0]
}

// The original goes where it was, without what the server would refuse or drop
// it by, and is stored before its letter is deleted.
func TestRedrive(t *testing.T) {
	t.Parallel()
	b := testkit.Bus(t)
	l := letter(b, 1)
	l.Redrives = 2
	l.Headers = map[string]string{
		"traceparent": "t", "Nats-Msg-Id": "seen", "Nats-Expected-Last-Sequence": "77", "nats-ttl": "1s",
		bus.HeaderReply: "inbox", bus.HeaderRedrives: "2",
	}
	seen := &nats.Msg{Subject: l.GetSubject(), Data: []byte("before"), Header: nats.Header{jetstream.MsgIDHeader: {"seen"}}}
	if err := b.Publish(t.Context(), seen); err != nil {
		t.Fatal(err)
	}
	put(t, b, l)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	if err := dead.Open(b).Ask(t.Context(), 1, "me"); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("without an engine: %v", err)
	}
	go func() { done <- dead.Open(b).Serve(ctx, slog.New(slog.DiscardHandler)) }()
	testkit.Eventually(t, 10*time.Second, func() error { return dead.Open(b).Ask(t.Context(), 1, "me") })
	if n, err := dead.Open(b).Count(t.Context()); err != nil || n != 0 {
		t.Errorf("%d letters are left (%v)", n, err)
	}
	last, err := b.Last(t.Context(), b.Commands(0), l.GetSubject())
	if err != nil || last.Sequence != 2 || string(last.Data) != "original" {
		t.Fatalf("stored %+v (%v)", last, err)
	}
	for name, want := range map[string]string{
		"traceparent": "t", bus.HeaderReply: "inbox", bus.HeaderRedrives: "3", bus.HeaderFirstStored: "1",
		"Nats-Expected-Last-Sequence": "", "nats-ttl": "",
	} {
		if got := last.Header.Get(name); got != want {
			t.Errorf("header %s is %q, want %q", name, got, want)
		}
	}
	if err := dead.Open(b).Ask(t.Context(), 1, "me"); fault.KindOf(err) != fault.NotFound || !strings.Contains(fmt.Sprint(err), "no dead letter 1") {
		t.Errorf("again: %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A letter whose original cannot be stored stays.
func TestRedriveIntoAFullStream(t *testing.T) {
	t.Parallel()
	b := testkit.Bus(t)
	stream, err := b.JS.Stream(t.Context(), b.Commands(0))
	if err != nil {
		t.Fatal(err)
	}
	cfg := stream.CachedInfo().Config
	cfg.MaxMsgs = 1
	if _, err := b.JS.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	put(t, b, letter(b, 1), letter(b, 2))
	if err := dead.Open(b).Redrive(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if err := dead.Open(b).Redrive(t.Context(), 2); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("into a full stream: %v", err)
	}
	if _, err := dead.Open(b).Get(t.Context(), 2); err != nil {
		t.Errorf("its letter: %v", err)
	}
}

// A letter with garbled headers is shown as what it is, among the others.
func TestAGarbledLetterIsListed(t *testing.T) {
	t.Parallel()
	server := testkit.NewNATS(t)
	b := testkit.ConnectBus(t, server.URL())
	put(t, b, letter(b, 1), letter(b, 2), letter(b, 3))
	server.Stop()
	r := testkit.RecordOf(t, server.Store(), b.Dead(), 2)
	testkit.FlipBit(t, r.File, r.HeaderLength, 0)
	server.Start()
	testkit.Eventually(t, time.Minute, func() error {
		_, err := dead.Open(b).Count(t.Context())
		return err
	})
	page, _, err := dead.Open(b).List(t.Context(), "", 0, 10)
	if err != nil || len(page) != 3 || page[0].Unreadable || !page[1].Unreadable || page[2].Unreadable {
		t.Errorf("letters %v (%v)", page, err)
	}
	if l, err := dead.Open(b).Get(t.Context(), 2); err != nil || !l.Unreadable {
		t.Errorf("letter %v (%v)", l, err)
	}
	if _, err := dead.Open(b).Get(t.Context(), 9); fault.KindOf(err) != fault.NotFound {
		t.Errorf("of no letter: %v", err)
	}
}
