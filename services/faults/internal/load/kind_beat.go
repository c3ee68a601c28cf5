package load

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/services/faults/internal/ledger"
)

const (
	// silence is how long a worker that says that it lives may be silent.
	silence   = time.Second
	beatEvery = 200 * time.Millisecond
	// beats of a worker take longer than it may be silent; one that stops has had
	// some of them.
	beats     = 7
	lastBeats = 2
)

// beatKind has a worker that says how far it is, and sometimes another before it
// that stops.
func (l *Load) beatKind() kind {
	p := l.worked("beating", func(ctx context.Context, j *job) { j.beating(ctx) })
	p.WorkConfig.HeartbeatTimeoutMS = silence.Milliseconds()
	p.knows.Silence = silence
	return kind{goal: "beating", parts: []part{p}}
}

func (j *job) beating(ctx context.Context) {
	n, stops := beats, j.Attempt == 1 && j.l.dice("stops", j.FlowID).IntN(2) == 0
	if stops {
		n = lastBeats
	}
	for i := range n {
		j.beat(ctx, step.Progress{Progress: float64(i+1) / (beats + 1), Message: "attempt " + attemptText(j.Attempt)})
		if !pause(ctx, beatEvery) {
			return
		}
	}
	if !stops {
		j.behave(ctx)
	}
}

// beat says once that the worker lives, and writes down what came of it.
func (j *job) beat(ctx context.Context, p step.Progress) {
	at := j.post(ledger.Success, ledger.Outcome{})
	entry := ledger.Beat{
		Flow: at.flow, Step: at.step, Token: at.token, Attempt: at.attempt, Progress: p.Progress, Message: p.Message, Sent: time.Now(),
	}
	entry.Status = j.l.tell(ctx, at, p)
	entry.Answered = time.Now()
	j.l.cfg.Ledger.Beat(entry)
}

// tell posts a heartbeat and returns the status of its answer, 0 where none came.
func (l *Load) tell(ctx context.Context, at post, p step.Progress) int {
	body, err := json.Marshal(p)
	if err != nil {
		return 0
	}
	path, query, _ := strings.Cut(l.address(at), "?")
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, path+"/heartbeat?"+query, strings.NewReader(string(body)))
	if err != nil {
		return 0
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := l.http.Do(req)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer)) // the status says all
	return resp.StatusCode
}
