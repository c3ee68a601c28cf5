package dead

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/fault"
)

const (
	// Delay is how long a message is put back for that DEAD did not take.
	Delay = 30 * time.Second
	// forgotten is when a message that waits must have gone to another process:
	// it did not come back here.
	forgotten = 2*Delay + 10*time.Second
	// maxWaiting is how many messages of a partition may wait for room in DEAD.
	// Past them the oldest letters make room.
	maxWaiting = 1000
	// maxRounds bounds how often room is made for one letter.
	maxRounds = 8
	// putTimeout bounds the attempt to store a letter.
	putTimeout = 5 * time.Second
	// codeNotStored is the server's code for a message that it could not store.
	codeNotStored = 10077
)

// A Box puts the letters of one process into DEAD, and knows which messages wait
// for room there. It is safe for concurrent use.
type Box struct {
	bus     *bus.Bus
	log     *slog.Logger
	letters *prometheus.CounterVec
	dropped prometheus.Counter
	room    *prometheus.Desc

	mu      sync.Mutex
	waiting map[int]map[place]time.Time // by partition: since they were last refused
	cause   error                       // of the last refusal
}

// place names a message in its stream.
type place struct {
	stream   string
	sequence uint64
}

// NewBox makes the box of a role, whose figures carry its name.
func NewBox(b *bus.Bus, role string, log *slog.Logger, metrics prometheus.Registerer) (*Box, error) {
	labels := prometheus.Labels{"role": role}
	box := &Box{
		bus: b, log: log, waiting: map[int]map[place]time.Time{},
		letters: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_dead_letters_total", ConstLabels: labels,
			Help: "Messages that can never be processed and went to DEAD.",
		}, []string{"what", "class"}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sluice_dead_letters_dropped_total", ConstLabels: labels,
			Help: "The oldest dead letters, dropped to make room in DEAD.",
		}),
		room: prometheus.NewDesc("sluice_dead_waiting", "Messages that wait for room in DEAD, by partition.",
			[]string{"partition"}, labels),
	}
	for _, c := range []prometheus.Collector{box.letters, box.dropped, box} {
		if err := metrics.Register(c); err != nil {
			return nil, fmt.Errorf("register the figures of dead letters: %w", err)
		}
	}
	return box, nil
}

// Put stores a letter, and logs that. An error of kind [fault.Unavailable] means
// that DEAD is full or away: the message waits, put it back for [Delay].
func (b *Box) Put(ctx context.Context, letter *sluicev1.DeadLetter, partition int) error {
	ctx, cancel := context.WithTimeout(ctx, putTimeout)
	defer cancel()
	fit(letter, int(min(b.bus.NC.MaxPayload(), b.bus.Config.DeadMaxBytes))-around)
	at := place{letter.GetStream(), letter.GetSequence()}
	err := b.store(ctx, letter)
	if err != nil && b.waits(ctx, partition, at, err) > maxWaiting && isFull(err) {
		err = b.makeRoom(ctx, letter)
	}
	if err != nil {
		return err
	}
	b.stored(ctx, partition, at)
	b.letters.WithLabelValues(letter.GetWhat(), letter.GetClass()).Inc()
	b.log.ErrorContext(ctx, "a message can never be processed: it is a dead letter",
		slog.String("what", letter.GetWhat()), slog.String("class", letter.GetClass()), slog.String("reason", letter.GetReason()),
		slog.String("stream", letter.GetStream()), slog.Uint64("sequence", letter.GetSequence()))
	return nil
}

// store publishes a letter. The id lets the server drop a second one of the same
// message; a store that lost its tail uses a sequence again, but not together
// with the time.
func (b *Box) store(ctx context.Context, letter *sluicev1.DeadLetter) error {
	data, err := proto.Marshal(letter)
	if err != nil {
		return fault.New(fault.Internal, "dead.store", err)
	}
	sequence := strconv.FormatUint(letter.GetSequence(), 10)
	return b.bus.Publish(ctx, &nats.Msg{
		Subject: b.bus.Space.Dead(letter.GetWhat(), cmp.Or(letter.GetStream(), "none"), sequence),
		Header: nats.Header{jetstream.MsgIDHeader: {
			letter.GetStream() + "." + sequence + "." + strconv.FormatInt(letter.GetStoredNs(), 36) + "." +
				strconv.FormatUint(uint64(letter.GetRedrives()), 10),
		}},
		Data: data,
	})
}

// isFull reports whether DEAD refused a letter because of its limits.
func isFull(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && api.ErrorCode == codeNotStored && strings.HasPrefix(api.Description, "maximum ")
}

// waits notes that a message waits, and returns how many of its partition do.
func (b *Box) waits(ctx context.Context, partition int, at place, cause error) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forget(time.Now())
	if len(b.waiting) == 0 {
		b.log.ErrorContext(ctx, "DEAD takes no letters: messages that can never be processed wait for it", slog.Any("error", cause))
	}
	if b.waiting[partition] == nil {
		b.waiting[partition] = map[place]time.Time{}
	}
	b.waiting[partition][at] = time.Now()
	b.cause = cause
	return len(b.waiting[partition])
}

// stored notes that a message is in DEAD, if it waited for that.
func (b *Box) stored(ctx context.Context, partition int, at place) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, waited := b.waiting[partition][at]; !waited {
		return
	}
	if delete(b.waiting[partition], at); len(b.waiting[partition]) == 0 {
		delete(b.waiting, partition)
	}
	if len(b.waiting) == 0 {
		b.log.InfoContext(ctx, "DEAD takes letters again: no message waits for it any more")
	}
}

// forget drops what did not come back: another process has it.
func (b *Box) forget(now time.Time) {
	for partition, messages := range b.waiting {
		for at, refused := range messages {
			if now.Sub(refused) > forgotten {
				delete(messages, at)
			}
		}
		if len(messages) == 0 {
			delete(b.waiting, partition)
		}
	}
}

// Err says how many messages wait for room in DEAD, and why; nil means none.
func (b *Box) Err() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forget(time.Now())
	n := 0
	for _, messages := range b.waiting {
		n += len(messages)
	}
	if n == 0 {
		return nil
	}
	return fmt.Errorf("%d messages wait for room in DEAD: %w", n, b.cause)
}

// Describe is for Prometheus.
func (b *Box) Describe(to chan<- *prometheus.Desc) { to <- b.room }

// Collect is for Prometheus.
func (b *Box) Collect(to chan<- prometheus.Metric) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forget(time.Now())
	for partition := range b.bus.Config.Partitions {
		to <- prometheus.MustNewConstMetric(b.room, prometheus.GaugeValue,
			float64(len(b.waiting[partition])), strconv.Itoa(partition))
	}
}

// makeRoom drops the oldest letters until the letter is stored.
func (b *Box) makeRoom(ctx context.Context, letter *sluicev1.DeadLetter) error {
	need, dropped := uint64(proto.Size(letter)+around), uint64(0) //nolint:gosec // a size is not negative
	var err error
	for range maxRounds {
		n, dropErr := b.dropOldest(ctx, need)
		dropped += n
		if err = dropErr; err != nil || n == 0 {
			break
		}
		if err = b.store(ctx, letter); !isFull(err) {
			break
		}
		need *= 2 // the oldest were smaller than most
	}
	if dropped > 0 {
		b.dropped.Add(float64(dropped))
		b.log.ErrorContext(ctx, "the oldest dead letters were dropped to make room", slog.Uint64("dropped", dropped))
	}
	return err
}

// dropOldest drops about as many letters as have need bytes, at least one where
// there is one.
func (b *Box) dropOldest(ctx context.Context, need uint64) (uint64, error) {
	stream, err := b.bus.JS.Stream(ctx, b.bus.Dead())
	if err != nil {
		return 0, fault.New(fault.Unavailable, "dead.dropOldest", err)
	}
	state := stream.CachedInfo().State
	if state.Msgs == 0 {
		return 0, fault.Newf(fault.Unavailable, "dead.dropOldest", "DEAD is empty and takes no letter")
	}
	n := min(need*state.Msgs/max(state.Bytes, 1)+1, state.Msgs)
	var options []jetstream.StreamPurgeOpt
	if n < state.Msgs {
		// By how many stay: another process that makes room at the same time
		// drops the same ones.
		options = append(options, jetstream.WithPurgeKeep(state.Msgs-n))
	}
	if err := stream.Purge(ctx, options...); err != nil {
		return 0, fault.New(fault.Unavailable, "dead.dropOldest", err)
	}
	return n, nil
}
