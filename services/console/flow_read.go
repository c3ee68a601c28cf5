package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/sluiceflow/sluice/pkg/event"
	"github.com/sluiceflow/sluice/pkg/subject"
	"github.com/sluiceflow/sluice/services/console/internal/view"
	"github.com/sluiceflow/sluice/services/internal/flow"
	"github.com/sluiceflow/sluice/services/internal/httpapi"
	"github.com/sluiceflow/sluice/services/internal/journal"
)

// load reads a flow's state from its history, which is never behind. Where the
// history is broken there is no state, and broken says why.
func (c *Console) load(ctx context.Context, id string) (state *flow.State, broken string, err error) {
	loaded, err := c.journal.Load(ctx, id)
	switch {
	case errors.Is(err, journal.ErrBroken):
		return nil, err.Error(), nil
	case err != nil:
		return nil, "", err
	case loaded.Broken != "":
		return nil, loaded.Broken, nil
	case !loaded.State.Exists() || loaded.State.Retired:
		return nil, "", unknownFlow(id)
	}
	return loaded.State, "", nil
}

// errNoFlow is the cause of an answer that there is no such flow.
var errNoFlow = errors.New("no such flow")

func unknownFlow(id string) error {
	p := problem(http.StatusNotFound, "unknown_flow", fmt.Sprintf("there is no flow %q", id))
	p.Cause = errNoFlow
	return p
}

// readID checks a request that reads one flow, and may have these parameters.
func readID(ec echo.Context, params ...string) (string, error) {
	if err := onlyQuery(ec, params...); err != nil {
		return "", err
	}
	return pathID(ec)
}

func (c *Console) getFlow(ec echo.Context) error {
	id, err := readID(ec, waitParam)
	if err != nil {
		return err
	}
	patience, err := patienceOf(ec)
	if err != nil {
		return err
	}
	state, broken, err := c.loadEnded(ec, id, patience)
	switch {
	case err != nil:
		return err
	case broken != "":
		return answer(ec, http.StatusOK, c.brokenFlow(ec.Request().Context(), id, broken))
	}
	return answer(ec, http.StatusOK, c.show(ec, state))
}

// show is a flow's state with the progress that its workers told of, and for who
// may operate the links by which people answer what it asks.
func (c *Console) show(ec echo.Context, state *flow.State) view.Flow {
	shown := view.FlowOf(state)
	c.addProgress(shown, state)
	c.addLinks(ec, shown, state)
	return shown
}

// getStatus answers from the index where that holds the flow's last commit, and
// that is its end; else the index may be a moment behind.
func (c *Console) getStatus(ec echo.Context) error {
	id, err := readID(ec, waitParam)
	if err != nil {
		return err
	}
	patience, err := patienceOf(ec)
	if err != nil {
		return err
	}
	row, known, err := c.index.Get(ec.Request().Context(), id)
	if err != nil {
		return err
	}
	if known && !row.Completed.IsZero() {
		current, err := c.isLast(ec.Request().Context(), id, row.Sequence)
		if err != nil {
			return err
		}
		if current {
			return answer(ec, http.StatusOK, digestOf(row))
		}
	}
	state, broken, err := c.loadEnded(ec, id, patience)
	switch {
	case err != nil:
		return err
	case broken != "":
		return answer(ec, http.StatusOK, view.BrokenDigest(broken, row.Created, row.Completed))
	}
	return answer(ec, http.StatusOK, view.DigestOf(state))
}

// isLast reports whether a flow's last commit is the one at that sequence.
func (c *Console) isLast(ctx context.Context, id string, sequence uint64) (bool, error) {
	partition := c.bus.Partition(id)
	last, err := c.bus.Last(ctx, c.bus.Flows(c.bus.Shard(partition)), c.bus.Space.Fence(partition, id))
	return last != nil && last.Sequence == sequence, err
}

func (c *Console) getEvents(ec echo.Context) error {
	id, err := readID(ec)
	if err != nil {
		return err
	}
	history, err := c.journal.History(ec.Request().Context(), id)
	if errors.Is(err, journal.ErrBroken) {
		return &httpapi.ProblemError{
			Status: http.StatusInternalServerError, Code: "broken_history", Detail: err.Error(), Cause: err,
		}
	}
	if err != nil {
		return err
	}
	if len(history) == 0 || flow.Kind(history[len(history)-1].Commit) == subject.KindRetired {
		return unknownFlow(id)
	}
	list := []event.Event{}
	links := c.linksOf(ec)
	for _, stored := range history {
		events, err := event.FromCommit(stored.Commit)
		if err != nil {
			return fmt.Errorf("history of flow %s: %w", id, err)
		}
		links.add(stored.Commit, events)
		list = append(list, events...)
	}
	return answer(ec, http.StatusOK, struct {
		Events []event.Event `json:"events"`
		Count  int           `json:"count"`
	}{list, len(list)})
}
