package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluiceflow/sluice/pkg/subject"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/flow"
)

const (
	// window is how long commits are gathered for one transaction, and longest
	// where many come: most flows then begin and end in one, and are written once.
	window  = 20 * time.Millisecond
	longest = 100 * time.Millisecond
	// many is how many commits of a window are.
	many = 32
	// maxBatch bounds what one transaction takes in.
	maxBatch = 2000
	// lookEvery is how often the stream is looked at for having been replaced.
	lookEvery = 5 * time.Second
	// pause is between two attempts to follow a shard.
	pause = time.Second
)

// errReplaced means that the stream's history is not the one that is in.
var errReplaced = errors.New("the stream was replaced")

// A Follower brings one shard's commits into the index.
type Follower struct {
	Index  *Index
	JS     jetstream.JetStream
	Space  subject.Space
	Shard  int
	Stream string
	Plans  flow.Plans
	// Parse reads a stored commit.
	Parse func(data []byte, h nats.Header) (*sluicev1.Commit, error)
	Log   *slog.Logger
	// Saw is given each message, before its row is written. It may be nil.
	Saw func(data []byte, stored time.Time)
	// Ended is told of each flow that ended or is gone, as soon as that is known.
	// It may be nil.
	Ended func(flowID string)
	// Report is told after each batch how many commits are still to come, and
	// what stands in the way, nil when nothing does.
	Report func(behind uint64, err error)
}

// Run follows the shard until ctx ends, over lost connections and replaced
// streams.
func (f *Follower) Run(ctx context.Context) error {
	for f.again(ctx, f.follow(ctx)) {
	}
	return nil
}

// again tells what ended the following, and reports whether to begin anew.
func (f *Follower) again(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	f.Log.WarnContext(ctx, "index stopped following", slog.String("stream", f.Stream), slog.Any("error", err))
	f.Report(0, err)
	return wait(ctx, pause)
}

func (f *Follower) follow(ctx context.Context) error {
	stream, err := f.JS.Stream(ctx, f.Stream)
	if err != nil {
		return fmt.Errorf("look at stream %s: %w", f.Stream, err)
	}
	from, err := f.Index.begin(ctx, f.Shard, stream.CachedInfo())
	if err != nil {
		return err
	}
	consumer, err := f.JS.OrderedConsumer(ctx, f.Stream, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: from + 1,
	})
	if err != nil {
		return fmt.Errorf("read stream %s: %w", f.Stream, err)
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(maxBatch))
	if err != nil {
		return fmt.Errorf("read stream %s: %w", f.Stream, err)
	}
	reading, cancel := context.WithCancel(ctx)
	arrived := make(chan jetstream.Msg, maxBatch)
	failed := make(chan error, 1)
	var reader sync.WaitGroup
	defer reader.Wait()
	defer messages.Stop()
	defer cancel()
	reader.Go(func() { failed <- f.pump(reading, messages, arrived) })
	return f.collect(ctx, stream, from, arrived, failed)
}

func (f *Follower) pump(ctx context.Context, messages jetstream.MessagesContext, out chan<- jetstream.Msg) error {
	for {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return fmt.Errorf("read the next commit: %w", err)
		}
		f.tell(msg.Subject())
		select {
		case out <- msg:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// tell says of an ending that it is there. It does not wait for its row.
func (f *Follower) tell(text string) {
	kind, _, flowID, err := f.Space.ParseFlow(text)
	if err == nil && kind != subject.KindAdvanced && f.Ended != nil {
		f.Ended(flowID)
	}
}

// collect writes what arrives, batch by batch.
func (f *Follower) collect(ctx context.Context, s jetstream.Stream, at uint64, arrived <-chan jetstream.Msg, failed <-chan error) error {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	created := s.CachedInfo().Created
	if s.CachedInfo().State.LastSeq <= at {
		f.Report(0, nil)
	}
	for {
		select {
		case err := <-failed:
			return err
		case <-look.C:
			info, err := s.Info(ctx)
			if err != nil {
				return fmt.Errorf("look at stream %s: %w", f.Stream, err)
			}
			if !info.Created.Equal(created) || info.State.LastSeq < at {
				return errReplaced
			}
		case first := <-arrived:
			last, err := f.batch(ctx, gather(first, arrived))
			if err != nil {
				return err
			}
			at = last
		}
	}
}

// gather waits a moment for what comes with the first message.
func gather(first jetstream.Msg, arrived <-chan jetstream.Msg) []jetstream.Msg {
	batch := []jetstream.Msg{first}
	enough := time.NewTimer(window)
	defer enough.Stop()
	waited := window
	for len(batch) < maxBatch {
		select {
		case msg := <-arrived:
			batch = append(batch, msg)
		case <-enough.C:
			if len(batch) < many || waited == longest {
				return batch
			}
			enough.Reset(longest - waited)
			waited = longest
		}
	}
	return batch
}

func (f *Follower) batch(ctx context.Context, batch []jetstream.Msg) (uint64, error) {
	changed := changes{}
	var last, behind uint64
	for _, msg := range batch {
		meta, err := msg.Metadata()
		if err != nil {
			return 0, fmt.Errorf("place of a commit: %w", err)
		}
		last, behind = meta.Sequence.Stream, meta.NumPending
		if f.Saw != nil {
			f.Saw(msg.Data(), meta.Timestamp)
		}
		if err := f.take(changed, msg, last); err != nil {
			f.Log.ErrorContext(ctx, "commit not indexed", slog.String("stream", f.Stream),
				slog.Uint64("sequence", last), slog.Any("error", err))
		}
	}
	if err := f.Index.apply(ctx, f.Shard, last, changed); err != nil {
		return 0, err
	}
	f.Report(behind, nil)
	return last, nil
}

// take reads the commits that can change a row. Subject and header tell them
// from the many that cannot.
func (f *Follower) take(changed changes, msg jetstream.Msg, sequence uint64) error {
	kind, _, _, err := f.Space.ParseFlow(msg.Subject())
	if err != nil {
		return err
	}
	revision := msg.Headers().Get(bus.HeaderRevision)
	if kind == subject.KindAdvanced && revision != "" && revision != strconv.Itoa(1) && msg.Headers().Get(bus.HeaderStatus) == "" {
		return nil
	}
	commit, err := f.Parse(msg.Data(), msg.Headers())
	if err != nil {
		return err
	}
	return changed.add(commit, sequence, f.Plans)
}

// begin returns the sequence up to which the shard is in. A stream that was
// made anew, or lost its tail, has another history: the shard starts over.
func (x *Index) begin(ctx context.Context, shard int, info *jetstream.StreamInfo) (uint64, error) {
	var created, sequence int64
	err := x.write.QueryRowContext(ctx, "SELECT created, sequence FROM shards WHERE shard = ?", shard).Scan(&created, &sequence)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, fmt.Errorf("read the index: %w", err)
	}
	if err == nil && created == info.Created.UnixNano() && uint64(sequence) <= info.State.LastSeq { //nolint:gosec // it was written from one
		return uint64(sequence), nil //nolint:gosec // it was written from one
	}
	return 0, x.restart(ctx, shard, info.Created)
}

// restart empties a shard.
func (x *Index) restart(ctx context.Context, shard int, created time.Time) error {
	return x.inTx(ctx, func(w *writer) {
		w.exec("DELETE FROM tags WHERE id IN (SELECT id FROM flows WHERE shard = ?)", shard)
		w.exec("DELETE FROM flows WHERE shard = ?", shard)
		w.exec("INSERT OR REPLACE INTO shards (shard, created, sequence) VALUES (?, ?, 0)", shard, created.UnixNano())
	})
}
