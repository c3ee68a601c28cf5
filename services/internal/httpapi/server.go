package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	headerTimeout  = 5 * time.Second
	readTimeout    = 30 * time.Second
	writeTimeout   = 60 * time.Second
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 64 << 10
)

// Server is an HTTP server whose handler can be replaced while it serves, so
// that it says how the service is before the service is there.
type Server struct {
	addr     string
	drain    time.Duration
	log      *slog.Logger
	handler  atomic.Pointer[http.Handler]
	listener net.Listener
}

// NewServer makes a server for an address. Once its context ends, requests
// that run have the drain time to finish.
func NewServer(addr string, drain time.Duration, log *slog.Logger) *Server {
	s := &Server{addr: addr, drain: drain, log: log}
	s.Handle(http.NotFoundHandler())
	return s
}

// Handle replaces the handler. Requests that run stay with the old one.
func (s *Server) Handle(h http.Handler) { s.handler.Store(&h) }

// ServeHTTP hands a request to the handler of now.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	(*s.handler.Load()).ServeHTTP(w, r)
}

// Listen takes the address; an error says why it cannot. Run does it where it
// was not done.
func (s *Server) Listen(ctx context.Context) error {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", s.addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("listen on %s: another program uses this address; set LISTEN_ADDR or --listen to a free one", s.addr)
	}
	if err != nil {
		return fmt.Errorf("listen on %s: %w", s.addr, err)
	}
	s.listener = listener
	return nil
}

// Addr is where the server listens, with the port that it got.
func (s *Server) Addr() string {
	if s.listener == nil {
		return s.addr
	}
	return s.listener.Addr().String()
}

// Run serves until ctx ends, then takes no more requests and waits for those
// that run. Requests outlive ctx by at most the drain time.
func (s *Server) Run(ctx context.Context) error {
	if s.listener == nil {
		if err := s.Listen(ctx); err != nil {
			return err
		}
	}
	requests, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	srv := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout,
		WriteTimeout: writeTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		BaseContext: func(net.Listener) context.Context { return requests },
		ErrorLog:    slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(s.listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve on %s: %w", s.Addr(), err)
	case <-ctx.Done():
	}
	err := s.shutdown(requests, srv)
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		s.log.DebugContext(requests, "serving ended", slog.Any("error", err))
	}
	return err
}

func (s *Server) shutdown(ctx context.Context, srv *http.Server) error {
	ctx, cancel := context.WithTimeout(ctx, s.drain)
	defer cancel()
	err := srv.Shutdown(ctx)
	if err == nil {
		return nil
	}
	s.log.WarnContext(ctx, "requests cut off", slog.Any("error", err))
	return srv.Close()
}
