package bus

import (
	"google.golang.org/protobuf/proto"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/fault"
)

// PublishHeartbeat shows a heartbeat to whoever watches, by core NATS: it is
// stored nowhere, and nobody may be there to see it. An error of kind
// [fault.Unavailable] means that NATS is away.
func (b *Bus) PublishHeartbeat(h *sluicev1.Heartbeat) error {
	const op = "bus.PublishHeartbeat"
	data, err := proto.Marshal(h)
	if err != nil {
		return fault.New(fault.Internal, op, err)
	}
	if err := b.NC.Publish(b.Space.Heartbeat(b.Partition(h.GetFlowId()), h.GetFlowId()), data); err != nil {
		return fault.New(fault.Unavailable, op, err)
	}
	return nil
}
