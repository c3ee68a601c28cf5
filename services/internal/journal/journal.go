// Package journal reads the histories of flows from the FLOWS streams, and
// checks that they hang together.
package journal

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/fault"
	"github.com/sluiceflow/sluice/services/internal/flow"
)

// ErrBroken means that a history has a gap, a flipped bit or a link that does
// not fit: what the flow is cannot be known.
var ErrBroken = errors.New("broken history")

const (
	// page is how many commits one read asks for.
	page = 256
	// pageTimeout bounds one such read: a history of a hundred thousand commits
	// takes as long as it takes.
	pageTimeout = 10 * time.Second
)

// Journal reads histories. It is safe for concurrent use.
type Journal struct {
	bus   *bus.Bus
	plans flow.Plans
}

// New returns a journal whose states decode plans with plans.
func New(b *bus.Bus, plans flow.Plans) *Journal { return &Journal{bus: b, plans: plans} }

// Loaded is a flow as its commits made it.
type Loaded struct {
	// State does not exist where the flow has no commits.
	State *flow.State
	// Sequence is the stream sequence of the last commit; 0 means none.
	Sequence uint64
	// Checksum is the last commit's.
	Checksum []byte
	// Snapshot is the sequence of the commit that a load begins with.
	Snapshot uint64
	// Broken says why the history was given up; empty for a sound one. The
	// state then holds no more than the end that was written for it.
	Broken string
	// Bytes is the size of the commits that were read.
	Bytes int
}

// Stored is a commit with its place.
type Stored struct {
	Commit   *sluicev1.Commit
	Checksum []byte
	Sequence uint64
	Time     time.Time
	Subject  string
	Size     int // of its bytes
}

// Checksum returns what a commit's bytes are checked by: the first 128 bits of
// their SHA-256.
func Checksum(data []byte) []byte {
	sum := sha256.Sum256(data)
	return sum[:16]
}

// Parse reads a commit's message. It returns [ErrBroken] where the bytes are
// not those that were written.
func Parse(data []byte, h nats.Header) (*sluicev1.Commit, error) {
	sum := Checksum(data)
	if want := h.Get(bus.HeaderChecksum); want != hex.EncodeToString(sum) {
		return nil, fmt.Errorf("%w: the checksum is %q, the bytes give %x", ErrBroken, want, sum)
	}
	c := &sluicev1.Commit{}
	if err := proto.Unmarshal(data, c); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBroken, err)
	}
	return c, nil
}

// Load returns a flow as it is now, by a read from the stream's leader. It
// returns [ErrBroken], together with what is known, where its history does not
// hang together, and an error of kind [fault.Unavailable] where it cannot be
// read.
func (j *Journal) Load(ctx context.Context, flowID string) (*Loaded, error) {
	p := j.bus.Partition(flowID)
	fence := j.bus.Space.Fence(p, flowID)
	last, err := j.bus.Last(ctx, j.bus.Flows(j.bus.Shard(p)), fence)
	if err != nil {
		return nil, err
	}
	if last == nil {
		return &Loaded{State: flow.New(flowID, j.plans)}, nil
	}
	loaded := &Loaded{State: flow.New(flowID, j.plans), Sequence: last.Sequence, Checksum: Checksum(last.Data)}
	if loaded.Broken = last.Header.Get(bus.HeaderBroken); loaded.Broken != "" {
		return loaded, nil
	}
	from, err := strconv.ParseUint(last.Header.Get(bus.HeaderSnapshot), 10, 64)
	if err != nil {
		return loaded, fmt.Errorf("%w: sequence %d does not say where to begin", ErrBroken, last.Sequence)
	}
	if from == 0 {
		from = last.Sequence
	}
	loaded.Snapshot = from
	commits := []Stored{{Sequence: last.Sequence, Time: last.Time, Subject: last.Subject, Size: len(last.Data)}}
	if commits[0].Commit, err = Parse(last.Data, last.Header); err != nil {
		return loaded, fmt.Errorf("sequence %d: %w", last.Sequence, err)
	}
	commits[0].Checksum = loaded.Checksum
	if from != last.Sequence {
		if commits, err = j.between(ctx, flowID, from, last); err != nil {
			return loaded, err
		}
	}
	for _, c := range commits {
		loaded.Bytes += c.Size
	}
	loaded.State, err = j.replay(flowID, commits)
	return loaded, err
}

// replay makes the state of commits that begin with a snapshot or a start.
func (j *Journal) replay(flowID string, commits []Stored) (*flow.State, error) {
	state := flow.New(flowID, j.plans)
	if snap := commits[0].Commit.GetSnapshot(); snap != nil {
		restored, err := flow.Restore(flowID, snap, j.plans)
		if err != nil {
			return state, fmt.Errorf("%w: snapshot in sequence %d: %w", ErrBroken, commits[0].Sequence, err)
		}
		state = restored
	}
	for i, c := range commits {
		if i > 0 && !bytes.Equal(c.Commit.GetPreviousChecksum(), commits[i-1].Checksum) {
			return state, fmt.Errorf("%w: sequence %d does not follow sequence %d", ErrBroken, c.Sequence, commits[i-1].Sequence)
		}
		if err := state.Replay(c.Commit); err != nil {
			return state, fmt.Errorf("%w: sequence %d: %w", ErrBroken, c.Sequence, err)
		}
	}
	return state, nil
}

// History returns all commits of a flow in order; none where there is no such
// flow. What it cannot read as a commit is [ErrBroken].
func (j *Journal) History(ctx context.Context, flowID string) ([]Stored, error) {
	p := j.bus.Partition(flowID)
	last, err := j.bus.Last(ctx, j.bus.Flows(j.bus.Shard(p)), j.bus.Space.Fence(p, flowID))
	if err != nil || last == nil {
		return nil, err
	}
	return j.between(ctx, flowID, 1, last)
}

// Commit returns the commit of a flow with that revision, or nil where there is
// none at or after the sequence from.
func (j *Journal) Commit(ctx context.Context, flowID string, revision, from, last uint64) (*Stored, error) {
	commits, err := j.read(ctx, flowID, max(from, 1), last)
	if err != nil {
		return nil, err
	}
	for i := range commits {
		if commits[i].Commit.GetRevision() == revision {
			return &commits[i], nil
		}
	}
	if from > 1 {
		return j.Commit(ctx, flowID, revision, 1, last)
	}
	return nil, nil //nolint:nilnil // no commit is no failure
}

// read returns the commits of a flow between two sequences, both included. The
// last one is known to exist: a replica that does not have it yet is asked
// later, by the caller's repeat.
func (j *Journal) read(ctx context.Context, flowID string, from, last uint64) ([]Stored, error) {
	p := j.bus.Partition(flowID)
	stream, fence := j.bus.Flows(j.bus.Shard(p)), j.bus.Space.Fence(p, flowID)
	var commits []Stored
	for from <= last {
		got, err := j.readPage(ctx, stream, fence, from)
		if err != nil {
			return nil, err
		}
		for _, c := range got {
			if c.Sequence <= last {
				commits = append(commits, c)
			}
		}
		if len(got) == 0 {
			break
		}
		from = got[len(got)-1].Sequence + 1
	}
	if len(commits) == 0 || commits[len(commits)-1].Sequence != last {
		return nil, fault.Newf(fault.Unavailable, "journal.read", "sequence %d of %s is not readable yet", last, stream)
	}
	return commits, nil
}

func (j *Journal) readPage(ctx context.Context, stream, fence string, from uint64) ([]Stored, error) {
	ctx, cancel := context.WithTimeout(ctx, pageTimeout)
	defer cancel()
	messages, err := j.bus.Page(ctx, bus.Page{Stream: stream, Filter: fence, From: from, Messages: page})
	if err != nil {
		return nil, err //nolint:wrapcheck // it says all
	}
	var commits []Stored
	for _, msg := range messages {
		stored, err := parseStored(msg)
		if err != nil {
			return nil, err
		}
		commits = append(commits, stored)
	}
	return commits, nil
}

func parseStored(msg *bus.Stored) (Stored, error) {
	commit, err := Parse(msg.Data, msg.Header)
	if err != nil {
		return Stored{}, fmt.Errorf("sequence %d: %w", msg.Sequence, err)
	}
	return Stored{
		Commit: commit, Checksum: Checksum(msg.Data), Sequence: msg.Sequence, Time: msg.Time, Subject: msg.Subject, Size: len(msg.Data),
	}, nil
}
