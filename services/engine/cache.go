package engine

import (
	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// What a flow takes in memory beside the bytes of its history, about.
const (
	flowBytes = 2 << 10
	itemBytes = 512
)

// cache holds flows in memory, those that were used last. It is bounded by their
// number and by what they take, of which it knows an estimate: flows differ by
// what their attributes hold, and by their work items.
type cache struct {
	flows *simplelru.LRU[string, *entry]
	limit int // bytes
	taken int
}

// newCache makes a cache for at least one flow.
func newCache(flows, limit int) *cache {
	c := &cache{limit: limit}
	lru, err := simplelru.NewLRU(max(1, flows), func(_ string, en *entry) { c.taken -= en.counted })
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	c.flows = lru
	return c
}

func (c *cache) get(flowID string) (*entry, bool) { return c.flows.Get(flowID) }

// peek is get that does not count as use.
func (c *cache) peek(flowID string) (*entry, bool) { return c.flows.Peek(flowID) }

func (c *cache) remove(flowID string) { c.flows.Remove(flowID) }

// put keeps a flow, or counts anew what it takes. Others go where that is too
// much; it stays itself, however large.
func (c *cache) put(flowID string, en *entry) {
	if known, ok := c.flows.Peek(flowID); ok {
		c.taken -= known.counted
	}
	en.counted = en.weight()
	c.taken += en.counted
	c.flows.Add(flowID, en)
	for c.taken > c.limit && c.flows.Len() > 1 {
		c.flows.RemoveOldest()
	}
}

// weight estimates what the flow takes in memory.
func (en *entry) weight() int {
	items := 0
	for i := range en.state.Steps {
		items += len(en.state.Steps[i].Items)
	}
	return en.bytes + items*itemBytes + flowBytes
}
