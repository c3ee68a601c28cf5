package dispatcher_test

import (
	"fmt"
	"net/http"
	"testing"

	"google.golang.org/protobuf/proto"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// BenchmarkCalls measures async calls that are accepted, 64 at a time, with
// their publisher, NATS and the endpoint in the same process.
func BenchmarkCalls(b *testing.B) {
	r := newRig(b)
	r.cfg.EndpointConcurrency, r.cfg.CallConcurrency = 64, 1024
	inFlight := make(chan struct{}, 64)
	url := serve(b, func(http.ResponseWriter, *http.Request) { <-inFlight })
	r.start()
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		inv := invocation(fmt.Sprintf("flow-%d", i), url)
		inv.Type = sluicev1.StepType_STEP_TYPE_ASYNC
		data, err := proto.Marshal(inv)
		if err != nil {
			b.Fatal(err)
		}
		inFlight <- struct{}{}
		if _, err := r.bus.JS.PublishAsync(r.bus.Space.InvokeHTTP("charge", 0, inv.GetFlowId()), data); err != nil {
			b.Fatal(err)
		}
	}
	r.settled()
}
