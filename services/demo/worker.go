package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/sluiceflow/sluice/pkg/worker"
)

const (
	workTime = 150 * time.Millisecond // so that there is something to watch
	busyFor  = 500 * time.Millisecond
)

// newWorker makes the worker of the order flow.
func newWorker(log *slog.Logger) (*worker.Worker, error) {
	w, err := worker.New(worker.Options{Log: log})
	if err != nil {
		return nil, err
	}
	w.Async(reserveStock, reserve)
	w.Async(chargeCard, charge)
	w.Sync(sendReceipt, receipt)
	return w, nil
}

func reserve(ctx context.Context, call worker.Call) (worker.Outputs, error) {
	var in struct {
		Item     string      `json:"item"`
		Quantity json.Number `json:"quantity"`
	}
	if err := call.Bind(&in); err != nil {
		return nil, err
	}
	if err := pretend(ctx); err != nil {
		return nil, err
	}
	return worker.Outputs{"reservation": fmt.Sprintf("%s x %s", in.Quantity, in.Item)}, nil
}

// charge is busy the first time, as card networks are.
func charge(ctx context.Context, call worker.Call) (worker.Outputs, error) {
	var in struct {
		Amount json.Number `json:"amount"`
	}
	if err := call.Bind(&in); err != nil {
		return nil, err
	}
	if err := pretend(ctx); err != nil {
		return nil, err
	}
	if call.Metadata.Attempt == 1 {
		return nil, worker.NotCompleted(errors.New("the card network is busy"), busyFor)
	}
	return worker.Outputs{"payment": "paid " + in.Amount.String()}, nil
}

func receipt(_ context.Context, call worker.Call) (worker.Outputs, error) {
	var in struct {
		Payment string `json:"payment"`
		Email   string `json:"email"`
	}
	if err := call.Bind(&in); err != nil {
		return nil, err
	}
	return worker.Outputs{"receipt": fmt.Sprintf("%s, receipt sent to %s", in.Payment, in.Email)}, nil
}

// pretend is where a real worker would do something.
func pretend(ctx context.Context) error {
	select {
	case <-time.After(workTime):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
