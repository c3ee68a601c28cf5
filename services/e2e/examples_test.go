package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sluiceflow/sluice/services/internal/testkit"
)

// Each example runs as its README says, against `sluice dev`, and says what its
// README shows. A second run finds its steps registered.
func TestExamples(t *testing.T) {
	t.Parallel()
	p := build(t)
	addr := freeAddr(t)
	env := map[string]string{"DEV_NATS_LISTEN": freeAddr(t)}
	dev := start(t, "dev", env, p.Sluice, "dev", "--listen", addr, "--data", t.TempDir())
	dev.ready(addr)
	programs := t.TempDir()
	built, err := exec.CommandContext(t.Context(), "go", "build", "-o", programs, "../../examples/...").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, built)
	}
	for name, tt := range map[string]struct {
		args []string // that it has beside -sluice and -listen
		want string
	}{
		"order-saga": {nil, `(?s)Main Street is completed.*charge is undone: .*receipt 17.*reserve is undone: .*shelf 4.*` +
			`nowhere is failed .*no such address.*reserve +completed +compensated.*charge +completed +compensated.*ship +failed +failed`},
		"fan-out": {nil, `(?s)is completed.*1000 lines, the first one: item-0 for 100 cents.*total: 102997 cents`},
		"child-flows": {nil, `(?s)account for \[Ada Grace\]: completed.*DE17 0000 0042.*check of Grace is a flow of its own: completed.*` +
			`account for \[Ada Mallory\]: failed .*check of Ada is a flow of its own: completed.*check of Mallory is .*failed .*Mallory has a record`},
		"human-approval":   {[]string{"-answer", "reject"}, `rejected by "ada": the flow is completed, pay-back is skipped`},
		"nightly-schedule": {nil, `(?s)nightly-report starts at.*T0[01]:30:00Z.*(flow report-each-second@\S+ is completed: "all is well with pay"\s+){3}`},
		"script-only": {nil, `(?s)income 1500: the flow is completed.*offer +skipped.*decline +completed +map\[reason:"only 1080 a month are free"\].*` +
			`income 5200: the flow is completed.*offer +completed +map\[monthly:555 offered:true\].*decline +skipped`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := append([]string{"-sluice", "http://" + addr}, tt.args...)
			if name != "script-only" && name != "nightly-schedule" { // these have no worker
				args = append(args, "-listen", freeAddr(t))
			}
			for range 2 {
				said := runExample(t, filepath.Join(programs, name), args...)
				if !regexp.MustCompile(tt.want).MatchString(said) {
					t.Errorf("it said\n%s\nwant %s", said, tt.want)
				}
			}
		})
	}
}

// A person clicks on the link that the example shows.
func TestAnApprovalByItsLink(t *testing.T) {
	t.Parallel()
	p := build(t)
	addr := freeAddr(t)
	dev := start(t, "dev", map[string]string{"DEV_NATS_LISTEN": freeAddr(t)}, p.Sluice, "dev", "--listen", addr, "--data", t.TempDir())
	dev.ready(addr)
	programs := t.TempDir()
	if built, err := exec.CommandContext(t.Context(), "go", "build", "-o", programs, "../../examples/human-approval").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, built)
	}
	example := start(t, "human-approval", nil, filepath.Join(programs, "human-approval"), "-sluice", "http://"+addr, "-listen", freeAddr(t))
	link := regexp.MustCompile(`to approve: (\S+)`)
	testkit.Eventually(t, patience, func() bool { return link.MatchString(example.Tail(1 << 20)) })
	approve := link.FindStringSubmatch(example.Tail(1 << 20))[1]
	for range 3 { // programs that follow the links of mails
		well(t, func() (*http.Response, error) { return http.Get(approve) })
	}
	if said := example.Tail(1 << 20); strings.Contains(said, "pay-back is") {
		t.Fatalf("a look at the link decided: %s", said)
	}
	well(t, func() (*http.Response, error) { return http.PostForm(approve, url.Values{"by": {"grace"}}) })
	testkit.Eventually(t, patience, func() bool {
		return strings.Contains(example.Tail(1<<20), `approved by "grace": the flow is completed, pay-back is completed`)
	})
}

// well asks until it is answered well, and again only where it was not stored.
func well(t *testing.T, ask func() (*http.Response, error)) {
	t.Helper()
	testkit.Eventually(t, patience, func() error {
		resp, err := ask()
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		switch resp.StatusCode {
		case http.StatusOK:
		case http.StatusServiceUnavailable:
			return errors.New(resp.Status)
		default:
			t.Fatal(resp.Status)
		}
		return nil
	})
}

func runExample(t *testing.T, path string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	return out.String()
}
