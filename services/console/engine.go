package console

import (
	"net/http"
	"slices"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/services/console/internal/health"
	"github.com/sluiceflow/sluice/services/console/internal/index"
	"github.com/sluiceflow/sluice/services/console/internal/view"
	"github.com/sluiceflow/sluice/services/internal/plan"
)

type engineAnswer struct {
	LastUpdated time.Time                  `json:"last_updated"`
	Steps       map[string]step.Definition `json:"steps"`
	Health      map[string]health.Status   `json:"health"`
	Attributes  map[string]view.Edge       `json:"attributes"`
	Active      map[string]view.Digest     `json:"active"`
	Deactivated []string                   `json:"deactivated"`
	Archiving   map[string]string          `json:"archiving"`
	Digests     map[string]view.Digest     `json:"flow_digests"`
}

// getEngine shows the registry, and the newest of the flows that run: the list
// of flows has them all.
func (c *Console) getEngine(ec echo.Context) error {
	running, err := c.index.List(ec.Request().Context(), index.Query{Statuses: []string{"active", "paused"}, Limit: maxPage})
	if err != nil {
		return err
	}
	steps := c.steps.List()
	out := engineAnswer{
		LastUpdated: c.started,
		Steps:       make(map[string]step.Definition, len(steps)),
		Health:      make(map[string]health.Status, len(steps)),
		Attributes:  edgesOf(steps),
		Active:      make(map[string]view.Digest, len(running.Rows)),
		Deactivated: []string{}, Archiving: map[string]string{}, Digests: map[string]view.Digest{},
	}
	for _, s := range steps {
		out.Steps[s.Definition.ID] = s.Definition.Redacted()
		out.Health[s.Definition.ID] = c.healthOf(s.Definition)
	}
	for _, row := range running.Rows {
		out.Active[row.ID] = digestOf(row)
		if row.Created.After(out.LastUpdated) {
			out.LastUpdated = row.Created
		}
	}
	return answer(ec, http.StatusOK, out)
}

// edgesOf says who gives and who takes each attribute of the registry.
func edgesOf(steps []plan.Registered) map[string]view.Edge {
	edges := map[string]view.Edge{}
	for _, s := range steps {
		for name, a := range s.Definition.Attributes {
			edge, ok := edges[name]
			if !ok {
				edge = view.Edge{Providers: []string{}, Consumers: []string{}}
			}
			if a.Role == step.RoleOutput {
				edge.Providers = append(edge.Providers, s.Definition.ID)
			} else {
				edge.Consumers = append(edge.Consumers, s.Definition.ID)
			}
			edges[name] = edge
		}
	}
	for _, edge := range edges {
		slices.Sort(edge.Providers)
		slices.Sort(edge.Consumers)
	}
	return edges
}

func (c *Console) listHealth(ec echo.Context) error {
	all := map[string]health.Status{}
	for _, s := range c.steps.List() {
		all[s.Definition.ID] = c.healthOf(s.Definition)
	}
	return answer(ec, http.StatusOK, struct {
		Health map[string]health.Status `json:"health"`
		Count  int                      `json:"count"`
	}{all, len(all)})
}

func (c *Console) getHealth(ec echo.Context) error {
	id, err := pathID(ec)
	if err != nil {
		return err
	}
	s, ok := c.steps.Get(id)
	if !ok {
		return unknownStep(id)
	}
	return answer(ec, http.StatusOK, c.healthOf(s.Definition))
}
