package script_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/sluiceflow/sluice/services/internal/script"
	"github.com/sluiceflow/sluice/services/internal/testkit"
)

func TestMain(m *testing.M) {
	if testkit.Script() {
		return
	}
	m.Run()
}

// soon is patience with a busy machine; nothing here should take as long.
const soon = 2 * time.Minute

var config = script.Config{Processes: 4, TimeLimit: 20 * time.Second, MemoryLimit: 128 << 20}

// pool returns a pool that ends with the test.
func pool(t *testing.T, cfg script.Config) *script.Pool {
	t.Helper()
	p := script.NewPool(cfg)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("the pool ended with %v", err)
			}
		case <-time.After(soon):
			t.Error("the pool did not end")
		}
	})
	return p
}

// inputs reads the inputs of a run.
func inputs(t *testing.T, text string) map[string]json.RawMessage {
	t.Helper()
	var in map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &in); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return in
}

func program(lang script.Language, source string, in map[string]json.RawMessage, names ...string) script.Program {
	all := slices.Sorted(maps.Keys(in))
	for _, name := range names {
		if !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return script.Program{Language: lang, Source: source, Names: all}
}

// eval runs a script and returns its outputs as JSON.
func eval(t *testing.T, p *script.Pool, prog script.Program, in map[string]json.RawMessage) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	result, err := p.Eval(ctx, prog, in)
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(result.Outputs)
	if err != nil {
		t.Fatal(err)
	}
	return string(text), nil
}

// failure is how the script itself failed.
func failure(t *testing.T, err error) *script.Error {
	t.Helper()
	failed, ok := errors.AsType[*script.Error](err)
	if !ok {
		t.Fatalf("got error %v, want one of the script", err)
	}
	return failed
}

// text is a JSON string's text.
func text(t *testing.T, value json.RawMessage) string {
	t.Helper()
	var s string
	if err := json.Unmarshal(value, &s); err != nil {
		t.Fatalf("%s: %v", value, err)
	}
	return s
}
