package plan

import (
	"fmt"

	lru "github.com/hashicorp/golang-lru/v2"
)

// Cache decodes plans and remembers them: flows of a kind share one. It is safe
// for concurrent use.
type Cache struct{ plans *lru.Cache[string, *Plan] }

// NewCache returns a cache of the last n plans; n must be positive.
func NewCache(n int) *Cache {
	plans, err := lru.New[string, *Plan](n)
	if err != nil {
		panic(fmt.Sprintf("a cache of %d plans: %v", n, err))
	}
	return &Cache{plans}
}

// Decode is [Decode], remembered.
func (c *Cache) Decode(planBytes []byte) (*Plan, error) {
	if p, ok := c.plans.Get(string(planBytes)); ok {
		return p, nil
	}
	p, err := Decode(planBytes)
	if err != nil {
		return nil, err
	}
	c.plans.Add(string(planBytes), p)
	return p, nil
}
