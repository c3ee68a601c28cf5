package world

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/sluiceflow/sluice/services/internal/proc"
)

// server is where a nats-server listens.
type server struct{ name, clients, monitor, routes string }

// addNATS starts the NATS servers: one, or the members of a cluster.
func (w *World) addNATS(ctx context.Context) error {
	names := []string{NATS}
	if n := w.opts.Servers; n > 1 {
		names = nil
		for i := range n {
			names = append(names, NATS+"-"+strconv.Itoa(i+1))
		}
	}
	for _, name := range names {
		s := server{name: name}
		var errs [3]error
		s.clients, errs[0] = proc.FreeAddr(ctx)
		s.monitor, errs[1] = proc.FreeAddr(ctx)
		s.routes, errs[2] = proc.FreeAddr(ctx)
		if err := errors.Join(errs[:]...); err != nil {
			return err
		}
		w.servers = append(w.servers, s)
	}
	for _, s := range w.servers {
		path := filepath.Join(w.opts.Dir, s.name+".conf")
		if err := os.WriteFile(path, []byte(w.natsConf(s)), 0o600); err != nil {
			return fmt.Errorf("write the configuration of nats-server: %w", err)
		}
		err := w.add(ctx, s.name, proc.Spec{Path: w.opts.Programs.NATS, Args: []string{"-c", path}},
			func(ctx context.Context, p *proc.Process) error { return p.Ready(ctx, "http://"+s.monitor+"/healthz") })
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *World) natsConf(s server) string {
	var conf strings.Builder
	fmt.Fprintf(&conf, "server_name: %s\nlisten: %s\nhttp: %s\nmax_payload: 8MB\n", s.name, s.clients, s.monitor)
	fmt.Fprintf(&conf, "jetstream {store_dir: %q, max_file_store: 1TB", w.StoreOf(s.name))
	if w.opts.Sync {
		conf.WriteString(", sync_interval: always")
	}
	conf.WriteString("}\n")
	if len(w.servers) > 1 {
		var routes []string
		for _, other := range w.servers {
			routes = append(routes, "nats://"+other.routes)
		}
		fmt.Fprintf(&conf, "cluster {name: faults, listen: %s, routes: [%s]}\n", s.routes, strings.Join(routes, ", "))
	}
	return conf.String()
}

// StoreOf is the folder where a NATS server keeps what it stores.
func (w *World) StoreOf(name string) string {
	if w.opts.Store != "" {
		return filepath.Join(w.opts.Store, name)
	}
	return filepath.Join(w.opts.Dir, "store-"+name)
}

// NATSURL is where a program of the test's own reaches NATS: all servers.
func (w *World) NATSURL() string {
	var urls []string
	for _, s := range w.servers {
		urls = append(urls, "nats://"+s.clients)
	}
	return strings.Join(urls, ",")
}

func (w *World) monitors() string {
	var urls []string
	for _, s := range w.servers {
		urls = append(urls, "http://"+s.monitor)
	}
	return strings.Join(urls, ",")
}
