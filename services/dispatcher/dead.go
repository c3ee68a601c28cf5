package dispatcher

import (
	"context"
	"time"

	"github.com/sluiceflow/sluice/services/internal/dead"
)

// bury moves a message that can never be called to DEAD.
func (d *Dispatcher) bury(ctx context.Context, c *call, why error) {
	letter := dead.Letter(c.msg, dead.Invocation, why, time.Now().UnixNano())
	if d.dead.Put(ctx, letter, d.partition(c)) != nil {
		d.nak(ctx, c, dead.Delay)
		return
	}
	d.ack(ctx, c)
}

// partition is that of a message's subject, which streams check; of one that has
// none it is 0.
func (d *Dispatcher) partition(c *call) int {
	_, partition, _, err := d.bus.Space.ParseInvoke(c.msg.Subject())
	if err != nil {
		return 0
	}
	return partition
}
