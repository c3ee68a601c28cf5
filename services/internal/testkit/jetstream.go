package testkit

import (
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	startTimeout = time.Minute
	// readyTimeout is how long one attempt to start may take.
	readyTimeout = 20 * time.Second
	maxPayload   = 8 << 20
	// maxStore promises more disk than there is: the server adds up what the
	// limits of its streams reserve, and tests write little of it.
	maxStore = 1 << 50
)

// JetStream starts a NATS server with JetStream in the process and returns its
// URL. It ends with the test.
func JetStream(tb testing.TB) string {
	tb.Helper()
	return NewNATS(tb).URL()
}

// NATS is a NATS server with JetStream that a test can stop and start again,
// with the same address and the same store.
type NATS struct {
	t     testing.TB
	store string
	port  int
	srv   *server.Server
}

// NewNATS starts a NATS server on a free port. It ends with the test.
func NewNATS(tb testing.TB) *NATS {
	tb.Helper()
	_, port, err := net.SplitHostPort(freeAddr(tb))
	if err != nil {
		tb.Fatal(err)
	}
	n := &NATS{t: tb, store: tb.TempDir()}
	if n.port, err = strconv.Atoi(port); err != nil {
		tb.Fatal(err)
	}
	n.Start()
	tb.Cleanup(n.Stop)
	return n
}

// URL is what a client connects to.
func (n *NATS) URL() string { return n.srv.ClientURL() }

// Store is the folder of its store.
func (n *NATS) Store() string { return n.store }

// Start starts the server again after Stop. Its port may have gone to somebody
// else meanwhile, who mostly has it for a moment only: a connection of their own.
func (n *NATS) Start() {
	n.t.Helper()
	for deadline := time.Now().Add(startTimeout); ; {
		n.awaitPort(time.Until(deadline))
		srv, err := server.NewServer(&server.Options{
			Host: "127.0.0.1", Port: n.port,
			NoLog: true, NoSigs: true,
			MaxPayload: maxPayload,
			JetStream:  true, StoreDir: n.store,
			JetStreamMaxStore: maxStore, JetStreamMaxMemory: maxStore,
		})
		if err != nil {
			n.t.Fatalf("make a NATS server: %v", err)
		}
		srv.Start()
		if srv.ReadyForConnections(readyTimeout) {
			n.srv = srv
			return
		}
		srv.Shutdown()
		srv.WaitForShutdown()
		if time.Now().After(deadline) {
			n.t.Fatalf("the NATS server was not ready within %s", startTimeout)
		}
	}
}

// awaitPort waits until nobody has its port.
func (n *NATS) awaitPort(timeout time.Duration) {
	n.t.Helper()
	Eventually(n.t, timeout, func() error {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(n.port))) //nolint:noctx // it does not wait
		if err != nil {
			return err //nolint:wrapcheck // it says all
		}
		return l.Close() //nolint:wrapcheck // it says all
	})
}

// Stop stops the server and keeps its store. Stopping twice does nothing.
func (n *NATS) Stop() {
	n.srv.Shutdown()
	n.srv.WaitForShutdown()
}
