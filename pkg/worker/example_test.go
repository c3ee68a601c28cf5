package worker_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/pkg/worker"
)

// A sync step: the answer is the outcome.
func ExampleWorker_Sync() {
	w, err := worker.New(worker.Options{})
	if err != nil {
		panic(err)
	}
	w.Sync("greet", func(_ context.Context, call worker.Call) (worker.Outputs, error) {
		var in struct {
			Name string `json:"name"`
		}
		if err := call.Bind(&in); err != nil {
			return nil, err
		}
		return worker.Outputs{"greeting": "Hello, " + in.Name}, nil
	})
	server := httptest.NewServer(w) // a program calls w.Run(ctx, ":9000")
	defer server.Close()

	// What the dispatcher does:
	resp, err := http.Post(server.URL, "application/json",
		strings.NewReader(`{"arguments":{"name":"Ada"},"metadata":{"flow_id":"f","step_id":"greet","attempt":1}}`))
	if err != nil {
		panic(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(answer))
	// Output: {"success":true,"outputs":{"greeting":"Hello, Ada"}}
}

// An async step: the call is answered at once, the outcome goes to the webhook.
func ExampleWorker_Async() {
	gateway := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(err)
		}
		fmt.Println("webhook:", string(body))
		_, _ = io.WriteString(rw, `{"status":"accepted"}`)
	}))
	defer gateway.Close()

	w, err := worker.New(worker.Options{})
	if err != nil {
		panic(err)
	}
	w.Async("charge", func(_ context.Context, call worker.Call) (worker.Outputs, error) {
		if call.Metadata.Attempt == 1 {
			return nil, worker.NotCompleted(errors.New("the card network is busy"), 5*time.Second)
		}
		return worker.Outputs{"paid": true}, nil
	})
	server := httptest.NewServer(w)
	defer server.Close()

	resp, err := http.Post(server.URL, "application/json", strings.NewReader(
		`{"arguments":{},"metadata":{"flow_id":"f","step_id":"charge","receipt_token":"t","attempt":1,"webhook_url":"`+gateway.URL+`"}}`))
	if err != nil {
		panic(err)
	}
	resp.Body.Close()
	if err := w.Close(context.Background()); err != nil {
		panic(err)
	}
	// Output: webhook: {"success":false,"error":"the card network is busy","not_completed":true,"retry_after_ms":5000}
}

// A step that can be undone: its definition has this worker as http.compensate.
func ExampleWorker_Compensate() {
	w, err := worker.New(worker.Options{})
	if err != nil {
		panic(err)
	}
	w.Compensate("charge", func(_ context.Context, c worker.Compensation) error {
		var out struct {
			Receipt string `json:"receipt"`
		}
		if err := c.BindOutputs(&out); err != nil {
			return err
		}
		fmt.Println("refund", out.Receipt, "under the key", c.Metadata.ReceiptToken)
		return nil
	})
	server := httptest.NewServer(w)
	defer server.Close()

	// What the dispatcher does:
	resp, err := http.Post(server.URL, "application/json", strings.NewReader(
		`{"inputs":{"amount":12},"outputs":{"receipt":"r-17"},"metadata":{"flow_id":"f","step_id":"charge","receipt_token":"t","attempt":1}}`))
	if err != nil {
		panic(err)
	}
	resp.Body.Close()
	fmt.Println(resp.Status)
	// Output:
	// refund r-17 under the key t
	// 200 OK
}

// A worker that is no HTTP server, or completes much later, sends by itself.
func ExampleSender_Send() {
	gateway := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(rw, `{"status":"accepted"}`)
	}))
	defer gateway.Close()

	var sender worker.Sender
	status, err := sender.Send(context.Background(), gateway.URL, step.Result{Success: true})
	fmt.Println(status, err)
	// Output: accepted <nil>
}
