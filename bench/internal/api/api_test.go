package api_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sluiceflow/sluice/bench/internal/api"
)

// answer is what the server says to one call.
type answer struct {
	status int
	body   string
}

// newServer answers the calls one after the other, and the last answer for ever.
func newServer(t *testing.T, answers ...answer) string {
	t.Helper()
	calls := make(chan answer, len(answers))
	for _, a := range answers[:len(answers)-1] {
		calls <- a
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		a := answers[len(answers)-1]
		select {
		case a = <-calls:
		default:
		}
		w.WriteHeader(a.status)
		_, _ = io.WriteString(w, a.body)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestComplete(t *testing.T) {
	t.Parallel()
	url := newServer(t, answer{503, ""}, answer{500, ""}, answer{200, `{"status":"accepted"}`})
	c := api.New(url)
	if _, err := c.Complete(t.Context(), url+"/webhook", map[string]any{"success": true}); err != nil {
		t.Fatal(err)
	}
	if all := c.Errors.All(); all["webhook: 503"] != 1 || all["webhook: 500"] != 1 || len(all) != 2 {
		t.Errorf("counted %v", all)
	}
}

func TestRefusedForGood(t *testing.T) {
	t.Parallel()
	url := newServer(t, answer{409, "another outcome"})
	c := api.New(url)
	if _, err := c.Complete(t.Context(), url, nil); err == nil || !strings.Contains(err.Error(), "409 another outcome") {
		t.Errorf("completed: got %v, want the refusal", err)
	}
	if err := c.Start(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "409 another outcome") {
		t.Errorf("started: got %v, want the refusal", err)
	}
	if all := c.Errors.All(); all["webhook: 409"] != 1 || all["start: 409"] != 1 {
		t.Errorf("counted %v", all)
	}
}

func TestCompleted(t *testing.T) {
	t.Parallel()
	c := api.New(newServer(t, answer{503, ""}, answer{200, `{"status":"active"}`}, answer{200, `{"status":"completed"}`}))
	if err := c.Completed(t.Context(), "f"); err != nil {
		t.Error(err)
	}
	c = api.New(newServer(t, answer{200, `{"status":"failed"}`}))
	if err := c.Completed(t.Context(), "f"); err == nil || !strings.Contains(err.Error(), `"failed"`) {
		t.Errorf("got %v, want the flow's status", err)
	}
	c = api.New(newServer(t, answer{200, `{"status":"active"}`}))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := c.Completed(ctx, "f"); err == nil || !strings.Contains(err.Error(), "not completed") {
		t.Errorf("got %v, want that time was up", err)
	}
}

func TestEventsAndCount(t *testing.T) {
	t.Parallel()
	c := api.New(newServer(t, answer{200, `{"events":[{"type":"a"},{"type":"b"},{"type":"a"}],"total":0}`}))
	events, err := c.Events(t.Context(), "f")
	if err != nil || events["a"] != 2 || events["b"] != 1 {
		t.Errorf("got %v %v", events, err)
	}
	if n, err := c.Count(t.Context(), "active", "f"); n != 0 || err != nil {
		t.Errorf("got %d %v, want none", n, err)
	}
	c = api.New(newServer(t, answer{200, `{"flows":[]}`}))
	if _, err := c.Count(t.Context(), "active", "f"); err == nil {
		t.Error("a list without a total was counted")
	}
	c = api.New(newServer(t, answer{404, `no such flow`}))
	if _, err := c.Events(t.Context(), "f"); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("got %v, want the status", err)
	}
}
