package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/sluiceflow/sluice/services/internal/testkit"
)

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestStepCommands(t *testing.T) {
	t.Parallel()
	_, console := startDev(t, t.TempDir())
	apply := func(text string) string {
		t.Helper()
		return ok(t, console, "step", "apply", "-f", writeFile(t, text))
	}
	other := strings.ReplaceAll(helloStep, `"hello"`, `"other"`)
	other = strings.ReplaceAll(other, `"greeting"`, `"farewell"`)
	has(t, apply(helloStep+"\n"+other), "hello registered", "other registered")
	has(t, apply(helloStep), "hello unchanged")
	has(t, apply(strings.ReplaceAll(helloStep, `"Hello"`, `"Hi"`)), "hello updated")
	has(t, ok(t, console, "step", "list"), "ID", "hello", "Hi", "other")
	got := decode[struct{ ID, Name string }](t, ok(t, console, "step", "get", "hello"))
	if got.ID != "hello" || got.Name != "Hi" {
		t.Errorf("got %+v", got)
	}
	ok(t, console, "step", "delete", "other")
	if list := ok(t, console, "step", "list"); strings.Contains(list, "other") {
		t.Errorf("deleted, and still there: %s", list)
	}
	for name, text := range map[string]string{
		"no JSON": "{", "no step": `{"id":"x","surprise":1}`, "refused": `{"id":"x","name":"X","type":"sync"}`,
	} {
		if code, _, stderr := runs(t, console, "step", "apply", "-f", writeFile(t, text)); code == 0 || stderr == "" {
			t.Errorf("%s: exit code %d, %q", name, code, stderr)
		}
	}
}

func TestFlowCommands(t *testing.T) {
	t.Parallel()
	_, console := startDev(t, t.TempDir())
	ok(t, console, "step", "apply", "-f", writeFile(t, helloStep))
	id := strings.TrimSpace(ok(t, console, "flow", "start", "hello", "--init", "amount=1.50", "--init", "who=Ada", "--label", "team=pay"))
	has(t, ok(t, console, "flow", "events", id), `"type":"flow_started"`, `"amount":1.50`, `"who":"Ada"`, `"team":"pay"`)
	testkit.Eventually(t, soon, func() bool {
		return strings.Contains(ok(t, console, "flow", "list", "--label", "team=pay", "--status", "active"), id)
	})
	ok(t, console, "flow", "cancel", id, "--reason", "enough")
	state := decode[struct{ Status, Error string }](t, ok(t, console, "flow", "get", id, "--wait"))
	if state.Status != "canceled" || state.Error != "enough" {
		t.Errorf("got %+v", state)
	}
	code, stdout, stderr := runs(t, console, "flow", "start", "hello", "--id", id, "--init", "amount=1.50", "--init", "who=Ada", "--label", "team=pay", "--wait")
	if code == 0 {
		t.Errorf("exit code 0 for a canceled flow: %s", stdout)
	}
	if stdout != "" {
		has(t, stderr, "canceled")
	}
	for name, args := range map[string][]string{
		"no goal": {"flow", "start"}, "no pair": {"flow", "start", "hello", "--init", "amount"},
		"no such goal": {"flow", "start", "nothing"}, "no such flow": {"flow", "get", "nothing"},
	} {
		if code, _, stderr := runs(t, console, args...); code == 0 || stderr == "" {
			t.Errorf("%s: exit code %d, %q", name, code, stderr)
		}
	}
}

func TestControlCommands(t *testing.T) {
	t.Parallel()
	_, console := startDev(t, t.TempDir())
	ok(t, console, "step", "apply", "-f", writeFile(t, helloStep))
	begin := func() string {
		t.Helper()
		return strings.TrimSpace(ok(t, console, "flow", "start", "hello", "--init", "amount=1", "--init", "who=Ada"))
	}
	status := func(id, want string) {
		t.Helper()
		if got := decode[struct{ Status string }](t, ok(t, console, "flow", "get", id)); got.Status != want {
			t.Errorf("flow %s is %s, want %s", id, got.Status, want)
		}
	}
	id := begin()
	ok(t, console, "flow", "pause", id, "--reason", "look at it")
	status(id, "paused")
	ok(t, console, "flow", "resume", id)
	status(id, "active")
	ok(t, console, "flow", "fail", id, "hello", "--error", "no", "--reason", "it hangs")
	status(id, "failed")
	ok(t, console, "flow", "retry", id, "--reason", "mended")
	status(id, "active")
	ok(t, console, "flow", "retry", id, "hello", "--item", "0")
	ok(t, console, "flow", "complete", id, "hello", "--output", "greeting=Hello Ada")
	status(id, "completed")
	has(t, ok(t, console, "flow", "events", id), `"look at it"`, `"it hangs"`, `"mended"`, `"Hello Ada"`, `"action":"complete"`)
	other := begin()
	ok(t, console, "flow", "skip", other, "hello")
	status(other, "completed")
	for name, args := range map[string][]string{
		"an ended flow": {"flow", "pause", id}, "an item of no step": {"flow", "retry", id, "--item", "0"},
		"no such step": {"flow", "skip", begin(), "nothing"}, "no pair": {"flow", "complete", id, "hello", "--output", "greeting"},
	} {
		if code, _, stderr := runs(t, console, args...); code == 0 || stderr == "" {
			t.Errorf("%s: exit code %d, %q", name, code, stderr)
		}
	}
}

const reviewStep = `{"id":"review","type":"wait","wait":{"approval":{"title":"Ship it?"},"timeout_ms":60000},"attributes":{"by":{"role":"output"}}}`

func TestApprovalCommands(t *testing.T) {
	t.Parallel()
	_, console := startDev(t, t.TempDir())
	ok(t, console, "step", "apply", "-f", writeFile(t, reviewStep))
	id := strings.TrimSpace(ok(t, console, "flow", "start", "review"))
	has(t, ok(t, console, "flow", "get", id), `/approval/`, `"Ship it?"`)
	has(t, ok(t, console, "flow", "approve", id, "review", "--by", "ann", "--comment", "go on"), "It was approved by ann.")
	has(t, ok(t, console, "flow", "get", id, "--wait"), `"completed"`, `"go on"`)
	if code, _, stderr := runs(t, console, "flow", "reject", id, "review"); code == 0 || !strings.Contains(stderr, "approved by ann") {
		t.Errorf("a decided one: exit code %d, %q", code, stderr)
	}
	id = strings.TrimSpace(ok(t, console, "flow", "start", "review"))
	has(t, ok(t, console, "flow", "reject", id, "review", "--item", "0"), "It was rejected by somebody.")
}

const paidStep = `{"id":"paid","type":"wait","wait":{"message":{"name":"payment","key":{"language":"cel","script":"order"}}},
	"attributes":{"order":{"role":"required"},"amount":{"role":"output","type":"number"}}}`

func TestMessageCommands(t *testing.T) {
	t.Parallel()
	_, console := startDev(t, t.TempDir())
	ok(t, console, "step", "apply", "-f", writeFile(t, paidStep))
	ok(t, console, "message", "post", "payment", "order-1", "--output", "amount=12.50", "--id", "m-1", "--ttl", "1h") // before its waiter
	early := strings.TrimSpace(ok(t, console, "flow", "start", "paid", "--init", "order=order-1"))
	has(t, ok(t, console, "flow", "get", early, "--wait"), `"completed"`, "12.50")
	late := strings.TrimSpace(ok(t, console, "flow", "start", "paid", "--init", "order=order-2"))
	ok(t, console, "message", "post", "payment", "order-2", "--output", "amount=13")
	has(t, ok(t, console, "flow", "get", late, "--wait"), `"completed"`, `"value": 13`)
	has(t, ok(t, console, "flow", "events", late), `"wait_keyed"`, `"message_taken"`)
	if code, _, stderr := runs(t, console, "message", "post", "payment", "order-2", "--output", "amount"); code == 0 || stderr == "" {
		t.Errorf("no pair: exit code %d, %q", code, stderr)
	}
}

// broker connects to the NATS of a dev process.
func (p *process) broker() *nats.Conn {
	p.t.Helper()
	var found []string
	testkit.Eventually(p.t, soon, func() bool {
		found = regexp.MustCompile(`NATS +(nats://\S+)`).FindStringSubmatch(p.stdout.String())
		return found != nil
	})
	nc, err := nats.Connect(found[1])
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(nc.Close)
	return nc
}

func TestDeadCommands(t *testing.T) {
	t.Parallel()
	p, console := startDev(t, t.TempDir())
	nc := p.broker()
	for i := range 3 {
		if err := nc.Publish("sluice.cmd.hook.0.flow-1", []byte("\xff\xff"+strconv.Itoa(i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Publish("sluice.invoke.http.hello.0.flow-1", []byte("\xff\xff")); err != nil {
		t.Fatal(err)
	}
	var ids []string
	listed := regexp.MustCompile(`(?m)^(\d+) +command +garbage +flow-1 `)
	testkit.Eventually(t, soon, func() error {
		list := ok(t, console, "dead", "list")
		ids = ids[:0]
		for _, line := range listed.FindAllStringSubmatch(list, -1) {
			ids = append(ids, line[1])
		}
		if len(ids) != 3 || !strings.Contains(list, "invocation") {
			return fmt.Errorf("listed are %s", list)
		}
		return nil
	})
	has(t, ok(t, console, "dead", "list"), "ID", "WHAT", "REASON", "decode it")
	if list := ok(t, console, "dead", "list", "--what", "command", "--limit", "1"); len(listed.FindAllString(list, -1)) != 1 || strings.Contains(list, "invocation") {
		t.Errorf("one command: %s", list)
	}
	type letter struct {
		Data     []byte
		Stream   string
		Redrives int
	}
	if got := decode[letter](t, ok(t, console, "dead", "show", ids[2])); string(got.Data) != "\xff\xff0" || got.Stream != "COMMANDS_0" {
		t.Errorf("letter %+v", got)
	}
	has(t, ok(t, console, "dead", "drop", ids[1], ids[2]), ids[1]+" dropped\n"+ids[2]+" dropped")
	testkit.Eventually(t, soon, func() error { // the engine may not serve it yet
		code, stdout, stderr := runs(t, console, "dead", "redrive", ids[0])
		if code != 0 || stdout != ids[0]+" redriven\n" {
			return fmt.Errorf("exit code %d: %s%s", code, stdout, stderr)
		}
		return nil
	})
	testkit.Eventually(t, soon, func() error { // it is as bad as it was
		found := listed.FindAllStringSubmatch(ok(t, console, "dead", "list", "--what", "command"), -1)
		if len(found) != 1 || found[0][1] == ids[0] {
			return fmt.Errorf("listed are %v", found)
		}
		if got := decode[letter](t, ok(t, console, "dead", "show", found[0][1])); string(got.Data) != "\xff\xff2" || got.Redrives != 1 {
			return fmt.Errorf("letter %+v", got)
		}
		return nil
	})
	for name, args := range map[string][]string{
		"no letter": {"dead", "show", "999"}, "redrive of none": {"dead", "redrive", "999"}, "drop of none": {"dead", "drop", "999"},
		"no number": {"dead", "drop", "x"}, "nothing to drop": {"dead", "drop"}, "no such kind": {"dead", "list", "--what", "x"},
	} {
		if code, _, stderr := runs(t, console, args...); code == 0 || stderr == "" {
			t.Errorf("%s: exit code %d, %q", name, code, stderr)
		}
	}
	status, body, err := get(p.url() + "/ready")
	if err != nil || status != 200 {
		t.Errorf("ready: %d %s (%v)", status, body, err)
	}
}

func TestStatusTellsWhatIsPromised(t *testing.T) {
	t.Parallel()
	p, console := startDev(t, t.TempDir())
	has(t, ok(t, console, "status"), "ready", version, "fast", "writes to disk every 1s",
		"console dispatcher engine gateway", "16 partitions, 1 shards, 1 replicas", " of 16", "nats")
	_, body, err := get(p.url() + "/ready")
	if err != nil {
		t.Fatal(err)
	}
	has(t, body, `"durability":"fast"`, `"version":"`+version+`"`)
	has(t, p.stderr.String(), "durability", "promise=fast")

	waiting := start(t, env("NATS_URL", "nats://127.0.0.1:1", "LISTEN_ADDR", "127.0.0.1:0", "DATA_DIR", t.TempDir()), "console")
	code, stdout, stderr := runs(t, env("CONSOLE_URL", waiting.url()), "status")
	if code == 0 {
		t.Error("exit code 0 without NATS")
	}
	has(t, stdout, "not ready", "unknown", "waiting for NATS")
	has(t, stderr, "not ready")
	if code, _, stderr := runs(t, env("CONSOLE_URL", "http://127.0.0.1:1"), "status"); code == 0 || stderr == "" {
		t.Errorf("of nobody: exit code %d, %q", code, stderr)
	}
}

func TestStreamsAreChangedByCommand(t *testing.T) {
	t.Parallel()
	url := testkit.ConnectBus(t, testkit.JetStream(t)).NC.ConnectedUrl()
	set := env("NATS_URL", url, "FLOWS_MAX_BYTES", "17179869184", "LISTEN_ADDR", "127.0.0.1:0", "DATA_DIR", t.TempDir())
	code, _, stderr := runs(t, set, "console")
	if code == 0 {
		t.Error("it started on streams of another size")
	}
	has(t, stderr, "FLOWS_MAX_BYTES=8589934592", "sluice streams apply")
	has(t, ok(t, set, "streams", "apply"), "stream FLOWS_0: max_bytes is now 17179869184, was 8589934592")
	has(t, ok(t, set, "streams", "apply"), "nothing to change")
	start(t, set, "console").ready()
}
