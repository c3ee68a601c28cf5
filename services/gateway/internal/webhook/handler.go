package webhook

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/pkg/subject"
	"github.com/sluiceflow/sluice/pkg/token"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/gateway/internal/guess"
	"github.com/sluiceflow/sluice/services/internal/httpapi"
	"github.com/sluiceflow/sluice/services/internal/tokenindex"
)

// Store takes completions. PublishCommand returns nil only for what is stored.
type Store interface {
	PublishCommand(ctx context.Context, source subject.Source, cmd *sluicev1.Command, header nats.Header) error
	Connected() error // nil while it can be reached
	Full() error      // nil while there is room
}

// Index knows what has become of a token.
type Index interface {
	Begin(ctx context.Context, o tokenindex.Outcome) (tokenindex.Answer, tokenindex.Claim, error)
	Accept(ctx context.Context, c tokenindex.Claim, storedOn string) error
	Heartbeat(ctx context.Context, tokenHash string, h step.Heartbeat, server string) (open bool, err error)
}

// Options are what a handler needs. All are required.
type Options struct {
	Store Store
	Index Index
	// Announce shows a heartbeat to whoever watches.
	Announce func(*sluicev1.Heartbeat) error
	// Ring returns the token keys of now.
	Ring func() *token.Ring
	// Server names the NATS server of now.
	Server func() string
	// Lossy reports whether that server may lose what it acknowledged.
	Lossy func() bool
	// RequireIndex refuses webhooks while the index does not answer, where
	// otherwise the token's MAC is enough.
	RequireIndex bool
	// MaxBody is the size of the largest body, in bytes.
	MaxBody int64
	// Concurrent is how many webhooks with a valid token are worked on at once;
	// more get 503. Each may hold a body of MaxBody bytes.
	Concurrent int
	// Address is where a request came from.
	Address echo.IPExtractor
	// BadTokens bounds how many bad tokens an address may try.
	BadTokens *guess.Limiter
	Log       *slog.Logger
	Metrics   prometheus.Registerer
}

// errBusy means that as many webhooks as may be are worked on.
var errBusy = errors.New("too many webhooks at once")

// Handler answers webhooks.
type Handler struct {
	Options

	metrics *metrics
	tracer  trace.Tracer
	breaker breaker
	slots   chan struct{} // one for each webhook that is worked on
}

// New returns a handler.
func New(o Options) (*Handler, error) {
	m, err := newMetrics(o.Metrics)
	if err != nil {
		return nil, err
	}
	return &Handler{
		Options: o, metrics: m, tracer: otel.Tracer("github.com/sluiceflow/sluice/services/gateway"),
		slots: make(chan struct{}, o.Concurrent),
	}, nil
}

// Routes adds the webhook to an echo. Other methods and paths below it come here
// too, so that no answer repeats a whole token.
func (h *Handler) Routes(e *echo.Echo, m ...echo.MiddlewareFunc) {
	e.POST(base+"*", h.serve, m...)
	e.RouteNotFound(base+"*", h.serve, m...)
}

func (h *Handler) serve(c echo.Context) error {
	t, known := parseTarget(c.Request().URL.EscapedPath())
	if t.heartbeat {
		return h.serveHeartbeat(c, t)
	}
	since, req := time.Now(), c.Request()
	ctx := otel.GetTextMapPropagator().Extract(req.Context(), propagation.HeaderCarrier(req.Header))
	ctx, span := h.tracer.Start(ctx, "webhook", trace.WithSpanKind(trace.SpanKindServer))
	defer span.End()

	answer, err := h.answer(ctx, c, t, known)
	code := codeOf(answer, err)
	h.metrics.answered(code, since)
	if span.IsRecording() {
		span.SetAttributes(attribute.String("sluice.flow_id", t.flowID), attribute.String("sluice.step_id", t.stepID),
			attribute.String("sluice.token", token.Prefix(t.token)), attribute.String("sluice.answer", code))
	}
	if err != nil {
		httpapi.SetInstance(c, t.instance())
		return err
	}
	return write(c, answer)
}

// answer decides in the order that tells a stranger least: whoever has no valid
// token learns nothing and costs neither Redis nor NATS anything.
func (h *Handler) answer(ctx context.Context, c echo.Context, t target, known bool) (string, error) {
	if c.Request().Method != http.MethodPost {
		c.Response().Header().Set(echo.HeaderAllow, http.MethodPost)
		return "", methodNotAllowed()
	}
	if !known {
		return "", h.badToken(c)
	}
	claims, err := h.Ring().Verify(t.flowID, t.stepID, t.token)
	if err != nil {
		return "", h.badToken(c)
	}
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	default:
		return "", notStored(errBusy, retrySoon)
	}
	if err := httpapi.CheckJSON(c, false); err != nil {
		return "", err
	}
	body, err := httpapi.ReadBody(c, h.MaxBody)
	if err != nil {
		return "", err
	}
	result, err := parseResult(body, c.Request().URL.RawQuery)
	if err != nil {
		return "", badResult(err)
	}
	// From here on it is finished even if the worker hangs up: what is half done
	// would hold up its next try.
	return h.complete(context.WithoutCancel(ctx), t.token, claims, &result)
}

func (h *Handler) badToken(c echo.Context) error {
	if wait := h.BadTokens.Failed(h.Address(c.Request())); wait > 0 {
		return limited(wait)
	}
	return notFound()
}
