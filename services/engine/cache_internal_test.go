package engine

import (
	"strconv"
	"testing"

	"github.com/sluiceflow/sluice/services/internal/flow"
)

func TestTheCacheIsBoundedByBytes(t *testing.T) {
	t.Parallel()
	const limit = 10 * (flowBytes + 1000)
	c := newCache(1000, limit)
	sized := func(bytes int) *entry { return &entry{state: &flow.State{}, bytes: bytes} }
	for i := range 100 {
		c.put(strconv.Itoa(i), sized(1000))
	}
	if c.flows.Len() != 10 || c.taken > limit {
		t.Errorf("%d flows with %d bytes, want 10 with %d", c.flows.Len(), c.taken, limit)
	}
	if _, ok := c.get("99"); !ok {
		t.Error("the one that was used last is gone")
	}
	grown, _ := c.get("95")
	grown.bytes = 5*(flowBytes+1000) + 1000
	c.put("95", grown)
	if c.flows.Len() != 5 || c.taken > limit {
		t.Errorf("after one has grown: %d flows with %d bytes", c.flows.Len(), c.taken)
	}
	c.put("large", sized(2*limit))
	if _, ok := c.peek("large"); !ok || c.flows.Len() != 1 {
		t.Errorf("%d flows beside one that is larger than the limit", c.flows.Len())
	}
	many := sized(0)
	many.state.Steps = []flow.Step{{Items: make([]flow.Item, 1000)}}
	c.put("many", many)
	if c.taken != flowBytes+1000*itemBytes {
		t.Errorf("a flow of 1,000 work items counts as %d bytes", c.taken)
	}
	c.remove("many")
	if c.taken != 0 || c.flows.Len() != 0 {
		t.Errorf("%d bytes are left in an empty cache", c.taken)
	}
}

func TestTheCacheIsBoundedByFlows(t *testing.T) {
	t.Parallel()
	c := newCache(3, 1<<30)
	for i := range 5 {
		c.put(strconv.Itoa(i), &entry{state: &flow.State{}})
		c.put(strconv.Itoa(i), &entry{state: &flow.State{}}) // loaded again
	}
	if c.flows.Len() != 3 || c.taken != 3*flowBytes {
		t.Errorf("%d flows with %d bytes", c.flows.Len(), c.taken)
	}
}
