package client

import (
	"context"
	"net/http"

	"github.com/sluiceflow/sluice/pkg/step"
)

// RegisterStep registers a step, and reports whether it is new: the same
// definition again changes nothing, another one under its id is a problem with
// status 409.
func (c *Client) RegisterStep(ctx context.Context, d step.Definition) (created bool, err error) {
	status, err := c.call(ctx, http.MethodPost, []string{"step"}, nil, d, nil)
	return status == http.StatusCreated, err
}

// UpdateStep replaces the definition of a step. Flows that run keep theirs.
func (c *Client) UpdateStep(ctx context.Context, d step.Definition) error {
	_, err := c.call(ctx, http.MethodPut, []string{"step", d.ID}, nil, d, nil)
	return err
}

// DeleteStep unregisters a step. Flows that run keep it.
func (c *Client) DeleteStep(ctx context.Context, id string) error {
	_, err := c.call(ctx, http.MethodDelete, []string{"step", id}, nil, nil, nil)
	return err
}

// Step reads a definition, its secrets replaced by marks.
func (c *Client) Step(ctx context.Context, id string) (step.Definition, error) {
	var d step.Definition
	_, err := c.call(ctx, http.MethodGet, []string{"step", id}, nil, nil, &d)
	return d, err
}

// Steps reads all definitions, their secrets replaced by marks.
func (c *Client) Steps(ctx context.Context) ([]step.Definition, error) {
	var list struct {
		Steps []step.Definition `json:"steps"`
	}
	_, err := c.call(ctx, http.MethodGet, []string{"step"}, nil, nil, &list)
	return list.Steps, err
}
