package load

import (
	"context"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/services/faults/internal/ledger"
)

// mendKind fails, and is begun again by hand: under its next token it succeeds.
// What needs the step that failed is pending again then.
func (l *Load) mendKind() kind {
	mend := l.part("mend", step.KindAsync, "fetch-out")
	mend.work = func(ctx context.Context, j *job) {
		if j.l.breaks(j.Metadata) {
			j.bring(ctx, ledger.Failure, failure(j.task, j.Attempt, "broken"))
			return
		}
		j.behave(ctx)
	}
	return kind{
		goal:      "deliver",
		parts:     []part{l.part("fetch", step.KindSync, "order"), mend, l.part("deliver", step.KindAsync, "mend-out")},
		meanwhile: l.mend,
	}
}

// breaks reports whether a token is the first one of its flow's step: the work under
// it fails.
func (l *Load) breaks(m *step.Metadata) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := m.FlowID + " " + m.StepID
	if l.firsts[key] == "" {
		l.firsts[key] = m.ReceiptToken
	}
	return l.firsts[key] == m.ReceiptToken
}

// lookEvery is how often a person looks what has become of a flow.
const lookEvery = 100 * time.Millisecond

// mend has the failed steps of a flow begun again, once it failed.
func (l *Load) mend(ctx context.Context, id string, _ *rand.Rand) {
	for pause(ctx, lookEvery) {
		digest, err := l.console().FlowStatus(ctx, id)
		switch {
		case client.StatusOf(err) == http.StatusNotFound, err == nil && digest.Status == client.Completed:
			return
		case err == nil && digest.Status == client.Failed:
			l.control(ctx, id, ledger.Retry)
			return
		}
	}
}

// hold pauses a flow for a while.
func (l *Load) hold(ctx context.Context, id string, dice *rand.Rand) {
	begin, length := time.Duration(dice.IntN(300))*time.Millisecond, time.Duration(100+dice.IntN(500))*time.Millisecond
	if !pause(ctx, begin) {
		return
	}
	sure := l.control(ctx, id, ledger.Pause)
	for pause(ctx, length) {
		sure = l.control(ctx, id, ledger.Resume) && sure
		if sure || !l.paused(ctx, id) {
			return
		}
	}
}

// paused looks after a flow of which a request to pause it had no answer, and may
// be heard at any time: it reports false once that can no longer be.
func (l *Load) paused(ctx context.Context, id string) bool {
	for pause(ctx, lookEvery) {
		digest, err := l.console().FlowStatus(ctx, id)
		switch {
		case client.StatusOf(err) == http.StatusNotFound, err == nil && digest.Status.Ended():
			return false
		case err == nil && digest.Status == client.Paused:
			return true
		}
	}
	return false
}

// control asks for something to be done to a flow until that is done or refused.
// It reports whether each time that it asked had an answer that says which.
func (l *Load) control(ctx context.Context, id string, action ledger.Action) (sure bool) {
	do := map[ledger.Action]func(context.Context, string, string) error{
		ledger.Pause: l.console().PauseFlow, ledger.Resume: l.console().ResumeFlow, ledger.Retry: l.console().RetryFlow,
	}[action]
	for n := 0; ; n++ {
		status := statusOf(do(ctx, id, "by hand"))
		l.cfg.Ledger.Control(ledger.Control{Flow: id, Action: action, Status: status})
		if status >= 200 && status < 500 {
			return n == 0
		}
		if !pause(ctx, patience(n)) {
			return false
		}
	}
}
