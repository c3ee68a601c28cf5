package index_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"github.com/sluiceflow/sluice/pkg/subject"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/console/internal/index"
	"github.com/sluiceflow/sluice/services/internal/flow"
	"github.com/sluiceflow/sluice/services/internal/plan"
	"github.com/sluiceflow/sluice/services/internal/testkit"
)

const stream = "FLOWS_0"

// A world is a stream of commits with an index that follows it.
type world struct {
	t    *testing.T
	js   jetstream.JetStream
	path string
	x    *index.Index
	stop func()
}

func newWorld(t *testing.T) *world {
	t.Helper()
	nc, err := nats.Connect(testkit.JetStream(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, js: js, path: filepath.Join(t.TempDir(), "deeper", "console.db")}
	w.createStream()
	w.open()
	t.Cleanup(func() { w.stop() })
	return w
}

func (w *world) createStream() {
	w.t.Helper()
	// The server may still be removing the files of one of that name.
	testkit.Eventually(w.t, 30*time.Second, func() error {
		_, err := w.js.CreateStream(w.t.Context(), jetstream.StreamConfig{
			Name: stream, Subjects: []string{subject.Space{}.FlowEvents("")},
		})
		return err
	})
}

func parse(data []byte, _ nats.Header) (*sluicev1.Commit, error) {
	var c sluicev1.Commit
	return &c, proto.Unmarshal(data, &c)
}

// open opens the index and follows.
func (w *world) open() {
	w.t.Helper()
	x, err := index.Open(w.t.Context(), w.path)
	if err != nil {
		w.t.Fatal(err)
	}
	f := &index.Follower{
		Index: x, JS: w.js, Shard: 0, Stream: stream, Plans: plan.Decode, Parse: parse,
		Log: slog.New(slog.DiscardHandler), Report: func(uint64, error) {},
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	w.x, w.stop = x, func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
		x.Close()
	}
}

var base = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func (w *world) commit(id string, revision uint64, at time.Time, events ...*sluicev1.Event) {
	w.t.Helper()
	c := &sluicev1.Commit{FlowId: id, Revision: revision, TimeNs: at.UnixNano(), Events: events}
	data, err := proto.Marshal(c)
	if err != nil {
		w.t.Fatal(err)
	}
	msg := nats.NewMsg(subject.Space{}.Flow(flow.Kind(c), subject.Partition(id, 16), id))
	msg.Data = data
	msg.Header.Set("Sluice-Revision", strconv.FormatUint(revision, 10))
	if status := flow.Turned(c); status != "" {
		msg.Header.Set("Sluice-Status", status)
	}
	if _, err := w.js.PublishMsg(w.t.Context(), msg); err != nil {
		w.t.Fatal(err)
	}
}

func started(goal string, labels map[string]string) *sluicev1.Event {
	b, err := proto.Marshal(&sluicev1.Plan{Goals: []string{goal}, Steps: []*sluicev1.PlannedStep{{
		Id: goal, Type: sluicev1.StepType_STEP_TYPE_ASYNC, Endpoint: "http://worker/", CallTimeoutMs: 1000,
		Work: &sluicev1.WorkConfig{Parallelism: 1, BackoffType: sluicev1.BackoffType_BACKOFF_TYPE_FIXED},
	}}})
	if err != nil {
		panic(err)
	}
	return &sluicev1.Event{Kind: &sluicev1.Event_FlowStarted{FlowStarted: &sluicev1.FlowStarted{Plan: b, Labels: labels}}}
}

func completed() *sluicev1.Event {
	return &sluicev1.Event{Kind: &sluicev1.Event_FlowCompleted{FlowCompleted: &sluicev1.FlowCompleted{}}}
}

func failed(reason string) *sluicev1.Event {
	return &sluicev1.Event{Kind: &sluicev1.Event_FlowFailed{FlowFailed: &sluicev1.FlowFailed{Error: reason}}}
}

func retired() *sluicev1.Event {
	return &sluicev1.Event{Kind: &sluicev1.Event_FlowRetired{FlowRetired: &sluicev1.FlowRetired{}}}
}

// ids lists what a query selects.
func (w *world) ids(q index.Query) string {
	w.t.Helper()
	if q.Limit == 0 {
		q.Limit = 100
	}
	page, err := w.x.List(w.t.Context(), q)
	if err != nil {
		w.t.Fatal(err)
	}
	var ids []string
	for _, row := range page.Rows {
		ids = append(ids, row.ID)
	}
	return strings.Join(ids, " ")
}

func (w *world) eventually(q index.Query, want string) {
	w.t.Helper()
	testkit.Eventually(w.t, 10*time.Second, func() error {
		if got := w.ids(q); got != want {
			return fmt.Errorf("got %q, want %q", got, want)
		}
		return nil
	})
}

func TestListSelects(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	at := func(i int) time.Time { return base.Add(time.Duration(i) * time.Second) }
	w.commit("order-1", 1, at(1), started("ship", map[string]string{"team": "pay", "env": "prod"}))
	w.commit("order-2", 1, at(2), started("charge", map[string]string{"team": "pay"}), completed())
	w.commit("x-3", 1, at(3), started("ship", map[string]string{"team": "shop"}))
	w.commit("x-3", 2, at(3), &sluicev1.Event{StepId: "ship", Kind: &sluicev1.Event_StepStarted{StepStarted: &sluicev1.StepStarted{}}})
	w.commit("order-4", 1, at(4), started("ship", nil))
	w.commit("gone", 1, at(5), started("ship", map[string]string{"team": "pay"}), completed())
	w.commit("gone", 2, at(6), retired())
	w.commit("order-4", 2, at(9), failed("no stock"))
	w.eventually(index.Query{Statuses: []string{"failed"}}, "order-4") // the last of them
	w.eventually(index.Query{}, "order-4 x-3 order-2 order-1")
	for name, tt := range map[string]struct {
		q    index.Query
		want string
	}{
		"status":          {index.Query{Statuses: []string{"active"}}, "x-3 order-1"},
		"statuses":        {index.Query{Statuses: []string{"completed", "failed"}}, "order-4 order-2"},
		"label":           {index.Query{Labels: []index.Label{{Name: "team", Value: "pay"}}}, "order-2 order-1"},
		"labels":          {index.Query{Labels: []index.Label{{Name: "team", Value: "pay"}, {Name: "env", Any: true}}}, "order-1"},
		"any value":       {index.Query{Labels: []index.Label{{Name: "team", Any: true}}}, "x-3 order-2 order-1"},
		"goal":            {index.Query{Goals: []string{"ship"}}, "order-4 x-3 order-1"},
		"goal and status": {index.Query{Goals: []string{"ship"}, Statuses: []string{"failed"}}, "order-4"},
		"prefix":          {index.Query{IDPrefix: "order-"}, "order-4 order-2 order-1"},
		"since":           {index.Query{Since: at(3)}, "order-4 x-3"},
		"until":           {index.Query{Until: at(3)}, "order-2 order-1"},
		"nothing":         {index.Query{IDPrefix: "%"}, ""},
	} {
		if got := w.ids(tt.q); got != tt.want {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
	row, ok, err := w.x.Get(t.Context(), "order-4")
	want := index.Row{ID: "order-4", Status: "failed", Created: at(4), Completed: at(9), Error: "no stock", Sequence: 8}
	if err != nil || !ok || row != want {
		t.Errorf("got %+v, %v, %v; want %+v", row, ok, err, want)
	}
	if _, ok, err := w.x.Get(t.Context(), "gone"); ok || err != nil {
		t.Errorf("a retired flow is there: %v, %v", ok, err)
	}
}

func TestPagesAreWholeAndOrdered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var want []string
	for i := range 25 { // several of one moment, so that the id decides
		id := fmt.Sprintf("f-%02d", i)
		want = append(want, id)
		w.commit(id, 1, base.Add(time.Duration(i/4)*time.Second), started("g", map[string]string{"l": "v"}))
	}
	slices.Reverse(want)
	w.eventually(index.Query{}, strings.Join(want, " "))
	for _, q := range []index.Query{{Limit: 7, Total: true}, {Limit: 5, Labels: []index.Label{{Name: "l", Value: "v"}}, Total: true}} {
		var got []string
		for {
			page, err := w.x.List(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			if page.Total != 25 {
				t.Errorf("total is %d", page.Total)
			}
			for _, row := range page.Rows {
				got = append(got, row.ID)
			}
			if q.Cursor = page.Next; q.Cursor == "" {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("pages give %v, want %v", got, want)
		}
	}
	for _, cursor := range []string{"x", "!", "MTIz", "bm90IGE"} {
		if _, err := w.x.List(t.Context(), index.Query{Limit: 1, Cursor: cursor}); !errors.Is(err, index.ErrCursor) {
			t.Errorf("cursor %q: %v", cursor, err)
		}
	}
}

func TestGoesOnWhereItStopped(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.commit("a", 1, base, started("g", nil))
	w.eventually(index.Query{}, "a")
	w.stop()
	w.commit("b", 1, base.Add(1), started("g", nil))
	w.open()
	w.eventually(index.Query{}, "b a")
}

func TestAnotherStreamIsAnotherHistory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.commit("a", 1, base, started("g", map[string]string{"l": "v"}))
	w.eventually(index.Query{}, "a")
	w.stop()
	if err := w.js.DeleteStream(t.Context(), stream); err != nil {
		t.Fatal(err)
	}
	w.createStream()
	w.commit("b", 1, base, started("g", map[string]string{"l": "v"}))
	w.open()
	w.eventually(index.Query{}, "b")
	w.eventually(index.Query{Labels: []index.Label{{Name: "l", Any: true}}}, "b")
}

func TestStreamReplacedWhileFollowing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.commit("a", 1, base, started("g", nil))
	w.eventually(index.Query{}, "a")
	if err := w.js.DeleteStream(t.Context(), stream); err != nil {
		t.Fatal(err)
	}
	w.createStream()
	w.commit("b", 1, base, started("g", nil))
	testkit.Eventually(t, 40*time.Second, func() bool { return w.ids(index.Query{}) == "b" })
}

func TestSweepDropsWhatIsGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.commit("kept", 1, base, started("g", nil), completed())
	w.commit("purged", 1, base.Add(1), started("g", map[string]string{"l": "v"}), completed())
	w.commit("running", 1, base.Add(2), started("g", nil))
	w.eventually(index.Query{}, "running purged kept")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	var asked atomic.Int32
	s := &index.Sweeper{
		Index: w.x, Log: slog.New(slog.DiscardHandler),
		Exists: func(_ context.Context, _ int, sequence uint64) (bool, error) { asked.Add(1); return sequence != 2, nil },
	}
	go func() { done <- s.Run(ctx) }()
	w.eventually(index.Query{}, "running kept")
	w.eventually(index.Query{Labels: []index.Label{{Name: "l", Any: true}}}, "")
	testkit.Eventually(t, 10*time.Second, func() bool { return asked.Load() == 3 })
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestAnotherVersionOrGarbageIsReplaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.commit("a", 1, base, started("g", nil))
	w.eventually(index.Query{}, "a")
	w.stop()
	for name, spoil := range map[string]func() error{
		"version": func() error { return setVersion(t.Context(), w.path, 99) },
		"garbage": func() error { return spoilFile(w.path) },
	} {
		if err := spoil(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		w.open()
		w.eventually(index.Query{}, "a")
		w.stop()
	}
	w.open()
}

func TestAFlowThatIsPausedOrGoesOnChangesItsRow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.commit("a", 1, base, started("charge", nil))
	turns := []struct {
		event *sluicev1.Event
		want  string
	}{
		{&sluicev1.Event{Kind: &sluicev1.Event_FlowPaused{FlowPaused: &sluicev1.FlowPaused{}}}, "paused"},
		{&sluicev1.Event{Kind: &sluicev1.Event_FlowResumed{FlowResumed: &sluicev1.FlowResumed{}}}, "active"},
		{failed("no stock"), "failed"},
		{&sluicev1.Event{Kind: &sluicev1.Event_FlowResumed{FlowResumed: &sluicev1.FlowResumed{}}}, "active"},
		{&sluicev1.Event{Kind: &sluicev1.Event_FlowPaused{FlowPaused: &sluicev1.FlowPaused{}}}, "paused"},
		{&sluicev1.Event{Kind: &sluicev1.Event_WorkCompensating{WorkCompensating: &sluicev1.WorkCompensating{
			Ending: sluicev1.FlowStatus_FLOW_STATUS_CANCELED,
		}}}, "active"},
	}
	for i, turn := range turns {
		w.commit("a", uint64(i+2), base.Add(time.Second), turn.event)
		w.eventually(index.Query{Statuses: []string{turn.want}, Limit: 10}, "a")
	}
	if row, known, err := w.x.Get(t.Context(), "a"); err != nil || !known || !row.Completed.IsZero() || row.Error != "" || row.Sequence != 7 {
		t.Errorf("row %+v, %t, %v", row, known, err)
	}
}
