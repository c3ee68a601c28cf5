package client

import (
	"context"
	"net/http"
	"time"
)

// Message completes a step that waits for it.
type Message struct {
	// Name and Key are those that the step waits for. Key is anything that
	// encoding/json writes.
	Name string
	Key  any
	// Outputs are what the step then gives: anything that encoding/json writes.
	Outputs map[string]any
	// ID makes it known when it is sent again: give one. It may be empty.
	ID string
	// TTL is how long the message is kept where nobody waits for it yet; 0 means a
	// day.
	TTL time.Duration
}

// PostMessage sends a message. When it returns without an error the message is
// stored durably. The same again, by its ID, changes nothing.
func (c *Client) PostMessage(ctx context.Context, m Message) error {
	ask := struct {
		Name    string         `json:"name"`
		Key     any            `json:"key"`
		Outputs map[string]any `json:"outputs,omitempty"`
		ID      string         `json:"id,omitempty"`
		TTL     int64          `json:"ttl_ms,omitempty"`
	}{m.Name, m.Key, m.Outputs, m.ID, m.TTL.Milliseconds()}
	_, err := c.call(ctx, http.MethodPost, []string{"message"}, nil, ask, nil)
	return err
}
