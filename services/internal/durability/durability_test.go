package durability_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/sluiceflow/sluice/services/internal/durability"
	"github.com/sluiceflow/sluice/services/internal/proc"
	"github.com/sluiceflow/sluice/services/internal/testkit"
)

const soon = 30 * time.Second

// natsServer starts a NATS server with a monitoring endpoint, and returns that
// too.
func natsServer(t *testing.T, set func(*server.Options)) (srv *server.Server, monitor string) {
	t.Helper()
	opts := &server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, HTTPHost: "127.0.0.1", HTTPPort: server.RANDOM_PORT,
		NoLog: true, NoSigs: true, JetStream: true, StoreDir: t.TempDir(), SyncInterval: time.Minute,
	}
	set(opts)
	srv, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	if !srv.ReadyForConnections(soon) {
		t.Fatal("the NATS server is not ready")
	}
	return srv, "http://" + srv.MonitorAddr().String()
}

func relaxed(*server.Options)        {}
func syncAlways(opt *server.Options) { opt.SyncAlways = true }

// watch is a watcher of the endpoints in the list.
func watch(t *testing.T, monitors string, replicas int, connected func() string) (w *durability.Watcher, metrics *prometheus.Registry) {
	t.Helper()
	list, err := durability.ParseMonitors(monitors)
	if err != nil {
		t.Fatal(err)
	}
	metrics = prometheus.NewRegistry()
	w, err = durability.Watch(t.Context(), durability.Options{
		Monitors: list, Replicas: func() int { return replicas }, Connected: connected,
		Log: slog.New(slog.DiscardHandler), Metrics: metrics,
	})
	if err != nil {
		t.Fatal(err)
	}
	return w, metrics
}

func TestThePromiseOfOneServer(t *testing.T) {
	t.Parallel()
	synced, syncedURL := natsServer(t, syncAlways)
	_, relaxedURL := natsServer(t, relaxed)
	_, offURL := natsServer(t, func(o *server.Options) { o.JetStream = false })
	hanging := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	t.Cleanup(hanging.Close)
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"hello":1}`)) }))
	t.Cleanup(other.Close)
	for name, tt := range map[string]struct {
		monitors  string
		connected string
		want      durability.Promise
		detail    string
	}{
		"synced":              {monitors: syncedURL, connected: synced.ID(), want: durability.Synced, detail: "survives a power cut"},
		"relaxed":             {monitors: relaxedURL, want: durability.Fast, detail: "every 1m0s"},
		"the weakest counts":  {monitors: syncedURL + "," + relaxedURL, connected: synced.ID(), want: durability.Fast, detail: "every 1m0s"},
		"not set":             {monitors: "", want: durability.Fast, detail: "NATS_MONITOR_URL is not set"},
		"nobody there":        {monitors: "http://127.0.0.1:1", want: durability.Fast, detail: "127.0.0.1:1: "},
		"no answer":           {monitors: hanging.URL, want: durability.Fast, detail: "deadline"},
		"another service":     {monitors: other.URL, want: durability.Fast, detail: "not a NATS server"},
		"without JetStream":   {monitors: offURL, want: durability.Fast, detail: "JetStream is off"},
		"of another server":   {monitors: syncedURL, connected: "SOMEBODY", want: durability.Fast, detail: "other servers than the one that is connected to"},
		"one does not answer": {monitors: syncedURL + ",http://127.0.0.1:1", connected: synced.ID(), want: durability.Fast, detail: "127.0.0.1:1: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var metrics *prometheus.Registry
			testkit.Eventually(t, soon, func() error { // one that is busy is not known for that moment
				var w *durability.Watcher
				w, metrics = watch(t, tt.monitors, 1, func() string { return tt.connected })
				got := w.Now()
				if got.Promise != tt.want || got.Synced != (tt.want == durability.Synced) || !strings.Contains(got.Detail, tt.detail) {
					return fmt.Errorf("got %+v, want %s with %q", got, tt.want, tt.detail)
				}
				return nil
			})
			if err := testutil.GatherAndCompare(metrics, strings.NewReader(`
				# HELP sluice_durability 1 for what is promised of an acknowledged write: synced, replicated or fast.
				# TYPE sluice_durability gauge
				sluice_durability{promise="`+string(tt.want)+`"} 1
				`+others(tt.want))); err != nil {
				t.Error(err)
			}
		})
	}
}

func others(than durability.Promise) string {
	var text strings.Builder
	for _, p := range durability.Promises() {
		if p != than {
			text.WriteString("sluice_durability{promise=\"" + string(p) + "\"} 0\n")
		}
	}
	return text.String()
}

// routes are addresses of so many servers of one cluster.
func routes(t *testing.T, n int) []*url.URL {
	t.Helper()
	var all []*url.URL
	for range n {
		addr, err := proc.FreeAddr(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, &url.URL{Scheme: "nats", Host: addr})
	}
	return all
}

func portOf(t *testing.T, route *url.URL) int {
	t.Helper()
	port, err := strconv.Atoi(route.Port())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// sizeOf is how many servers srv counts in its cluster at the moment.
func sizeOf(t *testing.T, srv *server.Server) int {
	t.Helper()
	jsz, err := srv.Jsz(nil)
	if err != nil {
		t.Fatal(err)
	}
	if jsz.Meta == nil {
		return 0
	}
	return jsz.Meta.Size
}

func TestThePromiseOfACluster(t *testing.T) {
	t.Parallel()
	routes := routes(t, 3)
	var monitors []string
	var servers []*server.Server
	for i, route := range routes {
		srv, monitor := natsServer(t, func(o *server.Options) {
			o.SyncAlways, o.ServerName = true, "n"+strconv.Itoa(i)
			o.Cluster = server.ClusterOpts{Name: "c", Host: route.Hostname(), Port: portOf(t, route)}
			o.Routes = routes
		})
		monitors, servers = append(monitors, monitor), append(servers, srv)
	}
	all, last := strings.Join(monitors, ","), servers[2]
	// A server is ready before it has heard of all the others.
	for _, srv := range servers {
		testkit.Eventually(t, soon, func() bool { return srv.JetStreamIsCurrent() && sizeOf(t, srv) == len(routes) })
	}
	expect := func(monitors string, replicas int, want durability.Promise, synced bool, detail string) {
		t.Helper()
		testkit.Eventually(t, soon, func() error { // one that is busy is not known for that moment
			w, _ := watch(t, monitors, replicas, last.ID)
			if got := w.Now(); got.Promise != want || got.Synced != synced || !strings.Contains(got.Detail, detail) {
				return fmt.Errorf("%d replicas: got %+v, want %s, synced %t, with %q", replicas, got, want, synced, detail)
			}
			return nil
		})
	}
	expect(all, 3, durability.Replicated, true, "a power cut of all at once")
	expect(all, 1, durability.Synced, true, "survives a power cut")
	expect(monitors[2], 3, durability.Replicated, false, "names 1 of the cluster's 3 servers")
	expect(monitors[2]+","+monitors[2], 1, durability.Fast, false, "names 1 of the cluster's 3 servers")
	expect("", 3, durability.Replicated, false, "NATS_MONITOR_URL is not set")
	last.Shutdown()
	expect(all, 3, durability.Replicated, false, "not known of ")
}

// The server is started anew with another setting, on the same address: who
// runs on sees it.
func TestAChangedServerShows(t *testing.T) {
	t.Parallel()
	port := portOf(t, routes(t, 1)[0])
	srv, monitor := natsServer(t, func(o *server.Options) { o.SyncAlways, o.HTTPPort = true, port })
	var connected atomic.Pointer[server.Server]
	connected.Store(srv)
	var w *durability.Watcher
	testkit.Eventually(t, soon, func() bool { // it may be busy
		w, _ = watch(t, monitor, 1, func() string { return connected.Load().ID() })
		return w.Now().Promise == durability.Synced
	})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	srv.Shutdown()
	srv.WaitForShutdown()
	srv, _ = natsServer(t, func(o *server.Options) { o.HTTPPort = port })
	connected.Store(srv)
	testkit.Eventually(t, 2*soon, func() bool { return w.Now().Promise == durability.Fast })
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestWhatIsFixedIsNotAsked(t *testing.T) {
	t.Parallel()
	fixed := durability.State{Promise: durability.Fast, Detail: "embedded"}
	w, err := durability.Watch(t.Context(), durability.Options{
		Fixed: &fixed, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(),
	})
	if err != nil || w.Now() != fixed {
		t.Errorf("got %+v, %v", w, err)
	}
}

func TestMonitorsThatAreNone(t *testing.T) {
	t.Parallel()
	for _, list := range []string{"nats:8222", "nats://nats:4222", "http://a:8222,b", "http://:hunter2@[", "http://"} {
		if _, err := durability.ParseMonitors(list); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", list, err)
		}
	}
	if got, err := durability.ParseMonitors(" http://a:8222, https://b/x ,"); err != nil || len(got) != 2 {
		t.Errorf("got %v, %v", got, err)
	}
}
