package load

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

func (l *load) stepID(i int) string { return l.prefix + "-step-" + strconv.Itoa(i) }

// output is the attribute that a step gives.
func output(step string) string { return "out_" + step }

// register makes the steps: each needs what the one before gives.
func (l *load) register(ctx context.Context, endpoint string) error {
	in := "seed"
	for i := range l.cfg.Steps {
		id := l.stepID(i)
		def := map[string]any{
			"id": id, "name": id, "type": "async",
			"attributes": map[string]any{
				in:         map[string]any{"role": "required", "type": "string"},
				output(id): map[string]any{"role": "output", "type": "string"},
			},
			"http": map[string]any{"endpoint": endpoint, "timeout": 10000},
		}
		status, body, err := l.send(ctx, http.MethodPost, l.cfg.API+"/engine/step", def)
		if err != nil {
			return fmt.Errorf("register a step: %w", err)
		}
		if status/100 != 2 {
			return fmt.Errorf("register a step: %d %s", status, body)
		}
		in = output(id)
	}
	return nil
}

// start starts a flow; while it cannot be stored, the same request is sent again.
func (l *load) start(ctx context.Context, id string) error {
	request := map[string]any{
		"id": id, "goals": []string{l.stepID(l.cfg.Steps - 1)}, "init": map[string]any{"seed": "s"},
	}
	for {
		status, body, err := l.send(ctx, http.MethodPost, l.cfg.API+"/engine/flow", request)
		switch {
		case err == nil && status/100 == 2:
			return nil
		case err != nil:
			l.errors.Add("start: no answer")
		case status >= http.StatusInternalServerError:
			l.errors.Add("start: " + strconv.Itoa(status))
		default:
			return fmt.Errorf("start a flow: %d %s", status, body)
		}
		if err := sleep(ctx, pause); err != nil {
			return fmt.Errorf("start a flow: %w", err)
		}
	}
}

// check reads a sample of the finished flows back: each must be completed soon, for its last result was accepted.
func (l *load) check(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	checked := 0
	for i := 0; i < len(l.finished); i += max(1, len(l.finished)/sample) {
		if err := l.completed(ctx, l.finished[i]); err != nil {
			return checked, err
		}
		checked++
	}
	return checked, nil
}

func (l *load) completed(ctx context.Context, id string) error {
	for {
		status, body, err := l.send(ctx, http.MethodGet, l.cfg.API+"/engine/flow/"+id, nil)
		var state struct {
			Status string `json:"status"`
		}
		if err == nil && status == http.StatusOK {
			err = json.Unmarshal(body, &state)
		}
		if err == nil && state.Status == "completed" {
			return nil
		}
		if state.Status != "" && state.Status != "active" {
			return fmt.Errorf("flow %s has status %q", id, state.Status)
		}
		if sleep(ctx, pause) != nil {
			return fmt.Errorf("flow %s is not completed: %d %.500s: %w", id, status, body, errors.Join(ctx.Err(), err))
		}
	}
}

func (l *load) send(ctx context.Context, method, url string, value any) (status int, body []byte, err error) {
	var content io.Reader = http.NoBody
	if value != nil {
		data, err := json.Marshal(value)
		if err != nil {
			return 0, nil, err
		}
		content = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, content)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := l.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	return resp.StatusCode, body, err
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
