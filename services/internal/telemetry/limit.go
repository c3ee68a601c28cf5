package telemetry

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// limitBurst lines of one kind are logged as they come.
	limitBurst = 10
	// limitEvery is how often one more is, while they go on.
	limitEvery = time.Second
	// keyOmitted is the attribute that says how many lines of its kind were left
	// out before a line.
	keyOmitted = "omitted"
)

// limited is a handler that keeps a fault which concerns each request, or each
// flow, from filling the log: warnings and errors of one kind are left out while
// they come faster than [limitEvery], after the first [limitBurst]. The next one
// that is logged says how many were.
type limited struct {
	slog.Handler

	kinds *kinds
}

// kinds are shared by a handler and those that were made of it.
type kinds struct {
	mu sync.Mutex
	of map[kind]*stream
}

// A kind of lines is one place in the code. That of failed requests is many, so
// that no common failure hides a rare one. All of these are few.
type kind struct {
	pc            uintptr
	route, status string
}

// stream is what came of one kind.
type stream struct {
	limit   *rate.Limiter
	omitted int
}

func limit(h slog.Handler) slog.Handler {
	return &limited{h, &kinds{of: map[kind]*stream{}}}
}

// Handle logs the record, or leaves it out.
func (l *limited) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelWarn {
		omitted, ok := l.kinds.take(kindOf(r), r.Time)
		if !ok {
			return nil
		}
		if omitted > 0 {
			r = r.Clone()
			r.AddAttrs(slog.Int(keyOmitted, omitted))
		}
	}
	return l.Handler.Handle(ctx, r) //nolint:wrapcheck // it is that handler's
}

// WithAttrs is that of [slog.Handler].
func (l *limited) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &limited{l.Handler.WithAttrs(attrs), l.kinds}
}

// WithGroup is that of [slog.Handler].
func (l *limited) WithGroup(name string) slog.Handler {
	if name == "" {
		return l
	}
	return &limited{l.Handler.WithGroup(name), l.kinds}
}

func kindOf(r slog.Record) kind {
	k := kind{pc: r.PC}
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "route":
			k.route = a.Value.String()
		case "status":
			k.status = a.Value.String()
		}
		return true
	})
	return k
}

// take reports whether one more line of a kind may be logged, and how many were
// left out before it.
func (ks *kinds) take(k kind, at time.Time) (omitted int, ok bool) {
	ks.mu.Lock()
	defer ks.mu.Unlock()
	s := ks.of[k]
	if s == nil {
		s = &stream{limit: rate.NewLimiter(rate.Every(limitEvery), limitBurst)}
		ks.of[k] = s
	}
	if !s.limit.AllowN(at, 1) {
		s.omitted++
		return 0, false
	}
	omitted, s.omitted = s.omitted, 0
	return omitted, true
}
