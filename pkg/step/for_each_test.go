package step_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/sluiceflow/sluice/pkg/step"
)

func TestElements(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		value string
		kind  step.Type
		want  string // the elements between bars, or the error
	}{
		{`[]`, step.TypeAny, ""},
		{` [ 1.50 , "a,b", [2, 3], {"x": null} ] `, step.TypeAny, `|1.50|"a,b"|[2, 3]|{"x": null}`},
		{`[12345678901234567890.10]`, step.TypeNumber, `|12345678901234567890.10`},
		{`[1,"2"]`, step.TypeNumber, "has an element 1 that is not of type number"},
		{`[1,null]`, step.TypeNumber, "has an element 1 that is not of type number"},
		{`null`, step.TypeAny, "is no array, which for_each needs"},
		{`{"0":1}`, step.TypeAny, "is no array, which for_each needs"},
		{`"[1]"`, step.TypeAny, "is no array, which for_each needs"},
		{`[1`, step.TypeAny, "is no array, which for_each needs"},
		{``, step.TypeAny, "is no array, which for_each needs"},
	} {
		elements, err := step.Elements(json.RawMessage(tt.value), tt.kind)
		var parts strings.Builder
		for _, e := range elements {
			parts.WriteString("|" + string(e))
		}
		got := parts.String()
		if err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.value, got, tt.want)
		}
	}
}

// A for_each input and every output of its step are arrays, and a type other than
// array is that of what stands in them.
func TestTypesOfStepsWithForEach(t *testing.T) {
	t.Parallel()
	d := parse(t, merged(t, `{"attributes":{
		"n":{"role":"required","type":"number","for_each":true},"list":{"role":"optional","type":"array","for_each":true},
		"color":{"role":"const","for_each":true,"default":"[\"red\", 1]"},"factor":{"role":"required","type":"number"},
		"out":{"role":"output","type":"string"},"any":{"role":"output"},"pair":{"role":"output","type":"array"}},
		"work_config":{"deadline_ms":60000,"parallelism":3}}`))
	if err := d.Validate(step.Limits{}); err != nil {
		t.Fatal(err)
	}
	plain := parse(t, merged(t, `{"attributes":{"out":{"role":"output","type":"string"}}}`))
	if !d.HasForEach() || plain.HasForEach() {
		t.Error("which step has for_each is not known")
	}
	if got := plain.AttributeType("out"); got != step.TypeString {
		t.Errorf("out of a step without for_each is of type %s", got)
	}
	for name, want := range map[string][2]step.Type{
		"n": {step.TypeArray, step.TypeNumber}, "list": {step.TypeArray, step.TypeAny}, "color": {step.TypeArray, step.TypeAny},
		"factor": {step.TypeNumber, step.TypeNumber},
		"out":    {step.TypeArray, step.TypeString}, "any": {step.TypeArray, step.TypeAny}, "pair": {step.TypeArray, step.TypeAny},
		"nobody": {step.TypeAny, step.TypeAny},
	} {
		if got := d.AttributeType(name); got != want[0] {
			t.Errorf("attribute %s is of type %s, want %s", name, got, want[0])
		}
		if got := d.Attributes[name].ElementType(); got != want[1] {
			t.Errorf("elements of %s are of type %s, want %s", name, got, want[1])
		}
	}
}
