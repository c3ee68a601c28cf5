package engine

import (
	"context"
	"encoding/json"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluiceflow/sluice/pkg/subject"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/flow"
)

const (
	// maxMemoBytes bounds the outputs that are remembered, all together.
	maxMemoBytes = 128 << 20
	// maxMemo bounds those of one work item: what is larger is not remembered.
	maxMemo = 1 << 20
)

// memory are the successes that equal work may have, the last used ones. It is
// only ever a saving: what is forgotten is done again.
type memory struct {
	mu    sync.Mutex
	known *simplelru.LRU[flow.MemoKey, map[string]json.RawMessage]
	bytes int // of all outputs
}

func newMemory(size int) (*memory, error) {
	m := &memory{}
	var err error
	m.known, err = simplelru.NewLRU(size, func(_ flow.MemoKey, outputs map[string]json.RawMessage) { m.bytes -= memoSize(outputs) })
	return m, err //nolint:wrapcheck // it says all
}

// memoSize is what outputs take, about.
func memoSize(outputs map[string]json.RawMessage) int {
	size := 128
	for name, value := range outputs {
		size += len(name) + len(value) + 64
	}
	return size
}

func (m *memory) learn(memos []flow.Memo) {
	if len(memos) == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, memo := range memos {
		size := memoSize(memo.Outputs)
		if size > maxMemo || m.known.Contains(memo.Key) { // the first one stands
			continue
		}
		m.known.Add(memo.Key, memo.Outputs)
		for m.bytes += size; m.bytes > maxMemoBytes; {
			m.known.RemoveOldest()
		}
	}
}

func (m *memory) recall(key flow.MemoKey) (map[string]json.RawMessage, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.known.Get(key)
}

// recallOrInvoke publishes an invocation, or where the outcome of equal work is
// known a command with that. While streams are nearly full it invokes: who must
// store commands in order to ack commands may wait for ever.
func (e *Engine) recallOrInvoke(ctx context.Context, fx flow.Effects, inv *sluicev1.Invocation, revision uint64) (jetstream.PubAckFuture, error) {
	key, ok := fx.Recalls[inv]
	if !ok {
		return e.invoke(ctx, inv, revision)
	}
	outputs, known := e.memo.recall(key)
	if !known || e.bus.Full() != nil {
		e.metrics.memos.WithLabelValues("missed").Inc()
		return e.invoke(ctx, inv, revision)
	}
	outcome := &sluicev1.Outcome{Success: true, Outputs: make(map[string][]byte, len(outputs))}
	for name, value := range outputs {
		outcome.Outputs[name] = value
	}
	cmd := &sluicev1.Command{FlowId: inv.GetFlowId(), Kind: &sluicev1.Command_MemoResult{
		MemoResult: &sluicev1.MemoResult{Work: inv.GetWork(), Outcome: outcome},
	}}
	msg, err := e.bus.CommandMsg(subject.SourceEngine, cmd)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says all
	}
	e.metrics.memos.WithLabelValues("recalled").Inc()
	return e.bus.PublishAsync(ctx, e.bus.Commands(e.bus.Shard(e.bus.Partition(inv.GetFlowId()))), msg) //nolint:wrapcheck // it says all
}
