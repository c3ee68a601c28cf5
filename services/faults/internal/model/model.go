// Package model is a small engine in memory that keeps the contract, as far as
// the load asks for it, and can be told to break it in one way or another: it
// shows that the checks see what they are for. It shares nothing with Sluice but
// the shape of its JSON.
package model

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/services/faults/internal/ledger"
)

// A Bug is a way to break the contract.
type Bug string

// The bugs.
const (
	None            Bug = ""
	AcceptedLost    Bug = "an accepted outcome is not applied"
	AppliedTwice    Bug = "a repeated outcome is applied again"
	TwoOutcomes     Bug = "a second outcome is applied beside the first"
	SecondAccepted  Bug = "a second outcome gets a 2xx and is forgotten"
	LostTimer       Bug = "a timer never fires"
	StuckEnd        Bug = "a flow whose goal is reached does not end"
	ReplayConflict  Bug = "a replay is answered 409"
	RefusedApplied  Bug = "a refused outcome is applied"
	GarbageAccepted Bug = "what is no StepResult is accepted"
	OpenGone        Bug = "an open work item is answered 410"
	StartForgotten  Bug = "a start gets a 201 and is not stored"
	StartTwice      Bug = "another request for the same flow gets a 200"
	CancelForgotten Bug = "a cancellation gets a 200 and changes nothing"
	InvocationLost  Bug = "an invocation is not delivered"
	InvocationTwice Bug = "an invocation is delivered twice"
	AttemptMiscount Bug = "an invocation names another attempt"
	ArgumentsMixed  Bug = "an invocation has other arguments than the step's inputs"
	StateBehind     Bug = "the state misses a retry that is in the history"
	EventLost       Bug = "an event is missing in the history"
	PrecisionLost   Bug = "numbers go through float64"
	TwoSpellings    Bug = "a token decodes from two spellings"
	PrefixOnly      Bug = "only the beginning of a token is checked"
	Telltale        Bug = "a bad token is told which part was wrong"
	ForeignAccepted Bug = "a token is good for other steps too"

	NotUndone        Bug = "a success is not undone"
	UndoneUnordered  Bug = "the first success is undone first"
	UndoneTwice      Bug = "a success is undone twice, and nothing was broken"
	UndoneCompleted  Bug = "successes of a completed flow are undone"
	UndoneLate       Bug = "the flow ends before its successes are undone"
	LateKept         Bug = "a success after the end is accepted and not undone"
	LateRefused      Bug = "a success after the end that is to be undone is answered 410"
	CallbackLost     Bug = "the end is not told"
	CallbackEarly    Bug = "the end is told when the flow starts"
	CallbackStatus   Bug = "the end is told with another status"
	CallbackUnsigned Bug = "the end is told without a signature"
	ArrayUnordered   Bug = "an array is not in the order of its elements"
	TooManyAtOnce    Bug = "more work items run at once than may"
	ScriptIgnored    Bug = "what a script gives is ignored"
	PredicateIgnored Bug = "a step runs though its predicate is false"
	PauseIgnored     Bug = "steps start while the flow is paused"
	ResumeForgotten  Bug = "a resumption gets a 200 and changes nothing"
	RetryForgotten   Bug = "a retry by hand gets a 200 and changes nothing"
	TokenKept        Bug = "a retry by hand keeps the token" //nolint:gosec // no credential
	BeatIgnored      Bug = "a worker that is heard is given up"
	ProgressLost     Bug = "the next worker is not told how far the last one was"
)

// A Program is what a script computes; a predicate that does not hold gives nil.
type Program = func(ledger.Values) ledger.Values

const (
	requestLimit = 5 * time.Second
	closeLimit   = 500 * time.Millisecond
	tokenLength  = 22
)

// Engine is the model. It is an installation of its own: control API, webhooks
// and calls.
type Engine struct {
	URL string

	bug Bug
	// programs are the scripts that it knows, by their texts.
	programs map[string]Program
	secret   []byte
	http     *http.Client
	server   *http.Server
	life     context.Context //nolint:containedctx // of calls and timers, which belong to no request
	end      context.CancelFunc
	jobs     sync.WaitGroup

	mu    sync.Mutex // of all below
	steps map[string]step.Definition
	flows map[string]*flow
}

// Start starts an engine with a bug that knows some scripts. Close ends it.
func Start(ctx context.Context, bug Bug, programs map[string]Program) (*Engine, error) {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	e := &Engine{
		URL: "http://" + listener.Addr().String(), bug: bug, programs: programs, secret: []byte("a model has no secrets"),
		http:  &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}},
		steps: map[string]step.Definition{}, flows: map[string]*flow{},
	}
	e.life, e.end = context.WithCancel(context.WithoutCancel(ctx))
	e.server = &http.Server{Handler: e.routes(), ReadHeaderTimeout: requestLimit}
	e.jobs.Go(func() { _ = e.server.Serve(listener) }) // ends by Close
	return e, nil
}

// Close ends the engine and all that it does.
func (e *Engine) Close() {
	e.end()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(e.life), closeLimit)
	defer cancel()
	if e.server.Shutdown(ctx) != nil {
		_ = e.server.Close() // nobody waits for its answers
	}
	e.mu.Lock()
	for _, f := range e.flows {
		f.stopTimers()
	}
	e.mu.Unlock()
	e.jobs.Wait()
	e.http.CloseIdleConnections()
}

// breaks reports whether the engine breaks the contract in this way for this
// flow: for every third, so that the others show the difference.
func (e *Engine) breaks(bug Bug, flowID string) bool {
	if e.bug != bug {
		return false
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(flowID)) // never fails
	return h.Sum32()%3 == 0
}

// Concerns reports whether the engine's bug may show in this flow.
func (e *Engine) Concerns(flowID string) bool {
	ofTokens := []Bug{TwoSpellings, PrefixOnly, Telltale, ForeignAccepted}
	return slices.Contains(ofTokens, e.bug) || (e.bug != None && e.breaks(e.bug, flowID))
}

// tokenOf makes the token of a work item that was retried by hand some times.
func (e *Engine) tokenOf(flowID, stepID string, place, generation int) string {
	mac := hmac.New(sha256.New, e.secret)
	_, _ = fmt.Fprintf(mac, "%q %q %d %d", flowID, stepID, place, generation) // never fails
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:16])
}

var errNoToken = errors.New("no such token for this flow and step")

// checkToken returns an error for a token that is not this flow's and step's.
func (e *Engine) checkToken(flowID, stepID, token string) error {
	f := e.flows[flowID]
	if f == nil {
		return errNoToken
	}
	for want, it := range f.tokens {
		if (it.d.ID == stepID || e.bug == ForeignAccepted) && e.accepts(token, want) {
			return nil
		}
	}
	if e.bug == Telltale && len(token) != tokenLength {
		return errors.New("the token has the wrong length")
	}
	return errNoToken
}

// accepts reports whether a token is taken for another one.
func (e *Engine) accepts(token, want string) bool {
	switch {
	case token == want:
		return true
	case e.bug == TwoSpellings:
		a, err := base64.RawURLEncoding.DecodeString(token)
		b, _ := base64.RawURLEncoding.DecodeString(want)
		return err == nil && hmac.Equal(a, b)
	}
	return e.bug == PrefixOnly && len(token) > 8 && token[:8] == want[:8]
}
