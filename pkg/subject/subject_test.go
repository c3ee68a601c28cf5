package subject_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluiceflow/sluice/pkg/subject"
)

// The server and every client compare these bytes: a change breaks running
// installations, and two spellings of the fence would let two commits win.
func TestGoldenSubjects(t *testing.T) {
	t.Parallel()
	var s subject.Space
	for want, got := range map[string]string{
		"sluice.cmd.hook.3.order-1":          s.Command(subject.SourceHook, 3, "order-1"),
		"sluice.cmd.*.3.*":                   s.Commands(3),
		"sluice.cmd.*.*.*":                   s.Commands(-1),
		"sluice.timer.3.a=2Eb":               s.Timer(3, "a.b"),
		"sluice.timer.*.*":                   s.Timers(-1),
		"sluice.wake.3.a=3Ab":                s.Wake(3, "a:b"),
		"sluice.wake.5.*":                    s.Wakes(5),
		"sluice.flow.advanced.3.a=40b":       s.Flow(subject.KindAdvanced, 3, "a@b"),
		"sluice.flow.*.3.a=2Bb":              s.Fence(3, "a+b"),
		"sluice.flow.>":                      s.FlowEvents(""),
		"sluice.flow.completed.>":            s.FlowEvents(subject.KindCompleted),
		"sluice.flow.*.2.*":                  s.Flows("", 2),
		"sluice.flow.failed.*.*":             s.Flows(subject.KindFailed, -1),
		"sluice.flow.*.*.order-1":            s.FlowOf("order-1"),
		"sluice.invoke.http.s=2E1.0.order_1": s.InvokeHTTP("s.1", 0, "order_1"),
		"sluice.invoke.http.*.*.*":           s.InvocationsHTTP(-1),
		"sluice.heartbeat.3.a=2Eb":           s.Heartbeat(3, "a.b"),
		"sluice.heartbeat.*.*":               s.Heartbeats(-1),
		"sluice.invoke.script.s=2E1.0.order": s.InvokeScript("s.1", 0, "order"),
		"sluice.invoke.script.*.3.*":         s.InvocationsScript(3),
		"sluice.dead.command.3.a=2Eb":        s.Dead("command", "3", "a.b"),
		"sluice.dead.>":                      s.DeadLetters(""),
		"sluice.dead.command.>":              s.DeadLetters("command"),
		"sluice.redrive":                     s.Redrive(),
		"sluice.registry.s=2E1.step_updated": s.Registry("s.1", "step_updated"),
		"team.sluice.flow.*.1.f":             subject.NewSpace("team").Fence(1, "f"),
		"team_FLOWS_0":                       subject.NewSpace("team").Name("FLOWS_0"),
		"FLOWS_0":                            s.Name("FLOWS_0"),
		"team.sluice.flow.canceled.2.f":      subject.NewSpace("team").Flow(subject.KindCanceled, 2, "f"),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestCheckID(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"a", "0", "order-1", "a_b.c:d@e+f-g", strings.Repeat("x", 128)} {
		if err := subject.CheckID(id); err != nil {
			t.Errorf("%q: %v", id, err)
		}
	}
	for _, id := range []string{"", "-a", "_a", ".a", "a b", "a/b", "a*", "a>", "ä", "a\x00", "a%2F", strings.Repeat("x", 129)} {
		if subject.CheckID(id) == nil {
			t.Errorf("%q is taken for an id", id)
		}
	}
}

func TestEscapingHasOneSpelling(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.StringN(1, 40, -1).Draw(t, "id")
		tok := subject.Escape(id)
		if strings.ContainsAny(tok, ". *>\t\r\n") {
			t.Fatalf("%q is no single token", tok)
		}
		if back, err := subject.Unescape(tok); err != nil || back != id {
			t.Fatalf("%q became %q (%v)", id, back, err)
		}
	})
	for _, tok := range []string{"", "=", "=4", "=2e", "=41", "a.b", "a b", "=ZZ"} {
		if id, err := subject.Unescape(tok); err == nil {
			t.Errorf("%q is read as %q", tok, id)
		}
	}
}

func TestWhatIsBuiltIsRead(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := subject.NewSpace(rapid.SampledFrom([]string{"", "team"}).Draw(t, "namespace"))
		p := rapid.IntRange(0, 300).Draw(t, "partition")
		flowID, stepID := rapid.StringN(1, 20, -1).Draw(t, "flow"), rapid.StringN(1, 20, -1).Draw(t, "step")
		src, p1, f1, err := s.ParseCommand(s.Command(subject.SourceReport, p, flowID))
		if err != nil || src != subject.SourceReport || p1 != p || f1 != flowID {
			t.Fatalf("command: %s %d %q %v", src, p1, f1, err)
		}
		kind, p2, f2, err := s.ParseFlow(s.Flow(subject.KindFailed, p, flowID))
		if err != nil || kind != subject.KindFailed || p2 != p || f2 != flowID {
			t.Fatalf("flow: %s %d %q %v", kind, p2, f2, err)
		}
		for _, call := range []string{s.InvokeHTTP(stepID, p, flowID), s.InvokeScript(stepID, p, flowID)} {
			step, p3, f3, err := s.ParseInvoke(call)
			if err != nil || step != stepID || p3 != p || f3 != flowID {
				t.Fatalf("invocation: %q %d %q %v", step, p3, f3, err)
			}
		}
		p4, f4, err := s.ParseWake(s.Wake(p, flowID))
		if err != nil || p4 != p || f4 != flowID {
			t.Fatalf("wake: %d %q %v", p4, f4, err)
		}
		for _, timed := range []string{s.Wake(p, flowID), s.Timer(p, flowID)} {
			if f5, err := s.ParseTimed(timed); err != nil || f5 != flowID {
				t.Fatalf("timer: %q %v", f5, err)
			}
		}
	})
}

func TestForeignSubjectsAreRefused(t *testing.T) {
	t.Parallel()
	var s subject.Space
	for _, text := range []string{
		"", "sluice.cmd.hook.3", "sluice.cmd.hook.x.f", "sluice.cmd.hook.-1.f", "sluice.cmd.hook.03.f",
		"sluice.cmd.nobody.3.f", "sluice.cmd.hook.3.f.g", "other.sluice.cmd.hook.3.f", "sluice.flow.advanced.3.f",
	} {
		if _, _, _, err := s.ParseCommand(text); err == nil {
			t.Errorf("%q is read as a command", text)
		}
	}
	if _, _, _, err := s.ParseFlow("sluice.flow.ended.3.f"); err == nil {
		t.Error("an unknown kind is read")
	}
}

func TestPartition(t *testing.T) {
	t.Parallel()
	// FNV-1a of "order-1" is fixed for ever: flows would be looked for elsewhere.
	if got := subject.Partition("a", 16); got != 0xaf63dc4c8601ec8c%16 {
		t.Errorf("partition of a is %d", got)
	}
	seen := map[int]int{}
	for i := range 1600 {
		seen[subject.Partition(strings.Repeat("x", i%7)+string(rune('a'+i%26))+string(rune('a'+i/26)), 16)]++
	}
	if len(seen) != 16 {
		t.Errorf("%d of 16 partitions are used", len(seen))
	}
}

func FuzzUnescape(f *testing.F) {
	f.Add("a=2Eb")
	f.Fuzz(func(t *testing.T, tok string) {
		if id, err := subject.Unescape(tok); err == nil && subject.Escape(id) != tok {
			t.Errorf("%q is a second spelling of %q", tok, id)
		}
	})
}

// Whatever is read as a subject is the one spelling of what it says.
func FuzzParse(f *testing.F) {
	f.Add("", "sluice.cmd.hook.3.order-1")
	f.Add("", "sluice.flow.completed.15.a=2Eb")
	f.Add("blue", "blue.sluice.wake.0.f")
	f.Add("blue", "blue.sluice.invoke.http.charge.7.f")
	f.Add("", "sluice.invoke.script.charge.7.f")
	f.Fuzz(func(t *testing.T, namespace, text string) {
		s := subject.NewSpace(namespace)
		var spelled []string
		if src, p, flowID, err := s.ParseCommand(text); err == nil {
			spelled = append(spelled, s.Command(src, p, flowID))
		}
		if kind, p, flowID, err := s.ParseFlow(text); err == nil {
			spelled = append(spelled, s.Flow(kind, p, flowID))
		}
		if p, flowID, err := s.ParseWake(text); err == nil {
			spelled = append(spelled, s.Wake(p, flowID))
		}
		if stepID, p, flowID, err := s.ParseInvoke(text); err == nil {
			one := s.InvokeHTTP(stepID, p, flowID)
			if strings.HasPrefix(text, strings.TrimPrefix(namespace+".sluice.invoke.script.", ".")) {
				one = s.InvokeScript(stepID, p, flowID)
			}
			spelled = append(spelled, one)
		}
		if len(spelled) > 1 {
			t.Errorf("%q is read as %q", text, spelled)
		}
		for _, one := range spelled {
			if one != text {
				t.Errorf("%q is a second spelling of %q", text, one)
			}
		}
	})
}
