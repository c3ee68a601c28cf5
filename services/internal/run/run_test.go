package run_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluiceflow/sluice/services/internal/run"
)

func TestAFailureEndsAllAndIsWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		boom := errors.New("boom")
		stopped := false
		err := run.All(t.Context(), map[string]run.Part{
			"failing": run.Func(func(context.Context) error { time.Sleep(time.Minute); return boom }),
			"steady": run.Func(func(ctx context.Context) error {
				<-ctx.Done()
				time.Sleep(time.Second) // it has something to finish
				stopped = true
				return nil
			}),
		})
		if !errors.Is(err, boom) || err.Error() != "failing: boom" {
			t.Errorf("error %v", err)
		}
		if !stopped {
			t.Error("All returned before a part had ended")
		}
	})
}

func TestTheContextEndsAll(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	early := make(chan struct{})
	err := run.All(ctx, map[string]run.Part{
		"early": run.Func(func(context.Context) error { close(early); return nil }),
		"steady": run.Func(func(ctx context.Context) error {
			<-early // a part that ends well does not end the others
			if ctx.Err() != nil {
				t.Error("the early end of a part canceled the others")
			}
			cancel()
			<-ctx.Done()
			return nil
		}),
	})
	if err != nil {
		t.Errorf("error %v", err)
	}
}
