package testkit

import (
	"errors"
	"testing"
	"time"
)

// pollEvery is how often Eventually asks.
const pollEvery = 5 * time.Millisecond

var errNotYet = errors.New("it did not become true")

// Eventually asks check until it answers true, or no error, and fails the test
// with the last answer when that took longer than timeout. It asks at least
// once.
func Eventually[C func() bool | func() error](tb testing.TB, timeout time.Duration, check C) {
	tb.Helper()
	deadline := time.Now().Add(timeout)
	for {
		err := ask(check)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			tb.Fatalf("after %s: %v", timeout, err)
		}
		time.Sleep(pollEvery)
	}
}

func ask(check any) error {
	switch f := check.(type) {
	case func() bool:
		if f() {
			return nil
		}
		return errNotYet
	case func() error:
		return f()
	default:
		return errNotYet
	}
}

// InTime does something up to three times and fails if it took longer than limit
// each time: on a busy machine it may be late once, and what is wrong is so always.
func InTime(tb testing.TB, limit time.Duration, try func() time.Duration) {
	tb.Helper()
	var took []time.Duration
	for range 3 {
		took = append(took, try())
		if took[len(took)-1] <= limit {
			return
		}
	}
	tb.Errorf("it took %s, allowed are %s", took, limit)
}
