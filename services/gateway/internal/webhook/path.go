package webhook

import (
	"net/url"
	"strings"

	"github.com/sluiceflow/sluice/pkg/subject"
	"github.com/sluiceflow/sluice/pkg/token"
)

// base is what the path of a webhook begins with.
const base = "/webhook/"

// heartbeatEnd is what a heartbeat's path has more than its webhook's.
const heartbeatEnd = "/heartbeat"

// target is what a webhook's path names.
type target struct {
	flowID, stepID, token string
	heartbeat             bool // of the work item, and not its outcome
}

// parseTarget reads an escaped path, for ids may hold what a path escapes. It
// reports false for what cannot name a token.
func parseTarget(escaped string) (target, bool) {
	rest, ok := strings.CutPrefix(escaped, base)
	rest, heartbeat := strings.CutSuffix(rest, heartbeatEnd)
	if heartbeat && strings.Count(rest, "/") != 2 {
		rest, heartbeat = rest+heartbeatEnd, false // it was the token
	}
	if !ok || strings.Count(rest, "/") != 2 {
		return target{}, false
	}
	flow, rest, _ := strings.Cut(rest, "/")
	step, tok, _ := strings.Cut(rest, "/")
	t := target{flowID: flow, stepID: step, token: tok, heartbeat: heartbeat}
	for _, part := range []*string{&t.flowID, &t.stepID, &t.token} {
		if strings.IndexByte(*part, '%') < 0 {
			continue
		}
		plain, err := url.PathUnescape(*part)
		if err != nil {
			return target{}, false
		}
		*part = plain
	}
	if subject.CheckID(t.flowID) != nil || subject.CheckID(t.stepID) != nil || len(t.token) != token.Length {
		return target{}, false
	}
	return t, true
}

// instance is the path as answers and logs may show it.
func (t target) instance() string {
	if t.token == "" {
		return strings.TrimSuffix(base, "/")
	}
	path := base + url.PathEscape(t.flowID) + "/" + url.PathEscape(t.stepID) + "/" + url.PathEscape(token.Prefix(t.token))
	if t.heartbeat {
		path += heartbeatEnd
	}
	return path
}
