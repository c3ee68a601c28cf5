package console_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sluiceflow/sluice/pkg/event"
	"github.com/sluiceflow/sluice/services/internal/testkit"
)

// review registers a step that asks so many people, and starts the flow f of it.
func (s *site) review(approvers string) {
	s.t.Helper()
	s.do(post, "/engine/step", `{"id":"review","type":"wait","wait":{"approval":{"approvers":`+approvers+`,"title":"Ship <it>?"}},
		"attributes":{"approved":{"role":"output","type":"boolean"},"by":{"role":"output"},"comment":{"role":"output"}}}`).want(http.StatusCreated)
	s.do(post, "/engine/flow", `{"id":"f","goals":["review"]}`).want(http.StatusCreated)
}

// links are those of f's only work item, as its state shows them.
func (s *site) links() []event.ApprovalLinks {
	s.t.Helper()
	var pairs []event.ApprovalLinks
	text := s.do(get, "/engine/flow/f", "").at("executions.review.work_items.0.approval.links")
	if text == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(text), &pairs); err != nil {
		s.t.Fatal(err)
	}
	return pairs
}

// open gets the page of a link, and click sends its form.
func (s *site) open(link string) answer {
	s.t.Helper()
	return s.send(get, strings.TrimPrefix(link, s.url), "", http.Header{})
}

func (s *site) click(link string, form url.Values) answer {
	s.t.Helper()
	return s.send(post, strings.TrimPrefix(link, s.url), form.Encode(), http.Header{
		"Content-Type": {"application/x-www-form-urlencoded"}, "Sec-Fetch-Site": {"same-origin"},
	})
}

// says fails the test unless the page holds the text.
func (a answer) says(status int, text string) answer {
	a.t.Helper()
	a.want(status)
	if !strings.Contains(a.text, text) {
		a.t.Fatalf("the page does not say %q: %s", text, a.text)
	}
	return a
}

func TestALinkDecides(t *testing.T) {
	t.Parallel()
	s := newSite(t, config(t))
	s.review("1")
	pairs := s.links()
	if len(pairs) != 1 || !strings.HasPrefix(pairs[0].Approve, s.url+"/approval/f/review/approve/1/") {
		t.Fatalf("the links are %v", pairs)
	}
	s.do(get, "/engine/flow/f/events", "").has("events.2.links.0.approve", `"`+pairs[0].Approve+`"`, "events.2.links.0.reject", `"`+pairs[0].Reject+`"`)
	for range 2 { // whoever only looks decides nothing
		page := s.open(pairs[0].Reject).says(http.StatusOK, `<button>Reject</button>`).says(http.StatusOK, "Ship &lt;it&gt;?")
		if got := page.header.Get("Content-Security-Policy"); !strings.Contains(got, "default-src 'none'") || !strings.Contains(got, "form-action 'self'") {
			t.Errorf("the page's policy is %q", got)
		}
		if page.header.Get("Cache-Control") != "no-store" {
			t.Error("the page may be kept")
		}
	}
	s.do(get, "/engine/flow/f", "").has("status", `"active"`, "executions.review.work_items.0.approval.given", "[]")
	s.click(pairs[0].Approve, url.Values{"by": {" Ann "}, "comment": {`go "on"`}}).says(http.StatusOK, "approved by Ann")
	s.do(get, "/engine/flow/f", "").has("status", `"completed"`, "attributes.approved.value", "true", "attributes.by.value", `"Ann"`,
		"attributes.comment.value", `"go \"on\""`, "executions.review.work_items.0.approval.links", "",
		"executions.review.work_items.0.approval.given.0.by", `"Ann"`)
	for _, link := range []string{pairs[0].Approve, pairs[0].Reject} { // a second click, of either
		s.click(link, nil).says(http.StatusOK, "approved by Ann")
		if page := s.open(link).says(http.StatusOK, "approved by Ann"); strings.Contains(page.text, "<form") {
			t.Errorf("it asks again: %s", page.text)
		}
	}
	s.do(get, "/engine/flow/f/events", "").has("events.3.type", `"approval_given"`, "events.3.approved", "true", "events.3.comment", `"go \"on\""`)
}

func TestForgedLinks(t *testing.T) {
	t.Parallel()
	s := newSite(t, config(t))
	s.review("2")
	s.do(post, "/engine/flow", `{"id":"g","goals":["review"]}`).want(http.StatusCreated)
	pairs := s.links()
	approve := pairs[0].Approve
	for name, forged := range map[string]string{
		"another answer": strings.Replace(approve, "/approve/", "/reject/", 1),
		"another person": strings.Replace(approve, "/approve/1/", "/approve/2/", 1),
		"another flow":   strings.Replace(approve, "/f/", "/g/", 1),
		"another step":   strings.Replace(approve, "/review/", "/other/", 1),
		"another token":  approve[:len(approve)-1] + map[bool]string{true: "B", false: "A"}[strings.HasSuffix(approve, "A")],
		"no person":      strings.Replace(approve, "/approve/1/", "/approve/0/", 1),
		"no answer":      strings.Replace(approve, "/approve/1/", "/maybe/1/", 1),
		"no token":       approve[:strings.LastIndex(approve, "/")+1] + "x",
	} {
		s.open(forged).says(http.StatusNotFound, "no such link")
		if got := s.click(forged, nil).says(http.StatusNotFound, "no such link"); strings.Contains(got.text, "review") {
			t.Errorf("%s: the answer tells of it: %s", name, got.text)
		}
	}
	s.do(get, "/engine/flow/f", "").has("executions.review.work_items.0.approval.given", "[]")
	// Another site's page makes nobody's browser click.
	s.send(post, strings.TrimPrefix(approve, s.url), "", http.Header{"Sec-Fetch-Site": {"cross-site"}}).problem(http.StatusForbidden, "cross_origin", "")
	s.click(approve, url.Values{"by": {strings.Repeat("x", 129)}}).says(http.StatusBadRequest, "at most 128")
	s.click(approve, url.Values{"comment": {"\xff"}}).says(http.StatusBadRequest, "at most 1024")
	// The link of a flow that is gone.
	s.do(post, "/engine/flow/f/cancel", "").want(http.StatusOK)
	s.open(approve).says(http.StatusOK, "the flow is canceled")
	s.click(approve, nil).says(http.StatusOK, "the flow is canceled")
	testkit.Eventually(t, 10*time.Second, func() bool { return s.do(del, "/engine/flow/f", "").status == http.StatusNoContent })
	s.open(approve).says(http.StatusNotFound, "no such link")
	s.click(approve, nil).says(http.StatusNotFound, "no such link")
}

// Several people are asked: each has a pair of links, and counts once.
func TestSeveralPeopleApprove(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	cfg.ConsoleBaseURL = "https://flows.example/sluice/"
	s := newSite(t, cfg)
	s.review("2")
	pairs := s.links()
	if len(pairs) != 2 || !strings.HasPrefix(pairs[1].Reject, "https://flows.example/sluice/approval/f/review/reject/2/") {
		t.Fatalf("the links are %v", pairs)
	}
	for i := range pairs {
		pairs[i].Approve = strings.TrimPrefix(pairs[i].Approve, "https://flows.example/sluice")
	}
	s.click(pairs[0].Approve, nil).says(http.StatusOK, "not decided yet")
	s.click(pairs[0].Approve, nil).says(http.StatusOK, "not decided yet")
	s.open(pairs[1].Approve).says(http.StatusOK, "so far by link 1").says(http.StatusOK, "<button>Approve</button>")
	s.do(get, "/engine/flow/f", "").has("status", `"active"`)
	s.click(pairs[1].Approve, nil).says(http.StatusOK, "approved by link 1, link 2")
	s.do(get, "/engine/flow/f", "").has("status", `"completed"`)
}

// Who has a key decides by name, once; who may only look gets no link.
func TestApprovalsByKey(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	cfg.APIKeys = "ann:operate:operator-0123456789,bob:operate:operator-9876543210,eve:read:reader-0123456789,adm:admin:admin-0123456789"
	s := newSite(t, cfg)
	as := func(key string) { s.header = http.Header{"Authorization": {"Bearer " + key}} }
	as("admin-0123456789")
	s.review("2")
	if len(s.links()) != 2 {
		t.Error("an admin gets no links")
	}
	as("reader-0123456789")
	if pairs := s.links(); pairs != nil {
		t.Errorf("a reader gets the links %v", pairs)
	}
	s.do(get, "/engine/flow/f/events", "").has("events.2.type", `"work_started"`, "events.2.links", "")
	s.do(post, "/engine/flow/f/step/review/approve", "").problem(http.StatusForbidden, "forbidden", "")
	as("operator-0123456789")
	s.do(post, "/engine/flow/f/step/review/approve", `{"by":"bob"}`).problem(http.StatusBadRequest, "invalid", "by")
	s.do(post, "/engine/flow/f/step/review/approve", `{"comment":"good"}`).want(http.StatusOK)
	s.do(post, "/engine/flow/f/step/review/approve", "").want(http.StatusOK) // the same again
	s.do(post, "/engine/flow/f/step/review/reject", "").problem(http.StatusConflict, "conflict", "")
	s.do(post, "/engine/flow/f/step/nobody/approve", "").problem(http.StatusNotFound, "unknown_step", "")
	s.do(post, "/engine/flow/f/step/review/approve", `{"item":"7"}`).problem(http.StatusNotFound, "unknown_step", "")
	s.do(post, "/engine/flow/nobody/step/review/approve", "").problem(http.StatusNotFound, "unknown_flow", "")
	as("operator-9876543210")
	s.do(post, "/engine/flow/f/step/review/reject", `{"comment":"not yet"}`).want(http.StatusOK).has("message", `"It was rejected by bob."`)
	s.do(get, "/engine/flow/f", "").has("status", `"completed"`, "attributes.approved.value", "false", "attributes.by.value", `"bob"`,
		"attributes.comment.value", `"not yet"`)
}
