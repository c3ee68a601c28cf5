package registry_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/services/internal/fault"
	"github.com/sluiceflow/sluice/services/internal/plan"
	"github.com/sluiceflow/sluice/services/internal/registry"
	"github.com/sluiceflow/sluice/services/internal/testkit"
)

func definition(id string, attributes map[string]step.Attribute) step.Definition {
	return step.Definition{
		ID: id, Type: step.KindAsync, Attributes: attributes,
		HTTP: &step.HTTP{Endpoint: "http://h/" + id, Secret: "whsec_" + id, Headers: map[string]string{"Authorization": id}},
	}
}

func output(name string, kind step.Type) map[string]step.Attribute {
	return map[string]step.Attribute{name: {Role: step.RoleOutput, Type: kind}}
}

func TestStepsAreRegistered(t *testing.T) {
	t.Parallel()
	ctx, b := t.Context(), testkit.Bus(t)
	r, err := registry.Open(ctx, b)
	if err != nil {
		t.Fatal(err)
	}
	first := definition("pay.card", output("x", step.TypeString))
	second := definition("pay.card", output("y", step.TypeString))
	for _, tt := range []struct {
		name string
		do   func(context.Context, step.Definition) (registry.Outcome, error)
		def  step.Definition
		want registry.Outcome
		kind fault.Kind
	}{
		{"new", r.Create, first, registry.Created, ""},
		{"the same again", r.Create, first, registry.Unchanged, ""},
		{"another under its id", r.Create, second, "", fault.Conflict},
		{"replaced", r.Put, second, registry.Updated, ""},
		{"replaced by the same", r.Put, second, registry.Unchanged, ""},
		{"another type of an attribute", r.Create, definition("other", output("y", step.TypeNumber)), "", fault.Conflict},
	} {
		got, err := tt.do(ctx, tt.def)
		if fault.KindOf(err) != tt.kind || (err == nil && got != tt.want) {
			t.Errorf("%s: %q, %v", tt.name, got, err)
		}
	}
	if got, ok := r.Get("pay.card"); !ok || !got.Definition.Equal(second) || got.Revision == 0 {
		t.Errorf("reads not what it wrote: %+v", got)
	}
	if err := r.Delete(ctx, "pay.card"); err != nil {
		t.Errorf("delete: %v", err)
	}
	if err := r.Delete(ctx, "pay.card"); fault.KindOf(err) != fault.NotFound {
		t.Errorf("delete again: %v", err)
	}
	if list := r.List(); list == nil || len(list) != 0 {
		t.Errorf("list %v", list)
	}
	if got, err := r.Create(ctx, first); err != nil || got != registry.Created {
		t.Errorf("created again: %q, %v", got, err)
	}
}

func TestOthersSeeChanges(t *testing.T) {
	t.Parallel()
	b := testkit.Bus(t)
	writer, err := registry.Open(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	reader, err := registry.Open(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- reader.Run(ctx) }()
	before := reader.Revision()
	if _, err := writer.Create(ctx, definition("a", nil)); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 10*time.Second, func() bool { _, ok := reader.Get("a"); return ok })
	if reader.Revision() <= before {
		t.Error("the revision did not grow")
	}
	if _, err := reader.Index().Build([]string{"a"}, nil, plan.Defaults{}); err != nil {
		t.Errorf("a plan with the new step: %v", err)
	}
	if err := writer.Delete(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 10*time.Second, func() bool { _, ok := reader.Get("a"); return !ok })
	if _, err := reader.Index().Build([]string{"a"}, nil, plan.Defaults{}); err == nil {
		t.Error("a step that is gone is planned")
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("run ended with %v", err)
	}
}

// Checks across steps hold also when several consoles register at once: of
// steps that say different types of one attribute one gets in.
func TestConcurrentWritesAreCheckedTogether(t *testing.T) {
	t.Parallel()
	b := testkit.Bus(t)
	kinds := []step.Type{step.TypeString, step.TypeNumber, step.TypeObject, step.TypeArray}
	var wg sync.WaitGroup
	results := make([]error, len(kinds))
	for i, kind := range kinds {
		r, err := registry.Open(t.Context(), b)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() { _, results[i] = r.Create(t.Context(), definition(fmt.Sprintf("s%d", i), output("x", kind))) })
	}
	wg.Wait()
	in := 0
	for _, err := range results {
		switch fault.KindOf(err) {
		case "":
			in++
		case fault.Conflict:
		case fault.Internal, fault.Invalid, fault.NotFound, fault.Unavailable:
			t.Errorf("unexpected: %v", err)
		}
	}
	if in != 1 {
		t.Errorf("%d steps with different types of one attribute got in", in)
	}
}

func TestCredentialsByRevision(t *testing.T) {
	t.Parallel()
	ctx, b := t.Context(), testkit.Bus(t)
	r, err := registry.Open(ctx, b)
	if err != nil {
		t.Fatal(err)
	}
	d := definition("a", nil)
	if _, err := r.Create(ctx, d); err != nil {
		t.Fatal(err)
	}
	old, _ := r.Get("a")
	d.HTTP = &step.HTTP{Endpoint: "http://h/a", Secret: "whsec_new"}
	if _, err := r.Put(ctx, d); err != nil {
		t.Fatal(err)
	}
	secret, headers, err := r.Credentials(ctx, "a", old.Revision)
	if err != nil || secret != "whsec_a" || headers["Authorization"] != "a" {
		t.Errorf("of the old revision: %q %v %v", secret, headers, err)
	}
	if secret, _, err = r.Credentials(ctx, "a", 999); err != nil || secret != "whsec_new" {
		t.Errorf("of a forgotten revision: %q %v", secret, err)
	}
	if _, _, err = r.Credentials(ctx, "nope", 1); fault.KindOf(err) != fault.NotFound {
		t.Errorf("of an unknown step: %v", err)
	}
}
