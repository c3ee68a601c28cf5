package client

import (
	"context"
	"net/http"
)

// Decision is what a person says of what a step asks people.
type Decision struct {
	Flow, Step string
	// Item is a work item's place in input order, such as "0"; empty where the step
	// has but one.
	Item string
	// By is the person's name, for consoles without API keys: others take the name of
	// the key.
	By string
	// Comment may be empty.
	Comment string
}

// Approve says yes. It returns what has become of what was asked.
func (c *Client) Approve(ctx context.Context, d Decision) (string, error) {
	return c.decide(ctx, d, "approve")
}

// Reject says no, which ends the wait. It returns what has become of what was
// asked.
func (c *Client) Reject(ctx context.Context, d Decision) (string, error) {
	return c.decide(ctx, d, "reject")
}

func (c *Client) decide(ctx context.Context, d Decision, answer string) (string, error) {
	ask := map[string]string{}
	for name, text := range map[string]string{"item": d.Item, "by": d.By, "comment": d.Comment} {
		if text != "" {
			ask[name] = text
		}
	}
	var says struct {
		Message string `json:"message"`
	}
	_, err := c.call(ctx, http.MethodPost, []string{"flow", d.Flow, "step", d.Step, answer}, nil, ask, &says)
	return says.Message, err
}
