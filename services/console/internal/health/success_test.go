package health_test

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/console/internal/health"
)

func commit(tb testing.TB, events ...*sluicev1.Event) []byte {
	tb.Helper()
	data, err := proto.Marshal(&sluicev1.Commit{
		FlowId: "f", Revision: 2, TimeNs: 1, Cause: []*sluicev1.FoldedCommand{{Sequence: 7, TimeNs: 1}},
		PreviousChecksum: make([]byte, 16), Events: events, Values: [][]byte{[]byte(`"value"`)},
	})
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

func event(stepID string, e *sluicev1.Event) *sluicev1.Event {
	e.StepId, e.Item, e.Token, e.Attempt = stepID, new(uint32(0)), "12345678", 1
	return e
}

func succeeded(stepID string, memoized bool) *sluicev1.Event {
	return event(stepID, &sluicev1.Event{Kind: &sluicev1.Event_WorkSucceeded{WorkSucceeded: &sluicev1.WorkSucceeded{
		Outputs: map[string]uint32{"x": 1}, Digest: make([]byte, 32), Memoized: memoized,
	}}})
}

func failed(stepID string) *sluicev1.Event {
	return event(stepID, &sluicev1.Event{Kind: &sluicev1.Event_WorkFailed{WorkFailed: &sluicev1.WorkFailed{Error: "no"}}})
}

func TestSuccessesCountForAMinute(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s := health.NewSuccesses()
	s.Take(commit(t, failed("ill"), succeeded("well", false), failed("other"), succeeded("cached", true)), now, now)
	s.Take([]byte("\x3a\xff\xff"), now, now) // no commit
	s.Take(commit(t, succeeded("old", false)), now.Add(-time.Minute), now)
	s.Take(commit(t, succeeded("ahead", false)), now.Add(time.Hour), now)
	for _, tt := range []struct {
		step  string
		after time.Duration
		want  bool
	}{
		{"well", 0, true},
		{"well", time.Minute - 1, true},
		{"well", time.Minute, false},
		{"ahead", time.Minute - 1, true},
		{"ahead", time.Minute, false},
		{"ill", 0, false},
		{"other", 0, false},
		{"cached", 0, false},
		{"old", 0, false},
		{"never", 0, false},
	} {
		if got := s.Recent(tt.step, now.Add(tt.after)); got != tt.want {
			t.Errorf("%s counts %s later: %v, want %v", tt.step, tt.after, got, tt.want)
		}
	}
	later := now.Add(30 * time.Second)
	s.Take(commit(t, succeeded("well", false)), later, later)
	if !s.Recent("well", now.Add(time.Minute+29*time.Second)) {
		t.Error("the next success does not count for a minute of its own")
	}
}

// What every commit of the installation costs the console, beside decoding it.
func BenchmarkSuccesses(b *testing.B) {
	data := commit(b, succeeded("a", false), failed("b"), failed("c"), failed("d"))
	now := time.Now()
	b.Run("take", func(b *testing.B) {
		s := health.NewSuccesses()
		b.ReportAllocs()
		for b.Loop() {
			s.Take(data, now, now)
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := proto.Unmarshal(data, &sluicev1.Commit{}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
