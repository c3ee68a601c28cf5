package view

import (
	"encoding/json"
	"time"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/flow"
)

// Broken shows a flow whose history does not hang together: what it was cannot
// be known, and why stands in its error.
func Broken(id, reason string, created, completed time.Time) Flow {
	d := BrokenDigest(reason, created, completed)
	updated := d.CompletedAt
	if updated.IsZero() {
		updated = d.CreatedAt
	}
	return Flow{
		ID: id, Status: d.Status, CreatedAt: d.CreatedAt, CompletedAt: d.CompletedAt, LastUpdated: updated, Error: d.Error,
		Plan: Plan{
			Goals: []string{}, Required: []string{}, Steps: map[string]json.RawMessage{}, Attributes: map[string]Edge{},
			Excluded: Excluded{Satisfied: []string{}, Missing: map[string][]string{}},
		},
		Attributes: map[string]Attribute{}, Executions: map[string]Execution{},
	}
}

// BrokenDigest is the digest of such a flow.
func BrokenDigest(reason string, created, completed time.Time) Digest {
	return Digest{
		Status:    flow.StatusName(sluicev1.FlowStatus_FLOW_STATUS_FAILED),
		CreatedAt: created, CompletedAt: completed, Error: reason,
	}
}
