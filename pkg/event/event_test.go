package event_test

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/sluiceflow/sluice/pkg/event"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

func decidedAt() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 250_000_000, time.UTC) }

// asJSON gives the events of a commit with the values "a", 12.50 and null.
func asJSON(t *testing.T, e *sluicev1.Event) string {
	t.Helper()
	events, err := event.FromCommit(&sluicev1.Commit{
		FlowId: "order-1", Revision: 3, TimeNs: decidedAt().UnixNano(), Events: []*sluicev1.Event{e},
		Values: [][]byte{[]byte(`"a"`), []byte(`12.50`), []byte(`null`)},
	})
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(events[0])
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func plan(t *testing.T) []byte {
	t.Helper()
	data, err := proto.Marshal(&sluicev1.Plan{Goals: []string{"charge", "send"}})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestEvents(t *testing.T) {
	t.Parallel()
	next := decidedAt().Add(time.Second).UnixNano()
	tests := []struct {
		kind protoreflect.Name
		of   *sluicev1.Event
		want string // between type and time, and after revision
		more string
	}{
		{"flow_started", &sluicev1.Event{Kind: &sluicev1.Event_FlowStarted{FlowStarted: &sluicev1.FlowStarted{
			Plan: plan(t), Run: 7, Init: map[string]uint32{"amount": 2}, Labels: map[string]string{"team": "pay"}, TimeoutMs: 500,
			ParentFlowId: "p", ParentStepId: "s", CallbackUrl: "http://c/", StartAtNs: 1_000_000_000,
		}}}, "", `,"goals":["charge","send"],"init":{"amount":12.50},"labels":{"team":"pay"},"timeout_ms":500,"parent_flow_id":"p","parent_step_id":"s","callback_url":"http://c/","start_at":"1970-01-01T00:00:01Z"`},
		{"flow_completed", &sluicev1.Event{Kind: &sluicev1.Event_FlowCompleted{FlowCompleted: &sluicev1.FlowCompleted{
			Result: map[string]uint32{"receipt": 1, "paid": 2}, Omitted: []string{"scan"},
		}}}, "", `,"result":{"paid":12.50,"receipt":"a"},"omitted":["scan"]`},
		{
			"flow_failed", &sluicev1.Event{Kind: &sluicev1.Event_FlowFailed{FlowFailed: &sluicev1.FlowFailed{Error: "no"}}}, "",
			`,"error":"no"`,
		},
		{
			"flow_canceled", &sluicev1.Event{Kind: &sluicev1.Event_FlowCanceled{FlowCanceled: &sluicev1.FlowCanceled{Reason: "r", By: "me"}}}, "",
			`,"reason":"r","by":"me"`,
		},
		{
			"flow_paused", &sluicev1.Event{Kind: &sluicev1.Event_FlowPaused{FlowPaused: &sluicev1.FlowPaused{Reason: "r", By: "me"}}}, "",
			`,"reason":"r","by":"me"`,
		},
		{
			"flow_resumed", &sluicev1.Event{Kind: &sluicev1.Event_FlowResumed{FlowResumed: &sluicev1.FlowResumed{Reason: "r", By: "me"}}}, "",
			`,"reason":"r","by":"me"`,
		},
		{"flow_begun", &sluicev1.Event{Kind: &sluicev1.Event_FlowBegun{FlowBegun: &sluicev1.FlowBegun{DeadlineNs: 7}}}, "", ""},
		{"flow_deactivated", &sluicev1.Event{Kind: &sluicev1.Event_FlowDeactivated{FlowDeactivated: &sluicev1.FlowDeactivated{}}}, "", ""},
		{"flow_retired", &sluicev1.Event{Kind: &sluicev1.Event_FlowRetired{FlowRetired: &sluicev1.FlowRetired{By: "me"}}}, "", `,"by":"me"`},
		{"parent_told", &sluicev1.Event{Kind: &sluicev1.Event_ParentTold{ParentTold: &sluicev1.ParentTold{}}}, "", ""},
		{"step_started", &sluicev1.Event{StepId: "s", Kind: &sluicev1.Event_StepStarted{StepStarted: &sluicev1.StepStarted{
			Inputs: map[string]uint32{"x": 3}, WorkItems: 2,
		}}}, `,"step_id":"s"`, `,"inputs":{"x":null},"work_items":2`},
		{"predicate_asked", &sluicev1.Event{StepId: "s", Kind: &sluicev1.Event_PredicateAsked{PredicateAsked: &sluicev1.PredicateAsked{
			Inputs: map[string]uint32{"x": 2}, Question: 1,
		}}}, `,"step_id":"s"`, `,"inputs":{"x":12.50}`},
		{"predicate_held", &sluicev1.Event{StepId: "s", Kind: &sluicev1.Event_PredicateHeld{PredicateHeld: &sluicev1.PredicateHeld{}}}, `,"step_id":"s"`, ""},
		{"step_completed", &sluicev1.Event{StepId: "s", Kind: &sluicev1.Event_StepCompleted{StepCompleted: &sluicev1.StepCompleted{
			Outputs: map[string]uint32{"x": 1},
		}}}, `,"step_id":"s"`, `,"outputs":{"x":"a"},"duration":0`},
		{"step_failed", &sluicev1.Event{StepId: "s", Kind: &sluicev1.Event_StepFailed{StepFailed: &sluicev1.StepFailed{
			Error: "no", Unsatisfied: []string{"x"},
		}}}, `,"step_id":"s"`, `,"error":"no","unsatisfied":["x"]`},
		{"step_skipped", &sluicev1.Event{StepId: "s", Kind: &sluicev1.Event_StepSkipped{StepSkipped: &sluicev1.StepSkipped{
			Reason: "outputs not needed", Unsatisfied: []string{"x"},
		}}}, `,"step_id":"s"`, `,"reason":"outputs not needed","unsatisfied":["x"]`},
		{"step_overridden", &sluicev1.Event{StepId: "s", Kind: &sluicev1.Event_StepOverridden{StepOverridden: &sluicev1.StepOverridden{
			Action: "skip", Reason: "r", By: "me",
		}}}, `,"step_id":"s"`, `,"reason":"r","by":"me","action":"skip"`},
		{
			"attribute_set", &sluicev1.Event{StepId: "s", Kind: &sluicev1.Event_AttributeSet{AttributeSet: &sluicev1.AttributeSet{Key: "k", Value: 3}}},
			`,"step_id":"s"`, `,"key":"k","value":null`,
		},
		{"work_started", work(&sluicev1.Event{Kind: &sluicev1.Event_WorkStarted{WorkStarted: &sluicev1.WorkStarted{
			DeadlineNs: next, WaitUntilNs: next, Inputs: map[string]uint32{"x": 2}, ChildFlowId: "c",
		}}}), ofWork, `,"inputs":{"x":12.50},"child_flow_id":"c","deadline":"2026-03-01T12:00:01.25Z","wait_until":"2026-03-01T12:00:01.25Z"`},
		{"work_succeeded", work(&sluicev1.Event{Kind: &sluicev1.Event_WorkSucceeded{WorkSucceeded: &sluicev1.WorkSucceeded{
			Outputs: map[string]uint32{"x": 1}, DurationMs: 12, Memoized: true, Digest: []byte("d"),
		}}}), ofWork, `,"outputs":{"x":"a"},"memoized":true,"duration":12`},
		{
			"work_failed", work(&sluicev1.Event{Kind: &sluicev1.Event_WorkFailed{WorkFailed: &sluicev1.WorkFailed{Error: "no", DurationMs: 5}}}),
			ofWork, `,"error":"no","duration":5`,
		},
		{
			"work_not_completed", work(&sluicev1.Event{Kind: &sluicev1.Event_WorkNotCompleted{WorkNotCompleted: &sluicev1.WorkNotCompleted{Error: "busy"}}}),
			ofWork, `,"error":"busy"`,
		},
		{"retry_scheduled", work(&sluicev1.Event{Kind: &sluicev1.Event_RetryScheduled{RetryScheduled: &sluicev1.RetryScheduled{
			NextRetryAtNs: next, RetryCount: 1,
		}}}), ofWork, `,"retry_count":1,"next_retry_at":"2026-03-01T12:00:01.25Z"`},
		{
			"work_timed_out", work(&sluicev1.Event{Kind: &sluicev1.Event_WorkTimedOut{WorkTimedOut: &sluicev1.WorkTimedOut{Limit: "timeout"}}}),
			ofWork, `,"limit":"timeout"`,
		},
		{"completion_ignored", work(&sluicev1.Event{Kind: &sluicev1.Event_CompletionIgnored{CompletionIgnored: &sluicev1.CompletionIgnored{
			Reason: "closed", Outcome: "succeeded",
		}}}), ofWork, `,"reason":"closed","outcome":"succeeded"`},
		{"work_compensating", work(&sluicev1.Event{Kind: &sluicev1.Event_WorkCompensating{WorkCompensating: &sluicev1.WorkCompensating{
			DeadlineNs: next, Ending: sluicev1.FlowStatus_FLOW_STATUS_CANCELED, Reason: "asked", By: "ada",
		}}}), ofWork, `,"reason":"asked","by":"ada","deadline":"2026-03-01T12:00:01.25Z","ending":"canceled"`},
		{
			"approval_given", work(&sluicev1.Event{Kind: &sluicev1.Event_ApprovalGiven{ApprovalGiven: &sluicev1.ApprovalGiven{
				Approved: false, Voter: "link/1", By: "ada", Comment: "not yet",
			}}}), ofWork, `,"by":"ada","approved":false,"comment":"not yet"`,
		},
		{"wait_keyed", work(&sluicev1.Event{Kind: &sluicev1.Event_WaitKeyed{WaitKeyed: &sluicev1.WaitKeyed{Mailbox: "@m", Key: 1}}}), ofWork, `,"value":"a"`},
		{
			"message_taken", work(&sluicev1.Event{Kind: &sluicev1.Event_MessageTaken{MessageTaken: &sluicev1.MessageTaken{Id: "m-1"}}}),
			ofWork, `,"message_id":"m-1"`,
		},
		{"mailbox_opened", &sluicev1.Event{Kind: &sluicev1.Event_MailboxOpened{MailboxOpened: &sluicev1.MailboxOpened{
			Name: "paid", Key: 2,
		}}}, "", `,"value":12.50,"name":"paid"`},
		{"waiter_added", &sluicev1.Event{Kind: &sluicev1.Event_WaiterAdded{WaiterAdded: &sluicev1.WaiterAdded{
			FlowId: "f", Work: waiterRef(),
		}}}, `,"step_id":"s","item":"1","attempt":2`, waiting},
		{"message_kept", &sluicev1.Event{Kind: &sluicev1.Event_MessageKept{MessageKept: &sluicev1.MessageKept{
			Number: 3, Id: "m-1", Outputs: map[string]uint32{"x": 2}, ExpiresNs: next,
		}}}, "", `,"outputs":{"x":12.50},"deadline":"2026-03-01T12:00:01.25Z","message_id":"m-1"`},
		{"message_matched", &sluicev1.Event{Kind: &sluicev1.Event_MessageMatched{MessageMatched: &sluicev1.MessageMatched{
			Number: 3, FlowId: "f", Work: waiterRef(),
		}}}, `,"step_id":"s","item":"1","attempt":2`, waiting},
		{"waiter_gone", &sluicev1.Event{Kind: &sluicev1.Event_WaiterGone{WaiterGone: &sluicev1.WaiterGone{
			FlowId: "f", Work: waiterRef(), Taken: true,
		}}}, `,"step_id":"s","item":"1","attempt":2`, waiting},
		{"message_expired", &sluicev1.Event{Kind: &sluicev1.Event_MessageExpired{MessageExpired: &sluicev1.MessageExpired{Number: 3}}}, "", ""},
		{"work_compensated", work(&sluicev1.Event{Kind: &sluicev1.Event_WorkCompensated{WorkCompensated: &sluicev1.WorkCompensated{}}}), ofWork, ""},
		{
			"compensation_failed", work(&sluicev1.Event{Kind: &sluicev1.Event_CompensationFailed{CompensationFailed: &sluicev1.CompensationFailed{Error: "no"}}}),
			ofWork, `,"error":"no"`,
		},
	}
	tested := map[protoreflect.Name]bool{}
	for _, tt := range tests {
		tested[tt.kind] = true
		t.Run(string(tt.kind), func(t *testing.T) {
			t.Parallel()
			want := `{"type":"` + string(tt.kind) + `","flow_id":"order-1"` + tt.want + `,"time":"2026-03-01T12:00:00.25Z","revision":3` + tt.more + `}`
			if got := asJSON(t, tt.of); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
	kinds := (&sluicev1.Event{}).ProtoReflect().Descriptor().Oneofs().ByName("kind").Fields()
	for i := range kinds.Len() {
		if name := kinds.Get(i).Name(); !tested[name] {
			t.Errorf("%s has no row here", name)
		}
	}
}

const ofWork = `,"step_id":"s","item":"0","token":"AbCdEfGh","attempt":2`

const waiting = `,"waiter_flow_id":"f"`

func waiterRef() *sluicev1.WorkRef { return &sluicev1.WorkRef{StepId: "s", Item: 1, Attempt: 2} }

func work(e *sluicev1.Event) *sluicev1.Event {
	e.StepId, e.Item, e.Token, e.Attempt = "s", new(uint32(0)), "AbCdEfGh", 2
	return e
}

// Every kind of the proto, also one that no row above names, becomes an event
// whose type is the kind's name.
func TestEveryKindIsMapped(t *testing.T) {
	t.Parallel()
	message := (&sluicev1.Event{}).ProtoReflect()
	kinds := message.Descriptor().Oneofs().ByName("kind").Fields()
	for i := range kinds.Len() {
		field := kinds.Get(i)
		of := message.New()
		of.Set(field, of.NewField(field))
		e, isEvent := of.Interface().(*sluicev1.Event)
		if !isEvent {
			t.Fatalf("%T", of.Interface())
		}
		if set := e.GetAttributeSet(); set != nil {
			set.Value = 1
		}
		if keyed := e.GetWaitKeyed(); keyed != nil {
			keyed.Key = 1
		}
		if opened := e.GetMailboxOpened(); opened != nil {
			opened.Key = 1
		}
		events, err := event.FromCommit(&sluicev1.Commit{Events: []*sluicev1.Event{e}, Values: [][]byte{[]byte("1")}})
		if err != nil {
			t.Errorf("%s: %v", field.Name(), err)
			continue
		}
		if string(events[0].Type) != string(field.Name()) {
			t.Errorf("%s became %q", field.Name(), events[0].Type)
		}
	}
}

func TestMalformed(t *testing.T) {
	t.Parallel()
	for name, e := range map[string]*sluicev1.Event{
		"no kind":         {},
		"no value":        {Kind: &sluicev1.Event_AttributeSet{AttributeSet: &sluicev1.AttributeSet{Key: "k"}}},
		"a missing value": {Kind: &sluicev1.Event_AttributeSet{AttributeSet: &sluicev1.AttributeSet{Key: "k", Value: 2}}},
		"a missing one of several": {Kind: &sluicev1.Event_StepCompleted{StepCompleted: &sluicev1.StepCompleted{
			Outputs: map[string]uint32{"a": 1, "b": 9},
		}}},
		"a plan that is none": {Kind: &sluicev1.Event_FlowStarted{FlowStarted: &sluicev1.FlowStarted{Plan: []byte{0xff}}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			events, err := event.FromCommit(&sluicev1.Commit{FlowId: "f", Events: []*sluicev1.Event{e}, Values: [][]byte{[]byte("1")}})
			if !errors.Is(err, event.ErrMalformed) || events != nil {
				t.Errorf("got %v, %v", events, err)
			}
		})
	}
}

func TestEnds(t *testing.T) {
	t.Parallel()
	for _, e := range []event.Type{event.FlowCompleted, event.FlowFailed, event.FlowCanceled} {
		if !e.Ends() {
			t.Errorf("%s does not end its flow", e)
		}
	}
	for _, e := range []event.Type{event.FlowStarted, event.FlowDeactivated, event.StepFailed} {
		if e.Ends() {
			t.Errorf("%s ends its flow", e)
		}
	}
}

// Whatever a commit holds, it is refused or gives one event each, which can be
// written as JSON and read again.
func FuzzFromCommit(f *testing.F) {
	item := uint32(0)
	for _, e := range []*sluicev1.Event{
		{Kind: &sluicev1.Event_FlowStarted{FlowStarted: &sluicev1.FlowStarted{Run: 7, Init: map[string]uint32{"a": 1}, TimeoutMs: 5}}},
		{Kind: &sluicev1.Event_FlowCompleted{FlowCompleted: &sluicev1.FlowCompleted{Result: map[string]uint32{"a": 2}}}},
		{StepId: "s", Kind: &sluicev1.Event_StepFailed{StepFailed: &sluicev1.StepFailed{Error: "no", Unsatisfied: []string{"x"}}}},
		{StepId: "s", Kind: &sluicev1.Event_AttributeSet{AttributeSet: &sluicev1.AttributeSet{Key: "a", Value: 1}}},
		{StepId: "s", Item: &item, Token: "12345678", Attempt: 2, Kind: &sluicev1.Event_WorkStarted{WorkStarted: &sluicev1.WorkStarted{DeadlineNs: 9}}},
	} {
		data, err := proto.Marshal(&sluicev1.Commit{
			FlowId: "f", Revision: 2, TimeNs: 1, Events: []*sluicev1.Event{e}, Values: [][]byte{[]byte(`"a"`), []byte(`12.50`)},
		})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var c sluicev1.Commit
		if proto.Unmarshal(data, &c) != nil {
			return
		}
		events, err := event.FromCommit(&c)
		if err != nil {
			if !errors.Is(err, event.ErrMalformed) {
				t.Errorf("refused with %v", err)
			}
			return
		}
		if len(events) != len(c.GetEvents()) {
			t.Errorf("%d events of %d", len(events), len(c.GetEvents()))
		}
		if slices.ContainsFunc(c.GetValues(), func(v []byte) bool { return !json.Valid(v) }) {
			return
		}
		for _, e := range events {
			checkJSON(t, e)
		}
	})
}

func checkJSON(t *testing.T, e event.Event) {
	t.Helper()
	text, err := json.Marshal(e)
	if err != nil {
		t.Fatalf("%+v cannot be written: %v", e, err)
	}
	var back event.Event
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatalf("%s cannot be read: %v", text, err)
	}
	again, err := json.Marshal(back)
	if err != nil || string(again) != string(text) || e.Type == "" {
		t.Errorf("%s became %s (%v)", text, again, err)
	}
}

func TestAHeartbeatIsAnEvent(t *testing.T) {
	t.Parallel()
	got, err := json.Marshal(event.FromHeartbeat(&sluicev1.Heartbeat{
		FlowId: "order-1", Work: &sluicev1.WorkRef{Run: 7, StepId: "charge", Item: 2, Attempt: 3}, Token: "tokcharg",
		Progress: 0.4, Message: "half", TimeNs: decidedAt().UnixNano(),
	}))
	want := `{"type":"work_heartbeat","flow_id":"order-1","step_id":"charge","item":"2","token":"tokcharg","attempt":3,` +
		`"time":"2026-03-01T12:00:00.25Z","revision":0,"progress":0.4,"message":"half"}`
	if err != nil || string(got) != want {
		t.Errorf("%s, %v, want %s", got, err, want)
	}
}
