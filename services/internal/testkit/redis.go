package testkit

import (
	"bufio"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
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
	r := &RedisServer{t: tb, addr: freeAddr(tb)}
	r.Start()
	tb.Cleanup(r.Stop)
	return r
}

// URL is what a client connects to.
func (r *RedisServer) URL() string { return "redis://" + r.addr + "/0" }

// Start starts the server again after Stop.
func (r *RedisServer) Start() {
	r.t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		r.stop = startMini(r.t, r.addr)
		return
	}
	r.stop = startReal(r.t, path, r.addr)
}

// Stop stops the server with all that it held. Stopping twice does nothing.
func (r *RedisServer) Stop() {
	if r.stop != nil {
		r.stop()
		r.stop = nil
	}
}

func startMini(tb testing.TB, addr string) (stop func()) {
	tb.Helper()
	mini := miniredis.NewMiniRedis()
	if err := mini.StartAddr(addr); err != nil {
		tb.Fatalf("start miniredis on %s: %v", addr, err)
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
	}
}

func startReal(tb testing.TB, path, addr string) (stop func()) {
	tb.Helper()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		tb.Fatalf("address of redis-server: %v", err)
	}
	cmd := exec.Command(path, "--bind", "127.0.0.1", "--port", port, //nolint:noctx // stop ends it
		"--save", "", "--appendonly", "no", "--dir", tb.TempDir())
	if err := cmd.Start(); err != nil {
		tb.Fatalf("start redis-server: %v", err)
	}
	stop = func() {
		_ = cmd.Process.Kill() // it has nothing to keep
		_ = cmd.Wait()
	}
	deadline := time.Now().Add(startTimeout)
	for {
		err := ping(addr)
		if err == nil {
			return stop
		}
		if time.Now().After(deadline) {
			stop()
			tb.Fatalf("redis-server was not ready within %s: %v", startTimeout, err)
		}
		time.Sleep(pollEvery)
	}
}

func ping(addr string) error {
	conn, err := net.DialTimeout("tcp", addr, time.Second) //nolint:noctx // bounded by its own timeout
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}
	if !strings.HasPrefix(line, "+PONG") {
		return fmt.Errorf("it answered %q", line)
	}
	return nil
}

// freeAddr is an address on loopback that nothing listened on a moment ago.
func freeAddr(tb testing.TB) string {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // returns at once
	if err != nil {
		tb.Fatalf("find a free port: %v", err)
	}
	defer listener.Close()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(portOf(tb, listener.Addr())))
}

func portOf(tb testing.TB, addr net.Addr) int {
	tb.Helper()
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		tb.Fatalf("%v is no TCP address", addr)
	}
	return tcp.Port
}
