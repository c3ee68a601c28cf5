package main

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/sluiceflow/sluice/services/internal/testkit"
)

func TestMistakesAreListedTogether(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		args []string
		env  []string
		want []string
	}{
		{
			name: "gateway", args: []string{"gateway"},
			env:  []string{"PARTITIONS", "x", "DRAIN_TIMEOUT", "8", "LOG_FORMAT", "xml", "TOKEN_KEYS", "abc", "REDIS_URL", "foo"},
			want: []string{"PARTITIONS", "DRAIN_TIMEOUT", "LOG_FORMAT", "REDIS_URL", "token key 1"},
		}, {
			name: "dispatcher", args: []string{"dispatcher", "--call-concurrency", "0"}, env: []string{"ENDPOINT_CONCURRENCY", "-1"},
			want: []string{"CALL_CONCURRENCY", "ENDPOINT_CONCURRENCY"},
		}, {
			name: "a console that all can reach", args: []string{"console", "--listen", ":8081"}, env: []string{"RETRY_BACKOFF_TYPE", "odd"},
			want: []string{"API_KEYS", "RETRY_BACKOFF_TYPE"},
		}, {
			name: "dev", args: []string{"dev", "--listen", "0.0.0.0:8080"}, env: []string{"SHARDS", "0"},
			want: []string{"API_KEYS", "SHARDS"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			code, _, stderr := runs(t, env(tt.env...), tt.args...)
			if code == 0 {
				t.Error("exit code 0")
			}
			has(t, stderr, tt.want...)
		})
	}
}

func TestASecretIsNotShown(t *testing.T) {
	t.Parallel()
	code, _, stderr := runs(t, env("REDIS_URL", "http://:hunter2@redis"), "engine")
	if code == 0 || strings.Contains(stderr, "hunter2") {
		t.Errorf("exit code %d, and: %s", code, stderr)
	}
}

func TestHelpShowsNameDefaultAndMeaning(t *testing.T) {
	t.Parallel()
	shared := []string{"--nats-url", "NATS_URL: NATS servers", `"nats://127.0.0.1:4222"`, "LOG_LEVEL: ", "DRAIN_TIMEOUT: "}
	for name, want := range map[string][]string{
		"gateway":    append([]string{`LISTEN_ADDR (also --listen): address to listen on (default ":8080")`, "GATEWAY_WITHOUT_REDIS: ", "REDIS_URL (or REDIS_URL_FILE): "}, shared...),
		"engine":     append([]string{`(default ":8082")`, "WEBHOOK_BASE_URL: ", "TOKEN_KEYS (or TOKEN_KEYS_FILE): "}, shared...),
		"dispatcher": append([]string{`(default ":8083")`, "ENDPOINT_CONCURRENCY: "}, shared...),
		"console":    append([]string{`(default "127.0.0.1:8081")`, "API_KEYS (or API_KEYS_FILE): ", "DATA_DIR (also --data): "}, shared...),
		"dev":        {`(default "127.0.0.1:8080")`, "DEV_NATS_LISTEN: ", `ALLOW_PRIVATE_ENDPOINTS: `, `(default "true")`, `CORS_ORIGINS`, `(default "*")`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := runs(t, env(), name, "--help")
			if code != 0 {
				t.Errorf("exit code %d: %s", code, stderr)
			}
			has(t, stdout, want...)
			for line := range strings.Lines(stdout) {
				if strings.HasSuffix(strings.TrimSpace(line), ":") && strings.Contains(line, "--") {
					t.Errorf("no meaning: %s", line)
				}
			}
		})
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	for _, arg := range []string{"version", "--version"} {
		if code, stdout, _ := runs(t, env(), arg); code != 0 || stdout != version+"\n" {
			t.Errorf("%s: exit code %d, %q", arg, code, stdout)
		}
	}
}

func TestAnAddressInUse(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() }) // after the subtests, which run later
	addr := listener.Addr().String()
	for name, args := range map[string][]string{
		"gateway": {"gateway"},
		"dev":     {"dev", "--data", t.TempDir(), "--dev-nats-listen", "127.0.0.1:0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, _, stderr := runs(t, env("LISTEN_ADDR", addr), args...)
			if code == 0 {
				t.Error("exit code 0")
			}
			has(t, stderr, addr, "another program uses this address", "LISTEN_ADDR")
		})
	}
}

func TestHealthAsksTheProcessBesideIt(t *testing.T) {
	t.Parallel()
	p := start(t, env("NATS_URL", "nats://127.0.0.1:1", "LISTEN_ADDR", "127.0.0.1:0"), "gateway")
	addr := strings.TrimPrefix(p.url(), "http://")
	testkit.Eventually(t, soon, func() bool {
		code, _, _ := runs(t, env("LISTEN_ADDR", addr), "health")
		return code == 0
	})
	if code := p.stop(); code != 0 {
		t.Errorf("stopped while it waits, the exit code is %d", code)
	}
	if code, _, _ := runs(t, env("LISTEN_ADDR", addr), "health"); code == 0 {
		t.Error("healthy after its end")
	}
}

func TestARoleWaitsForNATSAndStopsCleanly(t *testing.T) {
	t.Parallel()
	nats := testkit.NewNATS(t)
	redis := testkit.NewRedis(t)
	url := nats.URL()
	nats.Stop()
	set := []string{"NATS_URL", url, "REDIS_URL", redis.URL(), "LISTEN_ADDR", "127.0.0.1:0", "DATA_DIR", t.TempDir()}
	roles := make(map[string]*process)
	for _, name := range []string{"gateway", "engine", "dispatcher", "console"} {
		roles[name] = start(t, env(set...), name)
	}
	for name, p := range roles {
		testkit.Eventually(t, soon, func() bool { status, _, _ := get(p.url() + "/health"); return status == http.StatusOK })
		status, body, err := get(p.url() + "/ready")
		if err != nil || status != http.StatusServiceUnavailable {
			t.Errorf("%s without NATS: %d, %v", name, status, err)
		}
		has(t, body, `"nats":`, url)
		testkit.Eventually(t, soon, func() bool { return strings.Contains(p.stderr.String(), "NATS is not there yet") })
	}
	nats.Start()
	for name, p := range roles {
		p.ready()
		testkit.Eventually(t, soon, func() error { // some figures come with the first thing that is counted
			_, body, err := get(p.url() + "/metrics")
			if err == nil && !strings.Contains(body, "sluice_") {
				err = fmt.Errorf("%s has no figures of its own", name)
			}
			return err
		})
	}
	redis.Stop()
	for _, name := range []string{"gateway", "engine", "dispatcher"} { // all of them go on without
		status, body, err := get(roles[name].url() + "/ready")
		if err != nil || status != http.StatusOK {
			t.Errorf("%s without Redis: %d, %v", name, status, err)
		}
		has(t, body, `"redis":"degraded: `)
	}
	for name, p := range roles {
		if code := p.stop(); code != 0 {
			t.Errorf("%s ended with %d: %s", name, code, &p.stderr)
		}
	}
}

// Only engines make the streams: the others say what they wait for.
func TestRolesWaitForAnEngine(t *testing.T) {
	t.Parallel()
	url, redis := testkit.JetStream(t), testkit.Redis(t)
	set := []string{"NATS_URL", url, "REDIS_URL", redis, "LISTEN_ADDR", "127.0.0.1:0", "DATA_DIR", t.TempDir()}
	waiting := make(map[string]*process)
	for _, name := range []string{"gateway", "dispatcher", "console"} {
		waiting[name] = start(t, env(set...), name)
	}
	for name, p := range waiting {
		testkit.Eventually(t, soon, func() error {
			status, body, err := get(p.url() + "/ready")
			if err == nil && (status != http.StatusServiceUnavailable || !strings.Contains(body, "an engine makes it")) {
				err = fmt.Errorf("%s without an engine: %d %s", name, status, body)
			}
			return err
		})
	}
	start(t, env(set...), "engine").ready()
	for _, p := range waiting {
		p.ready()
	}
}
