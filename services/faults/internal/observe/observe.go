// Package observe looks at an installation from the outside, through the control
// API alone, and judges it once the load has ended.
package observe

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/services/faults/internal/invariant"
	"github.com/sluiceflow/sluice/services/faults/internal/ledger"
)

const (
	readers    = 8 // requests at once
	askEvery   = 100 * time.Millisecond
	readBound  = 10 * time.Second
	readTries  = 5
	judgeEvery = 250 * time.Millisecond
)

// Observer reads flows.
type Observer struct {
	api *client.Client
}

// New makes an observer of the console at a base URL.
func New(console string) (*Observer, error) {
	api, err := client.New(console, client.Options{HTTP: &http.Client{Timeout: readBound}})
	if err != nil {
		return nil, fmt.Errorf("make a client of the console: %w", err)
	}
	return &Observer{api: api}, nil
}

// Started lists the flows that may have been started, and those that were only
// named by who forged a token: they must not be there.
func Started(b ledger.Book) []string {
	all := map[string]bool{}
	for _, s := range b.Starts {
		all[s.Flow] = true
	}
	for _, p := range b.Posts {
		all[p.Flow] = true
	}
	out := make([]string, 0, len(all))
	for id := range all {
		out = append(out, id)
	}
	slices.Sort(out)
	return out
}

// Await waits until all flows have ended, or are not there. It returns those that
// had not when ctx ended.
func (o *Observer) Await(ctx context.Context, flows []string) []string {
	for {
		var mu sync.Mutex
		var open []string
		each(flows, func(id string) {
			digest, err := o.api.FlowStatus(ctx, id)
			if client.StatusOf(err) == http.StatusNotFound || (err == nil && digest.Status.Ended()) {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			open = append(open, id)
		})
		if flows = open; len(flows) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return flows
		case <-time.After(askEvery):
		}
	}
}

// Judge reads all flows and checks the invariants. What is broken is looked at
// again until ctx ends: what a 2xx was given for may be recorded a moment later,
// and so may the calls come that follow from an end.
func (o *Observer) Judge(ctx context.Context, book *ledger.Ledger, e invariant.Evidence) ([]invariant.Violation, map[string]invariant.History, error) {
	e.Flows = map[string]invariant.History{}
	look := Started(book.Book())
	for {
		if err := o.read(ctx, look, e.Flows); err != nil {
			return nil, nil, err
		}
		e.Book = book.Book()
		found := invariant.Check(e)
		look = look[:0]
		for _, v := range found {
			look = append(look, v.Flow)
		}
		slices.Sort(look)
		look = slices.Compact(look)
		if len(look) == 0 {
			return nil, e.Flows, nil
		}
		select {
		case <-ctx.Done():
			return found, e.Flows, nil
		case <-time.After(judgeEvery):
		}
	}
}

// read reads flows into a map, and the children of them that are not there yet, and
// theirs.
func (o *Observer) read(ctx context.Context, flows []string, into map[string]invariant.History) error {
	for len(flows) > 0 {
		if err := o.look(ctx, flows, into); err != nil {
			return err
		}
		var children []string
		for _, id := range flows {
			for _, child := range invariant.Children(into[id]) {
				if _, known := into[child]; !known {
					children = append(children, child)
				}
			}
		}
		flows = children
	}
	return nil
}

// look reads flows into a map. It needs no longer than one look takes.
func (o *Observer) look(ctx context.Context, flows []string, into map[string]invariant.History) error {
	var mu sync.Mutex
	var failed error
	each(flows, func(id string) {
		var h invariant.History
		var err error
		for range readTries { // a console that could not read in time says so
			if h, err = o.history(context.WithoutCancel(ctx), id); client.StatusOf(err) != http.StatusServiceUnavailable {
				break
			}
		}
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			failed = err
			return
		}
		into[id] = h
	})
	return failed
}

// history reads one flow; its client bounds how long that takes.
func (o *Observer) history(ctx context.Context, id string) (invariant.History, error) {
	events, err := o.api.FlowEvents(ctx, id)
	if client.StatusOf(err) == http.StatusNotFound {
		return invariant.History{}, nil
	}
	if err != nil {
		return invariant.History{}, fmt.Errorf("read the events of flow %s: %w", id, err)
	}
	state, err := o.api.Flow(ctx, id)
	if err != nil {
		return invariant.History{}, fmt.Errorf("read the state of flow %s: %w", id, err)
	}
	return invariant.History{Known: true, Events: events, State: state}, nil
}

// LongestPause is the longest time between two flows that completed one after
// the other, or between one and an end of the time that is looked at.
func LongestPause(flows map[string]invariant.History, from, to time.Time) time.Duration {
	ends := []time.Time{from, to}
	for _, h := range flows {
		if at := h.State.CompletedAt; at.After(from) && at.Before(to) {
			ends = append(ends, at)
		}
	}
	slices.SortFunc(ends, time.Time.Compare)
	var longest time.Duration
	for i := 1; i < len(ends); i++ {
		longest = max(longest, ends[i].Sub(ends[i-1]))
	}
	return longest
}

// each does something for each of the flows, several at once.
func each(flows []string, do func(id string)) {
	next := make(chan string)
	var all sync.WaitGroup
	for range readers {
		all.Go(func() {
			for id := range next {
				do(id)
			}
		})
	}
	for _, id := range flows {
		next <- id
	}
	close(next)
	all.Wait()
}
