package verify_test

import (
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/sluiceflow/sluice/pkg/subject"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/verify"
	"github.com/sluiceflow/sluice/services/internal/verify/check"
)

// family is a flow p whose step kyc waits for a child, which is not written yet.
type family struct {
	*store

	parent, child *history
	start         *sluicev1.Command // of the child
}

func newFamily(t *testing.T) *family {
	t.Helper()
	plan := func(steps ...*sluicev1.PlannedStep) []byte {
		data, err := proto.Marshal(&sluicev1.Plan{Goals: []string{steps[0].GetId()}, Steps: steps})
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	s := newStore(t)
	f := &family{store: s, parent: s.history("p")}
	f.parent.do(&sluicev1.Command{Kind: &sluicev1.Command_StartFlow{StartFlow: &sluicev1.StartFlow{Plan: plan(&sluicev1.PlannedStep{
		Id: "kyc", Type: sluicev1.StepType_STEP_TYPE_FLOW, Work: &sluicev1.WorkConfig{},
		Child: &sluicev1.ChildPlan{Plan: plan(&sluicev1.PlannedStep{
			Id: "a", Type: sluicev1.StepType_STEP_TYPE_ASYNC, Work: &sluicev1.WorkConfig{},
		})},
	})}}})
	open := f.parent.state.Open()
	if len(open) != 1 {
		t.Fatalf("the parent asks for %v", open)
	}
	f.start, f.child = open[0], s.history(open[0].GetFlowId())
	f.child.do(proto.CloneOf(f.start))
	return f
}

// send stores a command of an engine that no engine carries out.
func (f *family) send(cmd *sluicev1.Command) {
	f.t.Helper()
	f.message(f.bus.Space.Command(subject.SourceEngine, f.partition(cmd.GetFlowId()), cmd.GetFlowId()), cmd)
}

func (f *family) cancelParent() {
	f.parent.do(&sluicev1.Command{Kind: &sluicev1.Command_CancelFlow{CancelFlow: &sluicev1.CancelFlow{Reason: "not needed"}}})
}

// hear gives the parent the child's end, and the child the parent's answer.
func (f *family) hear() {
	f.parent.do(f.child.state.EndOfChild())
	f.child.do(heard(f.child.id, f.start))
}

func heard(childID string, start *sluicev1.Command) *sluicev1.Command {
	return &sluicev1.Command{FlowId: childID, Kind: &sluicev1.Command_ParentHeard{ParentHeard: &sluicev1.ParentHeard{
		Work: start.GetStartFlow().GetParent().GetWork(),
	}}}
}

func unwanted(childID string, start *sluicev1.Command) *sluicev1.Command {
	return &sluicev1.Command{FlowId: childID, Kind: &sluicev1.Command_CancelChild{CancelChild: &sluicev1.CancelChild{
		ParentFlowId: start.GetStartFlow().GetParentFlowId(), Parent: start.GetStartFlow().GetParent(),
	}}}
}

// Whose finding one of a family is.
const (
	parent = "the parent"
	child  = "the child"
)

// expect compares findings with the one that is wanted; of is empty for none. What
// a damaged history says of itself is no matter here.
func (f *family) expect(found []check.Finding, of string) {
	f.t.Helper()
	found = slices.DeleteFunc(found, func(f check.Finding) bool { return f.Kind == check.Gap })
	if of == "" {
		if len(found) > 0 {
			f.t.Errorf("found %+v, want nothing", found)
		}
		return
	}
	want := check.Finding{Kind: check.Family, FlowID: f.child.id}
	if of == parent {
		want.FlowID, want.StepID = f.parent.id, "kyc"
	}
	if len(found) != 1 {
		f.t.Fatalf("found %+v, want one of %s", found, of)
	}
	got := found[0]
	if got.Kind != want.Kind || got.FlowID != want.FlowID || got.StepID != want.StepID || got.Sequence == 0 || got.Revision == 0 {
		f.t.Errorf("found %+v, want a finding of %s", got, of)
	}
}

// A parent and its child must agree, or a command must be on its way from one to
// the other. Engines are away, so that such a command stays.
func TestFamilies(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		plant func(f *family)
		of    string // whose finding it is; empty for none
	}{
		"a child that runs":                           {func(f *family) { f.parent.write(all); f.child.write(all) }, ""},
		"a child that is lost":                        {func(f *family) { f.parent.write(all) }, parent},
		"a child yet to start":                        {func(f *family) { f.parent.write(all); f.send(f.start) }, ""},
		"a parent that is lost":                       {func(f *family) { f.child.write(all) }, child},
		"a child yet to be ended":                     {func(f *family) { f.child.write(all); f.send(unwanted(f.child.id, f.start)) }, ""},
		"a child that was canceled before it started": {func(f *family) { f.send(unwanted(f.child.id, f.start)) }, ""},
		"a child that nobody wants": {
			func(f *family) { f.cancelParent(); f.parent.write(all); f.child.write(all) },
			child,
		},
		"an end that got lost": {func(f *family) { f.parent.write(all); f.child.complete("d").write(all) }, child},
		"an end yet to be told": {
			func(f *family) {
				f.parent.write(all)
				f.child.complete("d").write(all)
				f.send(f.child.state.EndOfChild())
			}, "",
		},
		"an answer that got lost": {
			func(f *family) {
				f.child.complete("d").write(all)
				f.parent.do(f.child.state.EndOfChild())
				f.parent.write(all)
			}, child,
		},
		"an answer yet to be given": {
			func(f *family) {
				f.child.complete("d").write(all)
				f.parent.do(f.child.state.EndOfChild())
				f.parent.write(all)
				f.send(heard(f.child.id, f.start))
			}, "",
		},
		"an end told to nobody": {
			func(f *family) {
				f.child.complete("d").write(all)
				f.send(f.child.state.EndOfChild())
			}, "",
		},
		"an answer to nobody":    {func(f *family) { f.send(heard(f.child.id, f.start)) }, ""},
		"a family that is done":  {func(f *family) { f.child.complete("d"); f.hear(); f.child.write(all); f.parent.write(all) }, ""},
		"a parent that is alone": {func(f *family) { f.child.complete("d"); f.hear(); f.parent.write(all) }, ""},
		"a damaged child": {
			func(f *family) {
				f.parent.write(all)
				f.child.complete("d").write(1)
				f.child.skip()
				f.hear()
				f.child.write(all)
			}, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFamily(t)
			test.plant(f)
			found, _ := f.findings(nil)
			again, _ := f.findings(func(o *verify.Options) { o.PassBytes = 200 })
			f.expect(found, test.of)
			f.expect(again, test.of)
		})
	}
}
