package webhook_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/proto"

	"github.com/sluiceflow/sluice/pkg/subject"
	"github.com/sluiceflow/sluice/pkg/token"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/gateway/internal/guess"
	"github.com/sluiceflow/sluice/services/gateway/internal/webhook"
	"github.com/sluiceflow/sluice/services/internal/fault"
	"github.com/sluiceflow/sluice/services/internal/httpapi"
	"github.com/sluiceflow/sluice/services/internal/testkit"
	"github.com/sluiceflow/sluice/services/internal/tokenindex"
)

// store is a stream that a test can make fail or hang.
type store struct {
	mu            sync.Mutex
	commands      []*sluicev1.Command
	down, full    error
	hold          chan struct{} // stored, but not acknowledged before it is closed
	refuse        error
	connectedWith string
	lossy         bool
	shown         []*sluicev1.Heartbeat
}

func (s *store) announce(h *sluicev1.Heartbeat) error {
	s.set(func() { s.shown = append(s.shown, h) })
	return nil
}

func (s *store) PublishCommand(ctx context.Context, source subject.Source, cmd *sluicev1.Command, _ nats.Header) error {
	s.mu.Lock()
	if s.refuse != nil || source != subject.SourceHook {
		defer s.mu.Unlock()
		return s.refuse
	}
	copied, _ := proto.Clone(cmd).(*sluicev1.Command)
	s.commands = append(s.commands, copied)
	hold := s.hold
	s.mu.Unlock()
	if hold == nil {
		return nil
	}
	select {
	case <-hold:
		return nil
	case <-ctx.Done():
		return fault.New(fault.Unavailable, "store.PublishCommand", ctx.Err())
	}
}

func (s *store) Connected() error { return s.read(func() error { return s.down }) }
func (s *store) Full() error      { return s.read(func() error { return s.full }) }

func (s *store) read(get func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return get()
}

func (s *store) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *store) stored() []*sluicev1.CompleteWork {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*sluicev1.CompleteWork
	for _, cmd := range s.commands {
		all = append(all, cmd.GetCompleteWork())
	}
	return all
}

// gateway is the handler over real HTTP and a real Redis.
type gateway struct {
	*store

	t     *testing.T
	url   string
	redis *testkit.RedisServer
	rdb   *redis.Client
	index *tokenindex.Index
	ring  *token.Ring
	log   *lines
	reg   *prometheus.Registry
}

// lines is a log that may be read while it is written.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func newRing(tb testing.TB) *token.Ring {
	tb.Helper()
	ring, err := token.NewRing(token.Key{ID: 1, Secret: bytes.Repeat([]byte("k"), token.MinSecretBytes)})
	if err != nil {
		tb.Fatal(err)
	}
	return ring
}

// callTimeout is long, so that a busy machine's Redis is not taken for one that is away.
const callTimeout = 20 * time.Second

func start(t *testing.T, change ...func(*webhook.Options)) *gateway {
	t.Helper()
	g := &gateway{
		store: &store{connectedWith: "S1"}, t: t, redis: testkit.NewRedis(t), ring: newRing(t),
		log: &lines{}, reg: prometheus.NewRegistry(),
	}
	index, err := tokenindex.Open(tokenindex.Config{URL: g.redis.URL(), RecordTTL: time.Hour, CallTimeout: callTimeout}, "")
	if err != nil {
		t.Fatal(err)
	}
	opts, err := redis.ParseURL(g.redis.URL())
	if err != nil {
		t.Fatal(err)
	}
	g.rdb, g.index = redis.NewClient(opts), index
	t.Cleanup(func() { _, _ = g.rdb.Close(), index.Close() })
	o := webhook.Options{
		Store: g.store, Index: index, Announce: g.announce, Ring: func() *token.Ring { return g.ring },
		Server:  func() (id string) { g.set(func() { id = g.connectedWith }); return id },
		Lossy:   func() (is bool) { g.set(func() { is = g.lossy }); return is },
		Log:     slog.New(slog.NewTextHandler(g.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Metrics: g.reg,
	}
	for _, c := range change {
		c(&o)
	}
	srv := httptest.NewServer(serve(t, o))
	t.Cleanup(srv.Close)
	g.url = srv.URL
	return g
}

// bounded lets an address try so many bad tokens a minute.
func bounded(tb testing.TB, perMinute int) *guess.Limiter {
	tb.Helper()
	limit, err := guess.New(perMinute)
	if err != nil {
		tb.Fatal(err)
	}
	return limit
}

// serve makes an echo with the handler; what o leaves out is filled in.
func serve(tb testing.TB, o webhook.Options) *echo.Echo {
	tb.Helper()
	o.MaxBody, o.Address = 1000, echo.ExtractIPDirect()
	if o.BadTokens == nil {
		o.BadTokens = bounded(tb, 20)
	}
	if o.Concurrent == 0 {
		o.Concurrent = 1000
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Server == nil {
		o.Server, o.Lossy = func() string { return "" }, func() bool { return false }
	}
	h, err := webhook.New(o)
	if err != nil {
		tb.Fatal(err)
	}
	e := httpapi.NewEcho(o.Log)
	h.Routes(e)
	return e
}

const (
	flowID = "order-1:a.b@c+d"
	stepID = "charge"
)

func (g *gateway) mint(item uint32) string {
	return g.ring.Mint(token.Claims{FlowID: flowID, StepID: stepID, Run: 7, Item: item})
}

// answer is what a worker sees.
type answer struct {
	status int
	header http.Header
	body   map[string]any
	text   string
}

// code is the status of a success, or the last part of a problem's type.
func (a answer) code() string {
	if status, ok := a.body["status"].(string); ok {
		return status
	}
	kind, _ := a.body["type"].(string)
	return strings.TrimPrefix(kind, "urn:sluice:problem:")
}

func (g *gateway) post(tok, query, body string) answer {
	g.t.Helper()
	return g.do(http.MethodPost, "/webhook/"+flowID+"/"+stepID+"/"+tok+query, "application/json", body)
}

func (g *gateway) do(method, path, media, body string) answer {
	g.t.Helper()
	req, err := http.NewRequestWithContext(g.t.Context(), method, g.url+path, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	if media != "" {
		req.Header.Set("Content-Type", media)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		g.t.Errorf("%s %s: %v", method, path, err)
		return answer{}
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		g.t.Errorf("%s %s: %v", method, path, err)
	}
	a := answer{status: resp.StatusCode, header: resp.Header, text: string(data)}
	if len(data) > 0 {
		if err := json.Unmarshal(data, &a.body); err != nil {
			g.t.Errorf("%s %s: %v in %s", method, path, err, data)
		}
	}
	return a
}
