package index

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/flow"
	"github.com/sluiceflow/sluice/services/internal/plan"
)

// A change is what a batch of commits does to one flow's row.
type change struct {
	sequence uint64

	started bool // the flow is new: created, child and tags are set
	child   bool
	created int64
	tags    []string

	turned    bool // it has another status
	status    string
	error     string
	completed int64 // 0 where it goes on

	retired bool
}

// changes collects a batch. A flow that starts and ends in one is written once.
type changes map[string]*change

// add takes one commit in. Those that leave a flow's status as it is change
// nothing.
func (c changes) add(commit *sluicev1.Commit, sequence uint64, plans flow.Plans) error {
	for _, e := range commit.GetEvents() {
		if err := c.addEvent(commit, e, sequence, plans); err != nil {
			return err
		}
	}
	return nil
}

func (c changes) addEvent(commit *sluicev1.Commit, e *sluicev1.Event, sequence uint64, plans flow.Plans) error {
	switch k := e.GetKind().(type) {
	case *sluicev1.Event_FlowStarted:
		p, err := plans(k.FlowStarted.GetPlan())
		if err != nil {
			return fmt.Errorf("plan of flow %s: %w", commit.GetFlowId(), err)
		}
		c[commit.GetFlowId()] = &change{
			sequence: sequence, started: true, created: commit.GetTimeNs(), tags: tagsOf(p, k.FlowStarted.GetLabels()),
			child: k.FlowStarted.GetParentFlowId() != "",
		}
	case *sluicev1.Event_FlowCompleted:
		c.turn(commit, sequence, sluicev1.FlowStatus_FLOW_STATUS_COMPLETED, commit.GetTimeNs(), "")
	case *sluicev1.Event_FlowFailed:
		c.turn(commit, sequence, sluicev1.FlowStatus_FLOW_STATUS_FAILED, commit.GetTimeNs(), k.FlowFailed.GetError())
	case *sluicev1.Event_FlowCanceled:
		c.turn(commit, sequence, sluicev1.FlowStatus_FLOW_STATUS_CANCELED, commit.GetTimeNs(), k.FlowCanceled.GetReason())
	case *sluicev1.Event_FlowPaused:
		c.turn(commit, sequence, sluicev1.FlowStatus_FLOW_STATUS_PAUSED, 0, "")
	case *sluicev1.Event_FlowResumed:
		c.turn(commit, sequence, sluicev1.FlowStatus_FLOW_STATUS_ACTIVE, 0, "")
	case *sluicev1.Event_WorkCompensating:
		if k.WorkCompensating.GetEnding() != sluicev1.FlowStatus_FLOW_STATUS_UNSPECIFIED { // a pause is over
			c.turn(commit, sequence, sluicev1.FlowStatus_FLOW_STATUS_ACTIVE, 0, "")
		}
	case *sluicev1.Event_FlowRetired:
		c[commit.GetFlowId()] = &change{sequence: sequence, retired: true}
	}
	return nil
}

// turn gives a flow another status; completed is when it ended, or 0.
func (c changes) turn(commit *sluicev1.Commit, sequence uint64, status sluicev1.FlowStatus, completed int64, reason string) {
	row := c[commit.GetFlowId()]
	if row == nil {
		row = &change{}
		c[commit.GetFlowId()] = row
	}
	row.sequence, row.turned, row.completed = sequence, true, completed
	row.status, row.error = flow.StatusName(status), reason
}

// Tags are what a flow is found by.
func goalTag(goal string) string        { return "goal " + goal }
func labelTag(name string) string       { return "label " + name }
func pairTag(name, value string) string { return "label " + name + "=" + value }

func tagsOf(p *plan.Plan, labels map[string]string) []string {
	var tags []string
	for _, goal := range p.Proto.GetGoals() { // those that init reached too
		tags = append(tags, goalTag(goal))
	}
	for name, value := range labels {
		tags = append(tags, labelTag(name), pairTag(name, value))
	}
	slices.Sort(tags)
	return slices.Compact(tags)
}

// apply writes a batch and the place up to which the shard is in.
func (x *Index) apply(ctx context.Context, shard int, sequence uint64, batch changes) error {
	return x.inTx(ctx, func(w *writer) {
		for _, id := range slices.Sorted(maps.Keys(batch)) {
			w.change(shard, id, batch[id])
		}
		w.exec("UPDATE shards SET sequence = ? WHERE shard = ?", int64(sequence), shard) //nolint:gosec // sequences stay below 2^63
	})
}

// A writer writes within one transaction, and keeps the first error.
type writer struct {
	ctx      context.Context //nolint:containedctx // it lives as long as its transaction
	tx       *sql.Tx
	prepared map[string]*sql.Stmt
	err      error
}

func (w *writer) change(shard int, id string, c *change) {
	switch {
	case c.retired:
		w.remove(id)
	case c.started:
		w.insert(shard, id, c)
	case c.turned:
		w.exec("UPDATE flows SET status = ?, error = ?, completed = ?, sequence = ? WHERE id = ?",
			c.status, c.error, c.completed, int64(c.sequence), id) //nolint:gosec // sequences stay below 2^63
	}
}

func (w *writer) insert(shard int, id string, c *change) {
	status := c.status
	if !c.turned {
		status = flow.StatusName(sluicev1.FlowStatus_FLOW_STATUS_ACTIVE)
	}
	tags, err := json.Marshal(c.tags)
	if err != nil {
		w.err = errors.Join(w.err, err)
		return
	}
	w.exec("INSERT OR REPLACE INTO flows (id, shard, sequence, status, created, completed, error, child, tags) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
		id, shard, int64(c.sequence), status, c.created, c.completed, c.error, c.child, string(tags)) //nolint:gosec // sequences stay below 2^63
	for _, tag := range c.tags {
		w.exec("INSERT OR IGNORE INTO tags (tag, created, id) VALUES (?, ?, ?)", tag, c.created, id)
	}
}

func (w *writer) remove(id string) {
	w.exec(`DELETE FROM tags WHERE (tag, created, id) IN
		(SELECT value, flows.created, flows.id FROM flows, json_each(flows.tags) WHERE flows.id = ?)`, id)
	w.exec("DELETE FROM flows WHERE id = ?", id)
}

func (w *writer) exec(statement string, args ...any) {
	if w.err != nil {
		return
	}
	prepared := w.prepared[statement]
	if prepared == nil {
		if prepared, w.err = w.tx.PrepareContext(w.ctx, statement); w.err != nil {
			return
		}
		w.prepared[statement] = prepared
	}
	_, w.err = prepared.ExecContext(w.ctx, args...)
}
