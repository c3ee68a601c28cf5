package console

import (
	"strconv"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/console/internal/view"
	"github.com/sluiceflow/sluice/services/internal/flow"
)

// addProgress shows what the workers of open work items said last.
func (c *Console) addProgress(out view.Flow, s *flow.State) {
	if s.Final() {
		return
	}
	for i := range s.Steps {
		stepID := s.Plan.Steps[i].ID
		for j := range s.Steps[i].Items {
			it := &s.Steps[i].Items[j]
			if it.Status != sluicev1.WorkStatus_WORK_STATUS_ACTIVE && it.Status != sluicev1.WorkStatus_WORK_STATUS_NOT_COMPLETED {
				continue
			}
			last, ok := c.progress.Of(s.ID, &sluicev1.WorkRef{
				Run: s.Run, StepId: stepID, Item: uint32(j), Generation: it.Generation,
			})
			if !ok {
				continue
			}
			place := strconv.Itoa(j)
			item := out.Executions[stepID].WorkItems[place]
			item.Progress = &view.Progress{Progress: last.Progress, Message: last.Message, At: last.At}
			out.Executions[stepID].WorkItems[place] = item
		}
	}
}
