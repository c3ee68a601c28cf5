package engine_test

import (
	"testing"
	"time"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/engine"
)

func isBegun(e *sluicev1.Event) bool { return e.GetFlowBegun() != nil }

// A flow is stored long before its steps start. The engine that stored it is gone
// by then; one that takes over in time and one that comes too late both start it,
// once.
func TestAFlowBeginsThoughItsEngineIsGone(t *testing.T) {
	t.Parallel()
	for name, down := range map[string]time.Duration{"in time": 0, "too late": 3 * time.Second} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			stop := w.start()
			w.begin("before", chain(t)) // the engine has its partitions
			w.invocation("before", "a")
			at := time.Now().Add(4 * time.Second)
			cmd := startCommand("f", chain(t), "request")
			cmd.GetStartFlow().StartAtNs, cmd.GetStartFlow().TimeoutMs = at.UnixNano(), 600_000
			w.wantBegun(cmd)
			w.idle()
			stop()
			w.until("it is time", func() bool { return time.Now().After(at.Add(down - time.Second)) })
			if n := w.messages(w.bus.Invocations(0)); n > 0 {
				t.Fatalf("%d invocations before an engine is back", n)
			}
			w.start(func(c *engine.Config) { c.SweepInterval = time.Second })
			w.invocation("f", "a")
			if now := time.Now(); now.Before(at) {
				t.Errorf("it began %s early", at.Sub(now))
			}
			w.idle()
			history, err := w.journal.History(t.Context(), "f")
			if err != nil || count(history, isBegun) != 1 {
				t.Errorf("it began %d times: %v", count(history, isBegun), err)
			}
			again := startCommand("f", chain(t), "request")
			if reply := w.ask(again); reply.GetCode() != sluicev1.ReplyCode_REPLY_CODE_REPEATED {
				t.Errorf("the request again: %v", reply)
			}
		})
	}
}
