package flow_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/sluiceflow/sluice/pkg/token"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/flow"
	"github.com/sluiceflow/sluice/services/internal/plan"
)

const (
	second = int64(1_000_000_000)
	start  = int64(1_800_000_000) * second
	run    = uint64(0xfeedfacecafebeef)
)

// tb is what tests, benchmarks and properties have in common.
type tb interface {
	Helper()
	Fatalf(format string, args ...any)
}

// stepOption changes a step of a test's plan.
type stepOption func(*sluicev1.PlannedStep)

func step(id string, options ...stepOption) *sluicev1.PlannedStep {
	s := &sluicev1.PlannedStep{
		Id: id, Type: sluicev1.StepType_STEP_TYPE_ASYNC, Endpoint: "http://worker/" + id, CallTimeoutMs: 30_000,
		Work: &sluicev1.WorkConfig{
			MaxRetries: 3, BackoffMs: 1000, MaxBackoffMs: 60_000,
			BackoffType: sluicev1.BackoffType_BACKOFF_TYPE_FIXED, Parallelism: 1, TimeoutMs: 3_600_000,
		},
	}
	for _, o := range options {
		o(s)
	}
	return s
}

func attribute(name string, role sluicev1.AttributeRole, kind, value string) stepOption {
	return func(s *sluicev1.PlannedStep) {
		a := &sluicev1.StepAttribute{Name: name, Role: role, Type: kind}
		if value != "" {
			a.Default = []byte(value)
		}
		s.Attributes = append(s.Attributes, a)
	}
}

func required(name string) stepOption {
	return attribute(name, sluicev1.AttributeRole_ATTRIBUTE_ROLE_REQUIRED, "any", "")
}

func optional(name, value string) stepOption {
	return attribute(name, sluicev1.AttributeRole_ATTRIBUTE_ROLE_OPTIONAL, "any", value)
}

func constant(name, value string) stepOption {
	return attribute(name, sluicev1.AttributeRole_ATTRIBUTE_ROLE_CONST, "any", value)
}

// each makes the input that the option adds a for_each one.
func each(input stepOption) stepOption {
	return func(s *sluicev1.PlannedStep) {
		input(s)
		s.GetAttributes()[len(s.GetAttributes())-1].ForEach = true
	}
}

func parallel(n int32) stepOption {
	return work(func(w *sluicev1.WorkConfig) { w.Parallelism = n })
}

func output(name string) stepOption { return typedOutput(name, "any") }

func typedOutput(name, kind string) stepOption {
	return attribute(name, sluicev1.AttributeRole_ATTRIBUTE_ROLE_OUTPUT, kind, "")
}

func work(change func(*sluicev1.WorkConfig)) stepOption {
	return func(s *sluicev1.PlannedStep) { change(s.GetWork()) }
}

// planned serializes a plan of these steps, which are given sorted by id.
func planned(t tb, goals []string, steps ...*sluicev1.PlannedStep) []byte {
	t.Helper()
	return marshalPlan(t, &sluicev1.Plan{Goals: goals, Steps: steps})
}

// givenGoal is a goal that init has reached.
func givenGoal(id string, outputs ...string) *sluicev1.GivenGoal {
	return &sluicev1.GivenGoal{StepId: id, Outputs: outputs}
}

func marshalPlan(t tb, p *sluicev1.Plan) []byte {
	t.Helper()
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(p)
	if err != nil {
		t.Fatalf("marshal plan: %v", err)
	}
	return b
}

// A life is a flow with its log, as an engine would drive it.
type life struct {
	t       tb
	state   *flow.State
	replica *flow.State // made of nothing but the stored commits
	log     []*sluicev1.Commit
	now     int64
	seq     uint64
	floor   uint64
	full    bool  // the log has room for outcomes and endings only
	due     int64 // when the last turn asked to be woken
	wakeAt  int64 // what the flow's schedule says: it is only moved to be earlier

	arguments, commit int                 // limits in bytes; 0 means the default
	items             int                 // that a step may have; 0 means the default
	silent            []*sluicev1.WorkRef // whom the last turn asked about
}

func newLife(t tb) *life { return newLifeOf(t, "f") }

func newLifeOf(t tb, id string) *life {
	return &life{t: t, state: flow.New(id, plan.Decode), replica: flow.New(id, plan.Decode), now: start}
}

// begin starts a life whose flow was started with that plan and init.
func begin(t *testing.T, planBytes []byte, init map[string]string) *life {
	t.Helper()
	l := newLife(t)
	if v := l.do(startFlow(planBytes, init)); v.Kind != flow.Folded {
		t.Fatalf("start: verdict %v %s", v.Kind, v.Reason)
	}
	return l
}

func startFlow(planBytes []byte, init map[string]string) *sluicev1.Command {
	values := map[string][]byte{}
	for name, value := range init {
		values[name] = []byte(value)
	}
	return &sluicev1.Command{FlowId: "f", Kind: &sluicev1.Command_StartFlow{StartFlow: &sluicev1.StartFlow{
		Plan: planBytes, Init: values, RequestDigest: []byte("request"),
	}}}
}

// mint makes tokens that nobody checks here.
func mint(c token.Claims) string {
	return fmt.Sprintf("%-4.4s%04x", c.StepID, c.Item+1000*c.Generation)
}

func (l *life) env() flow.Env {
	return flow.Env{
		Now: l.now, Run: run, Floor: l.floor, Token: mint, Full: l.full,
		ArgumentBytes: l.arguments, CommitBytes: l.commit, MaxItems: l.items,
	}
}

// fire lets the time of the flow's schedule come.
func (l *life) fire() {
	l.t.Helper()
	l.now, l.wakeAt = max(l.now, l.wakeAt), 0
	l.do(wake())
}

// position is where the next command is stored.
func (l *life) position() flow.Position {
	l.seq++
	return flow.Position{Sequence: l.seq, Time: l.now}
}

// do folds one new command into a commit of its own.
func (l *life) do(cmd *sluicev1.Command) flow.Verdict {
	l.t.Helper()
	return l.deliver(delivery{cmd, l.position()})[0]
}

// poison decides a command as one that panics.
func (l *life) poison(cmd *sluicev1.Command) flow.Verdict {
	l.t.Helper()
	turn := l.state.Begin(l.env())
	verdict := turn.Poison(cmd, "it panics")
	l.store(turn)
	return verdict
}

type delivery struct {
	cmd *sluicev1.Command
	at  flow.Position
}

// deliver folds commands into one commit, stores it, and checks that replay and
// snapshot agree with what was decided.
func (l *life) deliver(batch ...delivery) []flow.Verdict {
	l.t.Helper()
	turn := l.state.Begin(l.env())
	var verdicts []flow.Verdict
	for _, d := range batch {
		verdicts = append(verdicts, turn.Apply(d.cmd, d.at))
	}
	l.store(turn)
	return verdicts
}

// store ends a turn, keeps its commit, where there is one, and checks what it
// comes to.
func (l *life) store(turn *flow.Turn) {
	l.t.Helper()
	commit := turn.Commit()
	if l.due = turn.Due(); l.due != 0 && (l.wakeAt == 0 || l.due < l.wakeAt) {
		l.wakeAt = l.due
	}
	l.silent = turn.Silent()
	if commit == nil {
		l.agree()
		return
	}
	stored := reparse(l.t, commit)
	l.checkReserve(stored)
	l.log = append(l.log, stored)
	if snap := stored.GetSnapshot(); snap != nil && !proto.Equal(snap, l.replica.Snapshot()) {
		l.t.Fatalf("revision %d: the snapshot is not the state before it", stored.GetRevision())
	}
	if err := l.replica.Replay(stored); err != nil {
		l.t.Fatalf("replay: %v", err)
	}
	l.agree()
}

// checkReserve looks for what must not be stored in a full log.
func (l *life) checkReserve(c *sluicev1.Commit) {
	l.t.Helper()
	for _, e := range c.GetEvents() {
		if l.full && (e.GetStepStarted() != nil || e.GetPredicateAsked() != nil || e.GetWorkStarted() != nil || c.GetSnapshot() != nil) {
			l.t.Fatalf("revision %d starts something in a full log: %v", c.GetRevision(), e)
		}
	}
}

// agree compares the state with its replica and with one that is restored.
func (l *life) agree() {
	l.t.Helper()
	want := l.state.Snapshot()
	if got := l.replica.Snapshot(); !proto.Equal(got, want) {
		l.t.Fatalf("replay differs from state\nreplay: %v\nstate:  %v", got, want)
	}
	restored, err := flow.Restore(l.state.ID, reparse(l.t, want), plan.Decode)
	if err != nil {
		l.t.Fatalf("restore: %v", err)
	}
	if got := restored.Snapshot(); !proto.Equal(got, want) {
		l.t.Fatalf("restored differs from state\nrestored: %v\nstate:    %v", got, want)
	}
	// When to ask about a worker is known to the one that asked, and to nobody
	// else: the other two ask at once.
	for name, s := range map[string]*flow.State{"state": l.state, "replica": l.replica, "restored": restored} {
		if got, _ := s.NextDeadline(); got != soonest(s) {
			l.t.Fatalf("next deadline of the %s is %d, but the items say %d", name, got, soonest(s))
		}
	}
}

// soonest is NextDeadline by looking at everything.
func soonest(s *flow.State) int64 {
	var first int64
	see := func(at int64) {
		if at != 0 && (first == 0 || at < first) {
			first = at
		}
	}
	if s.Ending.At != 0 {
		return soonestLate(s)
	}
	switch {
	case s.StartAt <= s.Created || s.Begun != 0:
		see(s.Deadline)
	case s.Status != sluicev1.FlowStatus_FLOW_STATUS_PAUSED:
		see(s.StartAt)
	}
	for i := range s.Steps {
		whole := s.Plan.Steps[i].Proto.GetWork().GetDeadlineMs()
		if s.Plan.Steps[i].Proto.GetWait() != nil {
			whole = 0
		}
		for j := range s.Steps[i].Items {
			it := &s.Steps[i].Items[j]
			see(it.Deadline)
			see(it.Until)
			if s.Status != sluicev1.FlowStatus_FLOW_STATUS_PAUSED {
				see(it.NextRetry)
			}
			see(max(it.Heartbeat, it.Listens()))
			if (isOpen(it) || it.Status == sluicev1.WorkStatus_WORK_STATUS_PENDING && it.Started != 0) && whole > 0 {
				see(it.Started + whole*1_000_000)
			}
		}
	}
	return first
}

func isOpen(it *flow.Item) bool {
	return it.Status == sluicev1.WorkStatus_WORK_STATUS_ACTIVE || it.Status == sluicev1.WorkStatus_WORK_STATUS_NOT_COMPLETED
}

func reparse[M proto.Message](t tb, m M) M {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatalf("marshal: %v", err)
	}
	out, ok := m.ProtoReflect().New().Interface().(M)
	if !ok {
		t.Fatalf("no new message of %T", m)
	}
	if err := proto.Unmarshal(b, out); err != nil {
		t.Fatalf("unmarshal: %v", err)
	}
	return out
}

func ref(stepID string, attempt uint32) *sluicev1.WorkRef {
	return &sluicev1.WorkRef{Run: run, StepId: stepID, Attempt: attempt}
}

// itemRef names an attempt of one of several work items.
func itemRef(stepID string, item int, attempt uint32) *sluicev1.WorkRef {
	w := ref(stepID, attempt)
	w.Item = uint32(item)
	return w
}

func complete(w *sluicev1.WorkRef, o *sluicev1.Outcome) *sluicev1.Command {
	return &sluicev1.Command{FlowId: "f", Kind: &sluicev1.Command_CompleteWork{
		CompleteWork: &sluicev1.CompleteWork{Work: w, Outcome: o},
	}}
}

func report(w *sluicev1.WorkRef, o *sluicev1.Outcome) *sluicev1.Command {
	return &sluicev1.Command{FlowId: "f", Kind: &sluicev1.Command_ReportCall{
		ReportCall: &sluicev1.ReportCall{Work: w, Outcome: o},
	}}
}

// predicate gives a step something to be asked before it starts.
func predicate(s *sluicev1.PlannedStep) {
	s.Predicate = &sluicev1.Script{Language: "cel", Source: "true"}
}

// scripted makes a step a script.
func scripted(s *sluicev1.PlannedStep) {
	s.Type, s.Endpoint, s.CallTimeoutMs = sluicev1.StepType_STEP_TYPE_SCRIPT, "", 0
	s.Script = &sluicev1.Script{Language: "lua", Source: "return {}"}
}

// scriptResult is what a script step's run gave.
func scriptResult(w *sluicev1.WorkRef, o *sluicev1.Outcome) *sluicev1.Command {
	return &sluicev1.Command{FlowId: "f", Kind: &sluicev1.Command_ScriptResult{
		ScriptResult: &sluicev1.ScriptResult{Work: w, Outcome: o},
	}}
}

// answered is what a step's predicate said to a question.
func answered(stepID string, question uint32, holds bool) *sluicev1.Command {
	return &sluicev1.Command{FlowId: "f", Kind: &sluicev1.Command_ScriptResult{ScriptResult: &sluicev1.ScriptResult{
		Work:      &sluicev1.WorkRef{Run: run, StepId: stepID, Generation: question},
		Predicate: true, Holds: holds, Outcome: &sluicev1.Outcome{Success: true},
	}}}
}

// unanswered is a predicate that failed.
func unanswered(stepID string, question uint32, reason string) *sluicev1.Command {
	cmd := answered(stepID, question, false)
	cmd.GetScriptResult().Outcome = &sluicev1.Outcome{Error: reason}
	return cmd
}

func wake() *sluicev1.Command {
	return &sluicev1.Command{FlowId: "f", Kind: &sluicev1.Command_Wake{Wake: &sluicev1.Wake{}}}
}

// heard is what Redis said at a moment of the attempts' workers: they were heard
// at that time, or never, and heartbeats have been kept since.
func heard(asked, since, last int64, about ...*sluicev1.WorkRef) *sluicev1.Command {
	h := &sluicev1.Heard{AskedNs: asked, SinceNs: since}
	for _, w := range about {
		h.Heartbeats = append(h.Heartbeats, &sluicev1.LastHeartbeat{Work: w, HeardNs: last, Attempt: w.GetAttempt()})
	}
	return &sluicev1.Command{FlowId: "f", Kind: &sluicev1.Command_Wake{Wake: &sluicev1.Wake{Heard: h}}}
}

func cancel() *sluicev1.Command {
	return &sluicev1.Command{FlowId: "f", Kind: &sluicev1.Command_CancelFlow{CancelFlow: &sluicev1.CancelFlow{Reason: "asked"}}}
}

func pause() *sluicev1.Command {
	return &sluicev1.Command{FlowId: "f", Kind: &sluicev1.Command_PauseFlow{PauseFlow: &sluicev1.PauseFlow{Reason: "look", By: "ann"}}}
}

func resume() *sluicev1.Command {
	return &sluicev1.Command{FlowId: "f", Kind: &sluicev1.Command_ResumeFlow{ResumeFlow: &sluicev1.ResumeFlow{Reason: "seen", By: "ann"}}}
}

func retry() *sluicev1.Command {
	return &sluicev1.Command{FlowId: "f", Kind: &sluicev1.Command_RetryFlow{RetryFlow: &sluicev1.RetryFlow{Reason: "mended", By: "ann"}}}
}

// override repairs a step by hand; outputs are given as name, JSON, name, JSON.
func override(action sluicev1.OverrideAction, stepID string, outputs ...string) *sluicev1.Command {
	o := &sluicev1.OverrideStep{StepId: stepID, Action: action, Reason: "mended", By: "ann", Outputs: map[string][]byte{}}
	for i := 0; i < len(outputs); i += 2 {
		o.Outputs[outputs[i]] = []byte(outputs[i+1])
	}
	return &sluicev1.Command{FlowId: "f", Kind: &sluicev1.Command_OverrideStep{OverrideStep: o}}
}

// ofItem is an override of one work item.
func ofItem(cmd *sluicev1.Command, item uint32) *sluicev1.Command {
	cmd.GetOverrideStep().Item = &item
	return cmd
}

const (
	doRetry    = sluicev1.OverrideAction_OVERRIDE_ACTION_RETRY
	doSkip     = sluicev1.OverrideAction_OVERRIDE_ACTION_SKIP
	doComplete = sluicev1.OverrideAction_OVERRIDE_ACTION_COMPLETE
	doFail     = sluicev1.OverrideAction_OVERRIDE_ACTION_FAIL
)

func retire(ending uint64) *sluicev1.Command {
	return &sluicev1.Command{FlowId: "f", Kind: &sluicev1.Command_RetireFlow{
		RetireFlow: &sluicev1.RetireFlow{EndingRevision: ending},
	}}
}

// succeeded is an outcome with outputs given as name, JSON, name, JSON.
func succeeded(pairs ...string) *sluicev1.Outcome {
	o := &sluicev1.Outcome{Success: true, Outputs: map[string][]byte{}, Digest: []byte("ok" + strings.Join(pairs, "|"))}
	for i := 0; i < len(pairs); i += 2 {
		o.Outputs[pairs[i]] = []byte(pairs[i+1])
	}
	return o
}

func failed(reason string) *sluicev1.Outcome {
	return &sluicev1.Outcome{Error: reason, Digest: []byte("failed" + reason)}
}

func notCompleted(reason string, retryAfterMS int64) *sluicev1.Outcome {
	return &sluicev1.Outcome{
		Error: reason, NotCompleted: true, RetryAfterMs: retryAfterMS, Digest: []byte("not" + reason),
	}
}

// step returns the step of the flow with that id.
func (l *life) step(id string) *flow.Step {
	l.t.Helper()
	i, ok := l.state.Plan.Index[id]
	if !ok {
		l.t.Fatalf("no step %q", id)
	}
	return &l.state.Steps[i]
}

// trace is the log's events as words, one commit a line.
func (l *life) trace() string {
	var lines []string
	for _, c := range l.log {
		var words []string
		for _, e := range c.GetEvents() {
			words = append(words, word(e))
		}
		lines = append(lines, strings.Join(words, " "))
	}
	return strings.Join(lines, "\n")
}

func word(e *sluicev1.Event) string {
	m := e.ProtoReflect()
	name := string(m.WhichOneof(m.Descriptor().Oneofs().ByName("kind")).Name())
	switch {
	case e.GetAttributeSet() != nil:
		return name + ":" + e.GetAttributeSet().GetKey()
	case e.GetItem() > 0:
		return fmt.Sprintf("%s:%s.%d#%d", name, e.GetStepId(), e.GetItem(), e.GetAttempt())
	case e.GetAttempt() > 0:
		return fmt.Sprintf("%s:%s#%d", name, e.GetStepId(), e.GetAttempt())
	case e.GetStepId() != "":
		return name + ":" + e.GetStepId()
	default:
		return name
	}
}

func jsonOf(values map[string]json.RawMessage) string {
	b, err := json.Marshal(values)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// soonestLate is soonest for a flow whose ending is decided.
func soonestLate(s *flow.State) int64 {
	var first int64
	for i, st := range s.Steps {
		def := s.Plan.Steps[i].Proto
		for _, it := range st.Items {
			var at int64
			switch {
			case it.Status == sluicev1.WorkStatus_WORK_STATUS_COMPENSATING:
				at = it.Compensation.Deadline + it.Compensation.NextRetry // one of them is 0
			case !isOpen(&it) && (it.Status != sluicev1.WorkStatus_WORK_STATUS_PENDING || it.Started == 0),
				def.GetCompensate() == "", s.Status == sluicev1.FlowStatus_FLOW_STATUS_COMPLETED, s.Deactivated:
				continue
			case it.Deadline != 0:
				at = it.Deadline
			case def.GetWork().GetTimeoutMs() > 0:
				at = s.Ending.At + def.GetWork().GetTimeoutMs()*1_000_000
			default:
				at = s.Ending.At + 86_400*second
			}
			if whole := def.GetWork().GetDeadlineMs(); whole > 0 && it.Status != sluicev1.WorkStatus_WORK_STATUS_COMPENSATING {
				at = min(at, it.Started+whole*1_000_000)
			}
			if first == 0 || at < first {
				first = at
			}
		}
	}
	return first
}

// compensable gives a step a URL that undoes its successes.
func compensable() stepOption {
	return func(s *sluicev1.PlannedStep) { s.Compensate = "http://worker/undo/" + s.GetId() }
}

// undone reports what a call that undoes a success came to.
func undone(w *sluicev1.WorkRef, o *sluicev1.Outcome) *sluicev1.Command {
	cmd := report(w, o)
	cmd.GetReportCall().Compensate = true
	return cmd
}
