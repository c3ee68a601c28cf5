package dispatcher_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	"google.golang.org/protobuf/proto"
)

func TestMain(m *testing.M) {
	otel.SetTextMapPropagator(propagation.TraceContext{}) // as a program does
	m.Run()
}

func TestTheTraceGoesOn(t *testing.T) {
	t.Parallel()
	const traceID = "4bf92f3577b34da6a3ce929d0e0e4736"
	r := newRig(t)
	got := make(chan string, 1)
	inv := invocation("traced", serve(t, func(w http.ResponseWriter, req *http.Request) {
		got <- req.Header.Get("Traceparent")
		succeed(w)
	}))
	data, err := proto.Marshal(inv)
	if err != nil {
		t.Fatal(err)
	}
	r.start()
	_, err = r.bus.JS.PublishMsg(t.Context(), &nats.Msg{
		Subject: r.bus.Space.InvokeHTTP("charge", r.bus.Partition("traced"), "traced"), Data: data,
		Header: nats.Header{"traceparent": {"00-" + traceID + "-00f067aa0ba902b7-01"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	r.report("traced")
	if called := <-got; !strings.HasPrefix(called, "00-"+traceID+"-") {
		t.Errorf("the worker's trace is %q", called)
	}
	if reported := r.header("traced").Get("traceparent"); !strings.HasPrefix(reported, "00-"+traceID+"-") {
		t.Errorf("the report's trace is %q", reported)
	}
}
