package view

import (
	"strconv"
	"time"

	"github.com/sluiceflow/sluice/pkg/event"
	"github.com/sluiceflow/sluice/services/internal/flow"
)

// Approval is what a work item asks people, and what they said.
type Approval struct {
	Title string `json:"title,omitempty"`
	// Approvers is how many must approve.
	Approvers int     `json:"approvers"`
	Given     []Given `json:"given"`
	// Links are a pair for each of them, while it is open, for who may operate.
	Links []event.ApprovalLinks `json:"links,omitempty"`
}

// Given is what one person said.
type Given struct {
	Approved bool      `json:"approved"`
	By       string    `json:"by,omitempty"`
	Comment  string    `json:"comment,omitempty"`
	At       time.Time `json:"at"`
}

// addApprovals says of the work items of a step what they ask people, where they
// do.
func addApprovals(x Execution, s *flow.State, i int) {
	approvers := s.Approvers(i)
	if approvers == 0 {
		return
	}
	for place := range s.Steps[i].Items {
		item := x.WorkItems[strconv.Itoa(place)]
		item.Approval = &Approval{
			Title: s.Plan.Steps[i].Proto.GetWait().GetApproval().GetTitle(), Approvers: approvers, Given: []Given{},
		}
		for _, a := range s.Steps[i].Items[place].Approvals {
			item.Approval.Given = append(item.Approval.Given, Given{Approved: a.Approved, By: a.By, Comment: a.Comment, At: Time(a.At)})
		}
		x.WorkItems[strconv.Itoa(place)] = item
	}
}
