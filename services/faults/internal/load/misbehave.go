package load

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/pkg/step"
)

// A Bad endpoint is one that does not behave.
type Bad struct {
	Step string
	// Attempts that its work item has: one where the answer is final.
	Attempts uint32
	// Reached says that its calls arrive.
	Reached bool

	endpoint string
	serve    http.HandlerFunc
}

// badRetries is how often a call to a bad endpoint is tried again.
const badRetries = 2

const (
	badTimeout = 500 * time.Millisecond
	drip       = 20 * time.Millisecond
	hugeBody   = 1 << 30
)

// BadEndpoints are those that the load has steps for.
func BadEndpoints() []Bad {
	return []Bad{
		{Step: "hangs", Attempts: badRetries + 1, Reached: true, serve: hang},
		{Step: "answers-500", Attempts: badRetries + 1, Reached: true, serve: status(http.StatusInternalServerError)},
		{Step: "redirects", Attempts: 1, Reached: true, serve: redirect},
		{Step: "drips", Attempts: badRetries + 1, Reached: true, serve: dripping},
		{Step: "sends-1-gb", Attempts: 1, Reached: true, serve: huge},
		{Step: "closes-mid-body", Attempts: badRetries + 1, Reached: true, serve: closing},
		{Step: "closed-port", Attempts: badRetries + 1, endpoint: "http://127.0.0.1:1/work"},
		{Step: "no-such-name", Attempts: badRetries + 1, endpoint: "http://no-such-name.invalid/work"},
	}
}

// misbehaving adds the endpoints that do not behave.
func (l *Load) misbehaving(mux *http.ServeMux) {
	for _, bad := range BadEndpoints() {
		if !bad.Reached {
			continue
		}
		mux.HandleFunc("POST /"+bad.Step, func(rw http.ResponseWriter, r *http.Request) {
			if _, ok := l.called(rw, r); ok {
				bad.serve(rw, r)
			}
		})
	}
}

// Misbehave registers the steps of bad endpoints, and starts n flows of each.
// It returns the flows by the steps.
func (l *Load) Misbehave(ctx context.Context, n int) (map[string][]string, error) {
	flows := map[string][]string{}
	for _, bad := range BadEndpoints() {
		d := l.step(bad.Step, step.KindSync, "order")
		d.HTTP.Endpoint, d.HTTP.Timeout = l.endpoint+"/"+bad.Step, badTimeout.Milliseconds()
		if !bad.Reached {
			d.HTTP.Endpoint = bad.endpoint
		}
		d.WorkConfig.MaxRetries = badRetries
		if _, err := l.console().RegisterStep(ctx, d); err != nil {
			return nil, fmt.Errorf("register step %s: %w", d.ID, err)
		}
		for i := range n {
			id := fmt.Sprintf("%s-%d", bad.Step, i)
			flows[bad.Step] = append(flows[bad.Step], id)
			l.start(ctx, client.StartRequest{ID: id, Goals: []string{bad.Step}, Init: map[string]any{"order": id}})
		}
	}
	return flows, nil
}

func status(code int) http.HandlerFunc {
	return func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(code) }
}

func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func redirect(rw http.ResponseWriter, r *http.Request) {
	http.Redirect(rw, r, "/work", http.StatusTemporaryRedirect)
}

// dripping sends a byte at a time, and never what would end it.
func dripping(rw http.ResponseWriter, r *http.Request) {
	flush := http.NewResponseController(rw)
	for {
		if _, err := rw.Write([]byte(" ")); err != nil || flush.Flush() != nil || !pause(r.Context(), drip) {
			return
		}
	}
}

func huge(rw http.ResponseWriter, _ *http.Request) {
	chunk := []byte(strings.Repeat(" ", 1<<20))
	for range hugeBody / len(chunk) {
		if _, err := rw.Write(chunk); err != nil {
			return
		}
	}
}

// closing promises more than it sends.
func closing(rw http.ResponseWriter, _ *http.Request) {
	rw.Header().Set("Content-Length", "100")
	_, _ = rw.Write([]byte(`{"success":true`))
	panic(http.ErrAbortHandler)
}
