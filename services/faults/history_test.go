package faults_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/pkg/event"
	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/services/faults/internal/world"
	"github.com/sluiceflow/sluice/services/internal/testkit"
)

// histories is what writes the histories that every later version must replay:
// one flow of each shape, as its commits are stored, and as the control API shows
// it.
type histories struct {
	t      *testing.T
	folder string
	w      *world.World
	api    *client.Client
	js     jetstream.JetStream
	worker *httptest.Server

	mu    sync.Mutex
	calls map[string][]step.Metadata // by flow and step
}

// A shape is a flow to be written down.
type shape struct {
	goal string
	init map[string]any
	// meanwhile is what happens to the flow; nil where its workers do all.
	meanwhile func(h *histories, flow string)
	status    client.Status
	// startAt is when it starts, from now on.
	startAt time.Duration
	// settled is an event that it still gets when it has that status; empty for none.
	settled event.Type
	// child is the step that starts a flow, which is written down too; empty for none.
	child string
}

// order is the input of all; no float holds its amount.
func order() map[string]any {
	return map[string]any{"order": map[string]any{"amount": json.RawMessage("12345678901234567890.50"), "note": "für <alle> & \u2028"}}
}

func shapes() map[string]shape {
	order := order()
	return map[string]shape{
		"chain":    {goal: "ship", init: order, status: client.Completed, meanwhile: func(h *histories, flow string) { h.post(flow, "charge", 1, succeeded) }},
		"for-each": {goal: "each", init: map[string]any{"orders": []any{1, "two", map[string]any{"three": 3}, nil, []any{}}}, status: client.Completed},
		"optional": {goal: "report", init: order, status: client.Completed},
		"retries":  {goal: "busy", init: order, status: client.Completed},
		"failed":   {goal: "after-refused", init: order, status: client.Failed},
		"waiting": {goal: "charge", init: order, status: client.Active, meanwhile: func(h *histories, flow string) {
			h.call(flow, "charge", 1)
		}},
		"timed-out": {goal: "slow", init: order, status: client.Completed, meanwhile: func(h *histories, flow string) {
			h.post(flow, "slow", 2, succeeded)
		}},
		"ignored": {goal: "charge", init: order, status: client.Completed, meanwhile: func(h *histories, flow string) {
			h.post(flow, "charge", 1, succeeded)
			if err := flush(h.w.RedisAddr()); err != nil { // which would refuse the next
				h.t.Fatal(err)
			}
			h.post(flow, "charge", 1, `{"success": true}`)
			h.event(flow, event.CompletionIgnored)
		}},
		"canceled": {goal: "charge", init: order, status: client.Canceled, meanwhile: func(h *histories, flow string) {
			h.call(flow, "charge", 1)
			if err := h.api.CancelFlow(h.t.Context(), flow, "no longer wanted"); err != nil {
				h.t.Fatal(err)
			}
		}},
		"failed-by-webhook": {goal: "charge", init: order, status: client.Failed, meanwhile: func(h *histories, flow string) {
			h.post(flow, "charge", 1, `{"success": false, "error": "declined"}`)
		}},
		"not-completed": {goal: "charge", init: order, status: client.Completed, meanwhile: func(h *histories, flow string) {
			h.post(flow, "charge", 1, `{"success": false, "not_completed": true, "error": "later", "retry_after_ms": 10}`)
			h.post(flow, "charge", 2, succeeded)
		}},
	}
}

const succeeded = `{"success": true, "outputs": {"receipt": {"id": 7, "exact": 0.10}, "undeclared": [1, null, "x"]}}`

// TestWriteHistories writes what is not there yet into the folder that
// FAULTS_HISTORIES names. What is there is never written again: it stands for a
// version that may be in use.
func TestWriteHistories(t *testing.T) {
	t.Parallel()
	folder := os.Getenv("FAULTS_HISTORIES")
	if folder == "" {
		t.Skip("set FAULTS_HISTORIES to a folder (make histories)")
	}
	if err := os.MkdirAll(folder, 0o750); err != nil {
		t.Fatal(err)
	}
	w, err := world.Start(t.Context(), world.Options{Programs: programs(t), Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	h := &histories{t: t, folder: folder, w: w, calls: map[string][]step.Metadata{}}
	h.worker = httptest.NewServer(http.HandlerFunc(h.work))
	t.Cleanup(h.worker.Close)
	if h.api, err = client.New(w.Consoles[0], client.Options{}); err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(w.NATSURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if h.js, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
	h.register()
	h.registerKinds()
	for name, s := range shapes() {
		h.play(name, s)
	}
	for name, s := range shapesOfKinds() {
		h.play(name, s)
	}
}

// attributes are those of a step that gives one and needs some.
func attributes(out string, in ...string) map[string]step.Attribute {
	all := map[string]step.Attribute{out: {Role: step.RoleOutput, Type: step.TypeAny}}
	for _, name := range in {
		all[name] = step.Attribute{Role: step.RoleRequired, Type: step.TypeAny}
	}
	return all
}

func (h *histories) register() {
	report := attributes("report", "order")
	report["score"] = step.Attribute{Role: step.RoleOptional, Type: step.TypeAny, Default: new(`{"of": "nobody"}`)}
	report["currency"] = step.Attribute{Role: step.RoleConst, Type: step.TypeString, Default: new(`"EUR"`)}
	each := attributes("each-out")
	each["orders"] = step.Attribute{Role: step.RoleRequired, Type: step.TypeAny, ForEach: true}
	h.define([]step.Definition{
		{ID: "each", Type: step.KindSync, Attributes: each, WorkConfig: &step.WorkConfig{Parallelism: 2}},
		{ID: "reserve", Type: step.KindSync, Attributes: attributes("reserved", "order")},
		{ID: "charge", Type: step.KindAsync, Attributes: attributes("receipt", "order")},
		{ID: "ship", Type: step.KindSync, Labels: map[string]string{"team": "logistics"}, Attributes: attributes("shipped", "reserved", "receipt")},
		{ID: "refused", Type: step.KindSync, Attributes: attributes("score", "order")},
		{ID: "after-refused", Type: step.KindSync, Attributes: attributes("never", "score")},
		{ID: "report", Type: step.KindSync, Attributes: report},
		{ID: "busy", Type: step.KindSync, Attributes: attributes("at-last", "order")},
		{ID: "slow", Type: step.KindAsync, Attributes: attributes("in-time", "order"), WorkConfig: &step.WorkConfig{
			MaxRetries: 3, BackoffMS: new(int64(1)), TimeoutMS: 300,
		}},
	})
}

// define registers steps, whose endpoint and retries are those that they do not have
// of their own.
func (h *histories) define(steps []step.Definition) {
	for _, d := range steps {
		d.Name = d.ID
		calls := d.Type == step.KindSync || d.Type == step.KindAsync
		if calls && d.HTTP == nil {
			d.HTTP = &step.HTTP{}
		}
		if calls {
			d.HTTP.Endpoint = h.worker.URL + "/" + d.ID
		}
		if calls && d.WorkConfig == nil {
			d.WorkConfig = &step.WorkConfig{MaxRetries: -1, BackoffMS: new(int64(1)), BackoffType: step.BackoffFixed, TimeoutMS: time.Hour.Milliseconds()}
		}
		if _, err := h.api.RegisterStep(h.t.Context(), d); err != nil {
			h.t.Fatal(err)
		}
	}
}

// busyAttempts make a history so long that it holds a snapshot.
const busyAttempts = 80

func (h *histories) work(rw http.ResponseWriter, r *http.Request) {
	if r.URL.Path == undoPath {
		rw.WriteHeader(http.StatusNoContent)
		return
	}
	var req step.Request
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		rw.WriteHeader(http.StatusBadRequest)
		return
	}
	m := req.Metadata
	h.mu.Lock()
	h.calls[m.FlowID+" "+m.StepID] = append(h.calls[m.FlowID+" "+m.StepID], m)
	h.mu.Unlock()
	switch {
	case m.WebhookURL != "":
		rw.WriteHeader(http.StatusAccepted)
	case m.StepID == "refused":
		rw.WriteHeader(http.StatusForbidden)
	case m.StepID == "busy" && m.Attempt <= busyAttempts:
		rw.WriteHeader(http.StatusServiceUnavailable)
	default:
		_, _ = io.WriteString(rw, `{"success": true, "outputs": {"reserved": true, "room_key": 12, "shipped": "today", "report": [], "at-last": 1e3, "each-out": "done"}}`)
	}
}

// call waits until an attempt is called.
func (h *histories) call(flow, stepID string, attempt uint32) step.Metadata {
	h.t.Helper()
	var call step.Metadata
	testkit.Eventually(h.t, patience, func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, m := range h.calls[flow+" "+stepID] {
			if m.Attempt == attempt {
				call = m
				return true
			}
		}
		return false
	})
	return call
}

// post answers an attempt by its webhook.
func (h *histories) post(flow, stepID string, attempt uint32, body string) {
	h.t.Helper()
	call := h.call(flow, stepID, attempt)
	testkit.Eventually(h.t, patience, func() error {
		req, err := http.NewRequestWithContext(h.t.Context(), http.MethodPost, call.WebhookURL, strings.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("the webhook of %s is answered with %s", flow, resp.Status)
		}
		return nil
	})
}

// event waits for an event of a kind.
func (h *histories) event(flow string, kind event.Type) {
	h.t.Helper()
	testkit.Eventually(h.t, patience, func() error {
		events, err := h.api.FlowEvents(h.t.Context(), flow)
		if err == nil && !slices.ContainsFunc(events, func(e event.Event) bool { return e.Type == kind }) {
			err = fmt.Errorf("flow %s has no event %s", flow, kind)
		}
		return err
	})
}

// play starts a flow, and writes it down once it is what it is to be.
func (h *histories) play(name string, s shape) {
	h.t.Helper()
	ctx := h.t.Context()
	request := client.StartRequest{ID: name, Goals: []string{s.goal}, Init: s.init, Labels: map[string]string{"shape": name}}
	if s.startAt != 0 {
		request.StartAt = time.Now().Add(s.startAt)
	}
	if _, err := h.api.StartFlow(ctx, request); err != nil {
		h.t.Fatal(err)
	}
	if s.meanwhile != nil {
		s.meanwhile(h, name)
	}
	testkit.Eventually(h.t, patience, func() error {
		digest, err := h.api.FlowStatus(ctx, name)
		if err == nil && digest.Status != s.status {
			err = fmt.Errorf("flow %s is %s, want it %s", name, digest.Status, s.status)
		}
		return err
	})
	if s.settled != "" {
		h.event(name, s.settled)
	}
	state := h.record(name, name)
	if s.child != "" {
		id := state.Executions[s.child].WorkItems["0"].ChildFlowID
		h.event(id, event.ParentTold)
		h.record(name+"-child", id)
	}
}

// record writes a flow down as it is now.
func (h *histories) record(name, flow string) client.FlowState {
	h.t.Helper()
	ctx := h.t.Context()
	commits, err := h.commits(ctx, flow)
	if err != nil {
		h.t.Fatal(err)
	}
	state, err := h.api.Flow(ctx, flow)
	if err != nil {
		h.t.Fatal(err)
	}
	text, err := json.MarshalIndent(state, "", "  ")
	if err != nil {
		h.t.Fatal(err)
	}
	h.write(name+".commits.jsonl", commits)
	h.write(name+".state.json", append(text, '\n'))
	return state
}

// commits are the messages of a flow, one a line.
func (h *histories) commits(ctx context.Context, flow string) ([]byte, error) {
	consumer, err := h.js.OrderedConsumer(ctx, "FLOWS_0", jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{"sluice.flow.*.*." + flow},
	})
	if err != nil {
		return nil, err
	}
	var out []byte
	for {
		batch, err := consumer.FetchNoWait(1000)
		if err != nil {
			return nil, err
		}
		n := 0
		for msg := range batch.Messages() {
			n++
			line, err := json.Marshal(map[string]any{"subject": msg.Subject(), "header": msg.Headers(), "data": msg.Data()})
			if err != nil {
				return nil, err
			}
			out = append(append(out, line...), '\n')
		}
		if n == 0 {
			return out, batch.Error()
		}
	}
}

// write writes a file that must not be there; one that is stays as it is.
func (h *histories) write(name string, data []byte) {
	h.t.Helper()
	f, err := os.OpenFile(filepath.Join(h.folder, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, os.ErrExist) {
		h.t.Logf("%s is there and stays as it is", name)
		return
	}
	if err != nil {
		h.t.Fatal(err)
	}
	if _, err := f.Write(data); err != nil {
		h.t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		h.t.Fatal(err)
	}
}
