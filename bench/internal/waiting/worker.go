package waiting

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// worker accepts every invocation, keeps its webhook URL, and completes nothing.
type worker struct {
	endpoint   string
	all        chan struct{} // closed once all flows were invoked
	duplicates atomic.Int64

	server *http.Server
	served chan struct{}
	flows  int

	mu       sync.Mutex
	webhooks map[string]string // flow id -> URL
}

// serve starts the worker of so many flows.
func serve(ctx context.Context, flows int) (*worker, error) {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for invocations: %w", err)
	}
	w := &worker{
		endpoint: "http://" + listener.Addr().String() + "/step",
		all:      make(chan struct{}), served: make(chan struct{}), flows: flows, webhooks: make(map[string]string, flows),
	}
	w.server = &http.Server{Handler: w, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		defer close(w.served)
		_ = w.server.Serve(listener) // ends by close
	}()
	return w, nil
}

func (w *worker) close() {
	_ = w.server.Close()
	<-w.served
}

// ServeHTTP accepts an invocation.
func (w *worker) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	var req struct {
		Metadata struct {
			FlowID     string `json:"flow_id"`
			WebhookURL string `json:"webhook_url"`
		} `json:"metadata"`
	}
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		http.Error(rw, err.Error(), http.StatusBadRequest)
		return
	}
	w.keep(req.Metadata.FlowID, req.Metadata.WebhookURL)
	rw.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(rw, `{"success":true,"outputs":{}}`)
}

func (w *worker) keep(flow, webhook string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.webhooks[flow] != "" {
		w.duplicates.Add(1)
		return
	}
	w.webhooks[flow] = webhook
	if len(w.webhooks) == w.flows {
		close(w.all)
	}
}

// webhook is where the result of a flow's step is posted; empty where the flow was not invoked.
func (w *worker) webhook(flow string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.webhooks[flow]
}

// count says how many flows were invoked.
func (w *worker) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.webhooks)
}
