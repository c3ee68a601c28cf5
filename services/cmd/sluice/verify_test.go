package main

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/sluiceflow/sluice/services/internal/testkit"
)

func TestVerifyCommand(t *testing.T) {
	t.Parallel()
	p, console := startDev(t, t.TempDir())
	ok(t, console, "step", "apply", "-f", writeFile(t, helloStep))
	for n := range 3 {
		ok(t, console, "flow", "start", "hello", "--id", fmt.Sprintf("flow-%d", n))
	}
	var server string
	testkit.Eventually(t, soon, func() bool {
		server = regexp.MustCompile(`nats://\S+`).FindString(p.stdout.String())
		return server != ""
	})
	store := env("NATS_URL", server)
	has(t, ok(t, store, "verify"), "3 flows with", "0 findings")
	clean := decode[map[string]any](t, ok(t, store, "verify", "--json"))
	if clean["type"] != "summary" || clean["flows"] != 3.0 || clean["findings"] != 0.0 {
		t.Errorf("the summary is %v", clean)
	}

	nc, err := nats.Connect(server)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := nc.Request("sluice.flow.advanced.0.nobody", []byte("no commit"), soon); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := runs(t, store, "verify", "--json")
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	finding := decode[map[string]any](t, lines[0])
	if code != exitFindings || len(lines) != 2 || finding["type"] != "finding" || finding["kind"] != "misplaced" ||
		finding["stream"] != "FLOWS_0" || finding["flow_id"] != "nobody" || finding["sequence"] == nil {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
	code, stdout, stderr = runs(t, store, "verify")
	has(t, stdout, `misplaced: FLOWS_0 sequence`, `flow "nobody"`, "1 findings")
	has(t, stderr, "1 findings")
	if code != exitFindings {
		t.Errorf("exit code %d", code)
	}
	for name, lookup := range map[string][]string{
		"another namespace": {"NATS_URL", server, "NAMESPACE", "other"},
		"a wrong setting":   {"NATS_URL", server, "PARTITIONS", "many"},
		"no Redis there":    {"NATS_URL", server, "REDIS_URL", "redis://127.0.0.1:1"},
	} {
		if code, _, stderr := runs(t, env(lookup...), "verify"); code != exitNoLook || stderr == "" {
			t.Errorf("%s: exit code %d: %s", name, code, stderr)
		}
	}
}
