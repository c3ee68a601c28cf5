package invariant

import (
	"errors"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/pkg/event"
	"github.com/sluiceflow/sluice/services/faults/internal/ledger"
)

// asked is what a work item of a step asks people; nil where it asks nobody.
func asked(knows ledger.Step) *client.Approval {
	if knows.Asks == 0 {
		return nil
	}
	return &client.Approval{Approvers: knows.Asks, Given: []client.Given{}}
}

// answered applies what a person said.
func answered(it *client.WorkItem, e event.Event) error {
	if it.Approval == nil || e.Approved == nil {
		return errors.New("an answer to a work item that asks nobody")
	}
	it.Approval.Given = append(it.Approval.Given, client.Given{Approved: *e.Approved, By: e.By, Comment: e.Comment, At: e.Time})
	return nil
}
