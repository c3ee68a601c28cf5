package faults_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluiceflow/sluice/services/internal/proc"
)

// The forms of the suite: FAULTS=short does each fault a few times, FAULTS=long
// often. Without it nothing runs, for it takes minutes.
const (
	shortForm = "short"
	longForm  = "long"
)

// suite is what all rows share.
var suite struct {
	once     sync.Once
	dir      string
	programs proc.Programs
	err      error

	mu      sync.Mutex
	results []result
}

// result is one line of the table.
type result struct {
	fault      string
	times      int
	pause      time.Duration
	bound      time.Duration
	violations int
	took       time.Duration
	passed     bool
}

func TestMain(m *testing.M) {
	code := m.Run()
	if suite.dir != "" {
		_ = os.RemoveAll(suite.dir)
	}
	if err := report(suite.results); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code) //nolint:forbidigo // the end of a test binary
}

// form is the form that is asked for.
func form(t *testing.T) string {
	t.Helper()
	switch f := os.Getenv("FAULTS"); f {
	case shortForm, longForm:
		return f
	case "":
		t.Skip("set FAULTS=short or FAULTS=long (make faults-short, make faults)")
	default:
		t.Fatalf("FAULTS is %q, it must be short or long", f)
	}
	return ""
}

// programs builds what the rows run, once.
func programs(t *testing.T) proc.Programs {
	t.Helper()
	suite.once.Do(func() {
		if suite.dir, suite.err = os.MkdirTemp("", "sluice-faults"); suite.err != nil { //nolint:usetesting // it outlives the test that made it
			return
		}
		suite.programs, suite.err = proc.Build(context.Background(), suite.dir)
	})
	if suite.err != nil {
		t.Fatal(suite.err)
	}
	return suite.programs
}

// seed makes the choices of a run: FAULTS_SEED, or another one each time.
func seed(t *testing.T) uint64 {
	t.Helper()
	if text := os.Getenv("FAULTS_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("FAULTS_SEED: %v", err)
		}
		return n
	}
	return uint64(time.Now().UnixNano())
}

func record(r result) {
	suite.mu.Lock()
	defer suite.mu.Unlock()
	suite.results = append(suite.results, r)
}

// The marks between which a page holds the table.
const (
	tableBegin = "<!-- table of make faults: begin -->\n"
	tableEnd   = "<!-- table of make faults: end -->\n"
)

// report prints the table, and puts it into the page that FAULTS_REPORT names,
// between its marks.
func report(results []result) error {
	if len(results) == 0 {
		return nil
	}
	text := "Measured by the " + os.Getenv("FAULTS") + " form.\n\n" + table(results)
	_, _ = os.Stdout.WriteString("\n" + text)
	path := os.Getenv("FAULTS_REPORT")
	if path == "" {
		return nil
	}
	page, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the page for the table: %w", err)
	}
	before, rest, begins := strings.Cut(string(page), tableBegin)
	_, after, ends := strings.Cut(rest, tableEnd)
	if !begins || !ends {
		return fmt.Errorf("%s has no marks for the table", path)
	}
	page = []byte(before + tableBegin + "\n" + text + "\n" + tableEnd + after)
	if err := os.WriteFile(path, page, 0o600); err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	return nil
}

func table(results []result) string {
	slices.SortFunc(results, func(a, b result) int { return strings.Compare(a.fault, b.fault) })
	var out strings.Builder
	out.WriteString("| fault | times | longest pause | allowed | violations | seconds |\n| --- | ---: | ---: | ---: | ---: | ---: |\n")
	for _, r := range results {
		verdict := strconv.Itoa(r.violations)
		if !r.passed && r.violations == 0 {
			verdict = "failed"
		}
		fmt.Fprintf(&out, "| %s | %d | %.1f s | %.0f s | %s | %.0f |\n",
			r.fault, r.times, r.pause.Seconds(), r.bound.Seconds(), verdict, r.took.Seconds())
	}
	return out.String()
}
