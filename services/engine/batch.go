package engine

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/bus"
)

const (
	// putBackDelay is how long commands wait that met a log that takes nothing.
	putBackDelay = 500 * time.Millisecond
	// postponeDelay is how long a retirement waits for the acks of its flow.
	postponeDelay = time.Second
	// maxRounds bounds how often one flow is decided again in a batch, because
	// others were first.
	maxRounds = 20
	// loadsAtOnce bounds the reads of histories of one partition.
	loadsAtOnce = 32
)

// job is the commands of one flow in a batch.
type job struct {
	flowID  string
	pending []*command // not decided yet, in the order they came
	singly  bool       // one command a commit, to find the one that panics

	entry    *entry
	folding  []*command // decided in this round
	proposal *proposal  // of this round; nil where no commit follows
	due      int64      // the flow's next deadline
	emit     emission   // of this round
	silent   []*sluicev1.WorkRef
	err      error // of this round
}

// handle decides a batch of commands and acks them once their commits and all
// that follows from them are stored.
func (p *partition) handle(ctx context.Context, batch []jetstream.Msg) {
	defer p.touch(ctx, batch)()
	p.e.metrics.folded.Observe(float64(len(batch)))
	jobs := p.sort(ctx, batch)
	for round := 0; len(jobs) > 0; round++ {
		p.load(ctx, jobs)
		for _, j := range jobs {
			p.guarded(ctx, j, "deciding", func() { p.decide(ctx, j) })
		}
		for _, j := range jobs {
			p.guarded(ctx, j, "what follows", func() { p.confirm(ctx, j) })
		}
		for _, j := range jobs {
			p.awaitEffects(ctx, j)
		}
		var again []*job
		for _, j := range jobs {
			p.finish(ctx, j, round)
			if len(j.pending) > 0 {
				again = append(again, j)
			}
		}
		jobs = again
	}
}

// touch tells the server, until the returned function is called, that the batch
// is being worked on.
func (p *partition) touch(ctx context.Context, batch []jetstream.Msg) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var again func()
	again = func() {
		if ctx.Err() != nil {
			return
		}
		for _, msg := range batch {
			_ = msg.InProgress() // one that was acked refuses, and so it should
		}
		time.AfterFunc(bus.CommandAckWait/3, again)
	}
	time.AfterFunc(bus.CommandAckWait/3, again)
	return cancel
}

// sort parses the commands and puts those of a flow together.
func (p *partition) sort(ctx context.Context, batch []jetstream.Msg) []*job {
	var jobs []*job
	byFlow := make(map[string]*job, len(batch))
	for _, msg := range batch {
		c, err := p.e.parse(msg)
		if err != nil {
			p.bury(ctx, msg, err)
			continue
		}
		j := byFlow[c.GetFlowId()]
		if j == nil {
			j = &job{flowID: c.GetFlowId()}
			byFlow[j.flowID] = j
			jobs = append(jobs, j)
		}
		j.pending = append(j.pending, c)
	}
	return jobs
}

// load sees to it that each job has its flow. What is not in memory is read, but
// for a flow that is to be started: whether there is one the log's fence tells.
func (p *partition) load(ctx context.Context, jobs []*job) {
	var reads errgroup.Group
	reads.SetLimit(loadsAtOnce)
	for _, j := range jobs {
		j.err, j.proposal, j.folding, j.emit, j.silent = nil, nil, nil, emission{}, nil
		if en, ok := p.cache.get(j.flowID); ok {
			j.entry = en
			continue
		}
		if j.pending[0].GetStartFlow() != nil && j.entry == nil && j.pending[0].fresh() {
			j.entry = p.e.newEntry(j.flowID)
			continue
		}
		reads.Go(func() error {
			p.guarded(ctx, j, "reading its history", func() { j.entry, j.err = p.e.load(ctx, j.flowID) })
			return nil
		})
	}
	_ = reads.Wait() // each job has its own error
}

// fresh reports whether the command was delivered for the first time.
func (c *command) fresh() bool {
	meta, err := c.msg.Metadata()
	return err == nil && meta.NumDelivered == 1
}

// confirm learns the fate of a job's decision: that of its commit, or where none
// follows, whether the state that it rests on is the flow's last.
func (p *partition) confirm(ctx context.Context, j *job) {
	switch {
	case j.err != nil, len(j.folding) == 0:
		return
	case j.proposal != nil:
		j.err = p.e.settle(ctx, j.entry, j.proposal)
		if p.mayRetireWithout(ctx, j) {
			return
		}
	default:
		j.err = p.verify(ctx, j)
	}
	if j.err != nil {
		return
	}
	if j.entry.state.Exists() {
		p.cache.put(j.flowID, j.entry)
	}
	j.err = p.startEffects(ctx, j)
}

// verify compares the last commit that is known with the leader's.
func (p *partition) verify(ctx context.Context, j *job) error {
	last, err := p.e.bus.Last(ctx, p.e.bus.Flows(p.e.bus.Shard(p.n)), p.e.bus.Space.Fence(p.n, j.flowID))
	switch {
	case err != nil:
		return err //nolint:wrapcheck // it says all
	case last == nil && j.entry.sequence == 0, last != nil && last.Sequence == j.entry.sequence:
		return nil
	}
	return errConflict
}

// finish acks what is done and says what comes again: at once after a conflict,
// later where something is away.
func (p *partition) finish(ctx context.Context, j *job, round int) {
	switch {
	case j.err == nil:
		for _, c := range j.folding {
			p.conclude(ctx, j, c)
		}
		p.e.listen(j.flowID, j.silent)
		return
	case errors.Is(j.err, errConflict) && round < maxRounds:
		p.e.metrics.conflicts.Inc()
		p.drop(j)
		j.pending = append(j.folding, j.pending...)
		return
	case p.condemned(ctx, j):
		return
	}
	p.drop(j)
	if ctx.Err() == nil {
		p.e.log.WarnContext(ctx, "commands are put back", slog.String("flow_id", j.flowID),
			slog.Int("commands", len(j.folding)+len(j.pending)), slog.Any("error", j.err))
	}
	for _, c := range append(j.folding, j.pending...) {
		p.e.putBack(ctx, c.msg, putBackDelay, "unavailable")
	}
	j.pending = nil
}

// drop forgets a flow whose state is past what the log has, or behind it.
func (p *partition) drop(j *job) {
	p.cache.remove(j.flowID)
	if j.entry == nil {
		j.entry = &entry{} // it is known to exist: load it
	}
}
