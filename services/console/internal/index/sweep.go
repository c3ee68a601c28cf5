package index

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"time"
)

const (
	sweepPage  = 200
	sweepPause = 500 * time.Millisecond // between pages of the walk over everything
	// oldestEvery is how often the flows that ended first are looked at:
	// retention takes them in that order.
	oldestEvery = 30 * time.Second
	// walkEvery is how many looks at the oldest come between two walks.
	walkEvery = 120
	// settled is how old an ending must be for its absence to mean something: a
	// replica may not have it yet.
	settled = time.Minute
)

// A Sweeper drops the rows of flows whose history is gone. The commit that says
// so goes with the history, so that a follower that was away never sees it.
type Sweeper struct {
	Index *Index
	// Exists reports whether the commit at that place is still stored.
	Exists func(ctx context.Context, shard int, sequence uint64) (bool, error)
	Log    *slog.Logger
}

// Run sweeps until ctx ends.
func (s *Sweeper) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		s.report(ctx, s.walk(ctx))
		for i := 0; i < walkEvery && wait(ctx, oldestEvery); i++ {
			s.report(ctx, s.oldest(ctx))
		}
	}
	return nil
}

func (s *Sweeper) report(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil {
		s.Log.WarnContext(ctx, "index not swept", slog.Any("error", err))
	}
}

// walk looks at every row, at a bounded rate.
func (s *Sweeper) walk(ctx context.Context) error {
	after := ""
	for {
		rows, err := s.Index.candidates(ctx,
			"SELECT id, shard, sequence FROM flows WHERE id > ? AND max(created, completed) < ? ORDER BY id LIMIT ?",
			after, time.Now().Add(-settled).UnixNano(), sweepPage)
		if err != nil || len(rows) == 0 {
			return err
		}
		if _, err := s.drop(ctx, rows); err != nil {
			return err
		}
		after = rows[len(rows)-1].id
		if !wait(ctx, sweepPause) {
			return nil
		}
	}
}

// oldest looks at the flows that ended first, until it finds a page that is all
// there.
func (s *Sweeper) oldest(ctx context.Context) error {
	for {
		rows, err := s.Index.candidates(ctx,
			"SELECT id, shard, sequence FROM flows WHERE completed > 0 AND completed < ? ORDER BY completed LIMIT ?",
			time.Now().Add(-settled).UnixNano(), sweepPage)
		if err != nil {
			return err
		}
		gone, err := s.drop(ctx, rows)
		if err != nil || gone == 0 {
			return err
		}
	}
}

func (s *Sweeper) drop(ctx context.Context, rows []candidate) (gone int, err error) {
	for _, c := range rows {
		there, err := s.Exists(ctx, c.shard, c.sequence)
		if err != nil {
			return gone, err
		}
		if there {
			continue
		}
		if err := s.Index.removeAt(ctx, c.id, c.sequence); err != nil {
			return gone, err
		}
		gone++
	}
	return gone, nil
}

type candidate struct {
	id       string
	shard    int
	sequence uint64
}

func (x *Index) candidates(ctx context.Context, statement string, args ...any) ([]candidate, error) {
	rows, err := x.read.QueryContext(ctx, statement, args...)
	if err != nil {
		return nil, fmt.Errorf("look for flows that are gone: %w", err)
	}
	defer rows.Close() // Err tells what went wrong
	var list []candidate
	for rows.Next() {
		var c candidate
		var sequence int64
		if err := rows.Scan(&c.id, &c.shard, &sequence); err != nil {
			return nil, fmt.Errorf("look for flows that are gone: %w", err)
		}
		c.sequence = uint64(sequence) //nolint:gosec // it was written from one
		list = append(list, c)
	}
	return list, rows.Err()
}

// Remove drops a flow's row now, without waiting for the commit that says so.
func (x *Index) Remove(ctx context.Context, id string) error {
	return x.inTx(ctx, func(w *writer) { w.remove(id) })
}

// removeAt drops the row unless a newer commit has changed it since.
func (x *Index) removeAt(ctx context.Context, id string, sequence uint64) error {
	return x.inTx(ctx, func(w *writer) {
		var now int64
		if w.tx.QueryRowContext(ctx, "SELECT sequence FROM flows WHERE id = ?", id).Scan(&now) == nil &&
			uint64(now) == sequence { //nolint:gosec // it was written from one
			w.remove(id)
		}
	})
}

func (x *Index) inTx(ctx context.Context, do func(w *writer)) error {
	tx, err := x.write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("write the index: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // after a commit there is nothing to take back
	w := writer{ctx: ctx, tx: tx, prepared: map[string]*sql.Stmt{}}
	if do(&w); w.err != nil {
		return fmt.Errorf("write the index: %w", w.err)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("write the index: %w", err)
	}
	return nil
}

// wait reports whether d passed before ctx ended.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
