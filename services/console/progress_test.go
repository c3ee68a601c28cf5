package console_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/testkit"
)

func TestProgressIsShownWhileAWorkerWorks(t *testing.T) {
	t.Parallel()
	s := newSite(t, config(t))
	s.order()
	s.do(post, "/engine/flow", `{"id":"order-1","goals":["charge"],"init":{"order":"A-1"}}`).want(http.StatusCreated)
	const at = "executions.reserve.work_items.0.progress"
	s.do(get, "/engine/flow/order-1", "").want(http.StatusOK).has(at, "")
	beat := func(run uint64, part float64) {
		t.Helper()
		if err := s.bus.PublishHeartbeat(&sluicev1.Heartbeat{
			FlowId: "order-1", Work: &sluicev1.WorkRef{Run: run, StepId: "reserve", Attempt: 1},
			Progress: part, Message: "packing", TimeNs: time.Unix(1_800_000_000, 0).UnixNano(),
		}); err != nil {
			t.Fatal(err)
		}
	}
	testkit.Eventually(t, 10*time.Second, func() error {
		beat(7, 0.5) // the console may not listen yet
		beat(8, 0.9) // of an earlier flow with this id
		const want = `{"progress":0.5,"message":"packing","at":"2027-01-15T08:00:00Z"}`
		if got := s.do(get, "/engine/flow/order-1", "").at(at); got != want {
			return fmt.Errorf("progress is %s, want %s", got, want)
		}
		return nil
	})
	s.complete("order-1", "reserve", map[string]string{"stock": "1"})
	s.eventually("/engine/flow/order-1", "executions.charge.status", `"active"`)
	s.do(get, "/engine/flow/order-1", "").has(at, "", "executions.charge.work_items.0.progress", "")
}
