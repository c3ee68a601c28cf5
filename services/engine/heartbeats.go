package engine

import (
	"context"
	"log/slog"
	"time"

	"github.com/sluiceflow/sluice/pkg/subject"
	"github.com/sluiceflow/sluice/pkg/token"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/tokenindex"
)

const (
	// maxSilent bounds the attempts that wait for a question to Redis.
	maxSilent = 8192
	// silentAtOnce is how many are asked about in one round trip.
	silentAtOnce = 200
)

// silence is an attempt whose heartbeat is due.
type silence struct {
	flowID string
	work   *sluicev1.WorkRef
}

// listen hands attempts to whoever asks Redis about them, and drops what there is
// no room for: an attempt that nobody answered for is asked about again a period
// later.
func (e *Engine) listen(flowID string, silent []*sluicev1.WorkRef) {
	for _, work := range silent {
		select {
		case e.silent <- silence{flowID: flowID, work: work}:
		default:
			e.metrics.unheard.Inc()
		}
	}
}

// runListening says again and again that this engine sees Redis, until ctx ends:
// only while engines do, the absence of a heartbeat proves that a worker is
// silent.
func (e *Engine) runListening(ctx context.Context) error {
	if e.index == nil {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(tokenindex.ListenEvery)
	defer tick.Stop()
	for {
		if err := e.index.Listening(ctx); err != nil && ctx.Err() == nil {
			e.log.DebugContext(ctx, "Redis does not answer: no attempt ends for want of a heartbeat", slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// runHeartbeats asks Redis about silent workers until ctx ends, and sends what it
// says to their flows as wakes, so that what is decided follows from a command.
// No partition waits for Redis.
func (e *Engine) runHeartbeats(ctx context.Context) error {
	if e.index == nil {
		<-ctx.Done()
		return nil
	}
	for {
		var batch []silence
		select {
		case <-ctx.Done():
			return nil
		case s := <-e.silent:
			batch = append(batch, s)
		}
		for len(batch) < silentAtOnce && len(e.silent) > 0 {
			batch = append(batch, <-e.silent)
		}
		wakes, err := e.ask(ctx, batch)
		if err != nil {
			e.metrics.unheard.Add(float64(len(batch)))
			if ctx.Err() == nil {
				e.log.DebugContext(ctx, "Redis was not heard about silent workers", slog.Any("error", err))
			}
			continue
		}
		for _, cmd := range wakes {
			e.wake(ctx, cmd)
		}
	}
}

// ask returns what Redis knows of silent workers as a wake for each flow.
func (e *Engine) ask(ctx context.Context, batch []silence) ([]*sluicev1.Command, error) {
	ring := e.keys.Ring()
	var hashes []string
	ends := make([]int, len(batch)) // of each attempt's hashes
	for i, s := range batch {
		for _, tok := range ring.MintAll(token.Claims{
			FlowID: s.flowID, StepID: s.work.GetStepId(), Run: s.work.GetRun(), Item: s.work.GetItem(), Generation: s.work.GetGeneration(),
		}) {
			hashes = append(hashes, token.Hash(tok))
		}
		ends[i] = len(hashes)
	}
	asked := e.clock.now()
	heard, err := e.index.Heard(ctx, hashes)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says all
	}
	// What Redis counts back from its own now is counted back from after its
	// answer: a heartbeat must not look older than it is.
	answered := e.clock.now()
	var wakes []*sluicev1.Command
	byFlow := map[string]*sluicev1.Heard{}
	begin := 0
	for i, s := range batch {
		h := byFlow[s.flowID]
		if h == nil {
			h = &sluicev1.Heard{AskedNs: asked, SinceNs: answered - int64(heard.Kept)}
			byFlow[s.flowID] = h
			wakes = append(wakes, &sluicev1.Command{FlowId: s.flowID, Kind: &sluicev1.Command_Wake{
				Wake: &sluicev1.Wake{DueNs: asked, Heard: h},
			}})
		}
		h.Heartbeats = append(h.Heartbeats, lastOf(s.work, heard.Last[begin:ends[i]], answered))
		begin = ends[i]
	}
	return wakes, nil
}

// lastOf is the latest of the heartbeats that came under a work item's tokens.
func lastOf(work *sluicev1.WorkRef, found []tokenindex.LastHeartbeat, answered int64) *sluicev1.LastHeartbeat {
	last := &sluicev1.LastHeartbeat{Work: work}
	for _, f := range found {
		if at := answered - int64(f.Ago); !f.Never && at > last.GetHeardNs() {
			last.HeardNs, last.Attempt = at, f.Attempt
		}
	}
	return last
}

// wake sends a wake and does not wait until it is stored: one that is lost is
// asked for again.
func (e *Engine) wake(ctx context.Context, cmd *sluicev1.Command) {
	msg, err := e.bus.CommandMsg(subject.SourceEngine, cmd)
	if err == nil {
		_, err = e.bus.PublishAsync(ctx, e.bus.Commands(e.bus.Shard(e.bus.Partition(cmd.GetFlowId()))), msg)
	}
	if err != nil && ctx.Err() == nil {
		e.log.DebugContext(ctx, "a wake could not be sent", slog.Any("error", err))
	}
}
