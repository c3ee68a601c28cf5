package health_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluiceflow/sluice/services/console/internal/health"
	"github.com/sluiceflow/sluice/services/internal/endpoint"
	"github.com/sluiceflow/sluice/services/internal/testkit"
)

// soon is long: where a first check is late, the next comes after 30 s.
const soon = 45 * time.Second

func start(t *testing.T, rules endpoint.Rules, targets func() map[string]string) *health.Poller {
	t.Helper()
	p := health.NewPoller(rules, targets)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return p
}

func TestPoller(t *testing.T) {
	t.Parallel()
	worker := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/well":
		case "/elsewhere":
			http.Redirect(w, r, "/well", http.StatusFound)
		case "/slow":
			<-r.Context().Done()
		default:
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	t.Cleanup(worker.Close)
	p := start(t, endpoint.Rules{AllowPrivate: true}, func() map[string]string {
		return map[string]string{
			"well": worker.URL + "/well", "ill": worker.URL + "/ill", "elsewhere": worker.URL + "/elsewhere",
			"slow": worker.URL + "/slow", "metadata": "http://169.254.169.254/latest", "gone": "http://127.0.0.1:1/",
		}
	})
	for id, want := range map[string]health.Status{
		"well":      {Status: health.Healthy},
		"ill":       {Status: health.Unhealthy, Error: "answered 500"},
		"elsewhere": {Status: health.Unhealthy, Error: "answered 302"},
		"slow":      {Status: health.Unhealthy, Error: "no answer within 3s"},
	} {
		testkit.Eventually(t, soon, func() bool { return p.Of(id) == want })
	}
	testkit.Eventually(t, soon, func() bool {
		return strings.Contains(p.Of("metadata").Error, "169.254.169.254 is reserved")
	})
	testkit.Eventually(t, soon, func() bool { return p.Of("gone").Status == health.Unhealthy })
	if got := p.Of("no such step"); got != (health.Status{Status: health.Unknown}) {
		t.Errorf("a step without a check is %+v", got)
	}
}

func TestPollerFollowsTheDefinition(t *testing.T) {
	t.Parallel()
	worker := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/old" {
			w.WriteHeader(http.StatusTeapot)
		}
	}))
	t.Cleanup(worker.Close)
	var path atomic.Pointer[string]
	set := func(next string) { path.Store(&next) }
	set("/old")
	p := start(t, endpoint.Rules{AllowPrivate: true}, func() map[string]string {
		if *path.Load() == "" {
			return nil
		}
		return map[string]string{"s": worker.URL + *path.Load()}
	})
	for _, next := range []struct{ path, status string }{
		{"/old", health.Unhealthy}, {"/new", health.Healthy}, {"", health.Unknown},
	} {
		set(next.path)
		testkit.Eventually(t, soon, func() bool { return p.Of("s").Status == next.status })
	}
}

func TestTheRulesForEndpointsHold(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	worker := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	t.Cleanup(worker.Close)
	for want, rules := range map[string]endpoint.Rules{
		"is private":              {},
		"not in ENDPOINT_ALLOW_H": {AllowPrivate: true, AllowHosts: []string{"worker.example"}},
	} {
		p := start(t, rules, func() map[string]string { return map[string]string{"s": worker.URL} })
		testkit.Eventually(t, soon, func() bool { return p.Of("s").Status == health.Unhealthy })
		if got := p.Of("s").Error; !strings.Contains(got, want) {
			t.Errorf("it says %q, want %q", got, want)
		}
	}
	if asked.Load() != 0 {
		t.Error("an address that is not allowed was asked")
	}
}
