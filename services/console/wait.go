package console

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/sluiceflow/sluice/services/console/internal/view"
	"github.com/sluiceflow/sluice/services/console/internal/waiters"
	"github.com/sluiceflow/sluice/services/internal/flow"
	"github.com/sluiceflow/sluice/services/internal/httpapi"
)

const (
	// waitParam is how a request says that it waits for the flow's end.
	waitParam = "wait_ms"
	// maxWait is the longest that it may wait.
	maxWait = time.Minute
	// answerTime is what remains for the answer once the wait is over.
	answerTime = 30 * time.Second
)

// patienceOf is how long a request waits for the flow's end; 0 is not at all.
func patienceOf(ec echo.Context) (time.Duration, error) {
	given := ec.QueryParams()[waitParam]
	if len(given) == 0 {
		return 0, nil
	}
	ms, err := strconv.ParseInt(given[0], 10, 64)
	if err != nil || len(given) > 1 || ms < 0 || ms > maxWait.Milliseconds() {
		return 0, wrong(waitParam, "must be a whole number from 0 to %d, given once", maxWait.Milliseconds())
	}
	return time.Duration(ms) * time.Millisecond, nil
}

// join takes a request's place among those that wait for the flow's end. It has
// to be left.
func (c *Console) join(flowID string) (*waiters.Waiter, error) {
	w, ok := c.waiters.Join(flowID)
	if !ok {
		return nil, &httpapi.ProblemError{
			Status: http.StatusServiceUnavailable, Code: "too_many_waiting",
			Detail:     "as many requests wait for flows as may (WAIT_CONCURRENCY): ask without wait_ms, or again",
			RetryAfter: time.Second,
		}
	}
	return w, nil
}

// wait returns when the flow ended, or when there is nothing to be waited for
// any more. The server's limits for a request do not hold meanwhile; where they
// cannot be changed, they end the wait.
func (c *Console) wait(ec echo.Context, w *waiters.Waiter, patience time.Duration) {
	until := time.Now().Add(patience + answerTime)
	conn := http.NewResponseController(ec.Response())
	for _, set := range []func(time.Time) error{conn.SetReadDeadline, conn.SetWriteDeadline} {
		if err := set(until); err != nil {
			c.log.DebugContext(ec.Request().Context(), "limit of a request not moved", slog.Any("error", err))
		}
	}
	c.metrics.waiting.Inc()
	defer c.metrics.waiting.Dec()
	w.Wait(ec.Request().Context(), patience)
}

// loadEnded is load, but of a flow that runs it waits for the end first.
func (c *Console) loadEnded(ec echo.Context, id string, patience time.Duration) (state *flow.State, broken string, err error) {
	ctx := ec.Request().Context()
	if patience == 0 {
		return c.load(ctx, id)
	}
	w, full := c.join(id) // before the look, so that no ending falls between
	defer w.Leave()
	state, broken, err = c.load(ctx, id)
	switch {
	case err != nil || broken != "" || state.Final():
		return state, broken, err
	case full != nil:
		return nil, "", full
	}
	c.wait(ec, w, patience)
	return c.load(ctx, id)
}

// stateOfStarted waits for the end of a flow that was started, and returns what
// it is then. The flow is stored: that it cannot be read now is no error, and its
// state is left out.
func (c *Console) stateOfStarted(ec echo.Context, w *waiters.Waiter, id string, patience time.Duration) any {
	ctx := ec.Request().Context()
	state, broken, err := c.load(ctx, id)
	if err == nil && broken == "" && !state.Final() {
		c.wait(ec, w, patience)
		state, broken, err = c.load(ctx, id)
	}
	switch {
	case err != nil:
		c.log.WarnContext(ctx, "started flow not read", slog.String("flow_id", id), slog.Any("error", err))
		return nil
	case broken != "":
		return c.brokenFlow(ctx, id, broken)
	}
	return c.show(ec, state)
}

// brokenFlow is what can be said of a flow whose history is broken.
func (c *Console) brokenFlow(ctx context.Context, id, broken string) any {
	row, _, err := c.index.Get(ctx, id)
	if err != nil {
		c.log.WarnContext(ctx, "index not read", slog.String("flow_id", id), slog.Any("error", err))
	}
	return view.Broken(id, broken, row.Created, row.Completed)
}
