package demo_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/pkg/subject"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/demo"
	"github.com/sluiceflow/sluice/services/internal/testkit"
)

// fake is a console whose flows take no time: it calls each step's worker by
// the definition that it got, and writes the end to NATS.
type fake struct {
	t   *testing.T
	js  jetstream.JetStream
	end *sluicev1.Event

	mu        sync.Mutex
	steps     map[string]step.Definition
	conflicts int // answers to registrations that are left
	called    map[string]string
	webhook   chan string
}

func (f *fake) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		f.t.Error(err)
	}
	switch path := r.URL.Path; {
	case path == "/hook":
		_, _ = io.WriteString(rw, `{"status":"accepted"}`)
		f.webhook <- string(body)
	case strings.HasPrefix(path, "/engine/step"):
		f.register(rw, r.Method, body)
	case path == "/engine/flow":
		f.start(r, body)
		rw.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(rw, `{"flow_id":"f"}`)
	default:
		status := "completed"
		if f.end.GetFlowFailed() != nil {
			status = "failed"
		}
		_, _ = io.WriteString(rw, `{"status":"`+status+`","attributes":{"receipt":{"value":"r-1"}}}`)
	}
}

func (f *fake) register(rw http.ResponseWriter, method string, body []byte) {
	d, err := step.ParseDefinition(body)
	if err == nil {
		err = d.Validate(step.Limits{})
	}
	if err != nil {
		f.t.Errorf("registered %s: %v", body, err)
	}
	if method == http.MethodPost && f.conflicts > 0 {
		f.conflicts--
		rw.WriteHeader(http.StatusConflict)
		return
	}
	f.steps[d.ID] = d
	rw.WriteHeader(http.StatusCreated)
}

func (f *fake) start(r *http.Request, body []byte) {
	var flow struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(body, &flow); err != nil {
		f.t.Error(err)
	}
	f.called = map[string]string{}
	for id, d := range f.steps {
		f.called[id] = f.call(r, d)
	}
	data, err := proto.Marshal(&sluicev1.Commit{FlowId: flow.ID, Revision: 1, TimeNs: 1, Events: []*sluicev1.Event{f.end}})
	if err != nil {
		f.t.Error(err)
	}
	if _, err := f.js.Publish(r.Context(), subject.NewSpace("").Flow(subject.KindCompleted, 0, flow.ID), data); err != nil {
		f.t.Error(err)
	}
}

func (f *fake) call(r *http.Request, d step.Definition) string {
	arguments := map[string]json.RawMessage{}
	for name, a := range d.Attributes {
		if a.Role == step.RoleRequired {
			arguments[name] = json.RawMessage(map[step.Type]string{step.TypeNumber: "2.50", step.TypeString: `"x"`}[a.Type])
		}
	}
	of := step.Metadata{StepID: d.ID, ReceiptToken: d.ID, Attempt: 1, WebhookURL: "http://" + r.Host + "/hook"}
	text, err := json.Marshal(step.Request{Arguments: arguments, Metadata: of})
	if err != nil {
		f.t.Error(err)
	}
	resp, err := http.Post(d.HTTP.Endpoint, "application/json", bytes.NewReader(text))
	if err != nil {
		f.t.Error(err)
		return ""
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		f.t.Error(err)
	}
	return string(answer)
}

func newFake(t *testing.T, end *sluicev1.Event) (f *fake, consoleURL, natsURL string) {
	t.Helper()
	natsURL = testkit.JetStream(t)
	nc, err := nats.Connect(natsURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "FLOWS_0", Subjects: []string{subject.NewSpace("").FlowEvents("")}})
	if err != nil {
		t.Fatal(err)
	}
	f = &fake{t: t, js: js, end: end, steps: map[string]step.Definition{}, webhook: make(chan string, 8)}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	return f, server.URL, natsURL
}

func TestRun(t *testing.T) {
	t.Parallel()
	f, console, natsURL := newFake(t, &sluicev1.Event{Kind: &sluicev1.Event_FlowCompleted{FlowCompleted: &sluicev1.FlowCompleted{}}})
	f.conflicts = 1 // a step that is there with another endpoint is replaced
	var out strings.Builder
	if err := demo.Run(t.Context(), demo.Config{BaseURL: console, NATSURL: natsURL}, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"flow_completed", `receipt      "r-1"`,
		"curl -X POST 'http://127.0.0.1:8080/engine/step' -H 'Content-Type: application/json' -d '{\"id\":\"reserve-stock\"",
		"curl -X POST 'http://127.0.0.1:8080/engine/flow'",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s\nis not in what was printed:\n%s", want, &out)
		}
	}
	if got := f.called["send-receipt"]; got != `{"success":true,"outputs":{"receipt":"x, receipt sent to x"}}` {
		t.Errorf("send-receipt answered %s", got)
	}
	posted := map[string]bool{<-f.webhook: true, <-f.webhook: true}
	for _, want := range []string{
		`{"success":true,"outputs":{"reservation":"2.50 x x"}}`,
		`{"success":false,"error":"the card network is busy","not_completed":true,"retry_after_ms":500}`,
	} {
		if !posted[want] {
			t.Errorf("%s\nwas not posted: %v", want, posted)
		}
	}
}

func TestRunOfAFlowThatFails(t *testing.T) {
	t.Parallel()
	_, console, natsURL := newFake(t, &sluicev1.Event{Kind: &sluicev1.Event_FlowFailed{FlowFailed: &sluicev1.FlowFailed{Error: "no"}}})
	err := demo.Run(t.Context(), demo.Config{BaseURL: console, NATSURL: natsURL}, io.Discard)
	if !errors.Is(err, demo.ErrNotCompleted) {
		t.Errorf("got %v", err)
	}
}

func TestServeWorker(t *testing.T) {
	t.Parallel()
	f, console, _ := newFake(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	cfg := demo.WorkerConfig{ListenAddr: "127.0.0.1:0", ConsoleURL: console}
	go func() { served <- demo.ServeWorker(ctx, cfg, slog.New(slog.DiscardHandler)) }()
	testkit.Eventually(t, 20*time.Second, func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return len(f.steps) == 3
	})
	resp, err := http.Get(f.steps["send-receipt"].HTTP.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET got %d", resp.StatusCode)
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}
