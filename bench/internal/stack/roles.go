package stack

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/sluiceflow/sluice/bench/internal/child"
)

// role is one process of the binary.
type role struct {
	name    string // of the process, unlike all others
	command string
	addr    string
	gateway string // base of the webhook URLs that it gives
}

func (s *Stack) startRoles(ctx, starting context.Context, sluice string) error {
	roles, err := s.plan(ctx)
	if err != nil {
		return err
	}
	started := make([]*child.Child, len(roles))
	for i, r := range roles {
		data := filepath.Join(s.opts.Dir, r.name)
		if err := os.Mkdir(data, 0o700); err != nil {
			return fmt.Errorf("make the data folder of %s: %w", r.name, err)
		}
		spec := child.Spec{Name: r.name, Path: sluice, Args: []string{r.command}, Env: s.environment(r, data)}
		if started[i], err = s.start(ctx, spec); err != nil {
			return err
		}
	}
	for i, r := range roles {
		if err := started[i].Ready(starting, "http://"+r.addr+"/ready"); err != nil {
			return err
		}
	}
	return nil
}

// plan says which processes there are to be, and where.
func (s *Stack) plan(ctx context.Context) ([]role, error) {
	var roles []role
	for _, count := range []struct {
		command string
		n       int
	}{{"gateway", s.opts.Gateways}, {"engine", s.opts.Engines}, {"dispatcher", 1}, {"console", 1}} {
		for i := range max(1, count.n) {
			addr, err := child.FreeAddr(ctx)
			if err != nil {
				return nil, err
			}
			r := role{name: numbered(count.command, i), command: count.command, addr: addr}
			s.note(&r, i)
			roles = append(roles, r)
		}
	}
	return roles, nil
}

// note keeps where the i-th process of its role is, and gives it a gateway; those come first.
func (s *Stack) note(r *role, i int) {
	url := "http://" + r.addr
	switch r.command {
	case "gateway":
		s.Gateways = append(s.Gateways, url)
	case "engine":
		s.Engines = append(s.Engines, url)
	case "console":
		s.Console = url
	}
	r.gateway = s.Gateways[i%len(s.Gateways)]
}

// numbered names the i-th process of a role: engine, engine-2, engine-3.
func numbered(command string, i int) string {
	if i == 0 {
		return command
	}
	return command + "-" + strconv.Itoa(i+1)
}

func (s *Stack) environment(r role, data string) []string {
	return []string{
		"NATS_URL=" + s.NATS, "NATS_MONITOR_URL=" + s.Monitor, "REDIS_URL=" + s.Redis,
		"LISTEN_ADDR=" + r.addr, "DATA_DIR=" + data, "WEBHOOK_BASE_URL=" + r.gateway,
		// The worker of the load is on loopback.
		"ALLOW_PRIVATE_ENDPOINTS=true",
	}
}
