package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/pkg/subject"
	"github.com/sluiceflow/sluice/services/internal/fault"
	"github.com/sluiceflow/sluice/services/internal/plan"
)

var errOthersFirst = errors.New("others write to the registry")

// Create registers a step. The same definition again is [Unchanged]; another one
// under its id, or one that clashes with another step's, is an error of kind
// [fault.Conflict].
func (r *Registry) Create(ctx context.Context, d step.Definition) (Outcome, error) {
	return r.put(ctx, d, false)
}

// Put registers a step or replaces it. One that clashes with another step's is
// an error of kind [fault.Conflict].
func (r *Registry) Put(ctx context.Context, d step.Definition) (Outcome, error) {
	return r.put(ctx, d, true)
}

func (r *Registry) put(ctx context.Context, d step.Definition, replace bool) (Outcome, error) {
	data, err := json.Marshal(d)
	if err != nil {
		return "", fault.New(fault.Internal, "registry.Put", err)
	}
	outcome := Outcome("")
	err = r.write(ctx, func() (*nats.Msg, error) {
		outcome = Created
		if old, ok := r.Get(d.ID); ok {
			switch {
			case old.Definition.Equal(d):
				outcome = Unchanged
				return nil, nil //nolint:nilnil // nothing to write
			case !replace:
				return nil, fault.Newf(fault.Conflict, "registry.Create", "step %q is registered with another definition; PUT replaces it", d.ID)
			}
			outcome = Updated
		}
		if err := plan.Check(r.with(d)); err != nil {
			return nil, fault.New(fault.Conflict, "registry.Put", err)
		}
		return &nats.Msg{Subject: r.prefix + subject.Escape(d.ID), Data: data, Header: nats.Header{}}, nil
	})
	return outcome, err
}

// with is the registry as it would be with d.
func (r *Registry) with(d step.Definition) []plan.Registered {
	all := []plan.Registered{{Definition: d}}
	for _, s := range r.List() {
		if s.Definition.ID != d.ID {
			all = append(all, s)
		}
	}
	return all
}

// Delete unregisters a step. Flows that run keep it. An error of kind
// [fault.NotFound] says that there is none.
func (r *Registry) Delete(ctx context.Context, id string) error {
	return r.write(ctx, func() (*nats.Msg, error) {
		if _, ok := r.Get(id); !ok {
			return nil, fault.Newf(fault.NotFound, "registry.Delete", "step %q is not registered", id)
		}
		return &nats.Msg{Subject: r.prefix + subject.Escape(id), Header: nats.Header{"KV-Operation": {"DEL"}}}, nil
	})
}

// write makes a change that rests on the whole registry: its message is stored
// only if nothing else was since. Else the change is made again.
func (r *Registry) write(ctx context.Context, change func() (*nats.Msg, error)) error {
	for range attempts {
		if err := r.refresh(ctx); err != nil {
			return err
		}
		revision := r.Revision()
		msg, err := change()
		if err != nil || msg == nil {
			return err
		}
		msg.Header.Set(jetstream.ExpectedLastSeqHeader, strconv.FormatUint(revision, 10))
		_, err = r.bus.JS.PublishMsg(ctx, msg)
		var api *jetstream.APIError
		switch {
		case err == nil:
			return r.refresh(ctx)
		case errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence:
			continue
		}
		return unavailable("registry.write", fmt.Errorf("store the step: %w", err))
	}
	return unavailable("registry.write", errOthersFirst)
}

// Credentials returns the signing secret and the headers of a step as it was at
// a revision, or as it is now where that is forgotten. An error of kind
// [fault.NotFound] says that the step is gone.
func (r *Registry) Credentials(ctx context.Context, stepID string, revision uint64) (secret string, headers map[string]string, err error) {
	current, ok := r.Get(stepID)
	if !ok || current.Revision != revision {
		entry, err := r.kv.GetRevision(ctx, subject.Escape(stepID), revision)
		switch {
		case err == nil:
			var d step.Definition
			if err := json.Unmarshal(entry.Value(), &d); err != nil {
				return "", nil, fault.New(fault.Internal, "registry.Credentials", err)
			}
			current, ok = plan.Registered{Definition: d, Revision: revision}, true
		case !errors.Is(err, jetstream.ErrKeyNotFound):
			return "", nil, unavailable("registry.Credentials", err)
		}
	}
	if !ok {
		return "", nil, fault.Newf(fault.NotFound, "registry.Credentials", "step %q is not registered any more", stepID)
	}
	if current.Definition.HTTP == nil {
		return "", nil, nil
	}
	return current.Definition.HTTP.Secret, current.Definition.HTTP.Headers, nil
}
