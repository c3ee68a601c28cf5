package flow

import (
	"strings"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// millisecond is one millisecond in the unit of the core's times.
const millisecond = int64(1_000_000)

// StatusName returns the contract's word for a flow's status, such as "active".
func StatusName(s sluicev1.FlowStatus) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "FLOW_STATUS_"))
}

// StepStatusName returns the contract's word for a step's status.
func StepStatusName(s sluicev1.StepStatus) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "STEP_STATUS_"))
}

// WorkStatusName returns the contract's word for a work item's status.
func WorkStatusName(s sluicev1.WorkStatus) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "WORK_STATUS_"))
}
