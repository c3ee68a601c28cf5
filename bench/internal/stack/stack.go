// Package stack starts what is measured: nats-server, redis-server and the roles, each a process of its own.
package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"time"

	"github.com/sluiceflow/sluice/bench/internal/child"
	"github.com/sluiceflow/sluice/bench/internal/proc"
)

// startLimit is how long all of it may take to get ready.
const startLimit = 60 * time.Second

// Options say what to start.
type Options struct {
	Self string // this program, which is the NATS server too
	Dir  string // an empty folder for stores and logs
	Sync bool   // sync every write of the NATS server
	// Engines and Gateways are how many processes there are of these roles; 0 means 1. The first engine gives its workers the URL of the
	// first gateway, the second that of the second, and so on, round and round.
	Engines, Gateways int
}

// A Stack is what runs.
type Stack struct {
	NATS     string   // URL
	Monitor  string   // URL
	Redis    string   // URL
	Console  string   // URL of the control API; empty without roles
	Gateways []string // URLs of the webhooks; none without roles
	Engines  []string // URLs of the engines' metrics; none without roles

	opts     Options
	children []*child.Child
	used     map[string]time.Duration // processor time of those that were killed
}

// Servers starts NATS and Redis alone.
func Servers(ctx context.Context, opts Options) (*Stack, error) {
	s := &Stack{opts: opts, used: map[string]time.Duration{}}
	starting, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if err := errors.Join(s.startNATS(ctx, starting), s.startRedis(ctx, starting)); err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

// Roles starts NATS, Redis and the roles of the binary.
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

// Kill ends the named process with kill -9 and starts it again, the same in all. It does not wait until that is ready.
func (s *Stack) Kill(ctx context.Context, name string) error {
	i := slices.IndexFunc(s.children, func(c *child.Child) bool { return c.Name == name })
	if i < 0 {
		return fmt.Errorf("there is no process %q", name)
	}
	s.used[name] += s.children[i].Kill()
	c, err := child.Start(ctx, s.children[i].Spec)
	if err != nil {
		return err
	}
	s.children[i] = c
	return nil
}

// Memory says what each process holds. All must be there.
func (s *Stack) Memory() (map[string]proc.Memory, error) {
	held := make(map[string]proc.Memory, len(s.children))
	for _, c := range s.children {
		m, err := c.Memory()
		if err != nil {
			return nil, err
		}
		held[c.Name] = m
	}
	return held, nil
}

// Stop ends all, the last started first, and says how much processor time each used.
func (s *Stack) Stop() map[string]time.Duration {
	used := maps.Clone(s.used)
	for _, c := range slices.Backward(s.children) {
		used[c.Name] += c.Stop()
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

// RunLoad runs this program with the arguments until it ends by itself; out gets what it prints.
func (s *Stack) RunLoad(ctx context.Context, name string, args []string, out io.Writer) error {
	c, err := s.start(ctx, child.Spec{Name: "load (" + name + ")", Path: s.opts.Self, Args: args, Stdout: out})
	if err != nil {
		return err
	}
	return c.Wait()
}
