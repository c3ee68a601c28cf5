// Package api speaks Sluice's HTTP contract as its clients and workers do: what could not be stored is sent again until it is.
package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/sluiceflow/sluice/bench/internal/measure"
)

const (
	callLimit = 20 * time.Second
	getLimit  = 30 * time.Second
	pause     = 20 * time.Millisecond // before a call that was refused is sent again
)

// A Client calls the control API and webhooks, from many goroutines at once.
type Client struct {
	// Errors counts what went wrong, by kind.
	Errors measure.Counts

	base string
	http *http.Client
}

// New makes a client of the control API at the base URL.
func New(base string) *Client {
	transport := &http.Transport{MaxIdleConns: 2048, MaxIdleConnsPerHost: 2048}
	return &Client{base: base, http: &http.Client{Timeout: callLimit, Transport: transport}}
}

// Register registers a step.
func (c *Client) Register(ctx context.Context, step any) error {
	status, body, err := c.send(ctx, http.MethodPost, c.base+"/engine/step", step)
	if err != nil {
		return fmt.Errorf("register a step: %w", err)
	}
	if status/100 != 2 {
		return fmt.Errorf("register a step: %d %s", status, body)
	}
	return nil
}

// Start starts a flow; while it cannot be stored, the same request is sent again.
func (c *Client) Start(ctx context.Context, flow any) error {
	_, err := c.store(ctx, "start", c.base+"/engine/flow", flow)
	return err
}

// Complete posts the result of a work item to its webhook URL, again while it could not be stored, and says how long the call took that
// stored it. A result that is refused for good is an error and is counted.
func (c *Client) Complete(ctx context.Context, webhook string, result any) (time.Duration, error) {
	return c.store(ctx, "webhook", webhook, result)
}

func (c *Client) store(ctx context.Context, what, target string, value any) (time.Duration, error) {
	for {
		began := time.Now()
		status, body, err := c.send(ctx, http.MethodPost, target, value)
		switch {
		case err == nil && status/100 == 2:
			return time.Since(began), nil
		case err != nil:
			c.Errors.Add(what + ": no answer")
		case status >= http.StatusInternalServerError:
			c.Errors.Add(what + ": " + strconv.Itoa(status))
		default:
			c.Errors.Add(what + ": " + strconv.Itoa(status))
			return 0, fmt.Errorf("%s: %d %s", what, status, body)
		}
		if err := sleep(ctx); err != nil {
			return 0, fmt.Errorf("%s: %w", what, err)
		}
	}
}

// Completed waits until the flow is completed. It is an error when the flow ends in another way, or ctx does before.
func (c *Client) Completed(ctx context.Context, id string) error {
	for {
		var state struct {
			Status string `json:"status"`
		}
		err := c.get(ctx, "/engine/flow/"+id, &state)
		if err == nil && state.Status == "completed" {
			return nil
		}
		if state.Status != "" && state.Status != "active" {
			return fmt.Errorf("flow %s has status %q", id, state.Status)
		}
		if ended := sleep(ctx); ended != nil {
			return fmt.Errorf("flow %s is not completed: %w", id, errors.Join(ended, err))
		}
	}
}

// Events counts the events of a flow's history, by type.
func (c *Client) Events(ctx context.Context, id string) (map[string]int, error) {
	var history struct {
		Events []struct {
			Type string `json:"type"`
		} `json:"events"`
	}
	if err := c.get(ctx, "/engine/flow/"+id+"/events", &history); err != nil {
		return nil, err
	}
	n := make(map[string]int, len(history.Events))
	for _, e := range history.Events {
		n[e.Type]++
	}
	return n, nil
}

// Count says how many flows have the status and an id that begins with the prefix, as far as the console's index knows.
func (c *Client) Count(ctx context.Context, status, prefix string) (int, error) {
	var list struct {
		Total *int `json:"total"`
	}
	query := url.Values{"status": {status}, "id_prefix": {prefix}, "total": {"true"}, "limit": {"1"}}
	if err := c.get(ctx, "/engine/flow?"+query.Encode(), &list); err != nil {
		return 0, err
	}
	if list.Total == nil {
		return 0, errors.New("the list of flows has no total")
	}
	return *list.Total, nil
}

// get asks again, for as long as getLimit, while the console is busy.
func (c *Client) get(ctx context.Context, path string, into any) error {
	end := time.Now().Add(getLimit)
	status, body, err := c.send(ctx, http.MethodGet, c.base+path, nil)
	for err == nil && status == http.StatusServiceUnavailable && time.Now().Before(end) && sleep(ctx) == nil {
		status, body, err = c.send(ctx, http.MethodGet, c.base+path, nil)
	}
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return fmt.Errorf("GET %s: %d %.500s", path, status, body)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("GET %s: %w", path, err)
	}
	return nil
}

func (c *Client) send(ctx context.Context, method, target string, value any) (status int, body []byte, err error) {
	var content io.Reader = http.NoBody
	if value != nil {
		data, err := json.Marshal(value)
		if err != nil {
			return 0, nil, err
		}
		content = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, target, content)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	return resp.StatusCode, body, err
}

func sleep(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(pause):
		return nil
	}
}
