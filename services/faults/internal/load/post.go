package load

import (
	"context"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/sluiceflow/sluice/services/faults/internal/ledger"
)

const maxAnswer = 64 << 10

// post is a webhook that is about to be sent.
type post struct {
	kind              ledger.Kind
	flow, step, token string
	// base is the gateway that the invocation named.
	base string
	// attempt is said in the query; 0 says none, which means the first.
	attempt  uint32
	outcome  ledger.Outcome
	spelling int
	// raw is sent in place of the outcome, with its content type.
	raw, contentType string
	note             string
	key              string
}

// post is an outcome of the job's work item, as the worker was told to send it.
func (j *job) post(kind ledger.Kind, o ledger.Outcome) post {
	base, attempt := j.WebhookURL, uint32(0)
	if u, err := url.Parse(j.WebhookURL); err == nil {
		base = u.Scheme + "://" + u.Host
		if n, err := strconv.ParseUint(u.Query().Get("attempt"), 10, 32); err == nil {
			attempt = uint32(n)
		}
	}
	return post{
		kind: kind, flow: j.FlowID, step: j.StepID, token: j.ReceiptToken, base: base,
		attempt: attempt, outcome: o, note: string(j.manner), key: j.key,
	}
}

// insist sends a post until it is stored or refused.
func (l *Load) insist(ctx context.Context, p post) {
	for n := 0; ; n++ {
		entry := l.send(ctx, p)
		if entry.OK() {
			l.stored(p.key)
		}
		if entry.OK() || entry.Refused() || !pause(ctx, patience(n)) {
			return
		}
	}
}

// send sends a post once, and writes down what came of it.
func (l *Load) send(ctx context.Context, p post) ledger.Post {
	entry := ledger.Post{
		Flow: p.flow, Step: p.step, Token: p.token, Attempt: max(p.attempt, 1),
		Kind: p.kind, Outcome: p.outcome, Note: p.note, Sent: time.Now(),
	}
	if status, header, answer, err := l.exchange(ctx, p); err == nil {
		entry.Status = status
		entry.Code, entry.Told = read(header, answer)
	}
	entry.Answered = time.Now()
	l.cfg.Ledger.Post(entry)
	return entry
}

func (l *Load) exchange(ctx context.Context, p post) (status int, header http.Header, answer []byte, err error) {
	text := p.raw
	if p.contentType == "" {
		p.contentType = "application/json"
	}
	if text == "" {
		text = body(p.outcome, p.spelling)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.address(p), strings.NewReader(text))
	if err != nil {
		return 0, nil, nil, err //nolint:wrapcheck // no answer, for whatever reason
	}
	req.Header.Set("Content-Type", p.contentType)
	resp, err := l.http.Do(req)
	if err != nil {
		return 0, nil, nil, err //nolint:wrapcheck // as above
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return resp.StatusCode, resp.Header, answer, err //nolint:wrapcheck // as above
}

func (l *Load) address(p post) string {
	base := p.base
	if n := len(l.cfg.Gateways); n > 0 {
		base = l.cfg.Gateways[rand.IntN(n)] //nolint:gosec // any will do
	}
	address := base + "/webhook/" + url.PathEscape(p.flow) + "/" + url.PathEscape(p.step) + "/" + url.PathEscape(p.token)
	if p.attempt > 0 {
		address += "?attempt=" + attemptText(p.attempt)
	}
	return address
}

// read is what an answer says in a word, and, where it refuses, all that it
// tells but what repeats the address.
func read(header http.Header, answer []byte) (code, told string) {
	var said map[string]any
	if json.Unmarshal(answer, &said) != nil {
		return "", string(answer)
	}
	if status, ok := said["status"].(string); ok {
		if (status == "replayed") != (header.Get("Idempotency-Replayed") == "true") {
			return "replayed without its header, or the header alone", ""
		}
		return status, ""
	}
	if kind, ok := said["type"].(string); ok {
		code = strings.TrimPrefix(kind, "urn:sluice:problem:")
	}
	delete(said, "instance")
	rest, err := json.Marshal(said)
	if err != nil {
		return code, err.Error()
	}
	return code, string(rest)
}

// body writes an outcome as JSON, in one of several spellings that are equal.
func body(o ledger.Outcome, spelling int) string {
	if o.Kind == ledger.Success {
		return successBody(o, spelling)
	}
	if o.Kind == ledger.NotCompleted {
		return `{"success":false,"not_completed":true,"error":` + strconv.Quote(o.Error) + `}`
	}
	return `{"success":false,"error":` + strconv.Quote(o.Error) + `}`
}

func successBody(o ledger.Outcome, spelling int) string {
	outputs, err := json.Marshal(o.Outputs)
	if err != nil {
		return err.Error()
	}
	text := `{"success":true,"outputs":` + string(outputs) + `}`
	switch spelling {
	case 1: // the same number otherwise
		return strings.Replace(text, "12345678901234567890.50", "1234567890123456789050e-2", 1)
	case 2: // the same names in another order, and space
		return `{ "outputs" : ` + string(outputs) + `, "success" : true }`
	default:
		return text
	}
}

func attemptText(n uint32) string { return strconv.FormatUint(uint64(n), 10) }
