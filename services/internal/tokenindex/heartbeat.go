package tokenindex

import (
	"context"
	_ "embed" // the scripts
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/services/internal/fault"
)

const (
	// ListenEvery is how often an engine says that it sees Redis.
	ListenEvery = time.Second
	// listenGap is from when on a pause between two of those counts as a time in
	// which heartbeats may have been lost.
	listenGap = 5 * time.Second
	// listenTTL forgets the mark of engines that are no more.
	listenTTL = time.Hour
	// heardAtOnce is how many tokens are asked about in one script.
	heardAtOnce = 200
)

//nolint:gochecknoglobals // scripts are constants
var (
	//go:embed script/heartbeat.lua
	heartbeatSource string
	//go:embed script/listening.lua
	listeningSource string
	//go:embed script/heard.lua
	heardSource string

	heartbeatScript = redis.NewScript(heartbeatSource)
	listeningScript = redis.NewScript(listeningSource)
	heardScript     = redis.NewScript(heardSource)
)

func (x *Index) listening() string { return x.prefix + "listening" }

// Heartbeat keeps that the worker of a token was heard, and what it said. It
// reports false when the work item has its outcome or is closed. Server is as in
// [Outcome]. It returns an error of kind [fault.Unavailable] when Redis does not
// answer.
func (x *Index) Heartbeat(ctx context.Context, tokenHash string, h step.Heartbeat, server string) (open bool, err error) {
	const op = "tokenindex.Heartbeat"
	progress, err := json.Marshal(h.Progress)
	if err != nil {
		return false, fault.New(fault.Internal, op, err)
	}
	ctx, cancel := context.WithTimeout(ctx, x.timeout)
	defer cancel()
	said, err := x.eval(ctx, heartbeatScript, tokenHash,
		strconv.FormatUint(uint64(h.Attempt), 10), server, string(progress), x.ttl)
	if err != nil {
		return false, fault.New(fault.Unavailable, op, err)
	}
	return said == "ok", nil
}

// LastProgress returns what the last heartbeat of a token said, or nil where
// there was none, or where a later attempt than the given one said it. It returns
// an error of kind [fault.Unavailable] when Redis does not answer.
func (x *Index) LastProgress(ctx context.Context, tokenHash string, attempt uint32) (*step.Progress, error) {
	const op = "tokenindex.LastProgress"
	ctx, cancel := context.WithTimeout(ctx, x.timeout)
	defer cancel()
	kept, err := x.rdb.HMGet(ctx, x.record(tokenHash), "b", "p").Result()
	if err != nil {
		return nil, fault.New(fault.Unavailable, op, err)
	}
	beat, _ := kept[0].(string)
	text, said := kept[1].(string)
	_, by, _ := strings.Cut(beat, " ")
	if n, err := strconv.ParseUint(by, 10, 32); !said || err == nil && uint32(n) > attempt {
		return nil, nil //nolint:nilnil // nobody said anything
	}
	var p step.Progress
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return nil, fault.New(fault.Internal, op, err)
	}
	return &p, nil
}

// Listening notes that an engine sees Redis. It returns an error of kind
// [fault.Unavailable] when Redis does not answer.
func (x *Index) Listening(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, x.timeout)
	defer cancel()
	err := listeningScript.Run(ctx, x.rdb, []string{x.listening()}, listenGap.Milliseconds(), listenTTL.Milliseconds()).Err()
	if err != nil {
		return fault.New(fault.Unavailable, "tokenindex.Listening", err)
	}
	return nil
}

// Heard is what Redis knows of heartbeats at one moment.
type Heard struct {
	// Kept is for how long engines have seen Redis without a gap: a heartbeat
	// that came in that time was kept.
	Kept time.Duration
	// Last are the last heartbeats of the tokens, in the order they were asked for.
	Last []LastHeartbeat
}

// LastHeartbeat is when the worker of a token was heard last.
type LastHeartbeat struct {
	Ago     time.Duration
	Never   bool   // nothing was heard
	Attempt uint32 // 0 when it did not say
}

// Heard returns what Redis knows of the workers of tokens. It returns an error of
// kind [fault.Unavailable] when Redis does not answer.
func (x *Index) Heard(ctx context.Context, tokenHashes []string) (Heard, error) {
	all := Heard{Last: make([]LastHeartbeat, 0, len(tokenHashes))}
	for chunk := range slices.Chunk(tokenHashes, heardAtOnce) {
		if err := x.heard(ctx, chunk, &all); err != nil {
			return Heard{}, fault.New(fault.Unavailable, "tokenindex.Heard", err)
		}
	}
	return all, nil
}

func (x *Index) heard(ctx context.Context, tokenHashes []string, into *Heard) error {
	ctx, cancel := context.WithTimeout(ctx, x.timeout)
	defer cancel()
	keys := append(make([]string, 0, len(tokenHashes)+1), x.listening())
	for _, hash := range tokenHashes {
		keys = append(keys, x.record(hash))
	}
	said, err := heardScript.Run(ctx, x.rdb, keys, listenGap.Milliseconds()).Int64Slice()
	if err != nil {
		return err
	}
	if len(said) != 1+2*len(tokenHashes) {
		return fmt.Errorf("%d numbers about %d tokens", len(said), len(tokenHashes))
	}
	kept := time.Duration(said[0]) * time.Millisecond
	if len(into.Last) > 0 { // of an earlier chunk
		kept = min(kept, into.Kept)
	}
	into.Kept = kept
	for i := range tokenHashes {
		ago, attempt := said[1+2*i], said[2+2*i]
		into.Last = append(into.Last, LastHeartbeat{
			Ago: time.Duration(ago) * time.Millisecond, Never: ago < 0, Attempt: uint32(attempt), //nolint:gosec // it was one
		})
	}
	return nil
}
