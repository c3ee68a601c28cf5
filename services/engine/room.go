package engine

import (
	"context"
	"errors"
	"log/slog"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluiceflow/sluice/pkg/subject"
	"github.com/sluiceflow/sluice/services/internal/flow"
)

// codeStoreFailed is the server's code for a message that did not go into its
// stream: with the histories it says that FLOWS is full.
const codeStoreFailed = 10077

// mayRetireWithout reports whether the job's commit is a retirement that FLOWS
// has no room for. Its flow is then purged without it, for that makes room: the
// job goes on as if the commit were stored, at the flow's last one.
func (p *partition) mayRetireWithout(ctx context.Context, j *job) bool {
	var api *jetstream.APIError
	if !errors.As(j.err, &api) || api.ErrorCode != codeStoreFailed || flow.Kind(j.proposal.commit) != subject.KindRetired {
		return false
	}
	if err := p.verify(ctx, j); err != nil {
		j.err = err
		return false
	}
	p.e.log.WarnContext(ctx, "there is no room for a retirement: the history is purged without it",
		slog.String("flow_id", j.flowID))
	j.err, j.emit.retired, j.emit.retireTo = nil, true, j.entry.sequence
	return true
}
