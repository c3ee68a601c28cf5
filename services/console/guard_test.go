package console_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/sluiceflow/sluice/services/console"
	"github.com/sluiceflow/sluice/services/internal/plan"
)

func TestKeys(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	const reader, operator, admin = "reader-0123456789", "operator-0123456789", "admin-0123456789"
	cfg.APIKeys = "ann:read:" + reader + ",bob:operate:" + operator + ",eve:admin:" + admin
	s := newSite(t, cfg)
	for _, tt := range []struct {
		method, path, body string
		least              string
		status             int // with a key that is let in
	}{
		{get, "/engine", "", reader, http.StatusOK},
		{get, "/engine/flow", "", reader, http.StatusOK},
		{get, "/engine/health", "", reader, http.StatusOK},
		{post, "/engine/plan", `{"goals":["nope"]}`, reader, http.StatusNotFound},
		{post, "/engine/flow", `{"goals":["nope"]}`, operator, http.StatusNotFound},
		{post, "/engine/flow/nope/cancel", "", operator, http.StatusNotFound},
		{post, "/engine/step", charge, admin, http.StatusCreated},
		{put, "/engine/step/charge", charge, admin, http.StatusOK},
		{del, "/engine/step/charge", "", admin, http.StatusOK},
		{del, "/engine/flow/nope", "", admin, http.StatusNotFound},
		{get, "/engine/schedule", "", reader, http.StatusOK},
		{get, "/engine/schedule/x", "", reader, http.StatusNotFound},
		{put, "/engine/schedule/x", `{"cron":"@daily","flow":{"goals":["charge"]}}`, operator, http.StatusCreated},
		{post, "/engine/schedule/x/pause", "", operator, http.StatusOK},
		{post, "/engine/schedule/x/resume", "", operator, http.StatusOK},
		{del, "/engine/schedule/x", "", operator, http.StatusOK},
		{get, "/engine/dead", "", reader, http.StatusOK},
		{get, "/engine/dead/1", "", reader, http.StatusNotFound},
		{post, "/engine/dead/1/redrive", "", operator, http.StatusNotFound},
		{del, "/engine/dead/1", "", admin, http.StatusNotFound},
	} {
		s.header = http.Header{}
		if got := s.do(tt.method, tt.path, tt.body).problem(http.StatusUnauthorized, "unauthorized", ""); got.header.Get("WWW-Authenticate") == "" {
			t.Error("401 without WWW-Authenticate")
		}
		s.header.Set("Authorization", "Bearer wrong-0123456789")
		s.do(tt.method, tt.path, tt.body).problem(http.StatusUnauthorized, "unauthorized", "")
		refused := true
		for _, key := range []string{reader, operator, admin} {
			refused = refused && key != tt.least
			s.header.Set("Authorization", "Bearer "+key)
			if refused {
				s.do(tt.method, tt.path, tt.body).problem(http.StatusForbidden, "forbidden", "")
			}
			if key == tt.least {
				s.do(tt.method, tt.path, tt.body).want(tt.status)
			}
		}
	}
}

func TestPagesOfOthersChangeNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, config(t))
	for name, header := range map[string]http.Header{
		"cross_origin 1": {"Sec-Fetch-Site": {"cross-site"}},
		"cross_origin 2": {"Origin": {"https://evil.example"}},
		"foreign_host 3": {"Host": {"evil.example"}},
	} {
		code, _, _ := strings.Cut(name, " ")
		s.send(post, "/engine/step", charge, header).problem(http.StatusForbidden, code, "")
	}
	s.send(get, "/engine/step", "", http.Header{"Host": {"evil.example:80"}}).problem(http.StatusForbidden, "foreign_host", "")
	s.send(get, "/engine/step", "", http.Header{"Sec-Fetch-Site": {"cross-site"}}).want(http.StatusOK).has("count", "0")
	s.send(post, "/engine/step", charge, http.Header{"Sec-Fetch-Site": {"same-origin"}, "Host": {"localhost:1234"}}).want(http.StatusCreated)
}

func TestStartPage(t *testing.T) {
	t.Parallel()
	s := newSite(t, config(t))
	a := s.do(get, "/", "").want(http.StatusOK)
	if !strings.HasPrefix(a.header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("policy is %q", a.header.Get("Content-Security-Policy"))
	}
	if strings.Contains(a.text, "<script") || !strings.Contains(a.text, "/docs") {
		t.Error(a.text)
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	if err := cfg.Validate(); err != nil {
		t.Error(err)
	}
	wrong := console.Config{APIKeys: "x", Planning: plan.Settings{RetryMaxRetries: -2, RetryBackoffMS: 10, RetryMaxBackoffMS: 5, RetryBackoffType: "cubic"}, ConsoleBaseURL: "console:8081"}
	err := wrong.Validate()
	if err == nil {
		t.Fatal("was accepted")
	}
	for _, name := range []string{
		"API_KEYS", "CONSOLE_BASE_URL", "DATA_DIR", "RETRY_MAX_RETRIES", "RETRY_MAX_BACKOFF_MS", "RETRY_BACKOFF_TYPE", "STEP_TIMEOUT_MS",
		"ATTEMPT_TIMEOUT_MS", "MAX_GOALS", "MAX_INIT_VALUES", "MAX_LABELS",
	} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%s is not named in: %v", name, err)
		}
	}
}

func TestCheckListen(t *testing.T) {
	t.Parallel()
	keys := console.Config{APIKeys: "a:read:0123456789abcdef"}
	for _, tt := range []struct {
		cfg  console.Config
		addr string
		want bool
	}{
		{console.Config{}, "127.0.0.1:8081", true},
		{console.Config{}, "localhost:8081", true},
		{console.Config{}, "[::1]:8081", true},
		{console.Config{}, ":8081", false},
		{console.Config{}, "0.0.0.0:8081", false},
		{console.Config{}, "10.0.0.1:8081", false},
		{console.Config{}, "nonsense", false},
		{console.Config{PublicConsole: true}, ":8081", true},
		{keys, ":8081", true},
	} {
		if err := tt.cfg.CheckListen(tt.addr); (err == nil) != tt.want {
			t.Errorf("%q with keys %q, public %v: %v", tt.addr, tt.cfg.APIKeys, tt.cfg.PublicConsole, err)
		}
	}
}
