package dispatcher_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"github.com/sluiceflow/sluice/pkg/subject"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/dispatcher"
	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/fault"
	"github.com/sluiceflow/sluice/services/internal/testkit"
	"github.com/sluiceflow/sluice/services/internal/tokenindex"
)

const (
	patience  = time.Minute // longer than an invocation may be parked
	testToken = "dG9rZW4tb2YtdGhlLWl0ZW0tZm9yLXRlc3Rz"
)

// secrets is a registry that knows one step's credentials.
type secrets struct {
	secret  string
	headers map[string]string
	err     error
}

func (s secrets) Credentials(context.Context, string, uint64) (string, map[string]string, error) {
	return s.secret, s.headers, s.err
}

// rig is a dispatcher's surroundings.
type rig struct {
	t       testing.TB
	bus     *bus.Bus
	index   *tokenindex.Index
	secrets secrets
	cfg     dispatcher.Config
}

func newRig(tb testing.TB) *rig {
	tb.Helper()
	index, err := tokenindex.Open(tokenindex.Config{URL: testkit.Redis(tb), RecordTTL: time.Hour, CallTimeout: patience}, "")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = index.Close() })
	return &rig{t: tb, bus: testkit.Bus(tb), index: index, cfg: dispatcher.Config{
		EndpointConcurrency: 8, CallConcurrency: 64, AllowPrivateEndpoints: true, DrainTimeout: 5 * time.Second,
		CallbackRetryFor: time.Hour, RetryBackoffMS: 20, RetryMaxBackoffMS: 200, RetryBackoffType: "exponential",
	}}
}

// start runs a dispatcher and returns what stops it and waits for its end.
func (r *rig) start() (stop func()) {
	r.t.Helper()
	_, cancel, ended := r.run()
	return func() { cancel(); ended() }
}

// run runs a dispatcher until cancel; ended waits for its end.
func (r *rig) run() (d *dispatcher.Dispatcher, cancel, ended func()) {
	r.t.Helper()
	d = r.dispatcher()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := d.Run(ctx); err != nil {
			r.t.Errorf("Run: %v", err)
		}
	}()
	ended = func() {
		select {
		case <-done:
		case <-time.After(patience):
			r.t.Error("Run did not return")
		}
	}
	r.t.Cleanup(func() { cancel(); ended() })
	return d, cancel, ended
}

func (r *rig) dispatcher() *dispatcher.Dispatcher {
	r.t.Helper()
	d, err := dispatcher.New(r.t.Context(), r.cfg, dispatcher.Deps{
		Bus: r.bus, Registry: r.secrets, Index: r.index, Version: "1.2.3",
		Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return d
}

// invocation returns the first attempt of a sync step.
func invocation(flowID, endpoint string) *sluicev1.Invocation {
	return &sluicev1.Invocation{
		FlowId:        flowID,
		Work:          &sluicev1.WorkRef{Run: 7, StepId: "charge", Attempt: 1},
		Type:          sluicev1.StepType_STEP_TYPE_SYNC,
		Arguments:     map[string][]byte{"amount": []byte("12.50")},
		Endpoint:      endpoint,
		CallTimeoutMs: 10_000,
		Token:         testToken,
	}
}

func (r *rig) invoke(inv *sluicev1.Invocation) {
	r.t.Helper()
	data, err := proto.Marshal(inv)
	if err != nil {
		r.t.Fatal(err)
	}
	r.publish(inv.GetFlowId(), inv.GetWork().GetStepId(), data)
}

func (r *rig) publish(flowID, stepID string, data []byte) {
	r.t.Helper()
	if _, err := r.bus.JS.Publish(r.t.Context(), r.bus.Space.InvokeHTTP(stepID, r.bus.Partition(flowID), flowID), data); err != nil {
		r.t.Fatal(err)
	}
}

// report waits for what the engine is told about a flow's call.
func (r *rig) report(flowID string) *sluicev1.ReportCall {
	r.t.Helper()
	var report *sluicev1.ReportCall
	testkit.Eventually(r.t, patience, func() error {
		var err error
		report, err = r.stored(flowID)
		return err
	})
	return report
}

var errNoReport = errors.New("there is no report")

func (r *rig) stored(flowID string) (*sluicev1.ReportCall, error) {
	msg, err := r.command(flowID)
	if err != nil {
		return nil, err
	}
	cmd := &sluicev1.Command{}
	if err := proto.Unmarshal(msg.Data, cmd); err != nil {
		return nil, err
	}
	if cmd.GetFlowId() != flowID || cmd.GetReportCall() == nil {
		return nil, fmt.Errorf("about %s came %v", flowID, cmd)
	}
	return cmd.GetReportCall(), nil
}

func (r *rig) command(flowID string) (*jetstream.RawStreamMsg, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	stream, err := r.bus.JS.Stream(ctx, r.bus.Commands(0))
	if err != nil {
		return nil, err
	}
	msg, err := stream.GetLastMsgForSubject(ctx, r.bus.Space.Command(subject.SourceReport, r.bus.Partition(flowID), flowID))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, fmt.Errorf("%w about %s", errNoReport, flowID)
	}
	return msg, err
}

func (r *rig) header(flowID string) nats.Header {
	r.t.Helper()
	msg, err := r.command(flowID)
	if err != nil {
		r.t.Fatal(err)
	}
	return msg.Header
}

// settled waits until no invocation is left.
func (r *rig) settled() {
	r.t.Helper()
	testkit.Eventually(r.t, patience, func() error {
		n, err := r.count(r.bus.Invocations(0))
		if err == nil && n != 0 {
			err = fmt.Errorf("%d invocations are left", n)
		}
		return err
	})
}

func (r *rig) count(name string) (uint64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	stream, err := r.bus.JS.Stream(ctx, name)
	if err != nil {
		return 0, err
	}
	return stream.CachedInfo().State.Msgs, nil
}

// serve starts an endpoint.
func serve(tb testing.TB, handler http.HandlerFunc) string {
	tb.Helper()
	srv := httptest.NewServer(handler)
	tb.Cleanup(srv.Close)
	return srv.URL
}

// hang starts an endpoint that answers nothing until its gate opens, and says
// when it is called.
func hang(t *testing.T, answer func(http.ResponseWriter)) (url string, called <-chan struct{}, open func()) {
	t.Helper()
	arrivals, gate := make(chan struct{}, 1000), make(chan struct{})
	isOpen := false
	open = func() {
		if !isOpen {
			isOpen = true
			close(gate)
		}
	}
	url = serve(t, func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body) // only then the server sees a client that goes away
		arrivals <- struct{}{}
		select {
		case <-gate:
		case <-req.Context().Done():
		}
		answer(w)
	})
	t.Cleanup(open) // before the server closes, which waits for its handlers
	return url, arrivals, open
}

func wait(t *testing.T, called <-chan struct{}) {
	t.Helper()
	select {
	case <-called:
	case <-time.After(patience):
		t.Fatal("the endpoint was not called")
	}
}

func succeed(w http.ResponseWriter) { _, _ = io.WriteString(w, `{"success": true}`) }

func unavailable() error { return fault.Newf(fault.Unavailable, "test", "the registry is away") }
