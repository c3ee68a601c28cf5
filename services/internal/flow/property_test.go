package flow_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/flow"
)

// drawPlan draws steps in layers: a step takes what steps before it give, so
// that there is no cycle, as registration sees to. Of some plans one goal is
// given by an init that holds x.
func drawPlan(t *rapid.T) (planBytes []byte, steps []*sluicev1.PlannedStep) {
	var given []string
	for i := range rapid.IntRange(1, 6).Draw(t, "steps") {
		id := fmt.Sprintf("s%d", i)
		options := []stepOption{work(func(w *sluicev1.WorkConfig) {
			w.MaxRetries = rapid.Int32Range(-1, 2).Draw(t, "retries")
			w.TimeoutMs = rapid.SampledFrom([]int64{0, 1000, 60_000}).Draw(t, "timeout")
			w.HeartbeatTimeoutMs = rapid.SampledFrom([]int64{0, 0, 500, 30_000}).Draw(t, "heartbeat")
			w.DeadlineMs = rapid.SampledFrom([]int64{0, 0, 500, 5000, 60_000}).Draw(t, "deadline")
			w.Parallelism = rapid.Int32Range(1, 4).Draw(t, "parallelism")
			w.BackoffType = sluicev1.BackoffType(rapid.Int32Range(1, 3).Draw(t, "backoff"))
		})}
		if rapid.Bool().Draw(t, "compensable") {
			options = append(options, compensable())
		} else if rapid.Bool().Draw(t, "memoizable") {
			options = append(options, memoizable)
		}
		for _, name := range given {
			switch rapid.IntRange(0, 7).Draw(t, "use "+name) {
			case 0:
				options = append(options, required(name))
			case 1:
				options = append(options, optional(name, `"default"`))
			case 2:
				options = append(options, each(required(name)))
			case 3:
				options = append(options, each(optional(name, rapid.SampledFrom([]string{"", "[]", `["d"]`}).Draw(t, "default"))))
			}
		}
		for c := range rapid.SampledFrom([]int{0, 0, 1, 2}).Draw(t, "lists") {
			options = append(options, each(constant(fmt.Sprintf("list%d", c), drawArray(t))))
		}
		for o := range rapid.IntRange(0, 2).Draw(t, "outputs") {
			name := fmt.Sprintf("a%d%d", i, o)
			if len(given) > 0 && rapid.IntRange(0, 3).Draw(t, "shared") == 0 {
				name = rapid.SampledFrom(given).Draw(t, "output")
			}
			if !uses(options, name) {
				options = append(options, output(name))
			}
		}
		if rapid.IntRange(0, 3).Draw(t, "predicate "+id) == 0 {
			options = append(options, predicate)
		}
		switch rapid.IntRange(0, 7).Draw(t, "type of "+id) {
		case 0:
			options = append(options, scripted)
		case 1:
			options = append(options, drawWait(t))
		case 2, 3:
			options = append(options, starts(planned(t, []string{"c"}, step("c"))))
		}
		s := step(id, options...)
		for _, a := range s.GetAttributes() {
			if a.GetRole() == sluicev1.AttributeRole_ATTRIBUTE_ROLE_OUTPUT && !slices.Contains(given, a.GetName()) {
				given = append(given, a.GetName())
			}
		}
		steps = append(steps, s)
	}
	var goals []string
	for _, s := range steps {
		if rapid.Bool().Draw(t, "goal "+s.GetId()) {
			goals = append(goals, s.GetId())
		}
	}
	if len(goals) == 0 {
		goals = []string{steps[len(steps)-1].GetId()}
	}
	p := &sluicev1.Plan{Goals: goals, Steps: steps}
	if rapid.Bool().Draw(t, "a goal that init gives") {
		p.Goals, p.GivenGoals = append(goals, "given"), []*sluicev1.GivenGoal{givenGoal("given", "x")}
	}
	return marshalPlan(t, p), steps
}

// drawStart starts a flow at once, for a moment that is past, or for a later one,
// with a timeout or without.
func drawStart(t *rapid.T, planBytes []byte) *sluicev1.Command {
	cmd := startFlow(planBytes, map[string]string{"x": "1"})
	cmd.GetStartFlow().StartAtNs = rapid.SampledFrom([]int64{0, 0, 0, start - second, start, start + 1, start + 4*second}).Draw(t, "start at")
	cmd.GetStartFlow().TimeoutMs = rapid.SampledFrom([]int64{0, 0, 0, 1, 3000, 600_000}).Draw(t, "flow timeout")
	return cmd
}

func uses(options []stepOption, name string) bool {
	s := step("", options...)
	return slices.ContainsFunc(s.GetAttributes(), func(a *sluicev1.StepAttribute) bool { return a.GetName() == name })
}

// drawArray draws up to five elements, a few of them equal.
func drawArray(t *rapid.T) string {
	elements := rapid.SliceOfN(rapid.SampledFrom([]string{"0", "1", "2.50", `"a"`, "[]", "null"}), 0, 5).Draw(t, "elements")
	return "[" + strings.Join(elements, ",") + "]"
}

// drawValue draws an output: most are arrays, for there are steps that need one.
func drawValue(t *rapid.T) string {
	if rapid.IntRange(0, 2).Draw(t, "array") > 0 {
		return drawArray(t)
	}
	return strconv.Itoa(rapid.IntRange(0, 2).Draw(t, "value"))
}

func drawOutcome(t *rapid.T, s *sluicev1.PlannedStep) *sluicev1.Outcome {
	switch rapid.IntRange(0, 4).Draw(t, "outcome") {
	case 0:
		return failed(rapid.SampledFrom([]string{"x", "y"}).Draw(t, "error"))
	case 1:
		return notCompleted("busy", rapid.Int64Range(0, 2000).Draw(t, "retry after"))
	default:
		var pairs []string
		for _, a := range s.GetAttributes() {
			if a.GetRole() == sluicev1.AttributeRole_ATTRIBUTE_ROLE_OUTPUT && rapid.IntRange(0, 5).Draw(t, "gives") > 0 {
				pairs = append(pairs, a.GetName(), drawValue(t))
			}
		}
		return succeeded(pairs...)
	}
}

func drawCommand(t *rapid.T, l *life, steps []*sluicev1.PlannedStep) *sluicev1.Command {
	s := rapid.SampledFrom(steps).Draw(t, "step")
	w := ref(s.GetId(), rapid.Uint32Range(1, 3).Draw(t, "attempt"))
	if st := l.step(s.GetId()); len(st.Items) > 0 {
		item := rapid.IntRange(0, len(st.Items)-1).Draw(t, "item")
		w.Item = uint32(item)
		if rapid.IntRange(0, 2).Draw(t, "now") > 0 {
			w.Attempt = max(st.Items[item].Attempt, 1)
		}
	}
	if st := l.step(s.GetId()); len(st.Items) > 0 {
		w.Generation = rapid.Uint32Range(0, st.Items[w.GetItem()].Generation).Draw(t, "generation")
	}
	if rapid.IntRange(0, 5).Draw(t, "by hand") == 0 {
		return drawControl(t, s)
	}
	switch rapid.IntRange(0, 39).Draw(t, "command") {
	case 35, 36:
		return drawDelivery(t, w)
	case 37:
		return scriptResult(w, succeeded("result", "1"))
	case 31, 32, 33, 34:
		return drawDecision(t, w)
	case 38, 39:
		if o := drawOutcome(t, s); o.GetSuccess() {
			return recalled(w, o)
		}
		return wake()
	case 25:
		return unanswered(s.GetId(), rapid.Uint32Range(0, 2).Draw(t, "question"), "line 1: no")
	case 26, 27, 28:
		return answered(s.GetId(), rapid.Uint32Range(0, 2).Draw(t, "question"), rapid.IntRange(0, 3).Draw(t, "holds") > 0)
	case 29, 30:
		return scriptResult(w, drawOutcome(t, s))
	case 0:
		return cancel()
	case 1:
		return retire(rapid.Uint64Range(0, 4).Draw(t, "ending"))
	case 2, 3, 4:
		return wake()
	case 5:
		return drawHeard(t, l, w)
	case 6, 7, 8:
		return report(w, drawOutcome(t, s))
	case 21, 22, 23, 24:
		return drawUndone(t, l, w)
	default:
		return answer(l, w, drawOutcome(t, s))
	}
}

// drawControl is something that a person asks for.
func drawControl(t *rapid.T, s *sluicev1.PlannedStep) *sluicev1.Command {
	var outputs []string
	for _, a := range s.GetAttributes() {
		if a.GetRole() == sluicev1.AttributeRole_ATTRIBUTE_ROLE_OUTPUT {
			outputs = append(outputs, a.GetName(), "7")
		}
	}
	cmd := rapid.SampledFrom([]*sluicev1.Command{
		pause(), resume(), resume(), retry(), override(doRetry, s.GetId()), override(doSkip, s.GetId()),
		override(doComplete, s.GetId(), outputs...), override(doFail, s.GetId()), override(doRetry, "nobody"),
	}).Draw(t, "control")
	if cmd.GetOverrideStep() != nil && rapid.IntRange(0, 2).Draw(t, "of an item") == 0 {
		return ofItem(cmd, rapid.Uint32Range(0, 3).Draw(t, "item"))
	}
	return cmd
}

// drawHeard says something about a worker, true or not.
func drawHeard(t *rapid.T, l *life, about ...*sluicev1.WorkRef) *sluicev1.Command {
	past := func(label string) int64 { return l.now - rapid.Int64Range(-second, 40*second).Draw(t, label) }
	return heard(past("asked"), past("since"), rapid.SampledFrom([]int64{0, past("heard")}).Draw(t, "last"), about...)
}

// possible drops commands that no sender could have made: the step has no work
// items yet, so it has no token.
func possible(l *life, cmd *sluicev1.Command) bool {
	w := cmd.GetCompleteWork().GetWork()
	if w == nil {
		w = cmd.GetReportCall().GetWork()
	}
	if w == nil {
		w = cmd.GetChildEnded().GetWork()
	}
	if w == nil {
		w = cmd.GetMemoResult().GetWork()
	}
	if r := cmd.GetScriptResult(); w == nil && !r.GetPredicate() {
		w = r.GetWork()
	}
	return w == nil || len(l.step(w.GetStepId()).Items) > 0
}

// Whatever is sent, in whatever order and however often: replay gives the
// state (life.deliver checks it after each commit), a work item has one outcome,
// a flow one ending, and what was folded is never folded again.
func TestAnyCommandsGiveOneOutcome(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		planBytes, steps := drawPlan(t)
		l := newLife(t)
		l.do(drawStart(t, planBytes))
		var sent []delivery
		for range rapid.IntRange(1, 60).Draw(t, "rounds") {
			l.full = rapid.IntRange(0, 3).Draw(t, "full") == 0
			var batch []delivery
			for range rapid.IntRange(1, 4).Draw(t, "batch") {
				if len(sent) > 0 && rapid.IntRange(0, 3).Draw(t, "repeat") == 0 {
					batch = append(batch, rapid.SampledFrom(sent).Draw(t, "repeated"))
					continue
				}
				if cmd := drawCommand(t, l, steps); possible(l, cmd) {
					d := delivery{cmd, l.position()}
					sent, batch = append(sent, d), append(batch, d)
				}
			}
			for i, v := range l.deliver(batch...) {
				if v.Kind == flow.Impossible {
					t.Fatalf("%v: impossible: %s", batch[i].cmd, v.Reason)
				}
			}
			if rapid.IntRange(0, 5).Draw(t, "ack") == 0 {
				l.floor = rapid.Uint64Range(l.floor, l.seq).Draw(t, "floor")
				sent = slices.DeleteFunc(sent, func(d delivery) bool { return d.at.Sequence <= l.floor })
			}
			l.now += rapid.Int64Range(0, 3*second).Draw(t, "time")
		}
		checkHistory(t, l)
	})
}

// checkHistory looks at the log alone.
func checkHistory(t *rapid.T, l *life) {
	checkCompensations(t, l)
	checkChildren(t, l)
	outcomes := map[string]int{}
	asked, began := map[string]int{}, map[string]bool{}
	repairs := 1
	ended, paused := false, false
	folded := map[flow.Position]uint64{}
	for _, c := range l.log {
		for _, cause := range c.GetCause() {
			p := flow.Position{Sequence: cause.GetSequence(), Time: cause.GetTimeNs()}
			if other, twice := folded[p]; twice {
				t.Fatalf("command %d is folded by revisions %d and %d", p.Sequence, other, c.GetRevision())
			}
			folded[p] = c.GetRevision()
		}
		for _, e := range c.GetEvents() {
			checkBegun(t, l, e, c)
			if e.GetStepOverridden() != nil || e.GetFlowResumed() != nil {
				repairs++ // what was asked may be asked again
			}
			checkAsked(t, l, e, repairs, asked, began)
			switch e.GetKind().(type) {
			case *sluicev1.Event_WorkSucceeded, *sluicev1.Event_WorkFailed:
				token := fmt.Sprintf("%s/%d/%d", e.GetStepId(), e.GetItem(), e.GetGeneration())
				outcomes[token]++
				if outcomes[token] > 1 {
					t.Fatalf("the token of %s has two outcomes:\n%s", token, l.trace())
				}
				if e.GetWorkSucceeded() != nil && !byHand(c, e.GetStepId()) {
					checkInTime(t, l, e, c)
				}
			case *sluicev1.Event_FlowCompleted, *sluicev1.Event_FlowFailed, *sluicev1.Event_FlowCanceled:
				if ended {
					t.Fatalf("the flow ended twice:\n%s", l.trace())
				}
				ended, paused = true, false
			case *sluicev1.Event_FlowPaused:
				paused = true
			case *sluicev1.Event_FlowResumed:
				ended, paused = false, false
			case *sluicev1.Event_WorkStarted, *sluicev1.Event_StepStarted:
				if ended || paused {
					t.Fatalf("%s after the end or in a pause:\n%s", word(e), l.trace())
				}
			case *sluicev1.Event_AttributeSet:
				if ended {
					t.Fatalf("%s after the end:\n%s", word(e), l.trace())
				}
			}
		}
	}
	checkItems(t, l)
	checkWaits(t, l)
}

// checkBegun sees to it that nothing starts before the moment that the flow was
// started for, and that its timeout counts from when it began.
func checkBegun(t *rapid.T, l *life, e *sluicev1.Event, c *sluicev1.Commit) {
	begun, first := l.state.Created, l.log[0].GetEvents()[0].GetFlowStarted()
	if later := l.state.StartAt > begun; later {
		begun = l.state.Begun
		if begun != 0 && begun < l.state.StartAt {
			t.Fatalf("the flow began at %d and was started for %d:\n%s", begun, l.state.StartAt, l.trace())
		}
	}
	switch e.GetKind().(type) {
	case *sluicev1.Event_StepStarted, *sluicev1.Event_WorkStarted, *sluicev1.Event_PredicateAsked, *sluicev1.Event_FlowCompleted:
		if begun == 0 || c.GetTimeNs() < begun {
			t.Fatalf("%s before the flow began:\n%s", word(e), l.trace())
		}
	case *sluicev1.Event_FlowFailed:
		if strings.HasPrefix(e.GetFlowFailed().GetError(), "the flow did not end") && c.GetTimeNs() < begun+first.GetTimeoutMs()*1_000_000 {
			t.Fatalf("%d ms after it began: %s", (c.GetTimeNs()-begun)/1_000_000, e.GetFlowFailed().GetError())
		}
	}
}

// byHand reports whether a commit repairs a step.
func byHand(c *sluicev1.Commit, stepID string) bool {
	return slices.ContainsFunc(c.GetEvents(), func(e *sluicev1.Event) bool {
		return e.GetStepOverridden() != nil && e.GetStepId() == stepID
	})
}

// checkInTime sees to it that no work item succeeds past its deadline, judged by
// when its outcome was stored.
func checkInTime(t *rapid.T, l *life, e *sluicev1.Event, c *sluicev1.Commit) {
	if l.state.Plan.Steps[l.state.Plan.Index[e.GetStepId()]].Proto.GetWait() != nil {
		return // it has its own
	}
	limit := l.state.Plan.Steps[l.state.Plan.Index[e.GetStepId()]].Proto.GetWork().GetDeadlineMs() * 1_000_000
	until := l.step(e.GetStepId()).Items[e.GetItem()].Started + limit
	inTime := func(f *sluicev1.FoldedCommand) bool { return f.GetTimeNs() < until }
	if limit > 0 && !slices.ContainsFunc(c.GetCause(), inTime) {
		t.Fatalf("%s comes after the work item's deadline", word(e))
	}
}

// checkAsked sees to it that a predicate is asked once, but for repairs by hand,
// before its step starts.
func checkAsked(t *rapid.T, l *life, e *sluicev1.Event, repairs int, asked map[string]int, began map[string]bool) {
	id := e.GetStepId()
	switch e.GetKind().(type) {
	case *sluicev1.Event_PredicateAsked:
		if asked[id] == repairs || began[id] {
			t.Fatalf("the predicate of %s is asked again", id)
		}
		asked[id] = repairs
	case *sluicev1.Event_StepStarted:
		if l.state.Plan.Steps[l.state.Plan.Index[id]].Proto.GetPredicate() != nil && asked[id] == 0 {
			t.Fatalf("%s starts, and its predicate was not asked", id)
		}
		began[id] = true
	}
}

// items is how many work items a flow has.
func items(s *flow.State) (n int) {
	for i := range s.Steps {
		n += len(s.Steps[i].Items)
	}
	return n
}

// No flow gets stuck: while it runs and is not paused, some work item has a token
// out or it asked to be woken, and once workers answer, the log has room and
// nobody pauses it any more, it ends.
func TestNoFlowGetsStuck(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		planBytes, steps := drawPlan(t)
		l := newLife(t)
		l.full = rapid.IntRange(0, 3).Draw(t, "begins full") == 0
		l.do(drawStart(t, planBytes))
		byID := map[string]*sluicev1.PlannedStep{}
		for _, s := range steps {
			byID[s.GetId()] = s
		}
		for round := 0; !l.state.Deactivated; round++ {
			if round > 1500+10*items(l.state) { // lists of lists have many work items, one after the other
				t.Fatalf("still %s after %d rounds:\n%s", flow.StatusName(l.state.Status), round, l.trace())
			}
			if round < 60 && rapid.IntRange(0, 5).Draw(t, "by hand") == 0 {
				l.do(drawControl(t, rapid.SampledFrom(steps).Draw(t, "repaired")))
				continue
			}
			if asked := questions(l); len(asked) > 0 && rapid.Bool().Draw(t, "answer") {
				q := rapid.SampledFrom(asked).Draw(t, "asked")
				l.do(answered(q.GetStepId(), q.GetGeneration(), round > 60 || rapid.IntRange(0, 2).Draw(t, "holds") > 0))
				continue
			}
			if people := asked(l); len(people) > 0 && (round > 60 || rapid.IntRange(0, 2).Draw(t, "people") == 0) {
				l.do(drawDecision(t, rapid.SampledFrom(people).Draw(t, "decided")))
				continue
			}
			if come := answers(l); len(come) > 0 && (round > 60 || rapid.IntRange(0, 2).Draw(t, "comes") == 0) {
				l.do(rapid.SampledFrom(come).Draw(t, "came"))
				continue
			}
			open, undo := openItems(l), compensating(l)
			idle := len(open) == 0 && undo == nil
			if idle && len(asked(l))+len(answers(l)) > 0 {
				continue
			}
			if idle && len(questions(l)) > 0 {
				continue
			}
			// One whose end is decided, and that still undoes something, is resumed by nobody.
			paused := l.state.Status == sluicev1.FlowStatus_FLOW_STATUS_PAUSED && l.state.Ending.At == 0
			if paused && (round >= 60 || idle && l.wakeAt == 0) {
				l.do(resume())
				continue
			}
			if idle && l.wakeAt == 0 {
				t.Fatalf("nothing runs and nothing is due:\n%s", l.trace())
			}
			l.full = round < 60 && rapid.IntRange(0, 2).Draw(t, "full") == 0
			if l.wakeAt != 0 && (idle || rapid.IntRange(0, 3).Draw(t, "wait") == 0 && round < 1000) {
				l.fire()
				if l.full && l.due != 0 && l.due <= l.now {
					t.Fatalf("a full log is looked at again and again:\n%s", l.trace())
				}
				if len(l.silent) > 0 { // else Redis does not answer
					l.do(drawHeard(t, l, l.silent...))
				}
				continue
			}
			if undo != nil {
				l.do(undone(undo, drawAnswer(t, round > 60)))
				continue
			}
			w := rapid.SampledFrom(open).Draw(t, "answered")
			outcome := drawOutcome(t, byID[w.GetStepId()])
			if round > 60 {
				outcome = succeeded()
			}
			l.do(answer(l, w, outcome))
			if l.state.Status == sluicev1.FlowStatus_FLOW_STATUS_FAILED && round < 60 && rapid.Bool().Draw(t, "again") {
				l.do(retry())
			}
		}
		checkHistory(t, l)
	})
}

// questions are those of steps whose predicate was asked and has not answered, by
// what the log asks for: nobody else would ask.
func questions(l *life) []*sluicev1.WorkRef {
	var asked []*sluicev1.WorkRef
	for _, c := range l.log {
		for _, inv := range l.state.Effects(c).Invocations {
			if inv.GetScript().GetPredicate() {
				asked = append(asked, inv.GetWork())
			}
		}
	}
	return asked
}

// openItems are the attempts that run and count, and that somebody answers.
func openItems(l *life) []*sluicev1.WorkRef {
	var open []*sluicev1.WorkRef
	for i := range l.state.Steps {
		if l.state.Ending.At != 0 && l.state.Plan.Steps[i].Proto.GetCompensate() == "" {
			continue
		}
		for j, it := range l.state.Steps[i].Items {
			if it.Status == sluicev1.WorkStatus_WORK_STATUS_ACTIVE && l.state.Plan.Steps[i].Proto.GetWait() == nil {
				w := itemRef(l.state.Plan.Steps[i].ID, j, it.Attempt)
				w.Generation = it.Generation
				open = append(open, w)
			}
		}
	}
	return open
}

// Where each attribute has one provider, the order of answers decides nothing:
// each step's fate follows from what the steps before it gave.
func TestAnyOrderGivesOneOutcome(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		steps, fate := drawTree(t)
		goals := []string{steps[len(steps)-1].GetId()}
		want := model(steps, fate)
		for range 2 {
			l := newLife(t)
			l.do(startFlow(planned(t, goals, steps...), nil))
			for !l.state.Final() {
				open := openItems(l)
				if len(open) == 0 {
					t.Fatalf("stuck:\n%s", l.trace())
				}
				w := rapid.SampledFrom(open).Draw(t, "answered")
				l.do(complete(w, fate[w.GetStepId()]))
			}
			if got := l.state.Status == sluicev1.FlowStatus_FLOW_STATUS_COMPLETED; got != want[goals[0]] {
				t.Fatalf("the goal completed: %v, the model says %v:\n%s", got, want[goals[0]], l.trace())
			}
		}
	})
}

// drawTree draws steps whose attributes have one provider each, and what each
// step's worker will say.
func drawTree(t *rapid.T) (steps []*sluicev1.PlannedStep, fate map[string]*sluicev1.Outcome) {
	fate = map[string]*sluicev1.Outcome{}
	for i := range rapid.IntRange(1, 7).Draw(t, "steps") {
		id, mine := fmt.Sprintf("s%d", i), fmt.Sprintf("a%d", i)
		options := []stepOption{output(mine), parallel(rapid.Int32Range(1, 4).Draw(t, "parallelism"))}
		for j := range i {
			switch rapid.IntRange(0, 6).Draw(t, "use") {
			case 0:
				options = append(options, required(fmt.Sprintf("a%d", j)))
			case 1:
				options = append(options, optional(fmt.Sprintf("a%d", j), ""))
			case 2:
				options = append(options, each(required(fmt.Sprintf("a%d", j))))
			}
		}
		if rapid.IntRange(0, 4).Draw(t, "list") == 0 {
			options = append(options, each(constant("list", rapid.SampledFrom([]string{"[]", "[1]", "[1,2]"}).Draw(t, "elements"))))
		}
		steps = append(steps, step(id, options...))
		switch rapid.IntRange(0, 6).Draw(t, "fate") {
		case 0:
			fate[id] = failed("no")
		case 1:
			fate[id] = succeeded()
		default:
			fate[id] = succeeded(mine, "[1,2]")
		}
	}
	return steps, fate
}

// model says which steps would complete if all of them were asked to: by plain
// recursion over required inputs, with none of the core's bookkeeping.
func model(steps []*sluicev1.PlannedStep, fate map[string]*sluicev1.Outcome) map[string]bool {
	completes, gives := map[string]bool{}, map[string]int{} // how many elements an attribute has
	for _, s := range steps {
		outcome, can, items, isEach := fate[s.GetId()], true, 1, false
		for _, a := range s.GetAttributes() {
			n, given := gives[a.GetName()]
			if a.GetRole() == sluicev1.AttributeRole_ATTRIBUTE_ROLE_CONST {
				n = strings.Count(string(a.GetDefault()), "1") + strings.Count(string(a.GetDefault()), "2")
			}
			if a.GetRole() == sluicev1.AttributeRole_ATTRIBUTE_ROLE_REQUIRED && !given {
				can = false
			}
			if a.GetForEach() {
				items, isEach = items*n, true
			}
		}
		completes[s.GetId()] = can && (items == 0 || outcome.GetSuccess())
		switch {
		case !completes[s.GetId()]:
		case isEach:
			gives["a"+s.GetId()[1:]] = items
		case len(outcome.GetOutputs()) > 0:
			gives["a"+s.GetId()[1:]] = 2
		}
	}
	return completes
}
