package script_test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluiceflow/sluice/services/internal/fault"
	"github.com/sluiceflow/sluice/services/internal/script"
)

// celLoop compares two values that share their parts: it costs next to nothing
// by CEL's own count, and would take years.
func celLoop() string {
	source := "[1]"
	for range 50 {
		source = "[" + source + "].map(x, [x, x])[0]"
	}
	return "[" + source + "].map(x, x == x)"
}

func TestScriptsWithoutEndAreEnded(t *testing.T) {
	t.Parallel()
	p := pool(t, script.Config{Processes: 2, TimeLimit: 200 * time.Millisecond, MemoryLimit: 128 << 20})
	for name, prog := range map[string]script.Program{
		"cel, by cost":    {Language: script.CEL, Source: "[0,1,2,3,4,5,6,7,8,9].map(a, " + strings.Repeat("[0,1,2,3,4,5,6,7,8,9].map(b, ", 7) + "1" + strings.Repeat(")", 8)},
		"cel, by time":    {Language: script.CEL, Source: celLoop()},
		"lua":             {Language: script.Lua, Source: "while true do end"},
		"lua, caught":     {Language: script.Lua, Source: "while true do pcall(function() while true do end end) end"},
		"lua, a pattern":  {Language: script.Lua, Source: `return string.find(string.rep("a", 40), string.rep("a?", 40) .. string.rep("a", 40) .. "b")`},
		"ale":             {Language: script.Ale, Source: "(let-rec [f (lambda (x) (f x))] (f 1))"},
		"ale, lazy":       {Language: script.Ale, Source: "(fold-left + 0 (range 0 9223372036854775807 1))"},
		"ale, as outputs": {Language: script.Ale, Source: "(map (lambda (x) \"some text that is long enough\") (range 0 9223372036854775807 1))"},
	} {
		_, err := eval(t, p, prog, nil)
		if err == nil {
			t.Errorf("%s: it ended", name)
			continue
		}
		if failed := failure(t, err); !strings.Contains(failed.Message, "did not end") && !strings.Contains(failed.Message, "cost limit") &&
			!strings.Contains(failed.Message, "longer than") {
			t.Errorf("%s: got %v", name, failed)
		}
	}
	if got, err := eval(t, p, script.Program{Language: script.Lua, Source: "1"}, nil); err != nil || got != `{"result":1}` {
		t.Errorf("afterwards: %s, %v", got, err)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	p := pool(t, script.Config{Processes: 1, TimeLimit: 30 * time.Second, MemoryLimit: 256 << 20})
	for name, c := range map[string]struct {
		prog script.Program
		part string
	}{
		"lua, a text":    {script.Program{Language: script.Lua, Source: `return #string.rep("x", 2000000000)`}, "more memory"},
		"lua, tables":    {script.Program{Language: script.Lua, Source: `local t = {} while true do t[#t+1] = {1} end`}, "more memory"},
		"lua, output":    {script.Program{Language: script.Lua, Source: `return string.rep("x", 2000000)`}, "longer than"},
		"ale, a text":    {script.Program{Language: script.Ale, Source: `(let-rec [f (lambda (s) (f (str s s)))] (f "x"))`}, "more memory"},
		"ale, recursion": {script.Program{Language: script.Ale, Source: `(let-rec [f (lambda (x) (+ 1 (f x)))] (f 1))`}, "too deep"},
		"cel, output":    {script.Program{Language: script.CEL, Source: strings.Replace(celLoop(), "x == x", "x", 1)}, "longer than"},
	} {
		_, err := eval(t, p, c.prog, nil)
		if err == nil {
			t.Errorf("%s: it ended", name)
			continue
		}
		if failed := failure(t, err); !strings.Contains(failed.Message, c.part) {
			t.Errorf("%s: got %v", name, failed)
		}
	}
	if got, err := eval(t, p, script.Program{Language: script.Ale, Source: "1"}, nil); err != nil || got != `{"result":1}` {
		t.Errorf("afterwards: %s, %v", got, err)
	}
}

// What scripts must not reach is not there.
func TestScriptsReachNothing(t *testing.T) {
	t.Parallel()
	p := pool(t, config)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("return 'secret'"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, prog := range []script.Program{
		{Language: script.Lua, Source: `io.open("` + secret + `"):read("*a")`},
		{Language: script.Lua, Source: `os.time()`},
		{Language: script.Lua, Source: `os.getenv("PATH")`},
		{Language: script.Lua, Source: `require("os")`},
		{Language: script.Lua, Source: `dofile("` + secret + `")`},
		{Language: script.Lua, Source: `loadfile("` + secret + `")()`},
		{Language: script.Lua, Source: `load("return 1")()`},
		{Language: script.Lua, Source: `loadstring("return 1")()`},
		{Language: script.Lua, Source: `debug.getinfo(1)`},
		{Language: script.Lua, Source: `package.loaded.os.time()`},
		{Language: script.Lua, Source: `_G.io.open("` + secret + `")`},
		{Language: script.Lua, Source: `getfenv(0)`},
		{Language: script.Lua, Source: `collectgarbage("count")`},
		{Language: script.Lua, Source: `math.random()`},
		{Language: script.Lua, Source: `print("x")`},
		{Language: script.Lua, Source: `channel.make()`},
		{Language: script.Ale, Source: `(current-time)`},
		{Language: script.Ale, Source: `(time 1)`},
		{Language: script.Ale, Source: `(go 1)`},
		{Language: script.Ale, Source: `(ale/%go (lambda () 1))`},
		{Language: script.Ale, Source: `(future 1)`},
		{Language: script.Ale, Source: `(generate (emit 1))`},
		{Language: script.Ale, Source: `(spawn (lambda (x) x))`},
		{Language: script.Ale, Source: `(chan 1)`},
		{Language: script.Ale, Source: `(str *env*)`},
		{Language: script.Ale, Source: `(str *args*)`},
		{Language: script.Ale, Source: `(println "x")`},
		{Language: script.Ale, Source: `(: *fs* :open "` + secret + `" :string)`},
		{Language: script.Ale, Source: `(#include "` + secret + `")`},
		{Language: script.CEL, Source: `now()`},
		{Language: script.CEL, Source: `timestamp()`},
	} {
		got, err := eval(t, p, prog, nil)
		if err == nil {
			t.Errorf("%s: %s gives %s", prog.Language, prog.Source, got)
			continue
		}
		_ = failure(t, err)
	}
}

// One run leaves nothing behind for the next one, of the same script or another.
func TestRunsShareNothing(t *testing.T) {
	t.Parallel()
	p := pool(t, script.Config{Processes: 1, TimeLimit: time.Second, MemoryLimit: 128 << 20})
	for _, prog := range []script.Program{
		{Language: script.Lua, Source: `counter = (counter or 0) + 1 string.mine = (string.mine or 0) + 1 return counter + string.mine - 1`},
		{Language: script.Lua, Source: `local m = getmetatable("").__index m.mine = (m.mine or 0) + 1 return ("").mine`},
		{Language: script.Ale, Source: `(eval '(define mine 1)) (eval '(declared *env*)) 1`},
		{Language: script.Ale, Source: `(define-namespace mine (define x 1)) 1`},
	} {
		for range 2 {
			if got, err := eval(t, p, prog, nil); err != nil && !strings.Contains(err.Error(), "*env*") || err == nil && got != `{"result":1}` {
				t.Errorf("%s: %s: got %s, %v", prog.Language, prog.Source, got, err)
			}
		}
	}
}

// Scripts that run to their limit keep no other script waiting for them.
func TestALoopKeepsNobodyElseWaiting(t *testing.T) {
	t.Parallel()
	const limit = 30 * time.Second
	p := pool(t, script.Config{Processes: 4, TimeLimit: limit, MemoryLimit: 128 << 20})
	ctx, cancel := context.WithCancel(t.Context())
	var loops sync.WaitGroup
	began := time.Now()
	for range 8 {
		loops.Go(func() {
			_, err := p.Eval(ctx, script.Program{Language: script.Lua, Source: "while true do end"}, nil)
			if fault.KindOf(err) != fault.Unavailable {
				t.Errorf("a loop that was called off: %v", err)
			}
		})
	}
	for range 20 {
		if got, err := eval(t, p, script.Program{Language: script.Lua, Source: "1"}, nil); err != nil || got != `{"result":1}` {
			t.Fatalf("got %s, %v", got, err)
		}
	}
	if took := time.Since(began); took >= limit {
		t.Errorf("others waited %s", took)
	}
	cancel()
	loops.Wait()
}

// A child that is killed is replaced, and its script runs again.
func TestKilledChildrenAreReplaced(t *testing.T) {
	t.Parallel()
	p := pool(t, script.Config{Processes: 2, TimeLimit: time.Second, MemoryLimit: 128 << 20})
	one := script.Program{Language: script.Lua, Source: "1"}
	for range 5 {
		if got, err := eval(t, p, one, nil); err != nil || got != `{"result":1}` {
			t.Fatalf("got %s, %v", got, err)
		}
		killed := 0
		for _, pid := range script.Children(p) {
			if process, err := os.FindProcess(pid); err == nil && process.Kill() == nil {
				killed++
			}
		}
		if killed == 0 {
			t.Fatal("no child to kill")
		}
	}
}

func TestAnEndedPoolRefuses(t *testing.T) {
	t.Parallel()
	p := script.NewPool(config)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if err := p.Check(t.Context(), script.Program{Language: script.CEL, Source: "1"}); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("got %v", err)
	}
}

// Nothing of a pool is left when it has ended.
func TestChildrenEndWithTheirPool(t *testing.T) {
	t.Parallel()
	p := script.NewPool(config)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	if _, err := eval(t, p, script.Program{Language: script.Lua, Source: "1"}, nil); err != nil {
		t.Fatal(err)
	}
	pids := script.Children(p)
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		if _, err := os.Stat("/proc/" + strconv.Itoa(pid)); err == nil {
			t.Errorf("child %d is still there", pid)
		}
	}
}
