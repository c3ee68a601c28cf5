package proc_test

import (
	"os"
	"strings"
	"testing"

	"github.com/sluiceflow/sluice/bench/internal/proc"
)

func TestParseStatus(t *testing.T) {
	t.Parallel()
	const head = "Name:\tsluice\nState:\tS (sleeping)\nVmPeak:\t 1268344 kB\n"
	tests := []struct {
		name, text string
		want       proc.Memory
		err        string
	}{
		{
			name: "a process that runs",
			text: head + "VmHWM:\t   40960 kB\nVmRSS:\t   20480 kB\nRssAnon:\t   10000 kB\nThreads:\t9\n",
			want: proc.Memory{RSS: 20 << 20, Peak: 40 << 20},
		},
		{name: "one that has ended", text: "Name:\tsluice\nState:\tZ (zombie)\n", err: "no Vm"},
		{name: "half of it", text: head + "VmHWM:\t   40960 kB\n", err: "no VmRSS"},
		{name: "another unit", text: head + "VmHWM:\t   40 MB\nVmRSS:\t   20480 kB\n", err: "VmHWM"},
		{name: "no number", text: head + "VmHWM:\t   40960 kB\nVmRSS:\t   many kB\n", err: "VmRSS"},
		{name: "less than nothing", text: head + "VmHWM:\t   40960 kB\nVmRSS:\t   -1 kB\n", err: "VmRSS"},
		{name: "nothing", err: "no Vm"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := proc.ParseStatus(strings.NewReader(tt.text))
			if got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("got error %v, want %q", err, tt.err)
			}
		})
	}
}

func TestMemoryOf(t *testing.T) {
	t.Parallel()
	m, err := proc.MemoryOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if m.RSS < 1<<20 || m.Peak < m.RSS/2 {
		t.Errorf("got %+v, want some megabytes", m)
	}
	if _, err := proc.MemoryOf(-1); err == nil {
		t.Error("a process that is not there has memory")
	}
}
