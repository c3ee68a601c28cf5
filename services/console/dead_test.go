package console_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"github.com/sluiceflow/sluice/pkg/subject"
	"github.com/sluiceflow/sluice/pkg/token"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/dead"
	"github.com/sluiceflow/sluice/services/internal/testkit"
)

// bury puts a letter into DEAD.
func (s *site) bury(letters ...*sluicev1.DeadLetter) {
	s.t.Helper()
	box, err := dead.NewBox(s.bus, "test", slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		s.t.Fatal(err)
	}
	for i, l := range letters {
		l.Stream, l.Sequence, l.StoredNs = "COMMANDS_0", uint64(i+1), 1_800_000_000_000_000_000
		l.DeadNs, l.Deliveries, l.Reason, l.Class = l.GetStoredNs()+1_000_000_000, 1, "because", "impossible"
		if err := box.Put(s.t.Context(), l, 0); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *site) encode(m proto.Message) []byte {
	s.t.Helper()
	data, err := proto.Marshal(m)
	if err != nil {
		s.t.Fatal(err)
	}
	return data
}

// realToken is one that a gateway would take.
func realToken(t *testing.T) string {
	t.Helper()
	ring, err := token.ParseRing("1:" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", 32))))
	if err != nil {
		t.Fatal(err)
	}
	return ring.Mint(token.Claims{FlowID: "f", StepID: "charge", Run: 7})
}

func TestDeadLetters(t *testing.T) {
	t.Parallel()
	s := newSite(t, config(t))
	s.do(get, "/engine/dead", "").want(http.StatusOK).has("letters", "[]", "count", "0", "next", "")
	tok := realToken(t)
	hook := s.bus.Space.Command(subject.SourceHook, s.bus.Partition("f:1"), "f:1")
	s.bury(
		&sluicev1.DeadLetter{What: dead.Invocation, Subject: s.bus.Space.InvokeHTTP("charge", 3, "f:1"), Data: s.encode(&sluicev1.Invocation{
			FlowId: "f:1", Work: &sluicev1.WorkRef{Run: 18446744073709551615, StepId: "charge", Attempt: 2}, Token: tok,
			Type: sluicev1.StepType_STEP_TYPE_ASYNC, WebhookUrl: "http://h/webhook/f:1/charge/" + tok + "?attempt=2",
			Arguments: map[string][]byte{"amount": []byte("12.50")}, Labels: map[string]string{"team": "pay"},
		}), Headers: map[string]string{
			"Nats-Msg-Id": "invoke/f:1/aaaaaaaaaaaaaaaaaaaaaaaaaaaa", "Authorization": "Bearer " + tok,
		}},
		&sluicev1.DeadLetter{What: dead.Command, Subject: hook, Data: s.encode(&sluicev1.Command{
			FlowId: "f:1", Kind: &sluicev1.Command_CompleteWork{CompleteWork: &sluicev1.CompleteWork{
				Work:    &sluicev1.WorkRef{StepId: "nope"},
				Outcome: &sluicev1.Outcome{Success: true, Outputs: map[string][]byte{"x": []byte(`{"<a>":1.50}`)}, Digest: []byte{0xab, 0xcd}},
			}},
		})},
		&sluicev1.DeadLetter{What: dead.Command, Subject: hook, Data: []byte("\xff" + tok + "\xffshort\xff" + tok[:30])},
	)
	s.do(get, "/engine/dead?limit=2", "").want(http.StatusOK).has("count", "2", "letters.0.id", "3", "letters.1.id", "2", "next", `"2"`,
		"letters.0.message", "", "letters.0.data", "")
	s.do(get, "/engine/dead?limit=2&cursor=2", "").has("count", "1", "letters.0.id", "1", "next", "")
	s.do(get, "/engine/dead?what=invocation", "").has("count", "1", "letters.0", compact(t, fmt.Sprintf(`{"id":1,"what":"invocation","class":"impossible",
		"reason":"because","subject":%q,"flow_id":"f:1","step_id":"charge","stream":"COMMANDS_0","sequence":1,"stored_at":"2027-01-15T08:00:00Z",
		"dead_at":"2027-01-15T08:00:01Z","deliveries":1,"redrives":0,"size":%s}`,
		s.bus.Space.InvokeHTTP("charge", 3, "f:1"), s.do(get, "/engine/dead/1", "").at("size"))))
	whole := s.do(get, "/engine/dead/1", "").want(http.StatusOK).has(
		"message.token", fmt.Sprintf("%q", tok[:8]), "message.webhook_url", `"********"`, "message.arguments", `{"amount":12.50}`,
		"message.work.run", "18446744073709551615", "message.type", `"STEP_TYPE_ASYNC"`, "message.labels", `{"team":"pay"}`,
		"headers.Nats-Msg-Id", `"invoke/f:1/aaaaaaaaaaaaaaaaaaaaaaaaaaaa"`, "data", "")
	s.do(get, "/engine/dead/2", "").has("flow_id", `"f:1"`, "step_id", "", "message.complete_work.outcome.outputs.x", `{"<a>":1.50}`,
		"message.complete_work.outcome.digest", `"abcd"`)
	garbage := s.do(get, "/engine/dead/3", "").has("message", "", "truncated", "")
	var raw []byte
	if err := json.Unmarshal([]byte(garbage.at("data")), &raw); err != nil {
		t.Fatal(err)
	}
	hidden := func(n int) string { return tok[:8] + strings.Repeat("*", n-8) }
	if want := "\xff" + hidden(len(tok)) + "\xffshort\xff" + hidden(30); string(raw) != want {
		t.Errorf("data %q, want %q", raw, want)
	}
	for _, text := range []string{whole.text, garbage.text, string(raw)} {
		if strings.Contains(text, tok) || strings.Contains(text, tok[:22]) {
			t.Errorf("a token is shown: %s", text)
		}
	}
	testkit.Eventually(t, 15*time.Second, func() error {
		n, err := s.figure("sluice_console_dead_letters")
		if err == nil && n != 3 {
			err = fmt.Errorf("%v dead letters are counted", n)
		}
		return err
	})
}

func compact(t *testing.T, text string) string {
	t.Helper()
	return answer{t: t, text: `{"a":` + text + `}`}.at("a")
}

func TestDeadLettersRefuse(t *testing.T) {
	t.Parallel()
	s := newSite(t, config(t))
	for path, field := range map[string]string{
		"?limit=0": "limit", "?limit=1001": "limit", "?cursor=x": "cursor", "?cursor=0": "cursor", "?what=all": "what", "?wat=command": "wat",
		"/x": "id", "/0": "id", "/-1": "id", "/99999999999999999999": "id", "/1?a=b": "a",
	} {
		s.do(get, "/engine/dead"+path, "").problem(http.StatusBadRequest, "invalid", field)
	}
	s.do(post, "/engine/dead/x/redrive", "").problem(http.StatusBadRequest, "invalid", "id")
	s.do(del, "/engine/dead/x", "").problem(http.StatusBadRequest, "invalid", "id")
	s.do(post, "/engine/dead/1/redrive", `{"by":"me"}`).problem(http.StatusBadRequest, "invalid", "by")
	s.do(get, "/engine/dead/1", "").problem(http.StatusNotFound, "unknown_letter", "")
	s.do(del, "/engine/dead/1", "").problem(http.StatusNotFound, "unknown_letter", "")
	s.do(post, "/engine/dead/1/redrive", "").problem(http.StatusNotFound, "unknown_letter", "")
	s.bury(&sluicev1.DeadLetter{What: dead.Command, Subject: "sluice.cmd.nobody.1.f", Data: []byte("x")})
	s.do(post, "/engine/dead/1/redrive", "").problem(http.StatusConflict, "conflict", "")
}

// A letter whose cause is gone is redriven over HTTP and carried out; others are
// dropped.
func TestRedriveAndDrop(t *testing.T) {
	t.Parallel()
	s := newSite(t, config(t))
	s.order()
	s.do(post, "/engine/flow", `{"id":"f","goals":["charge"],"init":{"order":"A-1"}}`).want(http.StatusCreated)
	hook := s.bus.Space.Command(subject.SourceHook, s.bus.Partition("f"), "f")
	s.bury(
		&sluicev1.DeadLetter{What: dead.Command, Subject: hook, Data: s.encode(&sluicev1.Command{
			FlowId: "f", Kind: &sluicev1.Command_CompleteWork{CompleteWork: &sluicev1.CompleteWork{
				Work:    &sluicev1.WorkRef{Run: 7, StepId: "reserve", Attempt: 1},
				Outcome: &sluicev1.Outcome{Success: true, Outputs: map[string][]byte{"stock": []byte("3")}, Digest: []byte("d")},
			}},
		})},
		&sluicev1.DeadLetter{What: dead.Command, Subject: hook, Data: []byte("\xff")},
	)
	s.do(post, "/engine/dead/1/redrive", "").want(http.StatusOK)
	s.eventually("/engine/flow/f", "attributes.stock.value", "3")
	s.do(get, "/engine/dead", "").has("count", "1", "letters.0.id", "2")
	s.do(del, "/engine/dead/2", "").want(http.StatusNoContent)
	s.do(get, "/engine/dead", "").has("letters", "[]")
	s.do(del, "/engine/dead/2", "").problem(http.StatusNotFound, "unknown_letter", "")
}

func TestRedriveWithoutAnEngine(t *testing.T) {
	t.Parallel()
	s := siteWithoutEngine(t, config(t))
	s.bury(&sluicev1.DeadLetter{
		What: dead.Command, Subject: s.bus.Space.Command(subject.SourceHook, s.bus.Partition("f"), "f"), Data: []byte("x"),
	})
	s.do(post, "/engine/dead/1/redrive", "").problem(http.StatusServiceUnavailable, "unavailable", "")
	s.do(get, "/engine/dead/1", "").want(http.StatusOK)
}
