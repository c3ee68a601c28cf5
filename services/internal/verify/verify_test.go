package verify_test

import (
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluiceflow/sluice/pkg/subject"
	"github.com/sluiceflow/sluice/pkg/token"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/fault"
	"github.com/sluiceflow/sluice/services/internal/testkit"
	"github.com/sluiceflow/sluice/services/internal/tokenindex"
	"github.com/sluiceflow/sluice/services/internal/verify"
	"github.com/sluiceflow/sluice/services/internal/verify/check"
)

// Each sort of damage is planted into the history of one flow, between those of
// others that are sound.
func TestDamagedHistories(t *testing.T) {
	t.Parallel()
	failed := subject.NewSpace("").Flow(subject.KindFailed, subject.Partition("f", 16), "f")
	third := func(damage func(*sluicev1.Commit), spoil func(*nats.Msg)) func(*history) {
		return func(h *history) {
			h.decide(6).write(2)
			h.next(damage, spoil)
			h.write(all)
		}
	}
	for name, test := range map[string]struct {
		plant func(h *history)
		want  []check.Kind
	}{
		"nothing":             {third(nil, nil), nil},
		"a commit is missing": {func(h *history) { h.decide(6).write(2); h.skip(); h.write(all) }, []check.Kind{check.Gap}},
		"the beginning is missing": {
			func(h *history) { h.decide(6); h.skip(); h.skip(); h.write(all) },
			[]check.Kind{check.NoBeginning},
		},
		"the beginning of a retired flow is missing": {func(h *history) { h.decide(3).complete("d").retire(); h.skip(); h.write(all) }, nil},
		"a flipped bit":      {third(nil, func(m *nats.Msg) { m.Data[len(m.Data)/2] ^= 1 }), []check.Kind{check.Break}},
		"cut":                {third(nil, func(m *nats.Msg) { m.Data = m.Data[:len(m.Data)-1] }), []check.Kind{check.Break}},
		"a missing checksum": {third(nil, func(m *nats.Msg) { m.Header.Del(bus.HeaderChecksum) }), []check.Kind{check.Break}},
		"of another lineage": {third(func(c *sluicev1.Commit) { c.PreviousChecksum = []byte("other") }, nil), []check.Kind{check.Break}},
		"the revision of another": {
			third(func(c *sluicev1.Commit) { c.Revision = 1 }, nil),
			[]check.Kind{check.Break, check.Gap}, // and the next one follows 1
		},
		"another revision in the header": {third(nil, func(m *nats.Msg) { m.Header.Set(bus.HeaderRevision, "9") }), []check.Kind{check.Break}},
		"of another flow":                {third(func(c *sluicev1.Commit) { c.FlowId = "g" }, nil), []check.Kind{check.Misplaced}},
		"on the subject of another kind": {
			third(nil, func(m *nats.Msg) { m.Subject = failed }),
			[]check.Kind{check.Misplaced},
		},
		"events that do not apply": {
			third(func(c *sluicev1.Commit) { c.Events[0].StepId = "nowhere" }, nil),
			[]check.Kind{check.Replay},
		},
		"given up": {
			third(nil, func(m *nats.Msg) { m.Header.Set(bus.HeaderBroken, "the history of this flow is damaged: so it is") }),
			[]check.Kind{check.GivenUp},
		},
		"a load begins elsewhere": {third(nil, func(m *nats.Msg) { m.Header.Set(bus.HeaderSnapshot, "99") }), []check.Kind{check.Snapshot}},
		"a snapshot of another state": {
			func(h *history) {
				for h.decide(80); len(h.list) > 0; {
					h.next(func(c *sluicev1.Commit) {
						if c.GetSnapshot() != nil {
							c.Snapshot.Steps[0].Items[0].RetryCount++
						}
					}, nil)
				}
			},
			[]check.Kind{check.Snapshot},
		},
		"two outcomes": {
			func(h *history) {
				h.decide(3).complete("one").write(all)
				h.list = []*sluicev1.Commit{{FlowId: h.id, Revision: h.state.Revision + 1, TimeNs: h.now, Events: []*sluicev1.Event{{
					StepId: "a", Item: new(uint32(0)), Token: "12345678", Attempt: 2,
					Kind: &sluicev1.Event_WorkFailed{WorkFailed: &sluicev1.WorkFailed{Error: "x", Digest: []byte("two")}},
				}}}}
				h.write(all)
			},
			[]check.Kind{check.TwoOutcomes},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			s.history("before").decide(4).write(all)
			beside := s.history("beside").decide(4).write(2)
			test.plant(s.history("f"))
			beside.write(all)
			s.history("after").decide(4).complete("d").write(all)
			found, summary := s.findings(nil)
			if got := kinds(found); !slices.Equal(got, test.want) {
				t.Errorf("found %v, want %v", found, test.want)
			}
			for _, f := range found {
				if f.FlowID != "f" || f.Stream != "FLOWS_0" || f.Sequence == 0 || f.Detail == "" {
					t.Errorf("not said where it is: %+v", f)
				}
			}
			if summary.Flows != 4 {
				t.Errorf("%d flows seen", summary.Flows)
			}
			// The same in many passes.
			again, summary := s.findings(func(o *verify.Options) { o.PassBytes = 500 })
			if got := kinds(again); !slices.Equal(got, test.want) || summary.Flows != 4 {
				t.Errorf("in many passes %d flows and %v, want %v", summary.Flows, again, test.want)
			}
		})
	}
}

func TestLongHistoriesAreSound(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	a, b := s.history("a").decide(200), s.history("b").decide(150)
	for len(a.list)+len(b.list) > 0 {
		a.write(3)
		b.write(2)
	}
	if found, summary := s.findings(nil); len(found) > 0 || summary.Commits != int(s.sequence) {
		t.Errorf("found %v in %d commits of %d", found, summary.Commits, s.sequence)
	}
}

// What other streams hold must fit to the histories.
func TestWhatDoesNotFitToItsFlow(t *testing.T) {
	t.Parallel()
	work := func(attempt uint32, r uint64) *sluicev1.WorkRef {
		return &sluicev1.WorkRef{Run: r, StepId: "a", Attempt: attempt}
	}
	invoke := func(s *store, id string, w *sluicev1.WorkRef) {
		s.message(s.bus.Space.InvokeHTTP("a", s.partition(id), id), &sluicev1.Invocation{FlowId: id, Work: w})
	}
	outcome := func(s *store, w *sluicev1.WorkRef) {
		s.message(s.bus.Space.Command(subject.SourceHook, s.partition("f"), "f"), &sluicev1.Command{
			FlowId: "f", Kind: &sluicev1.Command_CompleteWork{CompleteWork: &sluicev1.CompleteWork{Work: w, Outcome: &sluicev1.Outcome{}}},
		})
	}
	callBack := func(s *store, id string, r, revision uint64) {
		s.message(s.bus.Space.InvokeHTTP(subject.CallbackStep, s.partition(id), id), &sluicev1.Invocation{
			FlowId: id, Work: &sluicev1.WorkRef{Run: r, StepId: subject.CallbackStep},
			Callback: &sluicev1.Callback{Revision: revision},
		})
	}
	wake := func(id string) *sluicev1.Command {
		return &sluicev1.Command{FlowId: id, Kind: &sluicev1.Command_Wake{Wake: &sluicev1.Wake{}}}
	}
	for name, test := range map[string]struct {
		plant  func(s *store)
		want   check.Kind
		stream string
	}{
		"a call for the running attempt":       {func(s *store) { invoke(s, "f", work(2, run)) }, "", ""},
		"a call for an earlier attempt":        {func(s *store) { invoke(s, "f", work(1, run)) }, "", ""},
		"a call for an attempt that is lost":   {func(s *store) { invoke(s, "f", work(3, run)) }, check.LostTail, "INVOCATIONS_0"},
		"a call for a flow that was":           {func(s *store) { invoke(s, "f", work(1, 8)) }, check.Orphan, "INVOCATIONS_0"},
		"a call for no flow":                   {func(s *store) { invoke(s, "nobody", work(1, run)) }, check.Orphan, "INVOCATIONS_0"},
		"a callback":                           {func(s *store) { callBack(s, "f", run, 1) }, "", ""},
		"a callback of a flow that was":        {func(s *store) { callBack(s, "f", 8, 99) }, "", ""},
		"a callback of no flow":                {func(s *store) { callBack(s, "nobody", run, 99) }, "", ""},
		"a callback of an ending that is lost": {func(s *store) { callBack(s, "f", run, 99) }, check.LostTail, "INVOCATIONS_0"},
		"a call that cannot be read": {
			func(s *store) {
				s.publish(&nats.Msg{Subject: s.bus.Space.InvokeHTTP("a", s.partition("f"), "f"), Data: []byte("?")})
			},
			check.Misplaced, "INVOCATIONS_0",
		},
		"a wake": {func(s *store) { s.message(s.bus.Space.Wake(s.partition("f"), "f"), wake("f")) }, "", ""},
		"a wake of no flow": {
			func(s *store) { s.message(s.bus.Space.Wake(s.partition("nobody"), "nobody"), wake("nobody")) },
			check.Orphan, "TIMERS_0",
		},
		"a timer of no flow": {
			func(s *store) {
				s.timer("nobody", wake("nobody"), 1)
			},
			check.Orphan, "TIMERS_0",
		},
		"a timer":                            {func(s *store) { s.timer("f", wake("f"), 3) }, "", ""},
		"a timer of a revision that is lost": {func(s *store) { s.timer("f", wake("f"), 4) }, check.LostTail, "TIMERS_0"},
		"a timer that cannot be read":        {func(s *store) { s.timer("f", wake("g"), 1) }, check.Misplaced, "TIMERS_0"},
		"a command that cannot be read": {
			func(s *store) { s.message(s.bus.Space.Command(subject.SourceAPI, s.partition("f"), "f"), wake("g")) },
			check.Misplaced, "COMMANDS_0",
		},
		"an outcome of the running attempt":     {func(s *store) { outcome(s, work(2, run)) }, "", ""},
		"an outcome of an attempt that is lost": {func(s *store) { outcome(s, work(3, run)) }, check.LostTail, "COMMANDS_0"},
		"a command":                             {func(s *store) { s.message(s.bus.Space.Command(subject.SourceHook, s.partition("f"), "f"), wake("f")) }, "", ""},
		"a command to no flow": {
			func(s *store) {
				s.message(s.bus.Space.Command(subject.SourceHook, s.partition("nobody"), "nobody"), wake("nobody"))
			},
			check.Orphan, "COMMANDS_0",
		},
		"a command to a flow that is about to start": {
			func(s *store) {
				s.message(s.bus.Space.Command(subject.SourceAPI, s.partition("new"), "new"), wake("new"))
				s.message(s.bus.Space.Command(subject.SourceEngine, s.partition("new"), "new"), wake("new"))
			}, "", "",
		},
		"a commit whose command is lost": {
			func(s *store) {
				h := s.history("g").decide(3)
				h.write(2)
				h.next(func(c *sluicev1.Commit) { c.Cause[0].Sequence += 1000 }, nil)
			}, check.LostTail, "COMMANDS_0",
		},
		"two commands in one place": {
			func(s *store) {
				h := s.history("g").decide(3)
				h.write(2)
				h.next(func(c *sluicev1.Commit) { c.Cause[0].Sequence = 1 }, nil)
			}, check.LostTail, "COMMANDS_0",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			s.history("f").decide(3).write(all)
			test.plant(s)
			found, _ := s.findings(nil)
			switch {
			case test.want == "" && len(found) > 0, test.want != "" && len(found) != 1:
				t.Errorf("found %v, want %q", found, test.want)
			case test.want != "" && (found[0].Kind != test.want || found[0].Stream != test.stream):
				t.Errorf("found %+v, want %s in %s", found[0], test.want, test.stream)
			}
		})
	}
}

// An outcome that got a 2xx is in the history, or among the commands.
func TestLostOutcomes(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		digest string
		wait   bool // its command is not done yet
		want   []check.Kind
	}{
		"applied": {digest: "good"},
		"waits":   {digest: "other", wait: true},
		"lost":    {digest: "other", want: []check.Kind{check.LostOutcome}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			s.history("f").decide(3).complete("good").write(all)
			index, err := tokenindex.Open(tokenindex.Config{URL: testkit.Redis(t), RecordTTL: time.Hour, CallTimeout: 20 * time.Second}, "")
			if err != nil {
				t.Fatal(err)
			}
			defer index.Close()
			o := tokenindex.Outcome{
				TokenHash: token.Hash(mint(token.Claims{FlowID: "f", StepID: "a"})), Digest: []byte(test.digest), Success: true, Attempt: 2,
			}
			if _, claim, err := index.Begin(t.Context(), o); err != nil {
				t.Fatal(err)
			} else if err := index.Accept(t.Context(), claim, "server"); err != nil {
				t.Fatal(err)
			}
			if test.wait {
				s.message(s.bus.Space.Command(subject.SourceHook, s.partition("f"), "f"), &sluicev1.Command{
					FlowId: "f", Kind: &sluicev1.Command_CompleteWork{CompleteWork: &sluicev1.CompleteWork{
						Work: &sluicev1.WorkRef{Run: run, StepId: "a"}, Outcome: &sluicev1.Outcome{Digest: []byte(test.digest)},
					}},
				})
			}
			found, summary := s.findings(func(o *verify.Options) { o.Index, o.Mint = index, mint })
			if got := kinds(found); !slices.Equal(got, test.want) || summary.Tokens != 1 {
				t.Errorf("found %v by %d tokens, want %v", found, summary.Tokens, test.want)
			}
		})
	}
}

// A message that goes bad while the server runs is found once it is read from
// the disk; what stands around it is read all the same. Where it is a flow's
// last one, the flow is not taken for one that does not exist.
func TestUnreadableMessages(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.history("before").decide(4).write(all)
	f := s.history("f").decide(6).write(all)
	file := testkit.Blocks(t, s.server.Store(), "FLOWS_0")[0]
	stream, err := s.bus.JS.Stream(t.Context(), "FLOWS_0")
	if err != nil {
		t.Fatal(err)
	}
	ends := int64(stream.CachedInfo().State.Bytes)
	testkit.Eventually(t, time.Minute, func() bool { return testkit.Size(t, file) == ends })
	s.history("after").decide(4).write(all)
	testkit.FlipBit(t, file, ends-10, 0)
	fence := s.bus.Space.Fence(s.partition(f.id), f.id)
	testkit.Eventually(t, 2*time.Minute, func() bool {
		time.Sleep(12 * time.Second) // the server forgets what nobody asked for in 10 s, and only then reads the file
		_, err := s.bus.Last(t.Context(), "FLOWS_0", fence)
		return fault.KindOf(err) == fault.Unavailable
	})
	found, summary := s.findings(nil)
	if len(found) != 1 || found[0].Kind != check.Unreadable || found[0].Sequence == 0 || summary.Flows != 3 {
		t.Errorf("found %v in %d flows", found, summary.Flows)
	}
}

// A bit that is flipped while the server is away is named with its message, also
// in the 4 bytes that no checksum of the server covers: the length of the headers.
// What stands behind is read.
func TestFlippedBits(t *testing.T) {
	t.Parallel()
	const stream, damaged = "FLOWS_0", 7
	s := newStore(t)
	s.history("before").decide(4).write(all) // 5 commits
	s.history("f").decide(6).write(all)
	s.history("after").decide(4).write(all)
	s.server.Stop()
	r := testkit.RecordOf(t, s.server.Store(), stream, damaged)
	type flip struct {
		at   int64
		bit  int
		want check.Kind
	}
	flips := []flip{
		{r.Head + 4, 0, check.Unreadable},
		{r.Subject + 1, 3, check.Unreadable},
		{r.Headers + 20, 7, check.Unreadable},
		{r.Data + 5, 0, check.Unreadable},
		{r.Sum, 1, check.Unreadable},
		{r.HeaderLength + 3, 7, check.Unreadable},
	}
	for bit := range 7 { // past them, the headers would end behind the message
		flips = append(flips, flip{r.HeaderLength, bit, check.Break})
	}
	for _, f := range flips {
		testkit.FlipBit(t, r.File, f.at, f.bit)
		s.start()
		found, summary := s.findings(nil)
		named := slices.ContainsFunc(found, func(c check.Finding) bool {
			return c.Kind == f.want && c.Stream == stream && c.Sequence == damaged
		})
		if !named || summary.Flows != 3 {
			t.Errorf("bit %d of byte %d: found %v in %d flows", f.bit, f.at-r.Head, found, summary.Flows)
		}
		s.server.Stop()
		testkit.FlipBit(t, r.File, f.at, f.bit)
	}
	s.server.Start()
}

// The same where commands wait: what cannot be read of them is named, and what
// stands behind is looked at.
func TestFlippedBitsOfCommands(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	for _, id := range []string{"a", "b", "c"} {
		cmd := &sluicev1.Command{FlowId: id, Kind: &sluicev1.Command_Wake{Wake: &sluicev1.Wake{}}}
		if err := s.bus.PublishCommand(t.Context(), subject.SourceAPI, cmd, nil); err != nil {
			t.Fatal(err)
		}
	}
	s.server.Stop()
	r := testkit.RecordOf(t, s.server.Store(), "COMMANDS_0", 2)
	for name, test := range map[string]struct {
		at   int64
		want check.Kind
	}{
		"length of the subject": {r.Subject - 2, check.Unreadable},
		"length of the headers": {r.HeaderLength, check.Misplaced},
		"data":                  {r.Data, check.Unreadable},
	} {
		testkit.FlipBit(t, r.File, test.at, 0)
		s.start()
		found, _ := s.findings(nil)
		if len(found) != 1 || found[0].Kind != test.want || found[0].Sequence != 2 {
			t.Errorf("%s: found %v, want %s", name, found, test.want)
		}
		s.server.Stop()
		testkit.FlipBit(t, r.File, test.at, 0)
	}
	s.server.Start()
}

// What goes on meanwhile is no finding: flows advance, and retired ones go.
func TestALiveStoreIsSound(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	const flows = 300
	var purged []*history
	for i := range flows {
		purged = append(purged, s.history("f"+string(rune('a'+i%26))+time.Duration(i).String()).decide(2).write(all))
	}
	advances := s.history("advances").decide(200)
	step := 0
	found, _ := s.findings(func(o *verify.Options) {
		o.PassBytes = 5000
		o.Progress = func(verify.Progress) {
			advances.write(2)
			for range 20 {
				if step >= flows {
					return
				}
				h := purged[step]
				step++
				stream, err := s.bus.JS.Stream(t.Context(), s.bus.Flows(0))
				if err == nil {
					err = stream.Purge(t.Context(), jetstream.WithPurgeSubject(s.bus.Space.Fence(s.partition(h.id), h.id)))
				}
				if err != nil {
					t.Error(err)
				}
			}
		}
	})
	if len(found) > 0 || step == 0 {
		t.Errorf("found %v after %d purges", found, step)
	}
}

// An installation that is not there, or laid out otherwise, is not looked at.
func TestAnotherInstallation(t *testing.T) {
	t.Parallel()
	url := testkit.JetStream(t)
	testkit.ConnectBus(t, url)
	for name, change := range map[string]func(*bus.Config){
		"another namespace":   func(c *bus.Config) { c.Namespace = "other" },
		"of other partitions": func(c *bus.Config) { c.Partitions = 8 },
	} {
		cfg := testkit.BusConfig(t, url)
		change(&cfg)
		b, err := bus.Connect(t.Context(), cfg, "test", slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		_, err = verify.Run(t.Context(), verify.Options{Bus: b, Report: func(check.Finding) error { return nil }})
		if err == nil {
			t.Errorf("%s: looked at", name)
		}
	}
}
