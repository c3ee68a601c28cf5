package fault_test

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/sluiceflow/sluice/services/internal/fault"
)

func TestKindOf(t *testing.T) {
	t.Parallel()
	down := fault.New(fault.Unavailable, "bus.Publish", io.EOF)
	for name, tt := range map[string]struct {
		err  error
		want fault.Kind
	}{
		"nil":         {nil, ""},
		"plain":       {io.EOF, fault.Internal},
		"direct":      {down, fault.Unavailable},
		"wrapped":     {fmt.Errorf("start flow: %w", down), fault.Unavailable},
		"outer first": {fault.New(fault.Invalid, "api.Start", down), fault.Invalid},
		"formatted":   {fault.Newf(fault.NotFound, "plan.Build", "step %q", "a"), fault.NotFound},
	} {
		if got := fault.KindOf(tt.err); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
	if !errors.Is(down, io.EOF) {
		t.Error("the cause is lost")
	}
	if got := down.Error(); got != "bus.Publish: EOF" {
		t.Errorf("text %q", got)
	}
}
