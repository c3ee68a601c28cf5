package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluiceflow/sluice/services/internal/conf"
	"github.com/sluiceflow/sluice/services/internal/testkit"
)

// soon is patience with a busy machine; nothing here should take as long.
const soon = 30 * time.Second

// output is a buffer that is read while it is written.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

func env(pairs ...string) conf.Lookup {
	return func(name string) (string, bool) {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1], true
			}
		}
		return "", false
	}
}

// runs runs the program to its end.
func runs(t *testing.T, lookup conf.Lookup, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs output
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	code = realMain(ctx, args, lookup, strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

// process is the program while it runs.
type process struct {
	t              *testing.T
	cancel         context.CancelFunc
	ended          chan int
	stdout, stderr output
}

func start(t *testing.T, lookup conf.Lookup, args ...string) *process {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	p := &process{t: t, cancel: cancel, ended: make(chan int, 1)}
	go func() { p.ended <- realMain(ctx, args, lookup, strings.NewReader(""), &p.stdout, &p.stderr) }()
	t.Cleanup(func() { p.stop() })
	return p
}

// stop asks for the end and waits for it. Stopping twice gives the code again.
func (p *process) stop() int {
	p.t.Helper()
	p.cancel()
	select {
	case code := <-p.ended:
		p.ended <- code
		return code
	case <-time.After(soon):
		p.t.Errorf("did not end: %s", &p.stderr)
		return -1
	}
}

// url is where it listens, as its log says.
func (p *process) url() string {
	p.t.Helper()
	said := regexp.MustCompile(`"msg":"listening","address":"([^"]+)"|msg=listening address=(\S+)`)
	var found []string
	testkit.Eventually(p.t, soon, func() error {
		if found = said.FindStringSubmatch(p.stderr.String()); found == nil {
			return fmt.Errorf("does not listen: %s", &p.stderr)
		}
		return nil
	})
	return "http://" + found[1] + found[2] // one of the two formats
}

// ready waits until it can do its work.
func (p *process) ready() {
	p.t.Helper()
	url := p.url()
	testkit.Eventually(p.t, soon, func() error {
		status, body, err := get(url + "/ready")
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("%d: %s\n%s", status, body, &p.stderr)
		}
		return err
	})
}

func get(url string) (status int, body string, err error) {
	resp, err := http.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(data), err
}

func has(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not in:\n%s", part, text)
		}
	}
}

func decode[T any](t *testing.T, text string) T {
	t.Helper()
	var value T
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return value
}
