package e2e_test

import (
	"fmt"
	"maps"
	"os/exec"
	"testing"
	"time"

	"github.com/sluiceflow/sluice/services/internal/testkit"
)

// drainLimit is how long a role may take to end when it is asked to.
const drainLimit = 10 * time.Second

// stack is NATS, Redis and one process of each role.
type stack struct {
	t     *testing.T
	env   map[string]string
	addrs map[string]string
	roles map[string]*process
	nats  *process
	conf  string // of NATS
}

// server says how NATS stores: where, with which sync_interval, and in which
// settings of the roles.
type server struct {
	store, sync string
	env         map[string]string
}

func newStack(t *testing.T) *stack {
	t.Helper()
	return newStackOn(t, server{store: t.TempDir(), sync: "2m"})
}

// newStackOn is newStack with another NATS server.
func newStackOn(t *testing.T, on server) *stack {
	t.Helper()
	build(t)
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Log("redis-server is not in PATH: this runs on the embedded one")
	}
	s := &stack{t: t, addrs: map[string]string{}, roles: map[string]*process{}}
	natsAddr, monitorAddr := freeAddr(t), freeAddr(t)
	s.conf = on.conf(t, natsAddr, monitorAddr)
	s.startNATS()
	for _, role := range []string{"gateway", "engine", "dispatcher", "console"} {
		s.addrs[role] = freeAddr(t)
	}
	s.env = map[string]string{
		"NATS_URL": "nats://" + natsAddr, "NATS_MONITOR_URL": "http://" + monitorAddr, "REDIS_URL": testkit.Redis(t), "LOG_FORMAT": "json",
		"WEBHOOK_BASE_URL": "http://" + s.addrs["gateway"], "ALLOW_PRIVATE_ENDPOINTS": "true", "DATA_DIR": t.TempDir(),
	}
	maps.Copy(s.env, on.env)
	for role := range s.addrs {
		s.start(role)
	}
	for role, addr := range s.addrs {
		s.roles[role].ready(addr)
	}
	return s
}

// conf writes the configuration of a NATS server.
func (on server) conf(t *testing.T, listen, monitor string) string {
	t.Helper()
	return writeFile(t, "nats.conf", fmt.Sprintf("listen: %q\nhttp: %q\nmax_payload: 8MB\n"+
		"jetstream {store_dir: %q, max_file_store: 1TB, sync_interval: %s}\n", listen, monitor, on.store, on.sync))
}

func (s *stack) startNATS() {
	s.t.Helper()
	s.nats = start(s.t, "nats-server", nil, built.NATS, "-c", s.conf)
}

func (s *stack) start(role string) {
	s.t.Helper()
	s.startAs(role, role)
}

// startAs starts one more process of a role, under a name of its own.
func (s *stack) startAs(name, role string) {
	s.t.Helper()
	if s.addrs[name] == "" {
		s.addrs[name] = freeAddr(s.t)
	}
	env := map[string]string{"LISTEN_ADDR": s.addrs[name]}
	maps.Copy(env, s.env)
	s.roles[name] = start(s.t, name, env, built.Sluice, role)
}

func TestRolesAsProcesses(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	l := newLoad(t, "http://"+s.addrs["console"])
	l.begin(20)
	l.finish()
	for role, p := range s.roles {
		if took := p.stop(); took > drainLimit {
			t.Errorf("%s took %s to end", role, took)
		}
	}
}

// Each role is killed in the middle of the load and started again: nothing that
// was acknowledged is lost, and nothing is applied twice.
func TestKilledRolesLoseNothing(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	l := newLoad(t, "http://"+s.addrs["console"])
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n, role := range []string{"engine", "gateway", "dispatcher", "engine", "console", "engine"} {
			l.waitStored(10 * (n + 1))
			s.roles[role].Kill()
			s.start(role)
		}
	}()
	l.begin(60)
	<-done
	l.finish()
}

// kill -9 of `sluice dev` in the middle of 200 flows, and a restart on the same
// data.
func TestDevSurvivesAKill(t *testing.T) {
	t.Parallel()
	p := build(t)
	addr, nats := freeAddr(t), freeAddr(t)
	args := []string{"dev", "--listen", addr, "--data", t.TempDir()}
	env := map[string]string{"DEV_NATS_LISTEN": nats}
	dev := start(t, "dev", env, p.Sluice, args...)
	dev.ready(addr)
	l := newLoad(t, "http://"+addr)
	killed := make(chan struct{})
	go func() {
		defer close(killed)
		l.waitStored(150)
		dev.Kill()
		dev = start(t, "dev again", env, p.Sluice, args...)
	}()
	l.begin(200)
	<-killed
	l.finish()
	if took := dev.stop(); took > drainLimit {
		t.Errorf("it took %s to end", took)
	}
}
