package engine_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"github.com/sluiceflow/sluice/pkg/event"
	"github.com/sluiceflow/sluice/pkg/subject"
	"github.com/sluiceflow/sluice/pkg/token"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/keys"
	"github.com/sluiceflow/sluice/services/internal/testkit"
)

const callbackSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// beginCalledBack starts flow f, whose end is to be told.
func (w *world) beginCalledBack(planBytes []byte) {
	w.t.Helper()
	cmd := startCommand("f", planBytes, "request")
	cmd.GetStartFlow().CallbackUrl = "https://shop.example/ended"
	cmd.GetStartFlow().CallbackSecret = []byte(callbackSecret)
	w.wantBegun(cmd)
}

func one(t *testing.T) []byte {
	t.Helper()
	return planned(t, []string{"a"}, asyncStep("a", out("x")))
}

func TestTheEndIsToldOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	w.beginCalledBack(one(t))
	w.send(subject.SourceHook, success(w.invocation("f", "a"), "x", "1.50"))
	inv := w.invocation("f", subject.CallbackStep)
	history := w.ended("f")
	ending := history[len(history)-1].Commit
	want := &sluicev1.Invocation{
		FlowId: "f", Endpoint: "https://shop.example/ended",
		Work: &sluicev1.WorkRef{Run: history[0].Commit.GetEvents()[0].GetFlowStarted().GetRun(), StepId: subject.CallbackStep},
		Callback: &sluicev1.Callback{
			Revision: ending.GetRevision(), Status: sluicev1.FlowStatus_FLOW_STATUS_COMPLETED,
			Outputs: map[string][]byte{"x": []byte("1.50")}, CompletedNs: ending.GetTimeNs(),
			Signed: true, Secret: base64.RawURLEncoding.EncodeToString([]byte(callbackSecret)),
		},
	}
	if !proto.Equal(inv, want) {
		t.Errorf("got  %v\nwant %v", inv, want)
	}
	w.idle()
	if n := w.messages(w.bus.Invocations(0)); n != 0 {
		t.Errorf("%d more invocations", n)
	}
}

// A secret stands nowhere where histories are read.
func TestTheSecretStaysSecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var log lines
	w.log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	w.start()
	w.beginCalledBack(one(t))
	w.send(subject.SourceHook, success(w.invocation("f", "a"), "x", "1"))
	w.invocation("f", subject.CallbackStep)
	w.idle()
	spellings := []string{callbackSecret, strings.TrimPrefix(callbackSecret, "whsec_"), base64.RawURLEncoding.EncodeToString([]byte(callbackSecret))}
	for _, stored := range w.ended("f") {
		data, err := proto.Marshal(stored.Commit)
		if err != nil {
			t.Fatal(err)
		}
		events, err := event.FromCommit(stored.Commit)
		if err != nil {
			t.Fatal(err)
		}
		shown, err := json.Marshal(events)
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range spellings {
			if bytes.Contains(data, []byte(secret)) || bytes.Contains(shown, []byte(secret)) {
				t.Errorf("revision %d shows the secret: %s", stored.Commit.GetRevision(), shown)
			}
		}
		if stored.Commit.GetRevision() == 1 && !bytes.Contains(shown, []byte("https://shop.example/ended")) {
			t.Errorf("the history does not say who is called: %s", shown)
		}
	}
	for _, secret := range spellings {
		if n := log.count(secret); n > 0 {
			t.Errorf("the log shows the secret %d times", n)
		}
	}
}

// Rules 1 and 5: an engine that died between the ending and its callback left a
// command that is not acked; the next one tells the end.
func TestAnEndingThatWasNotToldIsToldAgain(t *testing.T) {
	t.Parallel()
	cfg := testkit.BusConfig(t, testkit.JetStream(t))
	cfg.InvocationsMaxBytes = 1 << 20
	w := worldOn(t, testkit.BusOn(t, cfg))
	stop := w.start()
	w.beginCalledBack(one(t))
	work := w.invocation("f", "a")
	w.fillInvocations()
	w.send(subject.SourceHook, success(work, "x", "1"))
	before := len(w.ended("f"))
	if w.messages(w.bus.Commands(0)) != 1 {
		t.Error("the command was acked before the callback was stored")
	}
	stop()
	w.purgeInvocations()
	w.start()
	w.idle()
	stream, err := w.bus.JS.Stream(t.Context(), w.bus.Invocations(0))
	if err != nil {
		t.Fatal(err)
	}
	msg, err := stream.GetLastMsgForSubject(t.Context(), w.bus.Space.InvokeHTTP(subject.CallbackStep, w.bus.Partition("f"), "f"))
	if err != nil {
		t.Fatal(err)
	}
	if id := msg.Header.Get(jetstream.MsgIDHeader); !strings.HasPrefix(id, "callback/f/") || !strings.HasSuffix(id, fmt.Sprintf("/_callback/0/0/0/%d", before)) {
		t.Errorf("the callback's id is %q", id)
	}
	w.invocation("f", subject.CallbackStep)
	if after := len(w.ended("f")); after != before {
		t.Errorf("%d commits after the repeat, want %d", after, before)
	}
}

func TestOutputsThatAreTooLargeAreNamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	w.beginCalledBack(planned(t, []string{"a", "b", "c"},
		asyncStep("a", out("x")), asyncStep("b", out("y")), asyncStep("c", out("z"))))
	invocations := map[string]*sluicev1.Invocation{}
	for range 3 {
		w.until("another step is invoked", func() bool {
			inv, ok := w.nextInvocation(t.Context())
			if ok {
				invocations[inv.GetWork().GetStepId()] = inv
			}
			return ok
		})
	}
	large := `"` + strings.Repeat("x", int(w.bus.NC.MaxPayload())/16*5) + `"`
	w.send(subject.SourceHook, success(invocations["a"], "x", large))
	w.send(subject.SourceHook, success(invocations["b"], "y", large))
	w.send(subject.SourceHook, success(invocations["c"], "z", "3"))
	got := w.invocation("f", subject.CallbackStep).GetCallback()
	if kept := slices.Sorted(maps.Keys(got.GetOutputs())); !slices.Equal(kept, []string{"x", "z"}) || !slices.Equal(got.GetOmitted(), []string{"y"}) {
		t.Errorf("kept %v, left out %v", kept, got.GetOmitted())
	}
}

// The key that sealed a secret is gone: nobody is told unsigned.
func TestACallbackWhoseKeyIsGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stop := w.start()
	w.beginCalledBack(one(t))
	work := w.invocation("f", "a")
	stop()
	other, err := keys.Open(t.Context(), w.bus, "9:"+base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{9}, token.MinSecretBytes)), false, w.log)
	if err != nil {
		t.Fatal(err)
	}
	w.keys = other
	w.start()
	w.send(subject.SourceHook, success(work, "x", "1"))
	if got := w.invocation("f", subject.CallbackStep).GetCallback(); !got.GetSigned() || got.GetSecret() != "" {
		t.Errorf("got %v", got)
	}
}
