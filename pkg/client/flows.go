package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/sluiceflow/sluice/pkg/event"
)

// StartRequest asks for a new flow.
type StartRequest struct {
	// ID of the flow; empty lets the console make one. Give one, so that the same
	// request can be sent again without starting a second flow.
	ID string `json:"id,omitempty"`
	// Goals are the ids of the steps to reach.
	Goals []string `json:"goals"`
	// Init are the attributes to begin with: anything that encoding/json writes.
	Init   map[string]any    `json:"init,omitempty"`
	Labels map[string]string `json:"labels,omitempty"`
	// TimeoutMS is how many milliseconds the flow may take; 0 means no limit.
	TimeoutMS int64 `json:"timeout_ms,omitempty"`
	// CallbackURL is told when the flow ended, see [ReadCallback].
	CallbackURL string `json:"callback_url,omitempty"`
	// CallbackSecret, whsec_ and base64 of at least 24 bytes, is what that is
	// signed with; empty signs nothing. It is shown nowhere.
	CallbackSecret string `json:"callback_secret,omitempty"`
	// StartAt is when the steps start; zero, and what is past, mean at once. The
	// flow is stored, and can be canceled, before.
	StartAt time.Time `json:"start_at,omitzero"`
}

// StartFlow starts a flow and returns its id. When it returns without an error
// the flow is stored durably. The same request again starts nothing and returns
// the same. A [*Problem] with a FlowID says that nobody answered in time.
func (c *Client) StartFlow(ctx context.Context, r StartRequest) (id string, err error) {
	var answer struct {
		FlowID string `json:"flow_id"`
	}
	_, err = c.call(ctx, http.MethodPost, []string{"flow"}, nil, r, &answer)
	return answer.FlowID, err
}

// Flow reads the whole state of a flow.
func (c *Client) Flow(ctx context.Context, id string, opts ...ReadOption) (FlowState, error) {
	var s FlowState
	_, err := c.call(ctx, http.MethodGet, []string{"flow", id}, queryOf(opts), nil, &s)
	return s, err
}

// FlowStatus reads a flow in short, which costs little.
func (c *Client) FlowStatus(ctx context.Context, id string, opts ...ReadOption) (Digest, error) {
	var d Digest
	_, err := c.call(ctx, http.MethodGet, []string{"flow", id, "status"}, queryOf(opts), nil, &d)
	return d, err
}

// FlowEvents reads the whole history of a flow, in order.
func (c *Client) FlowEvents(ctx context.Context, id string) ([]event.Event, error) {
	var list struct {
		Events []event.Event `json:"events"`
	}
	_, err := c.call(ctx, http.MethodGet, []string{"flow", id, "events"}, nil, nil, &list)
	return list.Events, err
}

// CancelFlow ends a running flow. The reason may be empty.
func (c *Client) CancelFlow(ctx context.Context, id, reason string) error {
	ask := struct {
		Reason string `json:"reason,omitempty"`
	}{reason}
	_, err := c.call(ctx, http.MethodPost, []string{"flow", id, "cancel"}, nil, ask, nil)
	return err
}

// PauseFlow lets nothing new of a flow start, until it is resumed. The reason may
// be empty.
func (c *Client) PauseFlow(ctx context.Context, id, reason string) error {
	return c.control(ctx, id, reason, "pause")
}

// ResumeFlow makes a paused flow go on. The reason may be empty.
func (c *Client) ResumeFlow(ctx context.Context, id, reason string) error {
	return c.control(ctx, id, reason, "resume")
}

// RetryFlow begins the failed steps of a flow again; a flow that failed goes on.
// The reason may be empty.
func (c *Client) RetryFlow(ctx context.Context, id, reason string) error {
	return c.control(ctx, id, reason, "retry")
}

func (c *Client) control(ctx context.Context, id, reason, what string) error {
	ask := struct {
		Reason string `json:"reason,omitempty"`
	}{reason}
	_, err := c.call(ctx, http.MethodPost, []string{"flow", id, what}, nil, ask, nil)
	return err
}

// Override says which step is repaired by hand, and why.
type Override struct {
	Flow, Step string
	// Item is a work item's place in input order, such as "0"; empty is the step
	// as a whole.
	Item string
	// Reason stands in the flow's history. It may be empty.
	Reason string
}

// RetryStep begins a step or work item again: one that failed under a new token,
// one that is at work in its next attempt.
func (c *Client) RetryStep(ctx context.Context, o Override) error {
	return c.override(ctx, o, "retry", nil)
}

// SkipStep ends a step as skipped, or a work item without outputs.
func (c *Client) SkipStep(ctx context.Context, o Override) error {
	return c.override(ctx, o, "skip", nil)
}

// CompleteStep ends a step or work item with outputs: anything that encoding/json
// writes.
func (c *Client) CompleteStep(ctx context.Context, o Override, outputs map[string]any) error {
	return c.override(ctx, o, "complete", map[string]any{"outputs": outputs})
}

// FailStep ends a step or work item as failed. The message may be empty.
func (c *Client) FailStep(ctx context.Context, o Override, message string) error {
	return c.override(ctx, o, "fail", map[string]any{"error": message})
}

func (c *Client) override(ctx context.Context, o Override, action string, ask map[string]any) error {
	if ask == nil {
		ask = map[string]any{}
	}
	for name, text := range map[string]string{"item": o.Item, "reason": o.Reason} {
		if text != "" {
			ask[name] = text
		}
	}
	_, err := c.call(ctx, http.MethodPost, []string{"flow", o.Flow, "step", o.Step, action}, nil, ask, nil)
	return err
}

// DeleteFlow removes the history of a flow that ended, for good.
func (c *Client) DeleteFlow(ctx context.Context, id string) error {
	_, err := c.call(ctx, http.MethodDelete, []string{"flow", id}, nil, nil, nil)
	return err
}

// FlowFilter says which flows to list; the zero value is all of them.
type FlowFilter struct {
	// Statuses of which a flow has one.
	Statuses []Status
	// Labels that a flow has: name=value, or a name alone.
	Labels   []string
	Goal     string
	IDPrefix string
	// Children lists flows that other flows started, too.
	Children bool
	// Since and Until limit when the flow was started.
	Since, Until time.Time
	// PageSize is how many are read at once; 0 leaves it to the console.
	PageSize int
}

func (f FlowFilter) query() url.Values {
	q := url.Values{}
	for _, status := range f.Statuses {
		q.Add("status", string(status))
	}
	for _, label := range f.Labels {
		q.Add("label", label)
	}
	for name, text := range map[string]string{"goal": f.Goal, "id_prefix": f.IDPrefix} {
		if text != "" {
			q.Set(name, text)
		}
	}
	for name, at := range map[string]time.Time{"since": f.Since, "until": f.Until} {
		if !at.IsZero() {
			q.Set(name, at.UTC().Format(time.RFC3339Nano))
		}
	}
	if f.Children {
		q.Set("children", "true")
	}
	if f.PageSize > 0 {
		q.Set("limit", strconv.Itoa(f.PageSize))
	}
	return q
}

// FlowEntry is one flow of a list.
type FlowEntry struct {
	ID     string `json:"id"`
	Digest Digest `json:"digest"`
}

// Flows lists flows, newest first, reading page after page as the loop goes on.
// An error is the last thing given.
func (c *Client) Flows(ctx context.Context, filter FlowFilter) iter.Seq2[FlowEntry, error] {
	return func(yield func(FlowEntry, error) bool) {
		query := filter.query()
		for {
			var page struct {
				Flows []FlowEntry `json:"flows"`
				Next  string      `json:"next"`
			}
			if _, err := c.call(ctx, http.MethodGet, []string{"flow"}, query, nil, &page); err != nil {
				yield(FlowEntry{}, err)
				return
			}
			for _, entry := range page.Flows {
				if !yield(entry, nil) {
					return
				}
			}
			if page.Next == "" {
				return
			}
			query.Set("cursor", page.Next)
		}
	}
}
