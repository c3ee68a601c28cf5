package model

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/pkg/step"
)

func parse(body []byte, r *http.Request) (step.Result, error) {
	if r.Header.Get("Content-Type") != "application/json" {
		return step.Result{}, &refusal{http.StatusUnsupportedMediaType, "not JSON"}
	}
	result, err := step.ParseResult(body)
	if err != nil {
		return step.Result{}, &refusal{http.StatusBadRequest, err.Error()}
	}
	if n, err := strconv.ParseUint(r.URL.Query().Get("attempt"), 10, 32); err == nil {
		result.Attempt = uint32(n)
	}
	result.Attempt = max(result.Attempt, 1)
	return result, nil
}

// webhook decides about an outcome, and says accepted or replayed.
func (e *Engine) webhook(f *flow, token string, result *step.Result) (string, error) {
	it := f.tokens[token]
	if it == nil {
		return "accepted", nil // a token that should not have come so far
	}
	id, digest := f.state.ID, string(result.Digest())
	key := digest + strconv.FormatUint(uint64(result.Attempt), 10)
	switch {
	case it.outcome == digest, it.nothing[key]:
		if e.breaks(ReplayConflict, id) {
			return "", &refusal{http.StatusConflict, "another outcome"}
		}
		if e.breaks(AppliedTwice, id) {
			f.again(it, result)
		}
		return "replayed", nil
	case it.outcome != "":
		return e.second(f, it, result)
	case f.over() && !f.accepts(it), it.final():
		return "", &refusal{http.StatusGone, "closed"}
	case !result.Success && (result.Attempt < it.attempt || it.status == client.NotCompleted):
		return "", &refusal{http.StatusGone, "superseded"}
	case result.Success && e.breaks(OpenGone, id):
		return "", &refusal{http.StatusGone, "closed"}
	case result.Success && e.breaks(AcceptedLost, id):
		return "accepted", nil
	}
	f.revision++
	if result.NotCompleted {
		it.nothing[key] = true
	} else {
		it.outcome = digest
	}
	f.apply(it, result)
	if result.Success && e.breaks(RefusedApplied, id) {
		return "", &refusal{http.StatusGone, "closed"}
	}
	return "accepted", nil
}

// second refuses another outcome than the one that stands.
func (e *Engine) second(f *flow, it *item, result *step.Result) (string, error) {
	switch {
	case e.breaks(SecondAccepted, f.state.ID):
		return "accepted", nil
	case e.breaks(TwoOutcomes, f.state.ID):
		f.again(it, result)
		return "accepted", nil
	}
	return "", &refusal{http.StatusConflict, "the token has another outcome"}
}

// again writes an outcome into the history of a work item that has one.
func (f *flow) again(it *item, result *step.Result) {
	f.revision++
	f.settle(it, result)
}

// rounded are outputs as a program reads them that knows no other numbers than
// float64.
func rounded(outputs map[string]json.RawMessage) map[string]json.RawMessage {
	out := make(map[string]json.RawMessage, len(outputs))
	for name, value := range outputs {
		var v any
		out[name] = value
		if json.Unmarshal(value, &v) == nil {
			if text, err := json.Marshal(v); err == nil {
				out[name] = text
			}
		}
	}
	return out
}

func parseBeat(r *http.Request) (step.Heartbeat, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		return step.Heartbeat{}, err //nolint:wrapcheck // it says all
	}
	beat, err := step.ParseHeartbeat(body)
	if n, wrong := strconv.ParseUint(r.URL.Query().Get("attempt"), 10, 32); wrong == nil {
		beat.Attempt = uint32(n)
	}
	return beat, err //nolint:wrapcheck // as above
}
