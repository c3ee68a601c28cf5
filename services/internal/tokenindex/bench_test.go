package tokenindex_test

import (
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluiceflow/sluice/services/internal/testkit"
	"github.com/sluiceflow/sluice/services/internal/tokenindex"
)

// BenchmarkBeginAccept is what the index costs a webhook.
func BenchmarkBeginAccept(b *testing.B) {
	x, err := tokenindex.Open(tokenindex.Config{URL: testkit.Redis(b), RecordTTL: time.Hour}, "")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = x.Close() })
	var n atomic.Int64
	b.SetParallelism(32)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			o := success("a", 1)
			o.TokenHash = strconv.FormatInt(n.Add(1), 10)
			got, claim, err := x.Begin(b.Context(), o)
			if err != nil || got != tokenindex.Claimed {
				b.Fatal(got, err)
			}
			if err := x.Accept(b.Context(), claim, "S"); err != nil {
				b.Fatal(err)
			}
		}
	})
}
