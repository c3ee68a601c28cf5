// Package health says how the registered steps are, for people to see: by their
// health checks, and by work of theirs that succeeded. Nothing is refused because
// of what it says.
package health

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/sluiceflow/sluice/services/internal/endpoint"
)

const (
	// Limit is how long one check may take.
	Limit = 3 * time.Second
	// every is the time between two checks of a step.
	every = 30 * time.Second
	// look is how often new and changed steps are looked for.
	look = time.Second
	// atOnce bounds the checks that run together.
	atOnce = 16
)

// What a step's health can be.
const (
	Healthy   = "healthy"
	Unhealthy = "unhealthy"
	Unknown   = "unknown"
)

// Status is what is known of a step's health.
type Status struct {
	Status string `json:"status"`
	Error  string `json:"error,omitempty"`
}

type target struct {
	url     string
	checked time.Time
	running bool
	status  Status
}

// Poller asks each step's health check every 30 seconds.
type Poller struct {
	rules   endpoint.Rules
	client  *http.Client
	targets func() map[string]string // step id to URL
	slots   chan struct{}

	mu    sync.Mutex
	known map[string]*target
}

// NewPoller makes a poller of what targets returns: the URL for each step that
// has a health check. The rules for endpoints hold for these as well.
func NewPoller(rules endpoint.Rules, targets func() map[string]string) *Poller {
	return &Poller{
		rules: rules, client: endpoint.NewClient(rules, 1), targets: targets, slots: make(chan struct{}, atOnce), known: map[string]*target{},
	}
}

// Of returns what is known of a step. One without a check, or not asked yet, is
// unknown.
func (p *Poller) Of(stepID string) Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := p.known[stepID]; t != nil {
		return t.status
	}
	return Status{Status: Unknown}
}

// Run polls until ctx ends and waits for the checks that run.
func (p *Poller) Run(ctx context.Context) error {
	var checks sync.WaitGroup
	defer checks.Wait()
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for {
		for id, t := range p.due(time.Now()) {
			select {
			case p.slots <- struct{}{}:
			case <-ctx.Done():
				return nil
			}
			checks.Go(func() {
				defer func() { <-p.slots }()
				status := p.ask(ctx, t.url)
				p.settle(id, t, status)
			})
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// due takes in what is registered now, and returns what is to be asked.
func (p *Poller) due(now time.Time) map[string]*target {
	wanted := p.targets()
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, t := range p.known {
		if wanted[id] != t.url {
			delete(p.known, id)
		}
	}
	due := map[string]*target{}
	for id, at := range wanted {
		t := p.known[id]
		if t == nil {
			t = &target{url: at, status: Status{Status: Unknown}}
			p.known[id] = t
		}
		if !t.running && now.Sub(t.checked) >= every {
			t.running, t.checked = true, now
			due[id] = t
		}
	}
	return due
}

func (p *Poller) settle(id string, t *target, status Status) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known[id] == t {
		t.running, t.status = false, status
	}
}

func (p *Poller) ask(ctx context.Context, at string) Status {
	ctx, cancel := context.WithTimeout(ctx, Limit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, http.NoBody)
	if err != nil {
		return Status{Status: Unhealthy, Error: err.Error()}
	}
	if err := p.rules.CheckURL(req.URL); err != nil {
		return Status{Status: Unhealthy, Error: err.Error()}
	}
	req.Header.Set("User-Agent", "Sluice")
	resp, err := p.client.Do(req)
	if err != nil {
		return Status{Status: Unhealthy, Error: reason(err)}
	}
	defer resp.Body.Close()                       // only its status counts
	_, _ = io.CopyN(io.Discard, resp.Body, 4<<10) // read so that the connection can be used again
	if resp.StatusCode < http.StatusOK || resp.StatusCode >= http.StatusMultipleChoices {
		return Status{Status: Unhealthy, Error: fmt.Sprintf("answered %d", resp.StatusCode)}
	}
	return Status{Status: Healthy}
}

// reason leaves the URL out, which may hold a secret in its query.
func reason(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Sprintf("no answer within %s", Limit)
	}
	if ue, ok := errors.AsType[*url.Error](err); ok {
		return ue.Err.Error()
	}
	return err.Error()
}
