package engine

import (
	"context"
	"log/slog"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// ofMailbox reports whether a command goes to a mailbox, or comes from one. Such a
// command is stored before what it follows from is acked: nobody would look for it.
func ofMailbox(cmd *sluicev1.Command) bool {
	switch cmd.GetKind().(type) {
	case *sluicev1.Command_AwaitMessage, *sluicev1.Command_EndWait, *sluicev1.Command_DeliverMessage:
		return true
	}
	return false
}

// trim forgets what a mailbox's history has before its snapshot. Where that fails
// the next snapshot does it.
func (p *partition) trim(ctx context.Context, j *job) {
	if err := p.e.purge(ctx, j.flowID, j.emit.trimTo); err != nil {
		p.e.log.DebugContext(ctx, "the history of a mailbox was not trimmed", slog.String("mailbox", j.flowID), slog.Any("error", err))
	}
}
