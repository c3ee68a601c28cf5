package view_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/console/internal/view"
	"github.com/sluiceflow/sluice/services/internal/flow"
	"github.com/sluiceflow/sluice/services/internal/journal"
	"github.com/sluiceflow/sluice/services/internal/plan"
)

// stored are the commits in a file that `make histories` wrote.
func stored(t *testing.T, file string) []*sluicev1.Commit {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var commits []*sluicev1.Commit
	var previous []byte
	for line := range bytes.Lines(data) {
		var msg struct {
			Header nats.Header `json:"header"`
			Data   []byte      `json:"data"`
		}
		if err := json.Unmarshal(line, &msg); err != nil {
			t.Fatal(err)
		}
		c, err := journal.Parse(msg.Data, msg.Header)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(c.GetPreviousChecksum(), previous) {
			t.Fatalf("revision %d does not follow the one before it", c.GetRevision())
		}
		previous = journal.Checksum(msg.Data)
		commits = append(commits, c)
	}
	return commits
}

// What an older version wrote is read by this one, as it was shown then. The
// files are never changed: a difference is a flow in use that this version gets
// wrong.
func TestHistoriesOfOlderVersions(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/histories/*/*.commits.jsonl")
	if err != nil || len(files) == 0 {
		t.Fatalf("no histories: %v", err)
	}
	snapshots := 0
	for _, file := range files {
		id := strings.TrimSuffix(filepath.Base(file), ".commits.jsonl")
		commits := stored(t, file)
		text, err := os.ReadFile(strings.TrimSuffix(file, ".commits.jsonl") + ".state.json")
		if err != nil {
			t.Fatal(err)
		}
		for i, c := range commits {
			state := flow.New(id, plan.Decode)
			if snap := c.GetSnapshot(); snap != nil {
				snapshots++
				if state, err = flow.Restore(id, snap, plan.Decode); err != nil {
					t.Fatalf("%s: restore from revision %d: %v", file, c.GetRevision(), err)
				}
			} else if i > 0 {
				continue
			}
			for _, next := range commits[i:] {
				if err := state.Replay(next); err != nil {
					t.Fatalf("%s: %v", file, err)
				}
			}
			for _, lost := range differences(t, text, state) {
				t.Errorf("%s, from revision %d: %s", file, c.GetRevision(), lost)
			}
		}
	}
	if snapshots == 0 {
		t.Error("no history holds a snapshot")
	}
}

// differences lists what a state does not show as the text does. What it shows
// beside is new.
func differences(t *testing.T, text []byte, state *flow.State) []string {
	t.Helper()
	shown, err := json.Marshal(view.FlowOf(state))
	if err != nil {
		t.Fatal(err)
	}
	return missing("", decode(t, text), decode(t, shown))
}

func decode(t *testing.T, text []byte) any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

func missing(path string, want, got any) []string {
	fields, isObject := want.(map[string]any)
	if !isObject {
		if w, g := fmt.Sprintf("%#v", want), fmt.Sprintf("%#v", got); w != g {
			return []string{fmt.Sprintf("%s is %s, it was %s", path, g, w)}
		}
		return nil
	}
	now, _ := got.(map[string]any)
	var out []string
	for name, value := range fields {
		out = append(out, missing(path+"/"+name, value, now[name])...)
	}
	return out
}

// The check of differences finds one.
func TestDifferencesAreFound(t *testing.T) {
	t.Parallel()
	want := map[string]any{"a": map[string]any{"b": json.Number("1.0"), "c": []any{"x"}}}
	for name, got := range map[string]any{
		"gone":          map[string]any{"a": map[string]any{"c": []any{"x"}}},
		"another value": map[string]any{"a": map[string]any{"b": json.Number("1"), "c": []any{"x"}}},
		"another list":  map[string]any{"a": map[string]any{"b": json.Number("1.0"), "c": []any{"x", "y"}}},
	} {
		if found := missing("", want, got); len(found) != 1 {
			t.Errorf("%s: found %v", name, found)
		}
	}
	more := map[string]any{"a": map[string]any{"b": json.Number("1.0"), "c": []any{"x"}, "d": nil}, "e": 1}
	if found := missing("", want, more); len(found) > 0 {
		t.Errorf("what is new is found: %v", found)
	}
}
