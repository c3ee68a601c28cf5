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
