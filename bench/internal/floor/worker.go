package floor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// backlog is how many invocations may be taken and not yet answered by a webhook.
const backlog = 1 << 16

// ServeWorker answers invocations at once and POSTs their results to the webhook URL, as many at once as there are senders, until ctx ends.
func ServeWorker(ctx context.Context, addr string, senders int) error {
	client := &http.Client{Timeout: callLimit, Transport: &http.Transport{MaxIdleConns: 1024, MaxIdleConnsPerHost: 1024}}
	result := `{"success":true,"outputs":{"result":"` + strings.Repeat("x", 200) + `"}}`
	queue := make(chan string, backlog)
	for range senders {
		go func() {
			for url := range queue {
				sendResult(ctx, client, url, result)
			}
		}()
	}
	server := &http.Server{Addr: addr, ReadHeaderTimeout: callLimit, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		queue <- r.Header.Get(WebhookHeader)
		_, _ = io.WriteString(w, `{"success":true,"outputs":{}}`)
	})}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the worker: %w", err)
	}
	return nil
}

// sendResult posts once: where an answer is missing, the flow is stuck and the run says so.
func sendResult(ctx context.Context, client *http.Client, url, result string) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(result))
	if err != nil {
		return
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
}
