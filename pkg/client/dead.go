package client

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// DeadLetter is a message that can never be processed.
type DeadLetter struct {
	ID uint64 `json:"id"`
	// What it was: command, invocation or wake.
	What string `json:"what"`
	// Class of the reason: garbage, misplaced, impossible or panic.
	Class   string `json:"class"`
	Reason  string `json:"reason"`
	Subject string `json:"subject"`
	// FlowID and StepID are what the subject names; empty where it names none.
	FlowID string `json:"flow_id,omitempty"`
	StepID string `json:"step_id,omitempty"`
	// Stream and Sequence are where it stood.
	Stream   string `json:"stream"`
	Sequence uint64 `json:"sequence"`
	// StoredAt is when it was stored the first time, DeadAt when it was given up
	// the last time.
	StoredAt   time.Time `json:"stored_at"`
	DeadAt     time.Time `json:"dead_at"`
	Deliveries uint64    `json:"deliveries"`
	Redrives   uint32    `json:"redrives"`
	// Size in bytes of the original.
	Size uint64 `json:"size"`

	// What follows is given for a single letter only.
	Headers map[string]string `json:"headers,omitempty"`
	// Message is the original, decoded, without secrets.
	Message json.RawMessage `json:"message,omitempty"`
	// Data is the original where it cannot be decoded, with all that may be a
	// token made unreadable; only its beginning when it is Truncated.
	Data      []byte `json:"data,omitempty"`
	Truncated bool   `json:"truncated,omitempty"`
}

// DeadFilter says which dead letters to list; the zero value is all of them.
type DeadFilter struct {
	// What they were: command, invocation or wake.
	What string
	// PageSize is how many are read at once; 0 leaves it to the console.
	PageSize int
}

// DeadLetters lists dead letters, newest first, reading page after page as the
// loop goes on. An error is the last thing given.
func (c *Client) DeadLetters(ctx context.Context, filter DeadFilter) iter.Seq2[DeadLetter, error] {
	return func(yield func(DeadLetter, error) bool) {
		query := url.Values{}
		if filter.What != "" {
			query.Set("what", filter.What)
		}
		if filter.PageSize > 0 {
			query.Set("limit", strconv.Itoa(filter.PageSize))
		}
		for {
			var page struct {
				Letters []DeadLetter `json:"letters"`
				Next    string       `json:"next"`
			}
			if _, err := c.call(ctx, http.MethodGet, []string{"dead"}, query, nil, &page); err != nil {
				yield(DeadLetter{}, err)
				return
			}
			for _, letter := range page.Letters {
				if !yield(letter, nil) {
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

// DeadLetter reads one dead letter with its message.
func (c *Client) DeadLetter(ctx context.Context, id uint64) (DeadLetter, error) {
	var letter DeadLetter
	_, err := c.call(ctx, http.MethodGet, letterPath(id), nil, nil, &letter)
	return letter, err
}

// RedriveDeadLetter publishes the original again and removes the letter. It may
// be repeated: that the original was stored before is known.
func (c *Client) RedriveDeadLetter(ctx context.Context, id uint64) error {
	_, err := c.call(ctx, http.MethodPost, append(letterPath(id), "redrive"), nil, nil, nil)
	return err
}

// DropDeadLetter removes a letter and its message, for good.
func (c *Client) DropDeadLetter(ctx context.Context, id uint64) error {
	_, err := c.call(ctx, http.MethodDelete, letterPath(id), nil, nil, nil)
	return err
}

func letterPath(id uint64) []string { return []string{"dead", strconv.FormatUint(id, 10)} }
