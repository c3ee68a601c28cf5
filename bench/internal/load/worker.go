package load

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

const (
	senders     = 128     // webhook calls at once, or as many as there are flows in flight if that is more
	backlog     = 1 << 16 // invocations taken and not yet answered by a webhook
	resultBytes = 200     // of the value that a step gives
)

// metadata is what the worker needs of an invocation.
type metadata struct {
	FlowID     string `json:"flow_id"`
	StepID     string `json:"step_id"`
	WebhookURL string `json:"webhook_url"`
}

func payload() json.RawMessage {
	return json.RawMessage(`"` + strings.Repeat("x", resultBytes) + `"`)
}

// serve starts the worker and says where it takes invocations.
func (l *load) serve(ctx context.Context) (endpoint string, stop func(), err error) {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, fmt.Errorf("listen for invocations: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	for range max(senders, l.cfg.Concurrency) {
		go l.answer(ctx)
	}
	server := &http.Server{Handler: http.HandlerFunc(l.invocation), ReadHeaderTimeout: headerLimit}
	go func() { _ = server.Serve(listener) }() // ends by stop
	return "http://" + listener.Addr().String() + "/step", func() { cancel(); _ = server.Close() }, nil
}

// invocation accepts the call; the result follows by the webhook.
func (l *load) invocation(w http.ResponseWriter, r *http.Request) {
	var req struct {
		Metadata metadata `json:"metadata"`
	}
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		l.api.Errors.Add("invocation: not JSON")
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if _, twice := l.invoked.LoadOrStore(req.Metadata.FlowID+"/"+req.Metadata.StepID, true); twice {
		l.duplicates.Add(1)
	}
	l.queue <- req.Metadata
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"success":true,"outputs":{}}`)
}

// answer posts results, one after the other.
func (l *load) answer(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-l.queue:
			l.complete(ctx, m)
		}
	}
}

// complete posts the result of one invocation. One that is refused for good leaves its flow stuck, and the run says so.
func (l *load) complete(ctx context.Context, m metadata) {
	result := map[string]any{"success": true, "outputs": map[string]any{output(m.StepID): l.result}}
	took, err := l.api.Complete(ctx, m.WebhookURL, result)
	if err != nil {
		return
	}
	l.webhooks.Add(took)
	l.steps.Add(1)
	l.accepted(m)
}

// accepted ends the wait for the flow when this was its last step.
func (l *load) accepted(m metadata) {
	if m.StepID != l.stepID(l.cfg.Steps-1) {
		return
	}
	if waiting, ok := l.waiting.LoadAndDelete(m.FlowID); ok {
		if done, ok := waiting.(chan struct{}); ok {
			close(done)
		}
	}
}
