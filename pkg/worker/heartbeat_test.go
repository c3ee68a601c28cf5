package worker_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/pkg/worker"
)

func TestAFunctionSendsHeartbeats(t *testing.T) {
	t.Parallel()
	posted := make(chan string, 2)
	g := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		posted <- r.URL.RequestURI() + " " + string(body)
		_, _ = io.WriteString(rw, accepted)
	}))
	t.Cleanup(g.Close)
	w := newWorker(t, worker.Options{})
	failed := make(chan error, 1)
	w.Async("s", func(ctx context.Context, _ worker.Call) (worker.Outputs, error) {
		failed <- worker.Heartbeat(ctx, 0.5, "half")
		return nil, nil
	})
	of := step.Metadata{FlowID: "f", StepID: "s", ReceiptToken: "tok", Attempt: 2, WebhookURL: g.URL + "/webhook/a%3Ab/s/" + secret + "?attempt=2"}
	if status, answer := post(t, w, invocation(t, of, "1"), nil); status != http.StatusOK {
		t.Fatalf("%d %s", status, answer)
	}
	closeNow(t, w)
	if err := <-failed; err != nil {
		t.Error(err)
	}
	if got, want := <-posted, "/webhook/a%3Ab/s/"+secret+`/heartbeat?attempt=2 {"progress":0.5,"message":"half"}`; got != want {
		t.Errorf("posted %s, want %s", got, want)
	}
	if got := <-posted; !strings.Contains(got, secret+`?attempt=2 {"success":true}`) {
		t.Errorf("the completion: %s", got)
	}
	if err := worker.Heartbeat(t.Context(), 1, ""); err == nil {
		t.Error("a heartbeat of nothing was sent")
	}
}

func TestHeartbeatsThatAreNotTaken(t *testing.T) {
	t.Parallel()
	for status, refused := range map[int]bool{
		http.StatusGone: true, http.StatusNotFound: true, http.StatusFound: true,
		http.StatusServiceUnavailable: false, http.StatusTooManyRequests: false, 0: false,
	} {
		g := newGateway(t, reply{status: status, body: `{"detail":"no"}`})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		err := new(worker.Sender).Heartbeat(ctx, g.URL+"/"+secret, step.Progress{})
		refusal, is := errors.AsType[*worker.RefusedError](err)
		switch {
		case err == nil || is != refused || is && refusal.Status != status:
			t.Errorf("%d: %v", status, err)
		case strings.Contains(err.Error(), secret):
			t.Errorf("%d: the error holds the token: %v", status, err)
		case len(g.posts()) != 1:
			t.Errorf("%d: posted %d times", status, len(g.posts()))
		}
	}
}
