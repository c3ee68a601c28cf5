// Package world runs an installation as processes, with what it stands on, and
// breaks it: processes are killed, paused, stopped and started again, and what
// lies between them is cut, delayed and halted.
package world

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sluiceflow/sluice/services/internal/proc"
)

// Names of what every world has. Roles are called by their role and a number
// from 1, as in "engine-1", and so are NATS servers where there are several.
const (
	NATS  = "nats"
	Redis = "redis"
)

const (
	startLimit = 60 * time.Second
	tailBytes  = 8 << 10
)

// Options say what a world consists of.
type Options struct {
	Programs proc.Programs
	// Dir is an empty folder for stores and logs.
	Dir string
	// Store is the folder of the NATS servers' stores; by default one in Dir.
	Store string
	// Servers is how many NATS servers there are: 1, or the members of a cluster.
	Servers int
	// Sync makes the NATS servers sync every write before they acknowledge it.
	Sync bool
	// Roles is how many processes of a role there are; 1 where it does not say.
	Roles map[string]int
	// Far are the processes that reach NATS through a proxy of their own, by
	// name.
	Far []string
	// FarRedis puts a proxy before Redis.
	FarRedis bool
	// Env are settings of all roles, and EnvOf of single processes, by name.
	Env   map[string]string
	EnvOf map[string]map[string]string
}

// World is an installation that runs.
type World struct {
	Consoles, Gateways []string // base URLs

	opts    Options
	units   map[string]*unit
	order   []string
	proxies map[string]*Proxy
	servers []server // of NATS
	redis   string   // address, as the roles know it
}

// unit is what runs under a name, now or again.
type unit struct {
	spec  proc.Spec
	addr  string // of a role's HTTP
	ready func(ctx context.Context, p *proc.Process) error
	now   *proc.Process
}

// Start starts a world and waits until all of it can work. Close ends it.
func Start(ctx context.Context, opts Options) (*World, error) {
	w := &World{opts: opts, units: map[string]*unit{}, proxies: map[string]*Proxy{}}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if err := w.start(ctx); err != nil {
		said := w.Tails()
		w.Close()
		return nil, fmt.Errorf("%w\n%s", err, said)
	}
	return w, nil
}

func (w *World) start(ctx context.Context) error {
	if err := errors.Join(w.addNATS(ctx), w.addRedis(ctx)); err != nil {
		return err
	}
	addrs := map[string]string{}
	for _, role := range []string{"gateway", "engine", "dispatcher", "console"} {
		n, ok := w.opts.Roles[role]
		if !ok {
			n = 1
		}
		for i := range n {
			addr, err := proc.FreeAddr(ctx)
			if err != nil {
				return err
			}
			name := role + "-" + strconv.Itoa(i+1)
			addrs[name] = addr
			switch role {
			case "gateway":
				w.Gateways = append(w.Gateways, "http://"+addr)
			case "console":
				w.Consoles = append(w.Consoles, "http://"+addr)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(addrs)) {
		if err := w.addRole(ctx, name, addrs[name]); err != nil {
			return err
		}
	}
	for _, name := range w.order {
		if err := w.Await(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// add starts what is to run under a name.
func (w *World) add(ctx context.Context, name string, spec proc.Spec, ready func(context.Context, *proc.Process) error) error {
	spec.Name, spec.Dir = name, filepath.Join(w.opts.Dir, name)
	if err := os.MkdirAll(spec.Dir, 0o700); err != nil {
		return fmt.Errorf("make the folder of %s: %w", name, err)
	}
	w.units[name] = &unit{spec: spec, ready: ready}
	w.order = append(w.order, name)
	return w.Restart(ctx, name)
}

func (w *World) addRedis(ctx context.Context) error {
	addr, err := proc.FreeAddr(ctx)
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("address of redis-server: %w", err)
	}
	w.redis = addr
	err = w.add(ctx, Redis, proc.Spec{
		Path: "redis-server",
		Args: []string{"--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no", "--dir", w.opts.Dir},
	}, func(ctx context.Context, p *proc.Process) error { return p.Serving(ctx, addr) })
	if err != nil || !w.opts.FarRedis {
		return err
	}
	proxy, err := w.proxy(ctx, Redis, addr)
	if err == nil {
		w.redis = proxy.Addr()
	}
	return err
}

func (w *World) proxy(ctx context.Context, name, to string) (*Proxy, error) {
	proxy, err := NewProxy(ctx, to)
	if err != nil {
		return nil, err
	}
	w.proxies[name] = proxy
	return proxy, nil
}

func (w *World) addRole(ctx context.Context, name, addr string) error {
	role, _, _ := strings.Cut(name, "-")
	nats := w.NATSURL()
	if slices.Contains(w.opts.Far, name) {
		proxy, err := w.proxy(ctx, name, w.servers[0].clients)
		if err != nil {
			return err
		}
		nats = "nats://" + proxy.Addr()
	}
	env := map[string]string{
		"NATS_URL": nats, "NATS_MONITOR_URL": w.monitors(), "REDIS_URL": "redis://" + w.redis + "/0", "LISTEN_ADDR": addr, "LOG_FORMAT": "json",
		"WEBHOOK_BASE_URL": w.Gateways[0], "ALLOW_PRIVATE_ENDPOINTS": "true", "DATA_DIR": filepath.Join(w.opts.Dir, name),
	}
	maps.Copy(env, w.opts.Env)
	maps.Copy(env, w.opts.EnvOf[name])
	err := w.add(ctx, name, proc.Spec{Path: w.opts.Programs.Sluice, Args: []string{role}, Env: env},
		func(ctx context.Context, p *proc.Process) error { return p.Ready(ctx, "http://"+addr+"/ready") })
	w.units[name].addr = addr
	return err
}

// Proxy is what lies between a process and NATS, or, by the name of Redis,
// between all and Redis.
func (w *World) Proxy(name string) *Proxy { return w.proxies[name] }

// RedisAddr is where redis-server itself listens.
func (w *World) RedisAddr() string {
	if p := w.proxies[Redis]; p != nil {
		return p.to
	}
	return w.redis
}

// Close ends all, the last started first, and leaves the logs.
func (w *World) Close() {
	for _, name := range slices.Backward(w.order) {
		if p := w.units[name].now; p != nil {
			p.Kill()
		}
	}
	for _, p := range w.proxies {
		p.Close()
	}
}

// Tails are the last lines of all logs.
func (w *World) Tails() string {
	var out strings.Builder
	for _, name := range w.order {
		if p := w.units[name].now; p != nil {
			fmt.Fprintf(&out, "--- %s\n%s\n", name, p.Tail(tailBytes))
		}
	}
	return out.String()
}
