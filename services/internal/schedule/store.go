package schedule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluiceflow/sluice/pkg/subject"
	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/fault"
)

// An Entry is a record as it is stored.
type Entry struct {
	Record

	// Revision tells it from what was stored before and after it.
	Revision uint64
	// Stored is when it was, by the log's clock.
	Stored time.Time
}

// Store is the bucket of schedules. A record is written only over the one that
// the change was made of.
type Store struct {
	js jetstream.JetStream
	kv jetstream.KeyValue
}

// OpenStore finds the bucket.
func OpenStore(ctx context.Context, b *bus.Bus) (*Store, error) {
	kv, err := b.JS.KeyValue(ctx, b.Space.Name(bus.BucketSchedules))
	if err != nil {
		return nil, fault.New(fault.Unavailable, "schedule.OpenStore", err)
	}
	return &Store{b.JS, kv}, nil
}

// Get reads a schedule. An error of kind [fault.NotFound] says that there is
// none.
func (s *Store) Get(ctx context.Context, id string) (Entry, error) {
	stored, err := s.kv.Get(ctx, subject.Escape(id))
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return Entry{}, fault.Newf(fault.NotFound, "schedule.Get", "there is no schedule %q", id)
	case err != nil:
		return Entry{}, fault.New(fault.Unavailable, "schedule.Get", err)
	}
	return decode(stored)
}

// Put stores a record where its revision still stands; 0 says that there is none
// yet. An error of kind [fault.Conflict] says that another one is there. It
// returns the record's revision.
func (s *Store) Put(ctx context.Context, r Record, revision uint64) (uint64, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return 0, fault.New(fault.Internal, "schedule.Put", err)
	}
	key := subject.Escape(r.ID)
	if revision == 0 {
		revision, err = s.kv.Create(ctx, key, data)
	} else {
		revision, err = s.kv.Update(ctx, key, data, revision)
	}
	return revision, refused("schedule.Put", err)
}

// Delete removes a schedule where its revision still stands, with the errors of
// Put.
func (s *Store) Delete(ctx context.Context, id string, revision uint64) error {
	return refused("schedule.Delete", s.kv.Delete(ctx, subject.Escape(id), jetstream.LastRevision(revision)))
}

// refused is the error of a write.
func refused(op string, err error) error {
	var api *jetstream.APIError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jetstream.ErrKeyExists),
		errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence:
		return fault.New(fault.Conflict, op, err)
	default:
		return fault.New(fault.Unavailable, op, err)
	}
}

// Now is the log's time.
func (s *Store) Now(ctx context.Context) (time.Time, error) {
	stream, err := s.js.Stream(ctx, "KV_"+s.kv.Bucket()) // which asks its leader
	if err != nil {
		return time.Time{}, fault.New(fault.Unavailable, "schedule.Now", err)
	}
	return stream.CachedInfo().TimeStamp, nil
}

// List reads all schedules, sorted by id.
func (s *Store) List(ctx context.Context) ([]Entry, error) {
	watcher, err := s.kv.WatchAll(ctx, jetstream.IgnoreDeletes())
	if err != nil {
		return nil, fault.New(fault.Unavailable, "schedule.List", err)
	}
	defer watcher.Stop() //nolint:errcheck // the connection may be gone, and so is the watcher then
	list := []Entry{}
	for {
		select {
		case <-ctx.Done():
			return nil, fault.New(fault.Unavailable, "schedule.List", ctx.Err())
		case stored, ok := <-watcher.Updates():
			if !ok {
				return nil, fault.Newf(fault.Unavailable, "schedule.List", "the watch was closed")
			}
			if stored == nil { // all that there was has come
				slices.SortFunc(list, func(a, b Entry) int { return strings.Compare(a.ID, b.ID) })
				return list, nil
			}
			if e, err := decode(stored); err == nil { // else whoever starts its flows logs it
				list = append(list, e)
			}
		}
	}
}

// Watch calls put for each schedule that there is and for each change, and drop
// for each that is deleted, until ctx ends or the watch breaks off.
func (s *Store) Watch(ctx context.Context, put func(Entry), drop func(id string), unreadable func(error)) error {
	watcher, err := s.kv.WatchAll(ctx)
	if err != nil {
		return fault.New(fault.Unavailable, "schedule.Watch", err)
	}
	defer watcher.Stop() //nolint:errcheck // the connection may be gone, and so is the watcher then
	for {
		select {
		case <-ctx.Done():
			return nil
		case stored, ok := <-watcher.Updates():
			if !ok {
				return fault.Newf(fault.Unavailable, "schedule.Watch", "the watch was closed")
			}
			if stored == nil {
				continue
			}
			id, err := subject.Unescape(stored.Key())
			if err == nil && stored.Operation() != jetstream.KeyValuePut {
				drop(id)
				continue
			}
			e, err := decode(stored)
			if err != nil {
				unreadable(err)
				continue
			}
			put(e)
		}
	}
}

func decode(stored jetstream.KeyValueEntry) (Entry, error) {
	e := Entry{Revision: stored.Revision(), Stored: stored.Created()}
	if err := json.Unmarshal(stored.Value(), &e.Record); err != nil {
		return e, fault.New(fault.Internal, "schedule.decode", fmt.Errorf("schedule %s: %w", stored.Key(), err))
	}
	e.Settle(e.Stored)
	return e, nil
}
