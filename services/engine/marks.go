package engine

import (
	"context"
	"log/slog"

	"github.com/sluiceflow/sluice/pkg/token"
	"github.com/sluiceflow/sluice/services/internal/flow"
	"github.com/sluiceflow/sluice/services/internal/tokenindex"
)

const (
	// maxMarks bounds what waits for Redis: a Redis that hangs costs this much
	// memory and nothing else.
	maxMarks = 8192
	// marksAtOnce is how many go to Redis in one round trip.
	marksAtOnce = 256
)

// mark hands a commit's marks to the writer, and drops what it has no room for:
// Redis may make an answer fast, but nothing depends on it.
func (e *Engine) mark(marks []flow.Mark, sequence uint64) {
	if e.index == nil {
		return
	}
	ring := e.keys.Ring()
	for _, m := range marks {
		record := tokenindex.Mark{
			TokenHash: token.Hash(ring.Mint(m.Claims)),
			Digest:    m.Digest, Success: m.Success, Attempt: m.Attempt, Revision: sequence,
		}
		switch m.Kind {
		case flow.Closed:
			record.Kind = tokenindex.Closed
		case flow.Decided:
			record.Kind = tokenindex.Decided
		case flow.Superseded:
			record.Kind = tokenindex.Superseded
		}
		select {
		case e.marks <- record:
		default:
			e.metrics.marksDropped.Inc()
		}
	}
}

// runMarks writes to Redis until ctx ends.
func (e *Engine) runMarks(ctx context.Context) error {
	if e.index == nil {
		<-ctx.Done()
		return nil
	}
	failing := false
	for {
		var batch []tokenindex.Mark
		select {
		case <-ctx.Done():
			return nil
		case m := <-e.marks:
			batch = append(batch, m)
		}
		for len(batch) < marksAtOnce && len(e.marks) > 0 {
			batch = append(batch, <-e.marks)
		}
		err := e.index.Mark(ctx, batch)
		if err != nil {
			e.metrics.marksDropped.Add(float64(len(batch)))
		}
		if (err != nil) != failing && ctx.Err() == nil {
			failing = err != nil
			if failing {
				e.log.WarnContext(ctx, "Redis takes no marks of tokens: answers to repeats are slower", slog.Any("error", err))
			} else {
				e.log.InfoContext(ctx, "Redis takes marks of tokens again")
			}
		}
	}
}
