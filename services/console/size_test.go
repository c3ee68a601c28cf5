package console_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// What no engine can be asked for is refused at once, and not as something that
// may be tried again.
func TestPlansThatFitIntoNoMessage(t *testing.T) {
	t.Parallel()
	s := newSite(t, config(t))
	var goals []string
	for i := range 5 {
		id := fmt.Sprintf("big%d", i)
		goals = append(goals, fmt.Sprintf("%q", id))
		s.do(post, "/engine/step", fmt.Sprintf(`{"id":%q,"name":"Big","type":"async",
			"attributes":{"text":{"role":"const","type":"string","default":%q}},
			"http":{"endpoint":"http://127.0.0.1:9/big"}}`, id, `"`+strings.Repeat("x", 900_000)+`"`)).want(http.StatusCreated)
	}
	s.do(post, "/engine/flow", `{"goals":[`+strings.Join(goals, ",")+`]}`).problem(http.StatusBadRequest, "invalid", "goals")
	s.do(post, "/engine/flow", `{"goals":[`+strings.Join(goals[:2], ",")+`]}`).want(http.StatusCreated)
}
