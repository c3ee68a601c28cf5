package durability

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// What Redis holds would count as open again while a server is replaced, and a
// second outcome of a token would get a 2xx.
func TestThePromiseStandsWhileAServerIsAway(t *testing.T) {
	t.Parallel()
	var body atomic.Pointer[string]
	monitor := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		_, _ = rw.Write([]byte(*body.Load()))
	}))
	defer monitor.Close()
	say := func(text string) { body.Store(&text) }
	target, err := url.Parse(monitor.URL)
	if err != nil {
		t.Fatal(err)
	}
	connected := "A"
	say("away")
	w, err := Watch(t.Context(), Options{
		Monitors: []*url.URL{target}, Replicas: func() int { return 1 }, Connected: func() string { return connected },
		Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	const synced, relaxed = `{"server_id":"A","config":{"sync_always":true}}`, `{"server_id":"B","config":{"sync_interval":1}}`
	for i, at := range []struct {
		says, connected string
		want            Promise
	}{
		{"away", "A", Fast}, {synced, "A", Synced}, {"away", "A", Synced}, {"away", "B", Synced}, {relaxed, "B", Fast}, {"away", "B", Fast},
	} {
		say(at.says)
		connected = at.connected
		w.look(context.WithoutCancel(t.Context()))
		if got := w.Now(); got.Promise != at.want {
			t.Errorf("look %d: %+v, want %s", i, got, at.want)
		}
	}
}
