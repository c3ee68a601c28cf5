package engine_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/sluiceflow/sluice/pkg/subject"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/flow"
)

const mebibyte = 1 << 20

// text is a JSON string of that many bytes.
func text(letter string, bytes int) []byte {
	return []byte(`"` + strings.Repeat(letter, bytes-2) + `"`)
}

// outputs is a success with one output.
func outputs(inv *sluicev1.Invocation, name string, value []byte) *sluicev1.Command {
	return completion(inv, &sluicev1.Outcome{
		Success: true, Outputs: map[string][]byte{name: value}, Digest: []byte("ok" + name),
	})
}

// Rule 10: a StepResult as large as a body may be is kept and passed on whole.
func TestOutputsAsLargeAsABody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	w.begin("f", chain(t))
	w.send(subject.SourceHook, outputs(w.invocation("f", "a"), "x", text("x", mebibyte)))
	inv := w.invocation("f", "b")
	if got := len(inv.GetArguments()["x"]); got != mebibyte {
		t.Errorf("an argument of %d bytes", got)
	}
	w.send(subject.SourceHook, outputs(inv, "y", text("y", mebibyte)))
	w.send(subject.SourceHook, outputs(w.invocation("f", "c"), "z", text("z", mebibyte)))
	w.ended("f")
	loaded, err := w.journal.Load(t.Context(), "f")
	if err != nil || flow.StatusName(loaded.State.Status) != "completed" || len(loaded.State.Attributes["z"].Value) != mebibyte {
		t.Errorf("%v (%v)", loaded.State.Status, err)
	}
	w.idle()
}

// Rules 10 and 12: attributes that together are larger than any message, with as
// many commits as a snapshot is taken after. A step whose arguments fit is
// called, also by an engine that has to load all that; one whose arguments fit
// into no message fails with that reason.
func TestAttributesLargerThanAMessage(t *testing.T) {
	t.Parallel()
	const givers = 10
	w := newWorld(t)
	stop := w.start()
	var steps []*sluicev1.PlannedStep
	all := []option{out("never")}
	for i := range givers {
		name := fmt.Sprintf("a%d", i)
		steps = append(steps, asyncStep("give"+name, out(name)))
		all = append(all, in(name))
	}
	steps = append(steps,
		asyncStep("retries", out("r"), retries(-1, 1)),
		asyncStep("some", in("a0"), in("a1"), in("a2"), in("r"), out("done")),
		asyncStep("takesall", append(all, in("done"))...))
	w.begin("f", planned(t, []string{"takesall"}, steps...))
	var retrying *sluicev1.Invocation
	for range givers + 1 {
		inv, ok := w.nextInvocation(t.Context())
		for !ok {
			inv, ok = w.nextInvocation(t.Context())
		}
		if inv.GetWork().GetStepId() == "retries" {
			retrying = inv
			continue
		}
		name := strings.TrimPrefix(inv.GetWork().GetStepId(), "give")
		w.send(subject.SourceHook, outputs(inv, name, text(name[1:], mebibyte)))
	}
	for i := range 70 {
		w.send(subject.SourceHook, completion(retrying, &sluicev1.Outcome{
			NotCompleted: true, Error: "again", Digest: []byte{byte(i)},
		}))
		retrying = w.invocation("f", "retries")
	}
	stop()
	w.start() // one that knows nothing of the flow
	w.send(subject.SourceHook, outputs(retrying, "r", []byte("1")))
	inv := w.invocation("f", "some")
	if len(inv.GetArguments()) != 4 || len(inv.GetArguments()["a2"]) != mebibyte {
		t.Errorf("%d arguments", len(inv.GetArguments()))
	}
	w.send(subject.SourceHook, outputs(inv, "done", []byte("1")))
	history := w.ended("f")
	loaded, err := w.journal.Load(t.Context(), "f")
	if err != nil || !strings.Contains(loaded.State.Error, "more than an invocation can carry") {
		t.Errorf("the flow ended with %q (%v)", loaded.State.Error, err)
	}
	for _, c := range history {
		if size := proto.Size(c.Commit); size > 5*mebibyte {
			t.Errorf("revision %d takes %d bytes", c.Commit.GetRevision(), size)
		}
	}
	w.idle()
}

// Outcomes with long errors that come together are not folded into one message
// that is too large.
func TestLongErrorsThatComeTogether(t *testing.T) {
	t.Parallel()
	const steps = 12
	w := newWorld(t)
	stop := w.start()
	var planSteps []*sluicev1.PlannedStep
	goal := asyncStep("z", out("end"))
	for i := range steps {
		name := fmt.Sprintf("a%02d", i)
		planSteps = append(planSteps, asyncStep("s"+name, out(name)))
		attr(name, sluicev1.AttributeRole_ATTRIBUTE_ROLE_OPTIONAL)(goal)
	}
	w.begin("f", planned(t, []string{"z"}, append(planSteps, goal)...))
	var invoked []*sluicev1.Invocation
	for len(invoked) < steps {
		if inv, ok := w.nextInvocation(t.Context()); ok {
			invoked = append(invoked, inv)
		}
	}
	w.idle()
	stop()
	for i, inv := range invoked {
		w.send(subject.SourceHook, completion(inv, &sluicev1.Outcome{
			Error: strings.Repeat(strconv.Itoa(i%10), mebibyte-100), Digest: []byte{byte(i)},
		}))
	}
	w.start()
	w.send(subject.SourceHook, outputs(w.invocation("f", "z"), "end", []byte("1")))
	w.ended("f")
	w.idle()
}

// A flow whose init is more than one invocation can carry starts all the same;
// what no message can hold is a dead letter with its reason. Neither is in the
// way of others.
func TestInitAsLargeAsAMessage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	start := func(id string, planBytes []byte, init map[string][]byte) *sluicev1.Command {
		cmd := startCommand(id, planBytes, "request")
		cmd.GetStartFlow().Init = init
		return cmd
	}
	plan := planned(t, []string{"a", "b"}, asyncStep("a", in("i0"), out("x")), asyncStep("b", in("i1"), out("y")))
	w.send(subject.SourceAPI, start("large", plan, map[string][]byte{"i0": text("0", 3*mebibyte), "i1": text("1", 3*mebibyte)}))
	for range 2 { // together they fit into no message
		inv, ok := w.nextInvocation(t.Context())
		for !ok {
			inv, ok = w.nextInvocation(t.Context())
		}
		w.send(subject.SourceHook, outputs(inv, map[string]string{"a": "x", "b": "y"}[inv.GetWork().GetStepId()], []byte("1")))
	}
	w.ended("large")
	limit := int(w.bus.NC.MaxPayload())
	w.send(subject.SourceAPI, start("toolarge", plan, map[string][]byte{"i0": text("0", limit-2000), "i1": []byte("1")}))
	w.begin("other", chain(t))
	w.invocation("other", "a")
	w.until("there is a dead letter", func() bool { return w.messages(w.bus.Dead()) == 1 })
	last, err := w.bus.Last(t.Context(), w.bus.Dead(), w.bus.Space.DeadLetters(""))
	if err != nil {
		t.Fatal(err)
	}
	letter := &sluicev1.DeadLetter{}
	if err := proto.Unmarshal(last.Data, letter); err != nil || !strings.Contains(letter.GetReason(), "NATS takes messages of") ||
		letter.GetCutFrom() == 0 {
		t.Errorf("reason %q, cut from %d (%v)", letter.GetReason(), letter.GetCutFrom(), err)
	}
	w.idle()
}
