package webhook

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/pkg/subject"
	"github.com/sluiceflow/sluice/pkg/token"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/outcome"
	"github.com/sluiceflow/sluice/services/internal/tokenindex"
)

// publishTimeout is how long the stream may take to store a completion. It is
// shorter than a claim's lease, so that a claim outlasts what it stands for.
const publishTimeout = 3 * time.Second

// complete stores an outcome of a valid token unless the index knows better.
func (h *Handler) complete(ctx context.Context, tok string, claims token.Claims, result *step.Result) (string, error) {
	// Asked before a claim is made, for a claim that stores nothing is in the way
	// of other outcomes.
	if err := h.Store.Connected(); err != nil {
		return "", notStored(err, retrySoon)
	}
	if err := h.Store.Full(); err != nil {
		return "", notStored(err, retryFull)
	}
	completion := &sluicev1.CompleteWork{
		Work: &sluicev1.WorkRef{
			Run: claims.Run, StepId: claims.StepID, Item: claims.Item,
			Generation: claims.Generation, Attempt: result.Attempt,
		},
		Outcome: outcome.Of(*result),
	}
	said, claim, err := h.begin(ctx, tok, completion)
	if err != nil {
		if h.RequireIndex {
			return "", notStored(err, retrySoon)
		}
		return accepted, h.publish(ctx, claims.FlowID, completion)
	}
	switch said {
	case tokenindex.Replayed:
		return replayed, nil
	case tokenindex.Again:
		// An engine that has a success begins no further attempt: its history was
		// damaged. One that has it all the same knows the digest.
		return replayed, h.publish(ctx, claims.FlowID, completion)
	case tokenindex.Refused:
		return "", refused()
	case tokenindex.Gone:
		return "", gone()
	case tokenindex.Busy:
		return "", busy()
	case tokenindex.Claimed, tokenindex.Contested:
	}
	completion.Contested = said == tokenindex.Contested
	storedOn := h.Server()
	if err := h.publish(ctx, claims.FlowID, completion); err != nil {
		return "", err
	}
	if completion.GetContested() {
		return "", contested()
	}
	return h.accept(ctx, claim, storedOn)
}

// begin asks the index. Its error says that the index did not answer.
func (h *Handler) begin(ctx context.Context, tok string, w *sluicev1.CompleteWork) (tokenindex.Answer, tokenindex.Claim, error) {
	o := tokenindex.Outcome{
		TokenHash: token.Hash(tok), Digest: w.GetOutcome().GetDigest(), Success: w.GetOutcome().GetSuccess(),
		NotCompleted: w.GetOutcome().GetNotCompleted(), Attempt: w.GetWork().GetAttempt(),
	}
	if h.Lossy() {
		o.Server = h.Server()
	}
	if !h.breaker.allows(time.Now()) {
		return "", tokenindex.Claim{}, errors.New("the token index does not answer")
	}
	said, claim, err := h.Index.Begin(ctx, o)
	h.observe(ctx, err)
	return said, claim, err
}

// observe tells breaker, metrics and log how a call of the index went.
func (h *Handler) observe(ctx context.Context, err error) {
	if err == nil {
		if h.breaker.worked() {
			h.Log.InfoContext(ctx, "token index answers again")
		}
		return
	}
	h.metrics.redisErrors.Inc()
	if h.breaker.failed(time.Now()) {
		h.Log.WarnContext(ctx, "token index does not answer",
			slog.Bool("webhooks_refused", h.RequireIndex), slog.Any("error", err))
	}
}

func (h *Handler) publish(ctx context.Context, flowID string, w *sluicev1.CompleteWork) error {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	cmd := &sluicev1.Command{FlowId: flowID, Kind: &sluicev1.Command_CompleteWork{CompleteWork: w}}
	if err := h.Store.PublishCommand(ctx, subject.SourceHook, cmd, nil); err != nil {
		return notStored(err, retrySoon)
	}
	return nil
}

// accept records what is stored by now.
func (h *Handler) accept(ctx context.Context, claim tokenindex.Claim, storedOn string) (string, error) {
	err := h.Index.Accept(ctx, claim, storedOn)
	if errors.Is(err, tokenindex.ErrContested) {
		return "", contested()
	}
	h.observe(ctx, err)
	if err != nil && h.RequireIndex {
		return "", notStored(err, retrySoon)
	}
	return accepted, nil
}
