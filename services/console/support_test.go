package console_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"github.com/sluiceflow/sluice/pkg/subject"
	"github.com/sluiceflow/sluice/pkg/token"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/console"
	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/dead"
	"github.com/sluiceflow/sluice/services/internal/fault"
	"github.com/sluiceflow/sluice/services/internal/flow"
	"github.com/sluiceflow/sluice/services/internal/httpapi"
	"github.com/sluiceflow/sluice/services/internal/keys"
	"github.com/sluiceflow/sluice/services/internal/plan"
	"github.com/sluiceflow/sluice/services/internal/registry"
	"github.com/sluiceflow/sluice/services/internal/testkit"
)

func config(t *testing.T) console.Config {
	t.Helper()
	return console.Config{
		DataDir: t.TempDir(), AllowPrivateEndpoints: true,
		Planning: plan.Settings{
			RetryMaxRetries: 10, RetryBackoffMS: 1000, RetryMaxBackoffMS: 60_000, RetryBackoffType: "exponential",
			StepTimeoutMS: 30_000, AttemptTimeoutMS: 86_400_000,
		},
		WaitConcurrency: 64, MaxGoals: 64, MaxInit: 128, MaxLabels: 32,
	}
}

// A site is a console over real HTTP, on a real NATS, with an engine that does
// what the real one does, one command at a time.
type site struct {
	t      *testing.T
	url    string
	bus    *bus.Bus
	engine *engine
	header http.Header    // of every request
	asked  sync.WaitGroup // by requests that wait

	metrics *prometheus.Registry
}

func newSite(t *testing.T, cfg console.Config) *site {
	t.Helper()
	s := siteWithoutEngine(t, cfg)
	s.startEngine()
	return s
}

func newSiteOn(t *testing.T, cfg console.Config, b *bus.Bus) *site {
	t.Helper()
	s := siteOn(t, cfg, b)
	s.startEngine()
	return s
}

func (s *site) startEngine() {
	s.t.Helper()
	letters := dead.Open(s.bus)
	running(s.t, map[string]func(context.Context) error{
		"engine":   s.engine.run,
		"redrives": func(ctx context.Context) error { return letters.Serve(ctx, slog.New(slog.DiscardHandler)) },
	})
	testkit.Eventually(s.t, 10*time.Second, func() bool {
		return fault.KindOf(letters.Ask(s.t.Context(), math.MaxUint32, "test")) == fault.NotFound // there is none, but it answers
	})
}

func siteWithoutEngine(t *testing.T, cfg console.Config) *site {
	t.Helper()
	return siteOn(t, cfg, testkit.Bus(t))
}

// siteOn is siteWithoutEngine on a NATS that is there.
func siteOn(t *testing.T, cfg console.Config, b *bus.Bus) *site {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	reg, err := registry.Open(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	metrics := prometheus.NewRegistry()
	links, err := keys.OpenLinks(t.Context(), b, log)
	if err != nil {
		t.Fatal(err)
	}
	c, err := console.New(t.Context(), cfg, console.Deps{Bus: b, Registry: reg, Links: links, Log: log, Metrics: metrics})
	if err != nil {
		t.Fatal(err)
	}
	e := &engine{t: t, bus: b, flows: map[string]*history{}}
	running(t, map[string]func(context.Context) error{"registry": reg.Run, "console": c.Run})
	server := httpapi.NewEcho(log)
	c.Routes(server)
	s := httptest.NewServer(server)
	t.Cleanup(s.Close)
	return &site{t: t, url: s.URL, bus: b, engine: e, header: http.Header{}, metrics: metrics}
}

// running runs parts until the test ends.
func running(t *testing.T, parts map[string]func(context.Context) error) {
	t.Helper()
	for name, part := range parts {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- part(ctx) }()
		t.Cleanup(func() {
			cancel()
			if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}

// An answer is what came back.
type answer struct {
	t      *testing.T
	status int
	header http.Header
	text   string
}

func (s *site) do(method, path, body string) answer {
	s.t.Helper()
	header := s.header.Clone()
	if body != "" && header.Get("Content-Type") == "" {
		header.Set("Content-Type", "application/json")
	}
	return s.send(method, path, body, header)
}

func (s *site) send(method, path, body string, header http.Header) answer {
	s.t.Helper()
	var reader io.Reader = http.NoBody
	if body != "" {
		reader = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, reader)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header = header
	if host := header.Get("Host"); host != "" {
		req.Host = host
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer{s.t, resp.StatusCode, resp.Header, string(text)}
}

// want fails the test unless the status is that one.
func (a answer) want(status int) answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("got %d, want %d: %s", a.status, status, a.text)
	}
	return a
}

// at returns the JSON at a path such as plan.goals.0, as compact text; "" where
// there is nothing.
func (a answer) at(path string) string {
	a.t.Helper()
	value := json.RawMessage(a.text)
	for name := range strings.SplitSeq(path, ".") {
		var object map[string]json.RawMessage
		var list []json.RawMessage
		if json.Unmarshal(value, &object) == nil {
			value = object[name]
			continue
		}
		place, err := strconv.Atoi(name)
		if json.Unmarshal(value, &list) != nil || err != nil || place >= len(list) {
			return ""
		}
		value = list[place]
	}
	if value == nil {
		return ""
	}
	var out bytes.Buffer
	if err := json.Compact(&out, value); err != nil {
		a.t.Fatal(err)
	}
	return out.String()
}

// has fails the test unless each path, given with its JSON, is so.
func (a answer) has(pairs ...string) answer {
	a.t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if got := a.at(pairs[i]); got != pairs[i+1] {
			a.t.Errorf("%s is %s, want %s\n%s", pairs[i], got, pairs[i+1], a.text)
		}
	}
	return a
}

// problem fails the test unless the answer is that problem.
func (a answer) problem(status int, code, field string) answer {
	a.t.Helper()
	a.want(status)
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		a.t.Errorf("Content-Type is %q", got)
	}
	if field != "" {
		a.has("field", strconv.Quote(field))
	}
	if a.at("detail") == "" || a.at("detail") != a.at("error") {
		a.t.Errorf("no detail: %s", a.text)
	}
	return a.has("type", strconv.Quote("urn:sluice:problem:"+code), "status", strconv.Itoa(status))
}

// engine carries out commands with the real core, one at a time.
type engine struct {
	t   *testing.T
	bus *bus.Bus

	mu    sync.Mutex
	flows map[string]*history
}

type history struct {
	state *flow.State
	last  []byte // checksum
	first uint64 // sequence
}

func (e *engine) run(ctx context.Context) error {
	consumers, err := e.consumers(ctx)
	if err != nil {
		return err
	}
	var all sync.WaitGroup
	for _, c := range consumers {
		messages, err := c.Messages()
		if err != nil {
			return err
		}
		all.Go(func() {
			defer messages.Stop()
			for {
				msg, err := messages.Next(jetstream.NextContext(ctx))
				if err != nil {
					return
				}
				switch err := e.handle(context.WithoutCancel(ctx), msg); {
				case errors.Is(err, context.DeadlineExceeded):
					_ = msg.Nak() // NATS does not answer: the command comes again
				case err != nil:
					e.t.Errorf("engine: %v", err)
				}
			}
		})
	}
	all.Wait()
	return nil
}

// consumers are those of the partitions.
func (e *engine) consumers(ctx context.Context) ([]jetstream.Consumer, error) {
	stream, err := e.bus.JS.Stream(ctx, e.bus.Commands(0))
	if err != nil {
		return nil, err
	}
	var list []jetstream.Consumer
	names := stream.ConsumerNames(ctx)
	for name := range names.Name() {
		c, err := stream.Consumer(ctx, name)
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, names.Err()
}

func (e *engine) handle(ctx context.Context, msg jetstream.Msg) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	var cmd sluicev1.Command
	if err := proto.Unmarshal(msg.Data(), &cmd); err != nil {
		return err
	}
	meta, err := msg.Metadata()
	if err != nil {
		return err
	}
	h := e.flows[cmd.GetFlowId()]
	if h == nil {
		h = &history{state: flow.New(cmd.GetFlowId(), plan.Decode)}
		e.flows[cmd.GetFlowId()] = h
	}
	turn := h.state.Begin(flow.Env{
		Now: meta.Timestamp.UnixNano(), Run: 7, Floor: meta.Sequence.Stream - 1,
		Token: func(c token.Claims) string { return "tok" + c.StepID + "-------------" },
	})
	verdict := turn.Apply(&cmd, flow.Position{Sequence: meta.Sequence.Stream, Time: meta.Timestamp.UnixNano()})
	if commit := turn.Commit(); commit != nil {
		if err := e.store(ctx, h, commit); err != nil {
			return err
		}
	}
	if inbox := msg.Headers().Get("Sluice-Reply"); inbox != "" && verdict.Reply != nil {
		data, err := proto.Marshal(verdict.Reply)
		if err != nil {
			return err
		}
		if err := e.bus.NC.Publish(inbox, data); err != nil {
			return err
		}
	}
	return msg.DoubleAck(ctx)
}

func (e *engine) store(ctx context.Context, h *history, commit *sluicev1.Commit) error {
	commit.PreviousChecksum = h.last
	data, err := proto.Marshal(commit)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(data)
	h.last = sum[:16]
	partition := e.bus.Partition(commit.GetFlowId())
	msg := nats.NewMsg(e.bus.Space.Flow(flow.Kind(commit), partition, commit.GetFlowId()))
	msg.Data = data
	msg.Header.Set("Sluice-Checksum", hex.EncodeToString(h.last))
	msg.Header.Set("Sluice-Snapshot", strconv.FormatUint(h.first, 10))
	msg.Header.Set("Sluice-Revision", strconv.FormatUint(commit.GetRevision(), 10))
	if status := flow.Turned(commit); status != "" {
		msg.Header.Set("Sluice-Status", status)
	}
	ack, err := e.bus.JS.PublishMsg(ctx, msg)
	if err != nil {
		return err
	}
	if h.first == 0 {
		h.first = ack.Sequence
	}
	for _, cmd := range h.state.Effects(commit).Commands {
		if err := e.bus.PublishCommand(ctx, subject.SourceEngine, cmd, nil); err != nil {
			return err
		}
	}
	if !h.state.Effects(commit).Retired {
		return nil
	}
	delete(e.flows, commit.GetFlowId())
	stream, err := e.bus.JS.Stream(ctx, e.bus.Flows(0))
	if err != nil {
		return err
	}
	return stream.Purge(ctx, jetstream.WithPurgeSubject(e.bus.Space.Fence(partition, commit.GetFlowId())))
}

// complete reports success of a step's only work item.
func (s *site) complete(flowID, stepID string, outputs map[string]string) {
	s.t.Helper()
	s.completeItem(flowID, stepID, 0, outputs)
}

// completeItem reports success of one of a step's work items.
func (s *site) completeItem(flowID, stepID string, item int, outputs map[string]string) {
	s.t.Helper()
	o := &sluicev1.Outcome{Success: true, Outputs: map[string][]byte{}, Digest: []byte(stepID)}
	for name, value := range outputs {
		o.Outputs[name] = []byte(value)
	}
	cmd := &sluicev1.Command{FlowId: flowID, Kind: &sluicev1.Command_CompleteWork{CompleteWork: &sluicev1.CompleteWork{
		Work: &sluicev1.WorkRef{Run: 7, StepId: stepID, Item: uint32(item), Attempt: 1}, Outcome: o,
	}}}
	if err := s.bus.PublishCommand(s.t.Context(), subject.SourceHook, cmd, nil); err != nil {
		s.t.Fatal(err)
	}
}

// compensated reports that a step's only work item was undone.
func (s *site) compensated(flowID, stepID string) {
	s.t.Helper()
	cmd := &sluicev1.Command{FlowId: flowID, Kind: &sluicev1.Command_ReportCall{ReportCall: &sluicev1.ReportCall{
		Work: &sluicev1.WorkRef{Run: 7, StepId: stepID, Attempt: 1}, Outcome: &sluicev1.Outcome{Success: true}, Compensate: true,
	}}}
	if err := s.bus.PublishCommand(s.t.Context(), subject.SourceReport, cmd, nil); err != nil {
		s.t.Fatal(err)
	}
}

// eventually asks until the JSON at a path is so.
func (s *site) eventually(path, at, want string) {
	s.t.Helper()
	testkit.Eventually(s.t, 10*time.Second, func() error {
		a := s.do(http.MethodGet, path, "")
		if got := a.at(at); got != want {
			return fmt.Errorf("%s is %s, want %s: %s", at, got, want, a.text)
		}
		return nil
	})
}

// figure is what a metric without labels shows.
func (s *site) figure(name string) (float64, error) {
	families, err := s.metrics.Gather()
	if err != nil {
		return 0, err
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue(), nil
		}
	}
	return 0, fmt.Errorf("there is no %s", name)
}

const reserve = `{"id":"reserve","name":"Reserve","type":"async",
	"attributes":{"order":{"role":"required","type":"string"},"stock":{"role":"output","type":"number"}},
	"http":{"endpoint":"http://127.0.0.1:9/reserve","headers":{"Authorization":"top secret"}}}`

const charge = `{"id":"charge","name":"Charge","type":"async",
	"attributes":{"stock":{"role":"required","type":"number"},"paid":{"role":"output","type":"boolean"}},
	"http":{"endpoint":"http://127.0.0.1:9/charge"}}`

// order registers the two steps of an order.
func (s *site) order() {
	s.t.Helper()
	s.do(http.MethodPost, "/engine/step", reserve).want(http.StatusCreated)
	s.do(http.MethodPost, "/engine/step", charge).want(http.StatusCreated)
}
