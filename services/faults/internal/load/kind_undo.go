package load

import (
	"context"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/services/faults/internal/ledger"
)

// undoPath is where successes are undone.
const undoPath = "/undo"

// undoKind fails when some of it succeeded.
func (l *Load) undoKind() kind {
	stow := l.undone("stow", step.KindSync)
	stow.Attributes["pack-out"] = arrays()
	return kind{goal: "sink", prepare: elements, parts: []part{l.pack(), stow, l.failing("sink", "sunk", "stow-out")}}
}

// revokeKind is canceled, or runs out of time, wherever it is. The worker of its
// last step succeeds after that.
func (l *Load) revokeKind() kind {
	linger := l.undone("linger", step.KindAsync, "pay-out")
	linger.work = func(ctx context.Context, j *job) { j.endless(ctx) }
	return kind{
		goal: "linger",
		parts: []part{
			l.undone("book", step.KindAsync, "order"), l.undone("pay", step.KindSync, "book-out"), linger,
		},
		prepare: func(r *client.StartRequest, dice *rand.Rand) {
			if dice.IntN(3) == 0 {
				r.TimeoutMS = silentLimit.Milliseconds()
			}
		},
		meanwhile: func(ctx context.Context, id string, dice *rand.Rand) {
			if dice.IntN(3) > 0 {
				l.changeMind(ctx, id, dice)
			}
		},
	}
}

// undo takes a call that undoes a success. Now and then the first one gets a 503.
func (l *Load) undo(rw http.ResponseWriter, r *http.Request) {
	begun := time.Now()
	var c step.Compensation
	body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, maxInvocation))
	if err != nil || json.Unmarshal(body, &c) != nil {
		rw.WriteHeader(http.StatusBadRequest)
		return
	}
	m := c.Metadata
	entry := ledger.Undo{
		Flow: m.FlowID, Step: m.StepID, Token: m.ReceiptToken, Attempt: m.Attempt,
		Inputs: canonical(c.Inputs), Outputs: canonical(c.Outputs), Begun: begun, Status: http.StatusNoContent,
	}
	if m.Attempt == 1 && l.dice("undo", m.FlowID, m.ReceiptToken).IntN(5) == 0 {
		entry.Status = http.StatusServiceUnavailable
	}
	entry.Answered = time.Now()
	l.cfg.Ledger.Undo(entry)
	rw.WriteHeader(entry.Status)
}

func canonical(values ledger.Values) string {
	text, err := json.Marshal(values)
	if err != nil {
		return err.Error()
	}
	return ledger.Canonical(text)
}
