package load

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/services/faults/internal/ledger"
)

// flow starts a flow and does to it what its shape asks for.
func (l *Load) flow(ctx context.Context, shape Shape, n int) {
	id := fmt.Sprintf("%s-%d", shape, n)
	k := l.kinds[shape]
	request, dice := l.request(k, id), l.dice("start", id)
	switch dice.IntN(10) {
	case 0: // again, at once
		for range 3 {
			l.background(func() { l.start(ctx, request) })
		}
	case 1: // another request for the same id
		other := request
		other.Labels = map[string]string{"request": "other"}
		l.background(func() { l.start(ctx, other) })
	}
	if !l.start(ctx, request) {
		if k.needs { // it is there all the same
			k.meanwhile(ctx, id, dice)
		}
		return
	}
	if dice.IntN(10) == 0 {
		l.start(ctx, request)
	}
	if k.meanwhile != nil {
		k.meanwhile(ctx, id, dice)
	}
	if k.held && !l.cfg.Again && l.dice("held", id).IntN(5) == 0 {
		l.hold(ctx, id, l.dice("hold", id))
	}
}

// start asks for a flow until it is stored or refused, and reports whether it is
// stored.
func (l *Load) start(ctx context.Context, r client.StartRequest) bool {
	body, err := json.Marshal(r)
	if err != nil {
		return false
	}
	for n := 0; ; n++ {
		entry := ledger.Start{Flow: r.ID, Request: string(body), Told: r.CallbackURL != "", Sent: time.Now()}
		_, err := l.console().StartFlow(ctx, r)
		entry.Answered, entry.Status = time.Now(), statusOf(err)
		l.cfg.Ledger.Start(entry)
		if err == nil {
			return true
		}
		if entry.Status == http.StatusConflict || !pause(ctx, patience(n)) {
			return false
		}
	}
}

// cancel asks for a flow's end until it is canceled or has ended.
func (l *Load) cancel(ctx context.Context, id string) {
	for n := 0; ; n++ {
		status := statusOf(l.console().CancelFlow(ctx, id, "the load has changed its mind"))
		l.cfg.Ledger.Cancel(ledger.Cancel{Flow: id, Status: status})
		if (status >= 200 && status < 500) || !pause(ctx, patience(n)) {
			return
		}
	}
}

// statusOf is the HTTP status of an answer, or 0 where none came.
func statusOf(err error) int {
	if err == nil {
		return http.StatusOK
	}
	return client.StatusOf(err)
}
