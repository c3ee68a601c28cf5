package dev

import (
	"context"
	"fmt"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// redisTick is how often the embedded Redis is told that time went on: it
// expires nothing by itself.
const redisTick = 100 * time.Millisecond

// startRedis starts an embedded Redis on a free port of loopback. What it
// holds can be lost at any time, so it is kept nowhere.
func startRedis() (*miniredis.Miniredis, error) {
	mini := miniredis.NewMiniRedis()
	if err := mini.StartAddr("127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("start the embedded Redis: %w", err)
	}
	return mini, nil
}

// turnClock moves the embedded Redis' clock on until ctx ends.
func turnClock(ctx context.Context, mini *miniredis.Miniredis) {
	tick := time.NewTicker(redisTick)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			mini.FastForward(now.Sub(last))
			last = now
		}
	}
}
