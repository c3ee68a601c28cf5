package answer

import (
	"net/http"
	"time"
)

// ClassifyCallback says what an answer to a callback means: any 2xx takes it,
// 410 and a call that may never be made end it, and everything else is tried
// again, after at least that long. The reason is for people.
func ClassifyCallback(a Answer, now time.Time) (class Class, reason string, after time.Duration) {
	switch {
	case a.Refused:
		return Failed, a.Err.Error(), 0
	case a.Status >= 200 && a.Status < 300: // whatever became of the body
		return Succeeded, "", 0
	case a.Err != nil:
		return NotCompleted, a.Err.Error(), 0
	case a.Status == http.StatusGone:
		return Failed, said(a.Status), 0
	}
	return NotCompleted, said(a.Status), retryAfter(a.RetryAfter, now)
}
