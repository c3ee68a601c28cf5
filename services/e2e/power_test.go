package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/sluiceflow/sluice/pkg/subject"
	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/powercut"
	"github.com/sluiceflow/sluice/services/internal/testkit"
	"github.com/sluiceflow/sluice/services/internal/verify/check"
)

// cuts is how often the power is cut: POWER_CUTS, or 2.
func cuts(t *testing.T) int {
	t.Helper()
	n, err := strconv.Atoi(os.Getenv("POWER_CUTS"))
	if err != nil || n < 1 {
		return 2
	}
	return n
}

// cut kills NATS and forgets what it did not sync.
func (s *stack) cut(disk *powercut.FS) {
	s.t.Helper()
	s.nats.Kill()
	disk.Cut()
	s.startNATS()
}

// verify runs `sluice verify` and returns what it found.
func (s *stack) verify() []check.Finding {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, built.Sluice, "verify", "--json")
	cmd.Env = []string{"NATS_URL=" + s.env["NATS_URL"], "REDIS_URL=" + s.env["REDIS_URL"]}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	var summary struct {
		Type     string `json:"type"`
		Findings int    `json:"findings"`
	}
	if last := lines[len(lines)-1]; json.Unmarshal([]byte(last), &summary) != nil || summary.Type != "summary" {
		s.t.Fatalf("sluice verify: %v: %s%s", err, out, &stderr)
	}
	var found []check.Finding
	for _, line := range lines[:len(lines)-1] {
		var f check.Finding
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			s.t.Fatalf("%v in %s", err, line)
		}
		found = append(found, f)
	}
	if len(found) != summary.Findings || (len(found) > 0) != (cmd.ProcessState.ExitCode() == 1) {
		s.t.Errorf("exit code %d for %d findings", cmd.ProcessState.ExitCode(), len(found))
	}
	return found
}

// What NATS acknowledged in the synced mode survives a power cut: messages that
// were stored one by one, and those of atomic batches. In the fast mode it does
// not, so the cut is one.
func TestNATSKeepsWhatItSynced(t *testing.T) {
	t.Parallel()
	for _, interval := range []string{"always", "2m"} {
		t.Run(interval, func(t *testing.T) {
			t.Parallel()
			build(t)
			disk := powercut.Mount(t)
			addr, monitor := freeAddr(t), freeAddr(t)
			s := &stack{t: t, conf: server{store: disk.Dir, sync: interval}.conf(t, addr, monitor)}
			s.startNATS()
			cfg := testkit.BusConfig(t, "nats://"+addr)
			b := testkit.BusOn(t, cfg)
			b.Group(interval == "always") // it stores batches where that helps
			disk.Sync()
			stored, lost := map[string]bool{}, 0
			for n := range cuts(t) {
				acked := publishUntilItBreaks(t, b, fmt.Sprintf("cut-%d", n), func(acked func() bool) {
					testkit.Eventually(t, patience, acked)
					time.Sleep(time.Duration(200+rand.IntN(800)) * time.Millisecond) // the moment is random
					s.cut(disk)
				})
				for _, flow := range acked {
					stored[flow] = true
				}
				testkit.Eventually(t, patience, b.Connected)
				lost = max(lost, missing(t, b, stored))
			}
			t.Logf("%d of %d messages lost", lost, len(stored))
			if (lost > 0) != (interval != "always") {
				t.Errorf("%d of %d acknowledged messages lost with sync_interval: %s", lost, len(stored), interval)
			}
		})
	}
}

// missing counts the messages that are not stored any more.
func missing(t *testing.T, b *bus.Bus, stored map[string]bool) int {
	t.Helper()
	lost := 0
	for flow := range stored {
		testkit.Eventually(t, patience, func() error {
			last, err := b.Last(t.Context(), b.Flows(0), b.Space.Fence(0, flow))
			if err == nil && (last == nil || string(last.Data) != flow) {
				lost++
			}
			return err
		})
	}
	return lost
}

// publishUntilItBreaks stores messages, many at once, until cut has returned, which is
// told whether one is acknowledged. It returns those that were acknowledged.
func publishUntilItBreaks(t *testing.T, b *bus.Bus, name string, cut func(stored func() bool)) []string {
	t.Helper()
	var (
		writers sync.WaitGroup
		ended   atomic.Bool
		mu      sync.Mutex
		acked   []string
	)
	for w := range 100 {
		writers.Go(func() {
			for n := 0; !ended.Load(); n++ {
				flow := fmt.Sprintf("%s-%d-%d", name, w, n)
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				err := b.Publish(ctx, &nats.Msg{Subject: b.Space.Flow(subject.KindAdvanced, 0, flow), Data: []byte(flow)})
				cancel()
				if err != nil {
					if ended.Load() || b.Connected() != nil {
						return
					}
					continue
				}
				mu.Lock()
				acked = append(acked, flow)
				mu.Unlock()
			}
		})
	}
	cut(func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(acked) > 0
	})
	ended.Store(true)
	writers.Wait()
	return acked
}

// In the synced mode a power cut at any moment loses nothing that got a 2xx: all
// flows that were started complete, each outcome is applied once, and there is
// nothing to find.
func TestAPowerCutLosesNothingSynced(t *testing.T) {
	t.Parallel()
	disk := powercut.Mount(t)
	s := newStackOn(t, server{store: disk.Dir, sync: "always"})
	l := newLoad(t, "http://"+s.addrs["console"])
	done := make(chan struct{})
	rounds := cuts(t)
	go func() {
		defer close(done)
		for n := range rounds {
			l.waitStored(20*n + 1 + rand.IntN(20))
			s.cut(disk)
		}
	}()
	l.begin(20 * rounds)
	<-done
	l.finish()
	if found := s.verify(); len(found) > 0 {
		t.Errorf("found %v", found)
	}
}

// In the fast mode a power cut loses what was acknowledged last. That is seen,
// the flows go on by being called again, and no token gets two outcomes.
func TestAPowerCutInTheFastModeIsSeen(t *testing.T) {
	t.Parallel()
	disk := powercut.Mount(t)
	s := newStackOn(t, server{store: disk.Dir, sync: "2m"})
	l := newLoad(t, "http://"+s.addrs["console"])
	l.again = true
	release := l.hold("reserve")
	l.begin(20)
	l.waitHeld("reserve", 20)
	disk.Sync() // all flows wait for their first outcome
	release()
	l.waitStored(30)
	for _, role := range []string{"engine", "dispatcher"} { // nothing is repaired before it is looked at
		s.roles[role].Kill()
	}
	s.cut(disk)
	s.roles["gateway"].ready(s.addrs["gateway"])

	kinds := map[check.Kind]int{}
	for _, f := range s.verify() {
		kinds[f.Kind]++
	}
	t.Logf("after the cut: %v", kinds)
	if kinds[check.LostOutcome] < 15 {
		t.Errorf("more than 15 outcomes were lost, found %v", kinds)
	}
	for _, role := range []string{"engine", "dispatcher"} {
		s.start(role)
	}
	l.finish()
	for _, f := range s.verify() {
		t.Errorf("once all has been done again, found %+v", f)
	}
}
