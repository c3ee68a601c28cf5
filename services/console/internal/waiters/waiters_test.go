package waiters_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluiceflow/sluice/services/console/internal/waiters"
)

// waited is how long a waiter waits while something happens after a second.
func waited(t *testing.T, ctx context.Context, w *waiters.Waiter, happens func()) time.Duration { //nolint:revive // the test comes first
	t.Helper()
	began := time.Now()
	time.AfterFunc(time.Second, happens)
	w.Wait(ctx, time.Minute)
	return time.Since(began)
}

func join(t *testing.T, r *waiters.Registry, flowID string) *waiters.Waiter {
	t.Helper()
	w, ok := r.Join(flowID)
	if !ok {
		t.Fatal("there is no place left")
	}
	return w
}

func TestAnEndingWakesThoseWhoWaitForIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := waiters.New(8)
		first, second, other := join(t, r, "a"), join(t, r, "a"), join(t, r, "b")
		if took := waited(t, t.Context(), first, func() { r.Wake("a") }); took != time.Second {
			t.Errorf("woken after %s", took)
		}
		began := time.Now()
		second.Wait(t.Context(), time.Minute) // what came before the wait counts
		if took := time.Since(began); took != 0 {
			t.Errorf("the second one waited for %s", took)
		}
		if took := waited(t, t.Context(), other, func() { r.Wake("a") }); took != time.Minute {
			t.Errorf("who waits for another flow was woken after %s", took)
		}
		for _, w := range []*waiters.Waiter{first, second, other} {
			w.Leave()
			w.Leave() // twice is once
		}
		if n := r.Waiting(); n != 0 {
			t.Errorf("%d wait", n)
		}
	})
}

func TestWhatElseEndsAWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := waiters.New(1)
		w := join(t, r, "a")
		ctx, cancel := context.WithCancel(t.Context())
		if took := waited(t, ctx, w, cancel); took != time.Second {
			t.Errorf("who went away waited for %s", took)
		}
		if took := waited(t, t.Context(), w, func() { r.Stop(); r.Stop() }); took != time.Second {
			t.Errorf("stopped after %s", took)
		}
		w.Leave()
		late := join(t, r, "b")
		defer late.Leave()
		began := time.Now()
		late.Wait(t.Context(), time.Minute)
		if took := time.Since(began); took != 0 {
			t.Errorf("after the stop one waited for %s", took)
		}
	})
}

func TestPlacesAreBounded(t *testing.T) {
	t.Parallel()
	r := waiters.New(2)
	first := join(t, r, "a")
	join(t, r, "b")
	none, ok := r.Join("c")
	if ok {
		t.Error("there was a third place of two")
	}
	none.Leave() // frees nobody's place
	if n := r.Waiting(); n != 2 {
		t.Errorf("%d wait, want 2", n)
	}
	first.Leave()
	join(t, r, "c")
}
