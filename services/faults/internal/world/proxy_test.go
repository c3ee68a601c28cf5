package world_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/sluiceflow/sluice/services/faults/internal/world"
)

const patience = 20 * time.Second

// echo is a server that gives back what it gets, behind a proxy.
func echo(t *testing.T) *world.Proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(conn, conn)
				_ = conn.Close()
			}()
		}
	}()
	p, err := world.NewProxy(t.Context(), listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

type talk struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

func dial(t *testing.T, p *world.Proxy) *talk {
	t.Helper()
	conn, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &talk{t: t, conn: conn, in: bufio.NewReader(conn)}
}

func (k *talk) say(text string) {
	k.t.Helper()
	if _, err := k.conn.Write([]byte(text + "\n")); err != nil {
		k.t.Fatal(err)
	}
}

// hear is the next line within d.
func (k *talk) hear(d time.Duration) (string, error) {
	if err := k.conn.SetReadDeadline(time.Now().Add(d)); err != nil {
		k.t.Fatal(err)
	}
	return k.in.ReadString('\n')
}

func TestProxyPasses(t *testing.T) {
	t.Parallel()
	k := dial(t, echo(t))
	k.say("hello")
	if got, err := k.hear(patience); got != "hello\n" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestProxyHaltsSilentlyAndLosesNothing(t *testing.T) {
	t.Parallel()
	p := echo(t)
	k := dial(t, p)
	p.Halt()
	p.Halt()
	k.say("kept")
	if got, err := k.hear(100 * time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%q, %v: want silence", got, err)
	}
	dial(t, p) // is taken
	p.Heal()
	if got, err := k.hear(patience); got != "kept\n" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestProxyCuts(t *testing.T) {
	t.Parallel()
	p := echo(t)
	k := dial(t, p)
	k.say("hello")
	if _, err := k.hear(patience); err != nil {
		t.Fatal(err)
	}
	p.Cut()
	if got, err := k.hear(patience); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%q, %v: want a broken connection", got, err)
	}
	if got, err := dial(t, p).hear(patience); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a new one: %q, %v: want it broken", got, err)
	}
	p.Heal()
	k = dial(t, p)
	k.say("again")
	if got, err := k.hear(patience); got != "again\n" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestProxyDelays(t *testing.T) {
	t.Parallel()
	p := echo(t)
	k := dial(t, p)
	const delay = 50 * time.Millisecond
	p.Delay(delay)
	begin := time.Now()
	k.say("late")
	if _, err := k.hear(patience); err != nil || time.Since(begin) < 2*delay {
		t.Errorf("%v after %s, want it after %s", err, time.Since(begin), 2*delay)
	}
}
