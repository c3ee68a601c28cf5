package step_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/sluiceflow/sluice/pkg/step"
)

// flowStep is a step that starts a flow, with an input uid and an output name.
func flowStep(t *testing.T, flow, more string) (step.Definition, error) {
	t.Helper()
	return step.ParseDefinition([]byte(`{"id":"s","type":"flow","attributes":{"uid":{"role":"required"},"hint":{"role":"optional"},` +
		`"name":{"role":"output"},"age":{"role":"output"}}` + flow + more + `}`))
}

func TestFlowStepsAreChecked(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 129)
	for _, tt := range []struct{ flow, more, want string }{
		{``, ``, "flow"},
		{`,"flow":null`, ``, "flow"},
		{`,"flow":{}`, ``, "flow.goals"},
		{`,"flow":{"goals":[]}`, ``, "flow.goals"},
		{`,"flow":{"goals":["a b"]}`, ``, "flow.goals"},
		{`,"flow":{"goals":["` + strings.Repeat(`g","`, 64) + `g"]}`, ``, "flow.goals"},
		{`,"flow":{"goals":"g"}`, ``, "flow.goals"},
		{`,"flow":{"goals":["g"],"steps":[]}`, ``, "flow.steps"},
		{`,"flow":{"goals":["g"],"input_map":{"nobody":"x"}}`, ``, "flow.input_map.nobody"},
		{`,"flow":{"goals":["g"],"input_map":{"name":"x"}}`, ``, "flow.input_map.name"},
		{`,"flow":{"goals":["g"],"input_map":{"uid":""}}`, ``, "flow.input_map.uid"},
		{`,"flow":{"goals":["g"],"input_map":{"uid":"` + long + `"}}`, ``, "flow.input_map.uid"},
		{`,"flow":{"goals":["g"],"input_map":{"uid":7}}`, ``, "flow.input_map.uid"},
		{`,"flow":{"goals":["g"],"input_map":{"uid":"x","hint":"x"}}`, ``, "flow.input_map.uid"},
		{`,"flow":{"goals":["g"],"input_map":{"uid":"hint"}}`, ``, "flow.input_map"},
		{`,"flow":{"goals":["g"],"output_map":{"x":"uid"}}`, ``, "flow.output_map.x"},
		{`,"flow":{"goals":["g"],"output_map":{"x":"nobody"}}`, ``, "flow.output_map.x"},
		{`,"flow":{"goals":["g"],"output_map":{"x":"name","y":"name"}}`, ``, "flow.output_map.y"},
		{`,"flow":{"goals":["g"],"output_map":{"":"name"}}`, ``, "flow.output_map."},
		{`,"flow":{"goals":["g"]}`, `,"http":{"endpoint":"http://h","compensate":"http://h/undo"}`, "http"},
		{`,"flow":{"goals":["g"]}`, `,"script":{"language":"cel","script":"1"}`, "script"},
		{`,"flow":{"goals":["g"]}`, `,"memoizable":true`, "memoizable"},
		{`,"flow":{"goals":["g"]}`, `,"work_config":{"heartbeat_timeout_ms":5}`, "work_config.heartbeat_timeout_ms"},
	} {
		d, err := flowStep(t, tt.flow, tt.more)
		if err == nil {
			err = d.Validate(step.Limits{})
		}
		if !names(err, tt.want) {
			t.Errorf("%s%s: error %v does not name %q", tt.flow, tt.more, err, tt.want)
		}
	}
}

func TestMapsOfFlowSteps(t *testing.T) {
	t.Parallel()
	for flow, want := range map[string]struct{ inputs, outputs map[string]string }{
		`{"goals":["g","h","g"]}`: {
			map[string]string{"uid": "uid", "hint": "hint"}, map[string]string{"name": "name", "age": "age"},
		},
		`{"goals":["g","h"],"input_map":{"uid":"user_id"},"output_map":{"user_name":"name"}}`: {
			map[string]string{"user_id": "uid", "hint": "hint"}, map[string]string{"name": "user_name", "age": "age"},
		},
		`{"goals":["g","h"],"input_map":{"user_id":"uid"},"output_map":{"user_name":"name"}}`: { // read the other way round
			map[string]string{"user_id": "uid", "hint": "hint"}, map[string]string{"name": "user_name", "age": "age"},
		},
		`{"goals":["g","h"],"input_map":{"uid":"hint","hint":"uid"}}`: {
			map[string]string{"hint": "uid", "uid": "hint"}, map[string]string{"name": "name", "age": "age"},
		},
	} {
		d, err := flowStep(t, `,"flow":`+flow, "")
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Validate(step.Limits{}); err != nil {
			t.Errorf("%s: %v", flow, err)
		}
		if got := d.ChildInputs(); !maps.Equal(got, want.inputs) {
			t.Errorf("%s: inputs %v", flow, got)
		}
		if got := d.ChildOutputs(); !maps.Equal(got, want.outputs) {
			t.Errorf("%s: outputs %v", flow, got)
		}
		if got := d.ChildGoals(); !slices.Equal(got, []string{"g", "h"}) {
			t.Errorf("%s: goals %v", flow, got)
		}
	}
}
