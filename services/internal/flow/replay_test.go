package flow_test

import (
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/flow"
	"github.com/sluiceflow/sluice/services/internal/plan"
)

func TestReplayRefusesWhatDoesNotFollow(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"a"}, step("a", output("x"))), nil)
	l.do(complete(ref("a", 1), succeeded("x", "1")))
	change := func(f func(*sluicev1.Commit)) *sluicev1.Commit {
		c := reparse(t, l.log[1])
		f(c)
		return c
	}
	item := uint32(9)
	for name, tt := range map[string]struct {
		commit *sluicev1.Commit
		want   error
	}{
		"a gap":             {change(func(c *sluicev1.Commit) { c.Revision = 3 }), flow.ErrGap},
		"a repeat":          {l.log[0], flow.ErrGap},
		"another flow":      {change(func(c *sluicev1.Commit) { c.FlowId = "g" }), flow.ErrForeign},
		"a missing value":   {change(func(c *sluicev1.Commit) { c.Values = nil }), flow.ErrMalformed},
		"an unknown step":   {change(func(c *sluicev1.Commit) { c.Events[0].StepId = "z" }), flow.ErrMalformed},
		"an unknown item":   {change(func(c *sluicev1.Commit) { c.Events[0].Item = &item }), flow.ErrMalformed},
		"an empty event":    {change(func(c *sluicev1.Commit) { c.Events[0].Kind = nil }), flow.ErrMalformed},
		"no time":           {change(func(c *sluicev1.Commit) { c.TimeNs = 0 }), flow.ErrMalformed},
		"a step's second":   {change(func(c *sluicev1.Commit) { c.Events = l.log[0].GetEvents()[1:2] }), flow.ErrMalformed},
		"a second start":    {change(func(c *sluicev1.Commit) { c.Events = l.log[0].GetEvents() }), flow.ErrMalformed},
		"an unknown event":  {change(func(c *sluicev1.Commit) { c.Events[0].Kind = &sluicev1.Event_StepOverridden{} }), flow.ErrMalformed},
		"nothing undone":    {change(func(c *sluicev1.Commit) { c.Events[0].Kind = &sluicev1.Event_WorkCompensated{} }), flow.ErrMalformed},
		"nothing to undo":   {change(func(c *sluicev1.Commit) { c.Events[0].Kind = &sluicev1.Event_WorkCompensating{} }), flow.ErrMalformed},
		"a step's in flow":  {change(func(c *sluicev1.Commit) { c.Events[1].StepId = "" }), flow.ErrMalformed},
		"a flow's in steps": {change(func(c *sluicev1.Commit) { c.Events[3].StepId = "a" }), flow.ErrMalformed},
	} {
		s := flow.New("f", plan.Decode)
		if err := s.Replay(l.log[0]); err != nil {
			t.Fatalf("replay: %v", err)
		}
		if err := s.Replay(tt.commit); !errors.Is(err, tt.want) {
			t.Errorf("%s: error %v, want %v", name, err, tt.want)
		}
	}
	twice := reparse(t, l.log[0])
	twice.GetEvents()[1].GetStepStarted().WorkItems = 2
	if err := flow.New("f", plan.Decode).Replay(twice); !errors.Is(err, flow.ErrMalformed) {
		t.Errorf("more work items than the inputs give: %v", err)
	}
	huge := reparse(t, l.log[0])
	huge.GetEvents()[1].GetStepStarted().WorkItems = 1 << 31
	if err := flow.New("f", plan.Decode).Replay(huge); !errors.Is(err, flow.ErrMalformed) {
		t.Errorf("a step of two billion work items: %v", err)
	}
	if err := flow.New("f", plan.Decode).Replay(change(func(c *sluicev1.Commit) { c.Revision = 1 })); !errors.Is(err, flow.ErrMalformed) {
		t.Errorf("a history that does not begin: %v", err)
	}
}

func TestRestoreRefusesWhatMakesNoSense(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"a"}, step("a", required("n"))), map[string]string{"n": "1"})
	for name, change := range map[string]func(*sluicev1.Snapshot){
		"a broken plan":     func(s *sluicev1.Snapshot) { s.Plan = []byte{0xff} },
		"a missing step":    func(s *sluicev1.Snapshot) { s.Steps = nil },
		"missing values":    func(s *sluicev1.Snapshot) { s.Values = nil },
		"items of no start": func(s *sluicev1.Snapshot) { s.Steps[0].StartedNs = 0 },
		"items of no input": func(s *sluicev1.Snapshot) {
			s.Steps[0].Items = append(s.Steps[0].Items, &sluicev1.WorkState{Status: sluicev1.WorkStatus_WORK_STATUS_PENDING})
		},
	} {
		snap := l.state.Snapshot()
		change(snap)
		if _, err := flow.Restore("f", snap, plan.Decode); !errors.Is(err, flow.ErrMalformed) {
			t.Errorf("%s: error %v, want %v", name, err, flow.ErrMalformed)
		}
	}
}

// Every kind of event has its applier: one that is added to the proto without it
// fails here.
func TestEveryEventIsKnown(t *testing.T) {
	t.Parallel()
	known := "flow_started flow_completed flow_failed flow_canceled flow_paused flow_resumed flow_deactivated flow_retired " +
		"step_started step_completed step_failed step_skipped step_overridden attribute_set predicate_asked predicate_held " +
		"work_started work_succeeded work_failed work_not_completed retry_scheduled work_timed_out completion_ignored " +
		"work_compensating work_compensated compensation_failed parent_told flow_begun approval_given wait_keyed message_taken " +
		"mailbox_opened waiter_added message_kept message_matched waiter_gone message_expired"
	for name, e := range everyEvent() {
		l := begin(t, planned(t, []string{"a"}, step("a")), nil)
		err := l.replica.Replay(&sluicev1.Commit{FlowId: "f", Revision: 2, TimeNs: start, Events: []*sluicev1.Event{e}, Values: [][]byte{[]byte("1")}})
		if field := e.ProtoReflect().WhichOneof(e.ProtoReflect().Descriptor().Oneofs().ByName("kind")); field.Number() >= 43 {
			id := flow.MailboxID("paid", nil)
			err = flow.New(id, plan.Decode).Replay(&sluicev1.Commit{FlowId: id, Revision: 1, TimeNs: start, Events: []*sluicev1.Event{e}})
		}
		unknown := err != nil && strings.Contains(err.Error(), "that this release knows")
		switch {
		case !strings.Contains(known, name):
			t.Errorf("%s is not known", name)
		case unknown:
			t.Errorf("%s has no applier: %v", name, err)
		}
	}
}

// everyEvent makes an event of each kind, at the place where such an event is.
func everyEvent() map[string]*sluicev1.Event {
	events := map[string]*sluicev1.Event{}
	fields := (&sluicev1.Event{}).ProtoReflect().Descriptor().Oneofs().ByName("kind").Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		e := &sluicev1.Event{}
		e.ProtoReflect().Set(field, e.ProtoReflect().NewField(field))
		name := string(field.Name())
		if a := e.GetAttributeSet(); a != nil {
			a.Value = 1
		}
		placed(e, field, name)
		events[name] = e
	}
	return events
}

func placed(e *sluicev1.Event, field protoreflect.FieldDescriptor, name string) {
	item := uint32(0)
	if strings.HasPrefix(name, "flow_") {
		return
	}
	if field.Number() >= 20 {
		e.StepId = "a"
	}
	if field.Number() >= 30 {
		e.Item = &item
	}
	switch name {
	case "parent_told":
		e.StepId, e.Item = "", nil
	case "step_started":
		e.GetStepStarted().WorkItems = 1
	case "step_overridden":
		e.GetStepOverridden().Action = "retry"
	}
}

func TestSnapshotsBoundALoad(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"a"}, step("a", work(func(w *sluicev1.WorkConfig) { w.MaxRetries = -1 }))), nil)
	last, snapshots := 0, 0
	for attempt := uint32(1); attempt <= 200; attempt++ {
		l.do(report(ref("a", attempt), notCompleted("busy", 0)))
		l.now = l.step("a").Items[0].NextRetry
		l.do(wake())
		for n := last; n < len(l.log); n++ {
			if l.log[n].GetSnapshot() != nil {
				last = n
				snapshots++
			}
		}
		if len(l.log)-last > 70 {
			t.Fatalf("%d commits since the last snapshot", len(l.log)-last)
		}
	}
	if snapshots < 5 {
		t.Errorf("%d snapshots in %d commits", snapshots, len(l.log))
	}
	s, err := flow.Restore("f", l.log[last].GetSnapshot(), plan.Decode)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range l.log[last:] {
		if err := s.Replay(c); err != nil {
			t.Fatal(err)
		}
	}
	if s.Revision != l.state.Revision || s.Steps[0].Items[0].Attempt != 201 {
		t.Errorf("loaded revision %d, attempt %d", s.Revision, s.Steps[0].Items[0].Attempt)
	}
}
