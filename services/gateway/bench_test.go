package gateway_test

import (
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/sluiceflow/sluice/pkg/token"
	"github.com/sluiceflow/sluice/services/gateway"
	"github.com/sluiceflow/sluice/services/internal/httpapi"
)

// BenchmarkWebhook is one webhook from its request to its answer: two round
// trips to Redis and one publish.
func BenchmarkWebhook(b *testing.B) {
	deps := depsOf(b)
	g, err := gateway.New(configOf(), deps)
	if err != nil {
		b.Fatal(err)
	}
	e := httpapi.NewEcho(deps.Log)
	g.Routes(e)
	var n atomic.Uint32
	b.SetParallelism(32)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			tok := deps.Keys.Ring().Mint(token.Claims{FlowID: "order-1", StepID: "charge", Run: 7, Item: n.Add(1)})
			if rec := do(e, request(http.MethodPost, tok)); rec.Code != http.StatusOK {
				b.Fatal(rec.Code, rec.Body)
			}
		}
	})
}
