package console

import (
	"encoding/json"
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"

	"github.com/sluiceflow/sluice/pkg/subject"
	"github.com/sluiceflow/sluice/services/console/internal/view"
)

// maxName is the longest name of an init value or label.
const maxName = 128

type planRequest struct {
	Goals []string                   `json:"goals"`
	Init  map[string]json.RawMessage `json:"init"`
}

func (c *Console) makePlan(ec echo.Context) error {
	var r planRequest
	if err := c.decode(ec, &r); err != nil {
		return err
	}
	goals, err := c.checkGoals(r.Goals)
	if err != nil {
		return err
	}
	if err := c.checkInit(r.Init); err != nil {
		return err
	}
	made, err := c.steps.Index().Preview(goals, r.Init, c.planner.defaults)
	if err != nil {
		return err
	}
	return answer(ec, http.StatusOK, view.PlanOf(made))
}

// checkGoals returns the goals, each once, in the order asked for.
func (c *Console) checkGoals(goals []string) ([]string, error) {
	if len(goals) == 0 {
		return nil, wrong("goals", "must name at least one step")
	}
	if len(goals) > c.cfg.MaxGoals {
		return nil, wrong("goals", "has %d entries, and may have %d", len(goals), c.cfg.MaxGoals)
	}
	once := make([]string, 0, len(goals))
	for _, goal := range goals {
		if err := subject.CheckID(goal); err != nil {
			return nil, wrong("goals", "%q: %s", goal, err)
		}
		if !slices.Contains(once, goal) {
			once = append(once, goal)
		}
	}
	return once, nil
}

func (c *Console) checkInit(init map[string]json.RawMessage) error {
	if len(init) > c.cfg.MaxInit {
		return wrong("init", "has %d values, and may have %d", len(init), c.cfg.MaxInit)
	}
	for name := range init {
		if name == "" || len(name) > maxName {
			return wrong("init", "a name must have 1 to %d characters", maxName)
		}
	}
	return nil
}
