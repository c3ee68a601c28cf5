package event

import (
	"encoding/json"
	"time"
)

// Callback is what a flow's callback_url is told when the flow ended.
type Callback struct {
	// Type is flow_completed, flow_failed or flow_canceled.
	Type   Type   `json:"type"`
	FlowID string `json:"flow_id"`
	// Status is completed, failed or canceled.
	Status string `json:"status"`
	// Outputs are what the goals gave: of a flow that did not complete, what they
	// gave until then.
	Outputs map[string]json.RawMessage `json:"outputs"`
	// Omitted names what is too large to stand in Outputs; the flow's state has it.
	Omitted []string `json:"omitted,omitempty"`
	// Error says why the flow failed or was canceled.
	Error       string            `json:"error,omitempty"`
	CompletedAt time.Time         `json:"completed_at"`
	Labels      map[string]string `json:"labels"`
}
