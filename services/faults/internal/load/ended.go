package load

import (
	"net/http"
	"time"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/services/faults/internal/ledger"
)

// The path and the secret of who is told the ends of flows.
const (
	endedPath      = "/ended"
	callbackSecret = "whsec_dGhlIGxvYWQga25vd3MgYWxsIGl0cyBzZWNyZXRz" //nolint:gosec // of a test
)

// ended takes what is told of a flow's end. Now and then it gets a 503 at first.
func (l *Load) ended(rw http.ResponseWriter, r *http.Request) {
	entry := ledger.Callback{ID: r.Header.Get("Webhook-Id"), At: time.Now(), Answer: http.StatusNoContent}
	told, err := client.ReadCallback(r, callbackSecret)
	if err != nil {
		entry.Unsigned = err.Error()
	}
	entry.Flow, entry.Type, entry.Status, entry.Error = told.FlowID, string(told.Type), told.Status, told.Error
	entry.Outputs, entry.CompletedAt = canonical(told.Outputs), told.CompletedAt
	if l.dice("ended", told.FlowID).IntN(5) == 0 && l.first("ended "+entry.ID) {
		entry.Answer = http.StatusServiceUnavailable
	}
	l.cfg.Ledger.Callback(entry)
	rw.WriteHeader(entry.Answer)
}

// first reports whether nobody asked this before.
func (l *Load) first(key string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	seen := l.done[key]
	l.done[key] = true
	return !seen
}
