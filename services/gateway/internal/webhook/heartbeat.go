package webhook

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/pkg/token"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/httpapi"
)

// heard is the answer to a heartbeat that was kept.
const heard = "heard"

// serveHeartbeat answers the POST of a worker that says that it lives.
func (h *Handler) serveHeartbeat(c echo.Context, t target) error {
	err := h.heartbeat(c, t)
	h.metrics.heartbeats.WithLabelValues(codeOf(heard, err)).Inc()
	if err != nil {
		httpapi.SetInstance(c, t.instance())
		return err
	}
	return c.JSONBlob(http.StatusOK, []byte(`{"status":"heard"}`))
}

// heartbeat decides in the same order as a webhook's answer.
func (h *Handler) heartbeat(c echo.Context, t target) error {
	if c.Request().Method != http.MethodPost {
		c.Response().Header().Set(echo.HeaderAllow, http.MethodPost)
		return methodNotAllowed()
	}
	claims, err := h.Ring().Verify(t.flowID, t.stepID, t.token)
	if err != nil {
		return h.badToken(c)
	}
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	default:
		return notKept(errBusy)
	}
	if err := httpapi.CheckJSON(c, true); err != nil {
		return err
	}
	body, err := httpapi.ReadBody(c, h.MaxBody)
	if err != nil {
		return err
	}
	beat, err := parseHeartbeat(body, c.Request().URL.RawQuery)
	if err != nil {
		return badHeartbeat(err)
	}
	ctx := c.Request().Context()
	if err := h.keep(ctx, t.token, beat); err != nil {
		return err
	}
	h.tell(ctx, t.token, claims, beat)
	return nil
}

// keep notes a heartbeat in the index. Where that is away there is nowhere to
// keep it, and engines give up on no worker meanwhile.
func (h *Handler) keep(ctx context.Context, tok string, beat step.Heartbeat) error {
	if !h.breaker.allows(time.Now()) {
		return notKept(errors.New("the token index does not answer"))
	}
	server := ""
	if h.Lossy() {
		server = h.Server()
	}
	open, err := h.Index.Heartbeat(ctx, token.Hash(tok), beat, server)
	h.observe(ctx, err)
	switch {
	case err != nil:
		return notKept(err)
	case !open:
		return gone()
	}
	return nil
}

// tell shows a heartbeat to whoever watches. Nothing depends on it.
func (h *Handler) tell(ctx context.Context, tok string, claims token.Claims, beat step.Heartbeat) {
	err := h.Announce(&sluicev1.Heartbeat{
		FlowId: claims.FlowID, Token: token.Prefix(tok), Progress: beat.Progress.Progress, Message: beat.Message,
		Work: &sluicev1.WorkRef{
			Run: claims.Run, StepId: claims.StepID, Item: claims.Item, Generation: claims.Generation, Attempt: beat.Attempt,
		},
		TimeNs: time.Now().UnixNano(),
	})
	if err != nil {
		h.Log.DebugContext(ctx, "heartbeat not shown", slog.Any("error", err))
	}
}

// parseHeartbeat reads a heartbeat and the attempt that it is of, which the query
// may say, or the body, or nobody.
func parseHeartbeat(body []byte, rawQuery string) (step.Heartbeat, error) {
	beat, err := step.ParseHeartbeat(body)
	if err != nil {
		return step.Heartbeat{}, err
	}
	beat.Attempt, err = attemptOf(beat.Attempt, rawQuery)
	return beat, err
}

func badHeartbeat(err error) error {
	p := &httpapi.ProblemError{Status: http.StatusBadRequest, Code: "invalid_heartbeat", Detail: err.Error()}
	if field, ok := errors.AsType[*step.FieldError](err); ok {
		p.Field = field.Field
	}
	return p
}

func notKept(cause error) error {
	return &httpapi.ProblemError{
		Status: http.StatusServiceUnavailable, Code: "unavailable",
		Detail:     "the heartbeat could not be kept; send the next one",
		RetryAfter: retrySoon, Cause: cause,
	}
}
