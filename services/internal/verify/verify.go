// Package verify walks a whole store and says what is wrong with it.
//
// It may run beside everything else. What seems wrong is looked at again before
// it is reported: a flow that advances meanwhile, or one whose history is being
// purged, is no finding.
package verify

import (
	"context"
	"fmt"
	"time"

	"github.com/sluiceflow/sluice/pkg/token"
	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/flow"
	"github.com/sluiceflow/sluice/services/internal/journal"
	"github.com/sluiceflow/sluice/services/internal/plan"
	"github.com/sluiceflow/sluice/services/internal/tokenindex"
	"github.com/sluiceflow/sluice/services/internal/verify/check"
)

const (
	plansKept        = 1024
	defaultPassBytes = 128 << 20
	defaultSettle    = 3 * time.Second
)

// Options say what is looked at. Bus and Report must be set.
type Options struct {
	Bus *bus.Bus
	// Index is the token index, and Mint makes tokens; where they are nil, what
	// Redis remembers of accepted outcomes is not looked at.
	Index *tokenindex.Index
	Mint  func(token.Claims) string
	// Report gets each finding. An error of it ends the walk.
	Report func(check.Finding) error
	// Progress is told now and then how far the walk is; nil for nobody.
	Progress func(Progress)

	// PassBytes bounds the memory: histories of more bytes are read in several
	// passes, each for some of the flows. 0 means 128 MiB.
	PassBytes int64
	// Settle is how long what may be on its way is given before it is looked at
	// again. 0 means 3 s.
	Settle time.Duration
}

// Progress says how far a walk is.
type Progress struct {
	Stream       string
	Pass, Passes int
	Sequence     uint64 // that was read last
	Last         uint64 // of the stream when the pass began
	Summary      Summary
}

// Summary counts what a walk saw.
type Summary struct {
	Flows       int `json:"flows"`
	Commits     int `json:"commits"`
	Commands    int `json:"commands"`
	Timers      int `json:"timers"`
	Invocations int `json:"invocations"`
	Tokens      int `json:"tokens"` // looked up in Redis
	Findings    int `json:"findings"`
}

// walk is one look at a store.
type walk struct {
	Options

	journal *journal.Journal
	plans   flow.Plans
	summary Summary
	// suspects wait for a second look.
	suspects []suspect
}

// Run walks the store. Its error says why it could not look at everything; what
// it found until then is reported all the same.
func Run(ctx context.Context, o Options) (Summary, error) {
	if o.PassBytes == 0 {
		o.PassBytes = defaultPassBytes
	}
	if o.Settle == 0 {
		o.Settle = defaultSettle
	}
	plans := plan.NewCache(plansKept).Decode
	w := &walk{Options: o, plans: plans, journal: journal.New(o.Bus, plans)}
	for _, part := range []func(context.Context) error{
		w.Bus.Expect, w.lookAtStreams, w.lookAtFlows, w.lookAtInvocations, w.lookAtTimers, w.lookAtCommands,
		w.lookAgain,
	} {
		if err := part(ctx); err != nil {
			return w.summary, fmt.Errorf("look at the store: %w", err)
		}
	}
	return w.summary, nil
}

func (w *walk) report(f check.Finding) error {
	w.summary.Findings++
	return w.Report(f)
}

func (w *walk) progress(p Progress) {
	if w.Progress != nil {
		p.Summary = w.summary
		w.Progress(p)
	}
}
