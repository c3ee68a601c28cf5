package engine

import (
	"context"
	"encoding/base64"
	"log/slog"
	"maps"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/dead"
)

// sealSecret encrypts what a flow's callback is to be signed with, before it is
// decided upon: the history holds it, and is read by many.
func (e *Engine) sealSecret(cmd *sluicev1.Command) error {
	start := cmd.GetStartFlow()
	if len(start.GetCallbackSecret()) == 0 {
		return nil
	}
	sealed, err := e.keys.Ring().Seal(cmd.GetFlowId(), start.GetCallbackSecret())
	if err != nil {
		return dead.Poisoned(dead.Impossible, "seal what its callback is signed with: %v", err)
	}
	start.CallbackSecret = sealed
	return nil
}

// callBack publishes a callback with what it is signed with. Where that cannot be
// opened any more it goes without, and the dispatcher makes a dead letter of it.
func (e *Engine) callBack(ctx context.Context, inv *sluicev1.Invocation, sealed []byte) (jetstream.PubAckFuture, error) {
	if inv.GetCallback().GetSigned() {
		secret, err := e.keys.Ring().Open(inv.GetFlowId(), sealed)
		if err != nil {
			e.log.ErrorContext(ctx, "what a callback is signed with was sealed by a key that is gone",
				slog.String("flow_id", inv.GetFlowId()), slog.Any("error", err))
		} else {
			inv.Callback.Secret = base64.RawURLEncoding.EncodeToString(secret)
		}
	}
	leaveOut(inv.GetCallback(), e.argumentBytes())
	subj := e.bus.Space.InvokeHTTP(inv.GetWork().GetStepId(), e.bus.Partition(inv.GetFlowId()), inv.GetFlowId())
	return e.publishInvocation(ctx, subj, effectID(inv, inv.GetCallback().GetRevision()), inv)
}

// leaveOut takes outputs that are more than one message should carry out of a
// callback, the last ones by name, and names them.
func leaveOut(c *sluicev1.Callback, limit int) {
	left := limit
	for _, name := range slices.Sorted(maps.Keys(c.GetOutputs())) {
		size := len(name) + len(c.GetOutputs()[name])
		if size <= left {
			left -= size
			continue
		}
		delete(c.GetOutputs(), name)
		c.Omitted = append(c.Omitted, name)
	}
}
