package dispatcher

import (
	"fmt"
	"net/url"

	"github.com/sluiceflow/sluice/services/internal/endpoint"
)

// maxTargets bounds what is remembered of endpoints.
const maxTargets = 4096

// A target is an endpoint as far as it is the same for every call.
type target struct {
	url *url.URL
	// slot names what its calls share their slots with: host and port.
	slot string
	// refused says why it can never be called; nil when it can.
	refused error
}

// targets remembers endpoints, so that each is parsed and checked once. It
// belongs to one goroutine.
type targets struct {
	rules endpoint.Rules
	known map[string]*target
}

func newTargets(rules endpoint.Rules) *targets {
	return &targets{rules: rules, known: make(map[string]*target)}
}

// of returns the target for an endpoint's URL.
func (t *targets) of(text string) *target {
	if known, ok := t.known[text]; ok {
		return known
	}
	if len(t.known) >= maxTargets {
		clear(t.known)
	}
	made := t.parse(text)
	t.known[text] = made
	return made
}

func (t *targets) parse(text string) *target {
	u, err := url.Parse(text)
	if err != nil {
		return &target{refused: fmt.Errorf("%w: it is no URL", endpoint.ErrRefused)}
	}
	return &target{url: u, slot: endpoint.HostPort(u), refused: t.rules.CheckURL(u)}
}
