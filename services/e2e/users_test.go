package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/pkg/event"
	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/services/internal/testkit"
)

// Where the servers' configurations are that compose uses.
const (
	natsFolder = "../../deployments/nats"
	redisStart = "../../deployments/redis/start.sh"
	redisConf  = "../../deployments/redis/redis.conf"
)

// passwords are such as a number would be, had they no quotes.
func password(user string) string { return "12e5" + user }

// secured is NATS and Redis with the users of deployments/, and one process of
// each role as its user.
type secured struct {
	t       *testing.T
	natsURL string
	addrs   map[string]string
	roles   map[string]*process
}

func newSecured(t *testing.T) *secured {
	t.Helper()
	p := build(t)
	natsAddr, monitor := freeAddr(t), freeAddr(t)
	env := map[string]string{"NATS_NAME": "nats", "NATS_SYNC_INTERVAL": `"always"`}
	for _, user := range []string{"gateway", "engine", "dispatcher", "console", "events"} {
		env["NATS_"+strings.ToUpper(user)+"_PASSWORD"] = `"` + password(user) + `"`
	}
	_, port, _ := net.SplitHostPort(natsAddr)
	_, monitorPort, _ := net.SplitHostPort(monitor)
	start(t, "nats-server", env, p.NATS, "-c", natsConf(t), "-a", "127.0.0.1", "-p", port, "-m", monitorPort)
	s := &secured{t: t, natsURL: "nats://" + natsAddr, addrs: map[string]string{}, roles: map[string]*process{}}
	redisURL := startSecuredRedis(t)
	for _, role := range []string{"gateway", "dispatcher", "console", "engine"} {
		s.addrs[role] = freeAddr(t)
	}
	for role, addr := range s.addrs {
		s.roles[role] = start(t, role, map[string]string{
			"LISTEN_ADDR": addr, "NATS_URL": s.natsURL, "NATS_USER": role, "NATS_PASSWORD": password(role),
			"NATS_MONITOR_URL": "http://" + monitor, "REDIS_URL": redisURL(role), "GATEWAY_WITHOUT_REDIS": "reject",
			"WEBHOOK_BASE_URL": "http://" + s.addrs["gateway"], "ALLOW_PRIVATE_ENDPOINTS": "true", "DATA_DIR": t.TempDir(),
			"FLOWS_MAX_BYTES": "268435456", "COMMANDS_MAX_BYTES": "67108864", "INVOCATIONS_MAX_BYTES": "67108864", "DEAD_MAX_BYTES": "67108864",
			"LOG_LEVEL": "debug",
		}, p.Sluice, role)
	}
	for role, addr := range s.addrs {
		s.roles[role].ready(addr)
	}
	return s
}

// natsConf is NATS's configuration of compose, with another folder for its store.
func natsConf(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"nats.conf", "users.conf"} {
		text, err := os.ReadFile(filepath.Join(natsFolder, name))
		if err != nil {
			t.Fatal(err)
		}
		const store = "store_dir: /data"
		if name == "nats.conf" && !strings.Contains(string(text), store) {
			t.Fatalf("%s has no %q", name, store)
		}
		here := strings.ReplaceAll(string(text), store, "store_dir: "+strconv.Quote(filepath.Join(dir, "store")))
		if err := os.WriteFile(filepath.Join(dir, name), []byte(here), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "nats.conf")
}

// startSecuredRedis starts Redis as compose does, and gives each role's URL.
func startSecuredRedis(t *testing.T) func(role string) string {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Log("redis-server is not in PATH: this runs on the embedded one, which has no users")
		url := testkit.Redis(t)
		return func(string) string { return url }
	}
	addr := freeAddr(t)
	_, port, _ := net.SplitHostPort(addr)
	env := map[string]string{}
	for _, user := range []string{"gateway", "engine", "dispatcher"} {
		env["REDIS_"+strings.ToUpper(user)+"_PASSWORD"] = password(user)
	}
	start(t, "redis-server", env, "sh", redisStart, redisConf, "--port", port, "--bind", "127.0.0.1")
	opts := &redis.Options{Addr: addr, Protocol: 2, DisableIdentity: true}
	anybody := redis.NewClient(opts)
	defer anybody.Close()
	testkit.Eventually(t, patience, func() error { return anybody.Ping(t.Context()).Err() })
	for role, forbidden := range map[string][]any{
		"": {"get", "sluice:token:x"}, "gateway": {"hget", "sluice:parked:x", "a"}, "dispatcher": {"hget", "sluice:token:x", "a"},
		"engine": {"flushall"},
	} {
		as := *opts
		if role != "" {
			as.Username, as.Password = role, password(role)
		}
		one := redis.NewClient(&as)
		if err := one.Do(t.Context(), forbidden...).Err(); err == nil || !strings.Contains(err.Error(), "NOPERM") {
			t.Errorf("%q may %v on Redis: %v", role, forbidden, err)
		}
		_ = one.Close()
	}
	return func(role string) string { return "redis://" + role + ":" + password(role) + "@" + addr + "/0" }
}

// as connects as a user, and gives what the server refuses it.
func (s *secured) as(user string) (nc *nats.Conn, refused chan error) {
	s.t.Helper()
	refused = make(chan error, 16)
	nc, err := nats.Connect(s.natsURL, nats.Timeout(patience), nats.UserInfo(user, password(user)), nats.CustomInboxPrefix("_INBOX."+user),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(nc.Close)
	return nc, refused
}

// Each role does all its work as the user that deployments/ gives it, and no
// user may do what is another's.
func TestEachRoleHasItsUser(t *testing.T) {
	t.Parallel()
	s := newSecured(t)
	l := newLoad(t, "http://"+s.addrs["console"])
	l.begin(10)
	l.finish()
	cancelOne(t, l)
	scheduleOne(t, l)
	s.deadLetters(l)
	s.heartbeat(l)
	for role, p := range s.roles {
		if said := p.Tail(1 << 20); strings.Contains(strings.ToLower(said), "permission") || strings.Contains(said, "NOPERM") {
			t.Errorf("%s was refused something", role)
		}
	}
	s.everythingElseIsRefused()
	s.subscriberReadsFlows(l)
	if _, err := nats.Connect(s.natsURL, nats.Timeout(patience)); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("without a user: %v", err)
	}
}

// scheduleOne makes a schedule, waits until it started a flow, and deletes it.
func scheduleOne(t *testing.T, l *load) {
	t.Helper()
	l.timed("by-time", client.OverlapSkip)
	if list, err := l.api.Schedules(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("schedules: %v, %v", list, err)
	}
	l.untilSchedule("by-time", func(s client.Schedule) error { return atLeast(s.Started, 1) })
	testkit.Eventually(t, patience, func() error { return l.api.DeleteSchedule(t.Context(), "by-time") })
}

// cancelOne starts a flow with a deadline, which needs a durable timer, and asks
// the engine to cancel it, unless it is faster.
func cancelOne(t *testing.T, l *load) {
	t.Helper()
	const id = "to-cancel"
	startFlow(t, l.api, client.StartRequest{ID: id, Goals: []string{"receipt"}, Init: map[string]any{"order": "x"}, TimeoutMS: 60_000})
	testkit.Eventually(t, patience, func() error {
		err := l.api.CancelFlow(t.Context(), id, "enough")
		if client.StatusOf(err) == http.StatusConflict {
			err = nil
		}
		return err
	})
}

// heartbeat has a worker show its progress, and waits until the engine has asked
// what was heard.
func (s *secured) heartbeat(l *load) {
	s.t.Helper()
	urls := make(chan string, 10)
	worker := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		var req step.Request
		if err := json.NewDecoder(http.MaxBytesReader(rw, r.Body, 1<<20)).Decode(&req); err != nil {
			s.t.Error(err)
		}
		urls <- req.Metadata.WebhookURL
		rw.WriteHeader(http.StatusAccepted)
	}))
	defer worker.Close()
	definition := step.Definition{
		ID: "long", Type: step.KindAsync, HTTP: &step.HTTP{Endpoint: worker.URL}, WorkConfig: &step.WorkConfig{HeartbeatTimeoutMS: 10_000},
		Attributes: map[string]step.Attribute{"done": {Role: step.RoleOutput, Type: step.TypeAny}},
	}
	registerStep(s.t, l.api, definition)
	const id = "lives"
	startFlow(s.t, l.api, client.StartRequest{ID: id, Goals: []string{"long"}})
	url := <-urls
	testkit.Eventually(s.t, patience, func() error {
		req, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, url+"/heartbeat", strings.NewReader(`{"progress": 0.5}`))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("a heartbeat gets %d", resp.StatusCode)
		}
		return nil
	})
	testkit.Eventually(s.t, patience, func() error {
		flow, err := l.api.Flow(s.t.Context(), id)
		if err != nil {
			return err
		}
		if item := flow.Executions["long"].WorkItems["0"]; item.Progress == nil && item.RetryCount == 0 {
			return fmt.Errorf("no progress is shown: %+v", item)
		}
		return nil
	})
	testkit.Eventually(s.t, patience, func() error { // it says nothing more, which an engine learns from Redis
		flow, err := l.api.Flow(s.t.Context(), id)
		if err == nil && flow.Status == "active" {
			err = errors.New("it still waits")
		}
		return err
	})
}

// gone takes it for done that a dead letter is not there: the answer to the request
// before may have been lost.
func gone(err error) error {
	if client.StatusOf(err) == http.StatusNotFound {
		return nil
	}
	return err
}

// deadLetters has two letters made, drops one and redrives the other, which is as
// bad as it was.
func (s *secured) deadLetters(l *load) {
	s.t.Helper()
	nc, _ := s.as("gateway")
	for range 2 {
		if err := nc.Publish("sluice.cmd.hook.0.f", []byte("\xff\xff")); err != nil {
			s.t.Fatal(err)
		}
	}
	var ids []uint64
	list := func() error {
		ids = ids[:0]
		for letter, err := range l.api.DeadLetters(s.t.Context(), client.DeadFilter{}) {
			if err != nil {
				return err
			}
			ids = append(ids, letter.ID)
		}
		return nil
	}
	testkit.Eventually(s.t, patience, func() bool { return list() == nil && len(ids) == 2 })
	old := ids[0]
	testkit.Eventually(s.t, patience, func() error { return gone(l.api.DropDeadLetter(s.t.Context(), ids[1])) })
	testkit.Eventually(s.t, patience, func() error { return gone(l.api.RedriveDeadLetter(s.t.Context(), old)) })
	testkit.Eventually(s.t, patience, func() bool { return list() == nil && len(ids) == 1 && ids[0] != old })
	// Whoever writes dead letters makes room for them where there is none. This
	// keeps them all.
	for _, user := range []string{"engine", "dispatcher"} {
		nc, _ := s.as(user)
		if _, err := nc.Request("$JS.API.STREAM.PURGE.DEAD", []byte(`{"keep":1000}`), patience); err != nil {
			s.t.Errorf("%s makes room in DEAD: %v", user, err)
		}
	}
}

func (s *secured) everythingElseIsRefused() {
	s.t.Helper()
	readFlows := []string{
		"$JS.API.CONSUMER.CREATE.FLOWS_0.mine", "$JS.API.CONSUMER.CREATE.FLOWS_0", "$JS.API.CONSUMER.DURABLE.CREATE.FLOWS_0.mine",
		"$JS.API.STREAM.MSG.GET.FLOWS_0", "$JS.API.DIRECT.GET.FLOWS_0", "$JS.API.DIRECT.GET.FLOWS_0.sluice.flow.completed.1.f",
		"$JS.API.CONSUMER.MSG.NEXT.FLOWS_0.retention-completed",
	}
	change := []string{
		"$JS.API.STREAM.CREATE.X", "$JS.API.STREAM.UPDATE.FLOWS_0", "$JS.API.STREAM.DELETE.FLOWS_0", "$JS.API.STREAM.PURGE.FLOWS_0",
		"$JS.API.STREAM.MSG.DELETE.FLOWS_0", "$JS.API.CONSUMER.DELETE.COMMANDS_0.engine-1", "$JS.API.CONSUMER.DELETE.FLOWS_0.retention-failed",
		"$JS.ACK.COMMANDS_0.engine-1.1.1.1.1.0", "$JS.ACK.FLOWS_0.retention-failed.1.1.1.1.0", "sluice.flow.completed.1.f", "$KV.sluice_keys.ring",
		"sluice.cmd.engine.1.f", "$SYS.REQ.SERVER.PING",
	}
	readKeys := []string{"$JS.API.DIRECT.GET.KV_sluice_keys.$KV.sluice_keys.ring", "$JS.API.STREAM.MSG.GET.KV_sluice_keys", "$JS.API.CONSUMER.CREATE.KV_sluice_keys.mine"}
	readLinks := []string{"$JS.API.DIRECT.GET.KV_sluice_links.$KV.sluice_links.ring", "$JS.API.CONSUMER.CREATE.KV_sluice_links.mine", "$KV.sluice_links.ring"}
	readSteps := []string{"$JS.API.DIRECT.GET.KV_sluice_steps", "$JS.API.CONSUMER.CREATE.KV_sluice_steps.mine"}
	schedules := []string{"$KV.sluice_schedules.s", "$JS.API.DIRECT.GET.KV_sluice_schedules", "$JS.API.CONSUMER.CREATE.KV_sluice_schedules.mine"}
	for user, lists := range map[string][][]string{
		"gateway":    {readFlows, change, readSteps, readLinks, schedules, {"sluice.cmd.api.1.f", "sluice.cmd.report.1.f", "sluice.invoke.http.s.1.f", "sluice.dead.x.y", "sluice.redrive", "_INBOX.console.x"}},
		"dispatcher": {readFlows, change, readKeys, readLinks, schedules, {"sluice.cmd.api.1.f", "sluice.cmd.hook.1.f", "sluice.invoke.http.s.1.f", "$KV.sluice_steps.s"}},
		"console":    {change, readKeys, {"sluice.cmd.hook.1.f", "sluice.cmd.report.1.f", "$JS.API.CONSUMER.MSG.NEXT.FLOWS_0.retention-completed"}},
		"engine":     {{"$KV.sluice_steps.s", "$JS.API.STREAM.MSG.DELETE.FLOWS_0", "$JS.API.STREAM.DELETE.FLOWS_0", "$JS.API.STREAM.PURGE.KV_sluice_steps"}},
		"events": {change, readKeys, readSteps, readLinks, schedules, {
			"sluice.cmd.hook.1.f", "sluice.cmd.api.1.f", "$JS.API.STREAM.INFO.COMMANDS_0", "$JS.API.CONSUMER.CREATE.COMMANDS_0.mine",
			"$JS.API.CONSUMER.MSG.NEXT.FLOWS_0.retention-completed", "$JS.API.CONSUMER.CREATE.FLOWS_0.retention-completed.sluice.flow.completed.>",
		}},
	} {
		nc, refused := s.as(user)
		for _, list := range lists {
			for _, subject := range list {
				s.mustRefuse(nc, refused, user+" publishes "+subject, subject, func() error { return nc.Publish(subject, nil) })
			}
		}
		for _, subject := range []string{"_INBOX.>", "sluice.>", ">", "$KV.>", "_INBOX.other.x"} {
			s.mustRefuse(nc, refused, user+" subscribes to "+subject, subject, func() error { _, err := nc.SubscribeSync(subject); return err })
		}
	}
}

// mustRefuse fails the test unless the server refuses what do does.
func (s *secured) mustRefuse(nc *nats.Conn, refused <-chan error, what, subject string, do func() error) {
	s.t.Helper()
	if err := do(); err != nil {
		s.t.Errorf("%s: %v", what, err)
		return
	}
	if err := nc.FlushTimeout(patience); err != nil {
		s.t.Errorf("%s: %v", what, err)
		return
	}
	select {
	case err := <-refused:
		if !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), `"`+subject+`"`) {
			s.t.Errorf("%s: %v", what, err)
		}
	case <-time.After(5 * time.Second):
		s.t.Errorf("%s, and it is not refused", what)
	}
}

// subscriberReadsFlows reads the endings of the load as another team would.
func (s *secured) subscriberReadsFlows(l *load) {
	s.t.Helper()
	nc, refused := s.as("events")
	js, err := jetstream.New(nc)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, durable := range []string{"", "team"} {
		ctx, cancel := context.WithTimeout(s.t.Context(), patience)
		completed := map[string]bool{}
		for e, err := range client.Events(ctx, js, client.EventsOptions{Durable: durable, All: true}) {
			if err != nil {
				s.t.Errorf("with position %q: %v", durable, err)
				break
			}
			if e.Type == event.FlowCompleted {
				completed[e.FlowID] = true
			}
			if len(completed) >= len(l.flows) {
				break
			}
		}
		cancel()
		for _, id := range l.flows {
			if !completed[id] {
				s.t.Errorf("with position %q: no ending of %s", durable, id)
			}
		}
	}
	select {
	case err := <-refused:
		s.t.Errorf("reading flows: %v", err)
	default:
	}
}
