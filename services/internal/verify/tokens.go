package verify

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/sluiceflow/sluice/pkg/subject"
	"github.com/sluiceflow/sluice/pkg/token"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/verify/check"
)

// tokensAtOnce is how many tokens are looked up in one round trip.
const tokensAtOnce = 500

// lookAtTokens asks Redis which outcomes of this pass's flows got a 2xx: each
// must be in its flow's history, or wait among the commands.
func (s *shard) lookAtTokens(ctx context.Context) error {
	if s.Index == nil || s.Mint == nil {
		return nil
	}
	var batch []token.Claims
	for flowID, h := range s.histories {
		if h == nil || h.State() == nil {
			continue
		}
		state := h.State()
		for i := range state.Steps {
			for j := range state.Steps[i].Items {
				it := &state.Steps[i].Items[j]
				if it.Attempt == 0 {
					continue
				}
				batch = append(batch, token.Claims{
					FlowID: flowID, StepID: state.Plan.Steps[i].ID, Run: state.Run,
					Item: uint32(j), Generation: it.Generation,
				})
				if len(batch) < tokensAtOnce {
					continue
				}
				if err := s.lookUp(ctx, batch); err != nil {
					return err
				}
				batch = batch[:0]
			}
		}
	}
	return s.lookUp(ctx, batch)
}

// lookUp looks some tokens up.
func (s *shard) lookUp(ctx context.Context, batch []token.Claims) error {
	if len(batch) == 0 {
		return nil
	}
	hashes := make([]string, len(batch))
	for i, claims := range batch {
		hashes[i] = token.Hash(s.Mint(claims))
	}
	s.summary.Tokens += len(batch)
	accepted, err := s.Index.Accepted(ctx, hashes)
	if err != nil {
		return err //nolint:wrapcheck // it says all
	}
	for i, digests := range accepted {
		for _, digest := range digests {
			if err := s.outcome(ctx, batch[i], digest); err != nil {
				return err
			}
		}
	}
	return nil
}

// outcome looks for an accepted outcome. It may have come after the history was
// read, so it is looked for once more: among the commands first, then in the
// flow, for that is the way it goes.
func (s *shard) outcome(ctx context.Context, claims token.Claims, digest []byte) error {
	if state := s.histories[claims.FlowID].State(); state.Knows(claims.StepID, claims.Item, digest) {
		return nil
	}
	waits, err := s.waits(ctx, claims, digest)
	if err != nil || waits {
		return err
	}
	state, err := s.flow(ctx, claims.FlowID)
	if err != nil || state == nil || !state.Exists() || state.Run != claims.Run || state.Knows(claims.StepID, claims.Item, digest) {
		return err
	}
	return s.report(check.Finding{
		Kind: check.LostOutcome, Stream: s.stream, FlowID: claims.FlowID, Revision: state.Revision,
		StepID: claims.StepID, Item: claims.Item,
		Detail: fmt.Sprintf("an outcome of token %s with digest %x got a 2xx, and is neither in the history nor among the commands",
			token.Prefix(s.Mint(claims)), digest),
	})
}

// waits reports whether an outcome is among the commands.
func (s *shard) waits(ctx context.Context, claims token.Claims, digest []byte) (bool, error) {
	filter := s.Bus.Space.Command(subject.SourceHook, s.Bus.Partition(claims.FlowID), claims.FlowID)
	for from := uint64(1); ; {
		m, err := s.Bus.Next(ctx, s.commands, filter, from)
		if err != nil || m == nil {
			return false, err //nolint:wrapcheck // it says all
		}
		from = m.Sequence + 1
		cmd := &sluicev1.Command{}
		if proto.Unmarshal(m.Data, cmd) == nil && string(cmd.GetCompleteWork().GetOutcome().GetDigest()) == string(digest) {
			return true, nil
		}
	}
}
