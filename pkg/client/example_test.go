package client_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	"github.com/sluiceflow/sluice/pkg/client"
)

func Example() {
	console := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			rw.WriteHeader(http.StatusCreated)
			_, _ = io.WriteString(rw, `{"flow_id":"order-1"}`)
			return
		}
		_, _ = io.WriteString(rw, `{"status":"completed","created_at":"2026-01-01T00:00:00Z"}`)
	}))
	defer console.Close()

	ctx := context.Background()
	c, err := client.New(console.URL, client.Options{})
	if err != nil {
		panic(err)
	}
	id, err := c.StartFlow(ctx, client.StartRequest{
		ID:    "order-1",
		Goals: []string{"send-receipt"},
		Init:  map[string]any{"amount": 12},
	})
	if err != nil {
		panic(err)
	}
	digest, err := c.WaitFlow(ctx, id)
	fmt.Println(id, digest.Status, err)
	// Output: order-1 completed <nil>
}
