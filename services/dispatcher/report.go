package dispatcher

import (
	"context"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/sluiceflow/sluice/pkg/subject"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/dispatcher/internal/answer"
	"github.com/sluiceflow/sluice/services/internal/outcome"
)

// report tells the engine what a call came to, and tries until it is stored:
// the endpoint's answer exists nowhere else. It returns [errCutShort] when the
// dispatcher stopped before.
func (d *Dispatcher) report(ctx context.Context, c *call, verdict answer.Verdict, status int) error {
	cmd := &sluicev1.Command{
		FlowId: c.inv.GetFlowId(),
		Kind: &sluicev1.Command_ReportCall{ReportCall: &sluicev1.ReportCall{
			Work:       c.inv.GetWork(),
			Outcome:    outcome.Of(verdict.Result),
			HttpStatus: int32(status), //nolint:gosec // three digits
			Compensate: c.inv.GetCompensate(),
		}},
	}
	publish := func() error { return d.bus.PublishCommand(ctx, subject.SourceReport, cmd, nil) }
	if publish() == nil {
		return nil
	}
	pause := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(50*time.Millisecond),
		backoff.WithMaxInterval(5*time.Second),
		backoff.WithMaxElapsedTime(0))
	err := backoff.RetryNotify(publish, backoff.WithContext(pause, ctx), func(err error, next time.Duration) {
		d.log.WarnContext(ctx, "report not stored, trying again", slog.Any("error", err), slog.Duration("in", next))
	})
	if err != nil {
		return errCutShort
	}
	return nil
}
