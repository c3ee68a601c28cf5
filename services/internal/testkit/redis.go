package testkit

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/sluiceflow/sluice/services/internal/proc"
)

// redisTick is how often miniredis is told that time went on: it expires
// nothing by itself.
const redisTick = 20 * time.Millisecond

// Redis starts a Redis and returns its URL: redis-server where there is one on
// the PATH, else miniredis. It ends with the test.
func Redis(tb testing.TB) string {
	tb.Helper()
	return NewRedis(tb).URL()
}

// RedisServer is a Redis that a test can stop and start again on the same
// address. It comes back empty.
type RedisServer struct {
	t    testing.TB
	addr string
	stop func()
}

// NewRedis starts a Redis on a free port. It ends with the test.
func NewRedis(tb testing.TB) *RedisServer {
	tb.Helper()
	r := &RedisServer{t: tb}
	// A port that was free a moment ago may be another's by now: the next one then.
	Eventually(tb, startTimeout, func() error {
		r.addr = freeAddr(tb)
		return r.start()
	})
	tb.Cleanup(r.Stop)
	return r
}

// URL is what a client connects to.
func (r *RedisServer) URL() string { return "redis://" + r.addr + "/0" }

// Start starts the server again after Stop.
func (r *RedisServer) Start() {
	r.t.Helper()
	Eventually(r.t, startTimeout, r.start)
}

func (r *RedisServer) start() (err error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		r.stop, err = startMini(r.addr)
		return err
	}
	r.stop, err = startReal(path, r.addr, r.t.TempDir())
	return err
}

// Stop stops the server with all that it held. Stopping twice does nothing.
func (r *RedisServer) Stop() {
	if r.stop != nil {
		r.stop()
		r.stop = nil
	}
}

func startMini(addr string) (stop func(), err error) {
	mini := miniredis.NewMiniRedis()
	if err := mini.StartAddr(addr); err != nil {
		return nil, fmt.Errorf("start miniredis on %s: %w", addr, err)
	}
	ended, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(redisTick)
		defer tick.Stop()
		last := time.Now()
		for {
			select {
			case <-ended:
				return
			case now := <-tick.C:
				mini.FastForward(now.Sub(last))
				last = now
			}
		}
	}()
	return func() {
		close(ended)
		<-done
		mini.Close()
	}, nil
}

// startReal returns once the server that it started answers: on a port that is
// taken, another one may.
func startReal(path, addr, dir string) (stop func(), err error) {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("address of redis-server: %w", err)
	}
	var said bytes.Buffer                                            // to be read once it has ended
	cmd := exec.Command(path, "--bind", "127.0.0.1", "--port", port, //nolint:noctx // stop ends it
		"--save", "", "--appendonly", "no", "--dir", dir)
	cmd.Stdout = &said
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start redis-server: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // what it said tells more
	}()
	stop = func() {
		_ = cmd.Process.Kill() // it has nothing to keep
		<-ended
	}
	client := redis.NewClient(&redis.Options{Addr: addr, Protocol: 2, DisableIdentity: true, MaxRetries: -1})
	defer client.Close()
	for deadline := time.Now().Add(startTimeout); ; time.Sleep(pollEvery) {
		err := answers(client, cmd.Process.Pid)
		if err == nil {
			return stop, nil
		}
		select {
		case <-ended:
			return nil, fmt.Errorf("redis-server ended: %s", said.String())
		default:
		}
		if time.Now().After(deadline) {
			stop()
			return nil, fmt.Errorf("redis-server was not ready within %s: %w", startTimeout, err)
		}
	}
}

// answers reports whether the server with that process id answers.
func answers(client *redis.Client, pid int) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	info, err := client.InfoMap(ctx, "server").Result()
	if err != nil {
		return err
	}
	if got := info["Server"]["process_id"]; got != strconv.Itoa(pid) {
		return fmt.Errorf("process %s answers, not %d", got, pid)
	}
	return nil
}

// freeAddr is an address on loopback that nothing listens on, and that nobody else
// is given.
func freeAddr(tb testing.TB) string {
	tb.Helper()
	addr, err := proc.FreeAddr(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	return addr
}
