package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// Readiness is what a process says of itself at /ready. What it does not know
// yet is empty.
type Readiness struct {
	// Service is the role, or dev for all of them in one process.
	Service string `json:"service"`
	// Status is "ready" or "not ready".
	Status  string   `json:"status"`
	Version string   `json:"version"`
	Roles   []string `json:"roles"`
	// Checks say "ok" of each dependency, or what is wrong with it.
	Checks map[string]string `json:"checks"`
	// Durability is what an acknowledgement survives: synced, replicated or
	// fast; and DurabilityDetail says it in words.
	Durability       string `json:"durability"`
	DurabilityDetail string `json:"durability_detail"`
	// Partitions tells how many the engine in the process works on, such as
	// "5 of 16", where there is one.
	Partitions string `json:"partitions"`
	Layout     Layout `json:"layout"`
}

// Layout is how the streams are laid out.
type Layout struct {
	Partitions int `json:"partitions"`
	Shards     int `json:"shards"`
	// Replicas is how many NATS servers hold each stream.
	Replicas int `json:"replicas"`
}

// Ready reads what the console says of itself, also while it is not ready.
func (c *Client) Ready(ctx context.Context) (*Readiness, error) {
	target := c.base.JoinPath("ready")
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("call the console: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read the console's answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusServiceUnavailable {
		return nil, problemFrom(resp, body)
	}
	var r Readiness
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, fmt.Errorf("read the console's answer: %w", err)
	}
	if r.Status == "" {
		return nil, fmt.Errorf("%s is not a console", target.Redacted())
	}
	return &r, nil
}
