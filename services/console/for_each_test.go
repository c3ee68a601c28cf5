package console_test

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sluiceflow/sluice/services/internal/testkit"
)

// squares registers a step that makes a work item of each number.
func (s *site) squares() {
	s.t.Helper()
	s.do(post, "/engine/step", `{"id":"square","type":"async",
		"attributes":{"n":{"role":"required","type":"number","for_each":true},"unit":{"role":"const","default":"\"m\""},
			"area":{"role":"output","type":"number"}},
		"http":{"endpoint":"http://127.0.0.1:9/square"},"work_config":{"parallelism":2,"deadline_ms":60000}}`).want(http.StatusCreated)
}

func TestForEach(t *testing.T) {
	t.Parallel()
	s := newSite(t, config(t))
	s.squares()
	s.do(post, "/engine/flow", `{"id":"f","goals":["square"],"init":{"n":[3,1.50,7]}}`).want(http.StatusCreated)
	s.eventually("/engine/flow/f", "executions.square.status", `"active"`)
	s.do(get, "/engine/flow/f", "").has(
		"plan.steps.square.attributes.n.for_each", "true", "plan.steps.square.work_config.deadline_ms", "60000",
		"executions.square.inputs", `{"n":[3,1.50,7],"unit":"m"}`,
		"executions.square.work_items.1.status", `"active"`, "executions.square.work_items.1.inputs", `{"n":1.50}`,
		"executions.square.work_items.2.status", `"pending"`, "executions.square.work_items.2.inputs", "",
	)
	for _, item := range []int{1, 2, 0} {
		s.completeItem("f", "square", item, map[string]string{"area": strconv.Itoa(item)})
	}
	s.eventually("/engine/flow/f", "status", `"completed"`)
	s.do(get, "/engine/flow/f", "").has(
		"attributes.area", `{"value":[{"n":3,"area":0},{"n":1.50,"area":1},{"n":7,"area":2}],"step":"square"}`,
		"executions.square.work_items.2.status", `"succeeded"`, "executions.square.work_items.2.outputs", `{"area":2}`,
	)
	s.do(get, "/engine/flow/f/events", "").has(
		"events.1.type", `"step_started"`, "events.1.work_items", "3",
		"events.2.type", `"work_started"`, "events.2.item", `"0"`, "events.2.inputs", `{"n":3}`)

	s.do(post, "/engine/flow", `{"id":"none","goals":["square"],"init":{"n":[]}}`).want(http.StatusCreated)
	s.eventually("/engine/flow/none", "status", `"completed"`)
	s.do(get, "/engine/flow/none", "").has(
		"attributes.area.value", "[]", "executions.square.status", `"completed"`, "executions.square.work_items", "{}")
}

func TestWhatForEachCannotTake(t *testing.T) {
	t.Parallel()
	s := newSite(t, config(t))
	s.squares()
	for _, n := range []string{`3`, `null`, `[1,"2"]`} {
		s.do(post, "/engine/flow", `{"goals":["square"],"init":{"n":`+n+`}}`).problem(http.StatusBadRequest, "invalid", "init")
	}
	s.do(post, "/engine/step", `{"id":"sum","type":"async","attributes":{"area":{"role":"required","type":"number"}},
		"http":{"endpoint":"http://127.0.0.1:9/sum"}}`).want(http.StatusConflict)
	s.do(post, "/engine/step", `{"id":"sum","type":"async","attributes":{"area":{"role":"required","type":"array"}},
		"http":{"endpoint":"http://127.0.0.1:9/sum"}}`).want(http.StatusCreated)
	s.do(post, "/engine/step", `{"id":"bad","type":"async","attributes":{"x":{"role":"output","for_each":true}},
		"http":{"endpoint":"http://127.0.0.1:9/bad"}}`).problem(http.StatusBadRequest, "invalid", "attributes.x.for_each")
}

// The state of a flow with very many work items is shown whole, and not what they
// have in common once for each. SLUICE_WORK_ITEMS says how many; the flow has no
// snapshot here, so that is as long as it can take.
func TestStateOfManyWorkItems(t *testing.T) {
	t.Parallel()
	items := 200
	if text, ok := os.LookupEnv("SLUICE_WORK_ITEMS"); ok {
		var err error
		if items, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	s := newSite(t, config(t))
	s.do(post, "/engine/step", `{"id":"many","type":"async",
		"attributes":{"n":{"role":"required","for_each":true},"note":{"role":"required"},"x":{"role":"output"}},
		"http":{"endpoint":"http://127.0.0.1:9/many"}}`).want(http.StatusCreated)
	s.do(post, "/engine/flow", `{"id":"f","goals":["many"],"init":{"n":[`+strings.Repeat("1,", items-1)+`1],"note":"`+
		strings.Repeat("n", 100_000)+`"}}`).want(http.StatusCreated)
	for item := range items - 1 {
		s.completeItem("f", "many", item, map[string]string{"x": strconv.Itoa(item)})
	}
	testkit.Eventually(t, 10*time.Second+time.Duration(items)*10*time.Millisecond, func() error {
		stream, err := s.bus.JS.Stream(t.Context(), s.bus.Commands(0))
		if err == nil && stream.CachedInfo().State.Msgs > 0 {
			err = fmt.Errorf("%d commands are left", stream.CachedInfo().State.Msgs)
		}
		return err
	})
	last := strconv.Itoa(items - 1)
	began := time.Now()
	a := s.do(get, "/engine/flow/f", "").want(http.StatusOK)
	a.has("executions.many.work_items."+last+".status", `"active"`)
	t.Logf("a state of %d work items and %d bytes took %s", items, len(a.text), time.Since(began))
	if limit := 500_000 + 500*items; len(a.text) > limit {
		t.Errorf("the state takes %d bytes", len(a.text))
	}
	s.completeItem("f", "many", items-1, map[string]string{"x": last})
	s.eventually("/engine/flow/f/status", "status", `"completed"`)
}
