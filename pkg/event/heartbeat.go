package event

import (
	"strconv"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// FromHeartbeat gives the event of a heartbeat. It has no revision, for it is no
// part of the flow's history.
func FromHeartbeat(h *sluicev1.Heartbeat) Event {
	return Event{
		Type: WorkHeartbeat, FlowID: h.GetFlowId(), StepID: h.GetWork().GetStepId(),
		Item:  strconv.FormatUint(uint64(h.GetWork().GetItem()), 10),
		Token: h.GetToken(), Attempt: h.GetWork().GetAttempt(), Time: at(h.GetTimeNs()),
		Progress: h.GetProgress(), Message: h.GetMessage(),
	}
}
