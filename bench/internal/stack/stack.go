// Package stack starts what is measured: nats-server, redis-server and the roles, each a process of its own.
package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/sluiceflow/sluice/bench/internal/child"
)

// startLimit is how long all of it may take to get ready.
const startLimit = 60 * time.Second

// Options say what to start.
type Options struct {
	Self string // this program, which is the NATS server too
	Dir  string // an empty folder for stores and logs
	Sync bool   // sync every write of the NATS server
}

// A Stack is what runs.
type Stack struct {
	NATS    string // URL
	Monitor string // URL
	Redis   string // URL
	Console string // URL of the control API; empty without roles
	Gateway string // URL of the webhooks; empty without roles
	Engine  string // URL of the engine's metrics; empty without roles

	opts     Options
	children []*child.Child
}

// Servers starts NATS and Redis alone.
func Servers(ctx context.Context, opts Options) (*Stack, error) {
	s := &Stack{opts: opts}
	starting, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if err := errors.Join(s.startNATS(ctx, starting), s.startRedis(ctx, starting)); err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

// Roles starts NATS, Redis and the four roles of the binary.
func Roles(ctx context.Context, opts Options, sluice string) (*Stack, error) {
	s, err := Servers(ctx, opts)
	if err != nil {
		return nil, err
	}
	starting, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if err := s.startRoles(ctx, starting, sluice); err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

// Run starts one more process of this program, beside the others.
func (s *Stack) Run(ctx context.Context, name string, args ...string) (*child.Child, error) {
	return s.start(ctx, child.Spec{Name: name, Path: s.opts.Self, Args: args})
}

// Stop ends all, the last started first, and says how much processor time each used.
func (s *Stack) Stop() map[string]time.Duration {
	used := make(map[string]time.Duration, len(s.children))
	for _, c := range slices.Backward(s.children) {
		used[c.Name] = c.Stop()
	}
	s.children = nil
	return used
}

func (s *Stack) start(ctx context.Context, spec child.Spec) (*child.Child, error) {
	spec.Log = filepath.Join(s.opts.Dir, spec.Name+".log")
	c, err := child.Start(ctx, spec)
	if err != nil {
		return nil, err
	}
	s.children = append(s.children, c)
	return c, nil
}

func (s *Stack) startNATS(ctx, starting context.Context) error {
	addr, err := child.FreeAddr(ctx)
	if err != nil {
		return err
	}
	monitor, err := child.FreeAddr(ctx)
	if err != nil {
		return err
	}
	c, err := s.Run(ctx, "nats-server", "nats", "-addr", addr, "-monitor", monitor,
		"-store", filepath.Join(s.opts.Dir, "nats"), fmt.Sprintf("-sync=%t", s.opts.Sync))
	if err != nil {
		return err
	}
	s.NATS, s.Monitor = "nats://"+addr, "http://"+monitor
	return c.Serving(starting, addr)
}

func (s *Stack) startRedis(ctx, starting context.Context) error {
	addr, err := child.FreeAddr(ctx)
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("address of redis-server: %w", err)
	}
	c, err := s.start(ctx, child.Spec{
		Name: "redis-server", Path: "redis-server",
		Args: []string{"--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no", "--dir", s.opts.Dir},
	})
	if err != nil {
		return err
	}
	s.Redis = "redis://" + addr + "/0"
	return c.Serving(starting, addr)
}

func (s *Stack) startRoles(ctx, starting context.Context, sluice string) error {
	roles := []string{"gateway", "engine", "dispatcher", "console"}
	addrs := make(map[string]string, len(roles))
	for _, role := range roles {
		addr, err := child.FreeAddr(ctx)
		if err != nil {
			return err
		}
		addrs[role] = addr
	}
	s.Gateway, s.Console = "http://"+addrs["gateway"], "http://"+addrs["console"]
	s.Engine = "http://" + addrs["engine"]
	started := make(map[string]*child.Child, len(roles))
	for _, role := range roles {
		data := filepath.Join(s.opts.Dir, role)
		if err := os.Mkdir(data, 0o700); err != nil {
			return fmt.Errorf("make the data folder of %s: %w", role, err)
		}
		c, err := s.start(ctx, child.Spec{Name: role, Path: sluice, Args: []string{role}, Env: s.environment(addrs[role], data)})
		if err != nil {
			return err
		}
		started[role] = c
	}
	for _, role := range roles {
		if err := started[role].Ready(starting, "http://"+addrs[role]+"/ready"); err != nil {
			return err
		}
	}
	return nil
}

func (s *Stack) environment(listen, data string) []string {
	return []string{
		"NATS_URL=" + s.NATS, "NATS_MONITOR_URL=" + s.Monitor, "REDIS_URL=" + s.Redis,
		"LISTEN_ADDR=" + listen, "DATA_DIR=" + data, "WEBHOOK_BASE_URL=" + s.Gateway,
		// The worker of the load is on loopback.
		"ALLOW_PRIVATE_ENDPOINTS=true",
	}
}

// RunLoad runs this program with the arguments until it ends by itself; out gets what it prints.
func (s *Stack) RunLoad(ctx context.Context, name string, args []string, out io.Writer) error {
	c, err := s.start(ctx, child.Spec{Name: "load (" + name + ")", Path: s.opts.Self, Args: args, Stdout: out})
	if err != nil {
		return err
	}
	return c.Wait()
}
