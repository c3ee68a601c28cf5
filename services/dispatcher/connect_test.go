package dispatcher_test

import (
	"log/slog"
	"testing"

	"github.com/sluiceflow/sluice/services/internal/bus"
)

// connect makes a second connection to where b is connected.
func connect(t *testing.T, b *bus.Bus) *bus.Bus {
	t.Helper()
	made, err := bus.Connect(t.Context(), b.Config, "second", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(made.Close)
	return made
}
