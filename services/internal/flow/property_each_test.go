package flow_test

import (
	"encoding/json"
	"maps"

	"pgregory.net/rapid"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// checkItems compares the work items of each step that started with what its
// inputs give by a plain product, and its outputs with what they gave.
func checkItems(t *rapid.T, l *life) {
	for i, def := range l.state.Plan.Steps {
		st := &l.state.Steps[i]
		if st.Started == 0 {
			continue
		}
		want := modelItems(def.Proto, st.Inputs)
		if len(st.Items) != len(want) {
			t.Fatalf("step %s has %d work items, want %d", def.ID, len(st.Items), len(want))
		}
		for j, it := range st.Items {
			if it.Attempt > 0 && !equalValues(it.Inputs, want[j]) {
				t.Fatalf("work item %d of step %s has the inputs %s, want %s", j, def.ID, jsonOf(it.Inputs), jsonOf(want[j]))
			}
		}
		if def.ForEach && st.Status == sluicev1.StepStatus_STEP_STATUS_COMPLETED {
			checkGathered(t, l, i, want)
		}
	}
}

// modelItems are the inputs that the work items have of their own.
func modelItems(s *sluicev1.PlannedStep, inputs map[string]json.RawMessage) []map[string]json.RawMessage {
	items := []map[string]json.RawMessage{{}}
	for _, a := range s.GetAttributes() {
		value, ok := inputs[a.GetName()]
		if !a.GetForEach() || !ok {
			continue
		}
		var elements []json.RawMessage
		if err := json.Unmarshal(value, &elements); err != nil {
			return nil
		}
		var more []map[string]json.RawMessage
		for _, item := range items {
			for _, e := range elements {
				next := maps.Clone(item)
				next[a.GetName()] = e
				more = append(more, next)
			}
		}
		items = more
	}
	return items
}

func checkGathered(t *rapid.T, l *life, i int, rows []map[string]json.RawMessage) {
	st := &l.state.Steps[i]
	for _, output := range l.state.Plan.Steps[i].Outputs {
		list := []map[string]json.RawMessage{}
		for j, row := range rows {
			row := maps.Clone(row)
			if value, ok := st.Items[j].Outputs[output.Name]; ok {
				row[output.Name] = value
			}
			list = append(list, row)
		}
		var got []map[string]json.RawMessage
		if err := json.Unmarshal(st.Outputs[output.Name], &got); err != nil {
			t.Fatalf("output %s of step %s: %v", output.Name, l.state.Plan.Steps[i].ID, err)
		}
		if len(got) != len(list) {
			t.Fatalf("output %s has %d elements, want %d", output.Name, len(got), len(list))
		}
		for j := range list {
			if !equalValues(got[j], list[j]) {
				t.Fatalf("element %d of output %s is %s, want %s", j, output.Name, jsonOf(got[j]), jsonOf(list[j]))
			}
		}
	}
}

func equalValues(a, b map[string]json.RawMessage) bool {
	return maps.EqualFunc(a, b, func(x, y json.RawMessage) bool { return string(x) == string(y) })
}
