package waiting_test

import (
	"strings"
	"testing"

	"github.com/sluiceflow/sluice/bench/internal/proc"
	"github.com/sluiceflow/sluice/bench/internal/waiting"
)

func TestResultErr(t *testing.T) {
	t.Parallel()
	held := func(peak int64) map[string]proc.Memory {
		return map[string]proc.Memory{"engine": {RSS: 1 << 20, Peak: peak}, "console": {Peak: 1 << 40}}
	}
	const most = waiting.MaxEngineRSS
	tests := []struct {
		name   string
		result waiting.Result
		want   []string
	}{
		{name: "all well", result: waiting.Result{Waiting: held(most - 1), After: held(most - 1)}},
		{name: "too much before the kill", result: waiting.Result{Waiting: held(most), After: held(1)}, want: []string{"256 MiB"}},
		{name: "too much after it", result: waiting.Result{Waiting: held(1), After: held(300 << 20)}, want: []string{"300 MiB"}},
		{
			name:   "flows lost",
			result: waiting.Result{Waiting: held(1), After: held(most), Lost: []string{"flow a", "flow b"}},
			want:   []string{"flow a; flow b", "256 MiB"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := tt.result.Err()
			if (err == nil) != (tt.want == nil) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, want it to say %q", err, want)
				}
			}
		})
	}
}
