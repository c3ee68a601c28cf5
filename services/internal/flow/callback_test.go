package flow_test

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/sluiceflow/sluice/pkg/subject"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/flow"
	"github.com/sluiceflow/sluice/services/internal/plan"
)

// calledBack starts a life of two goals that is to be told of.
func calledBack(t *testing.T) *life {
	t.Helper()
	l := newLife(t)
	cmd := startFlow(planned(t, []string{"a", "b"}, step("a", output("x")), step("b", output("y"))), nil)
	cmd.GetStartFlow().Labels = map[string]string{"team": "pay"}
	cmd.GetStartFlow().CallbackUrl = "https://shop.example/ended"
	cmd.GetStartFlow().CallbackSecret = []byte("sealed")
	l.do(cmd)
	return l
}

func (l *life) callbackOf(c *sluicev1.Commit) *sluicev1.Invocation {
	return l.state.Effects(c).Callback
}

// gives completes a step with one output.
func (l *life) gives(stepID, name, value string) {
	l.t.Helper()
	l.do(complete(ref(stepID, 1), succeeded(name, value)))
}

func (l *life) last() *sluicev1.Commit { return l.log[len(l.log)-1] }

func TestCallbackTellsTheEnd(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		end     func(l *life)
		status  sluicev1.FlowStatus
		outputs map[string][]byte
		error   string
	}{
		"completed": {
			func(l *life) { l.gives("a", "x", "1.50"); l.gives("b", "y", `"<&>"`) },
			sluicev1.FlowStatus_FLOW_STATUS_COMPLETED,
			map[string][]byte{"x": []byte("1.50"), "y": []byte(`"<&>"`)},
			"",
		},
		"failed": {
			func(l *life) {
				l.gives("a", "x", "1.50")
				l.do(complete(ref("b", 1), failed("declined")))
			},
			sluicev1.FlowStatus_FLOW_STATUS_FAILED,
			map[string][]byte{"x": []byte("1.50")},
			`goal "b" failed: declined`,
		},
		"canceled": {
			func(l *life) { l.do(cancel()) },
			sluicev1.FlowStatus_FLOW_STATUS_CANCELED,
			map[string][]byte{},
			"asked",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := calledBack(t)
			for _, c := range l.log {
				if l.callbackOf(c) != nil {
					t.Error("a flow that runs tells its end")
				}
			}
			tt.end(l)
			want := &sluicev1.Invocation{
				FlowId: "f", Work: &sluicev1.WorkRef{Run: run, StepId: subject.CallbackStep},
				Endpoint: "https://shop.example/ended", Labels: map[string]string{"team": "pay"},
				Callback: &sluicev1.Callback{
					Revision: l.last().GetRevision(), Status: tt.status, Outputs: tt.outputs, Error: tt.error,
					CompletedNs: l.last().GetTimeNs(), Signed: true,
				},
			}
			if got := l.callbackOf(l.last()); !proto.Equal(got, want) {
				t.Errorf("got  %v\nwant %v", got, want)
			}
			restored, err := flow.Restore("f", l.state.Snapshot(), plan.Decode)
			if err != nil {
				t.Fatal(err)
			}
			if got := restored.Effects(l.last()).Callback; !proto.Equal(got, want) || string(restored.CallbackSecret) != "sealed" {
				t.Errorf("after a snapshot: got %v", got)
			}
			for _, c := range l.log[:len(l.log)-1] {
				if l.callbackOf(c) != nil {
					t.Errorf("revision %d, which is no ending, tells it", c.GetRevision())
				}
			}
		})
	}
}

func TestNobodyIsCalledBackUnasked(t *testing.T) {
	t.Parallel()
	l := begin(t, planned(t, []string{"a"}, step("a", output("x"))), nil)
	l.gives("a", "x", "1")
	if got := l.callbackOf(l.last()); got != nil || !l.state.Final() {
		t.Errorf("got %v", got)
	}
}
