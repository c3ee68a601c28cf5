package world

import (
	"context"
	"time"

	"github.com/sluiceflow/sluice/services/internal/proc"
)

// Kill ends a process at once.
func (w *World) Kill(name string) { w.units[name].now.Kill() }

// Restart starts a process anew, on what the one before it left. It does not wait.
func (w *World) Restart(ctx context.Context, name string) error {
	u := w.units[name]
	p, err := proc.Start(ctx, u.spec)
	if err != nil {
		return err //nolint:wrapcheck // it says all
	}
	u.now = p
	return nil
}

// Await waits until a process can do its work.
func (w *World) Await(ctx context.Context, name string) error {
	u := w.units[name]
	return u.ready(ctx, u.now)
}

// Stop asks a process to end, and says how long that took.
func (w *World) Stop(ctx context.Context, name string) (time.Duration, error) {
	return w.units[name].now.Stop(ctx) //nolint:wrapcheck // it says all
}

// Pause stops a process where it is.
func (w *World) Pause(name string) error { return w.units[name].now.Pause() } //nolint:wrapcheck // it says all

// Continue lets a paused process go on.
func (w *World) Continue(name string) error { return w.units[name].now.Continue() } //nolint:wrapcheck // it says all

// Names are those of the processes of a role.
func (w *World) Names(role string) []string {
	var out []string
	for _, name := range w.order {
		if len(name) > len(role) && name[:len(role)+1] == role+"-" {
			out = append(out, name)
		}
	}
	return out
}
