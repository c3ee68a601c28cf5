package client

import (
	"context"
	"net/http"

	"github.com/sluiceflow/sluice/pkg/step"
)

// Plan is what a flow will do.
type Plan struct {
	Goals []string `json:"goals"`
	// Required are the inputs that nothing in the plan gives.
	Required   []string                   `json:"required"`
	Steps      map[string]step.Definition `json:"steps"`
	Attributes map[string]Edges           `json:"attributes"`
	Excluded   Excluded                   `json:"excluded"`
	// Children are what steps of type flow start, by step.
	Children map[string]Plan `json:"children,omitempty"`
}

// Edges are the steps that give and take one attribute.
type Edges struct {
	Providers []string `json:"providers"`
	Consumers []string `json:"consumers"`
}

// Excluded are the steps that a plan leaves out.
type Excluded struct {
	// Satisfied steps are not needed: init gives what they would. A goal among
	// them is reached and does not run.
	Satisfied []string `json:"satisfied"`
	// Missing names the inputs that a step lacks, so that it can never run.
	Missing map[string][]string `json:"missing"`
}

// Plan says what a flow with these goals and initial attributes would do.
// Values of init are anything that encoding/json writes.
func (c *Client) Plan(ctx context.Context, goals []string, init map[string]any) (Plan, error) {
	ask := struct {
		Goals []string       `json:"goals"`
		Init  map[string]any `json:"init,omitempty"`
	}{goals, init}
	var p Plan
	_, err := c.call(ctx, http.MethodPost, []string{"plan"}, nil, ask, &p)
	return p, err
}
