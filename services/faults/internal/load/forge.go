package load

import (
	"strings"

	"github.com/sluiceflow/sluice/services/faults/internal/ledger"
)

const (
	garbageKinds = 9
	forgeries    = 8
	base64URL    = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
)

// garbage is no StepResult, with a token that is good.
func (j *job) garbage(kind int) post {
	p := j.post(ledger.Garbage, ledger.Outcome{})
	p.raw = []string{
		"{", "[]", `{"outputs":{}}`, `{"success":"yes"}`, `{"success":true,"success":true}`,
		`{"success":true,"not_completed":true}`, "{\"success\":true,\"outputs\":{\"a\":\"\xff\"}}",
		`{"success":true,"outputs":{"a":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}}`, `{"success":true}`,
	}[kind]
	p.note = "garbage: " + p.raw[:min(len(p.raw), 40)]
	if kind == garbageKinds-1 {
		p.contentType, p.note = "text/plain", "garbage: text/plain"
	}
	return p
}

// forgery is an outcome with a token that is none of this flow and step. It says
// what no honest worker says.
func (j *job) forgery(kind int) post {
	p := j.post(ledger.Forged, success(j.task, "forged"))
	token := p.token
	switch kind {
	case 0:
		p.token, p.note = turned(token, 0), "another first character"
	case 1:
		p.token, p.note = turned(token, len(token)-1), "another last character"
	case 2:
		p.token, p.note = token[:len(token)-1], "too short"
	case 3:
		p.token, p.note = token+"A", "too long"
	case 4:
		p.token, p.note = token+"=", "padded"
	case 5:
		p.flow, p.note = p.flow+"x", "another flow"
	case 6:
		p.step, p.note = "receipt", "another step"
	default:
		p.token, p.raw, p.note = turned(token, len(token)/2), "{", "garbage and another character in the middle"
	}
	return p
}

// turned is a token with one character changed as little as its spelling allows.
func turned(token string, at int) string {
	i := strings.IndexByte(base64URL, token[at])
	if i < 0 {
		return token + "A"
	}
	return token[:at] + string(base64URL[i^1]) + token[at+1:]
}
