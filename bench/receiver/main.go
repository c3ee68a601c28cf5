// Command receiver is the endpoint of a step that only records: it accepts each call and writes its body, one line each, to a file. The
// result is then posted by hand to the webhook URL in it.
//
//	receiver -listen 127.0.0.1:0 -addr FILE -record FILE
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := realMain(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "receiver:", err)
		os.Exit(1) //nolint:forbidigo // main exits
	}
}

func realMain(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("receiver", flag.ContinueOnError)
	listen := flags.String("listen", "127.0.0.1:0", "address to take calls on")
	addr := flags.String("addr", "", "file that gets the address, once calls are taken")
	record := flags.String("record", "", "file that gets the body of each call")
	limit := flags.Duration("limit", 10*time.Minute, "end by itself after this time")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, *limit)
	defer cancel()

	out, err := os.OpenFile(*record, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open the record: %w", err)
	}
	defer out.Close()
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", *listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if err := os.WriteFile(*addr, []byte(listener.Addr().String()+"\n"), 0o600); err != nil {
		return fmt.Errorf("write the address: %w", err)
	}
	server := &http.Server{Handler: &recorder{out: out}, ReadHeaderTimeout: 10 * time.Second}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// recorder writes each body on a line of its own.
type recorder struct {
	mu  sync.Mutex
	out io.Writer
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, 1<<20))
	if err != nil {
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	var line bytes.Buffer
	if err := json.Compact(&line, body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	line.WriteByte('\n')
	r.mu.Lock()
	_, err = r.out.Write(line.Bytes())
	r.mu.Unlock()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"success":true,"outputs":{}}`)
}
