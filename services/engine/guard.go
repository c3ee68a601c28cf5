package engine

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"

	"github.com/sluiceflow/sluice/services/internal/dead"
)

// guarded does one part of a job's work. A panic in it is the affair of the
// job's commands: an engine that it ended would meet them again, and end again.
func (p *partition) guarded(ctx context.Context, j *job, what string, do func()) {
	defer func() {
		if r := recover(); r != nil {
			j.err = dead.Poisoned(dead.Panic, "%s panics: %v", what, r)
			p.e.log.ErrorContext(ctx, "the work on a flow panics", slog.String("flow_id", j.flowID), slog.String("what", what),
				slog.Any("panic", r), slog.String("stack", string(debug.Stack())))
		}
	}()
	do()
}

// condemned handles a job whose work panicked, and reports false for another.
// Its commands go round again one by one; one that is alone is a dead letter.
func (p *partition) condemned(ctx context.Context, j *job) bool {
	poison, ok := errors.AsType[*dead.Poison](j.err)
	if !ok {
		return false
	}
	p.drop(j)
	j.pending = append(j.folding, j.pending...)
	if j.singly || len(j.pending) == 1 {
		p.bury(ctx, j.pending[0].msg, poison)
		j.pending = j.pending[1:]
	}
	j.folding, j.singly = nil, true
	return true
}
