//go:build linux

package powercut_test

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluiceflow/sluice/services/internal/powercut"
)

// disk is a mounted file system on which nothing may fail.
type disk struct {
	*powercut.FS

	t *testing.T
}

func mount(t *testing.T) disk {
	t.Helper()
	return disk{powercut.Mount(t), t}
}

func (d disk) ok(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

func (d disk) path(name string) string { return filepath.Join(d.Dir, name) }

// write appends to a file, which it makes where there is none.
func (d disk) write(name, text string, flags int) {
	d.t.Helper()
	f, err := os.OpenFile(d.path(name), os.O_WRONLY|os.O_CREATE|os.O_APPEND|flags, 0o600)
	d.ok(err)
	_, err = f.WriteString(text)
	d.ok(err)
	d.ok(f.Close())
}

// over writes into the middle of a file.
func (d disk) over(name, text string, offset int64) {
	d.t.Helper()
	f, err := os.OpenFile(d.path(name), os.O_RDWR, 0)
	d.ok(err)
	_, err = f.WriteAt([]byte(text), offset)
	d.ok(err)
	d.ok(f.Close())
}

func (d disk) sync(name string) {
	d.t.Helper()
	f, err := os.Open(d.path(name))
	d.ok(err)
	d.ok(f.Sync())
	d.ok(f.Close())
}

// has compares all that is there with pairs of names and contents.
func (d disk) has(pairs ...string) {
	d.t.Helper()
	want := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		want[pairs[i]] = pairs[i+1]
	}
	got := map[string]string{}
	d.ok(fs.WalkDir(os.DirFS(d.Dir), ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == "." {
			return err
		}
		if e.IsDir() {
			got[path] = "/"
			return nil
		}
		data, err := os.ReadFile(d.path(path))
		got[path] = string(data)
		return err
	}))
	if !maps.Equal(got, want) {
		d.t.Errorf("there is %q, want %q", got, want)
	}
}

func TestCut(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		do   func(d disk)
		want []string
	}{
		"nothing synced, nothing kept": {func(d disk) { d.write("a", "x", 0) }, nil},
		"a synced file":                {func(d disk) { d.write("a", "x", 0); d.sync("a") }, []string{"a", "x"}},
		"by O_SYNC":                    {func(d disk) { d.write("a", "x", os.O_SYNC) }, []string{"a", "x"}},
		"what the kernel wrote by itself": {
			func(d disk) { d.write("a", "x", 0); d.write("b", "y", 0); d.Sync(); d.write("b", "z", 0) },
			[]string{"a", "x", "b", "y"},
		},
		"what came after the sync": {
			func(d disk) { d.write("a", "kept", 0); d.sync("a"); d.write("a", " and lost", 0) },
			[]string{"a", "kept"},
		},
		"what was overwritten": {
			func(d disk) {
				d.write("a", "0123456789", 0)
				d.sync("a")
				d.over("a", "xxx", 2)
				d.over("a", "yyyyyyyyy", 4)
			},
			[]string{"a", "0123456789"},
		},
		"what was overwritten and synced": {
			func(d disk) { d.write("a", "0123456789", 0); d.over("a", "xxx", 2); d.sync("a"); d.over("a", "yy", 3) },
			[]string{"a", "01xxx56789"},
		},
		"what was cut off": {
			func(d disk) {
				d.write("a", "0123456789", 0)
				d.sync("a")
				d.ok(os.Truncate(d.path("a"), 3))
				d.write("a", "else", 0)
			},
			[]string{"a", "0123456789"},
		},
		"what was emptied on opening": {
			func(d disk) {
				d.write("a", "old", os.O_SYNC)
				d.ok(os.WriteFile(d.path("a"), []byte("new"), 0o600))
			},
			[]string{"a", "old"},
		},
		"another file's sync keeps names and no data": {
			func(d disk) { d.write("a", "x", 0); d.write("b", "y", os.O_SYNC) },
			[]string{"a", "", "b", "y"},
		},
		"a folder's sync keeps names": {
			func(d disk) { d.ok(os.Mkdir(d.path("f"), 0o700)); d.write("f/a", "x", 0); d.sync("f") },
			[]string{"f", "/", "f/a", ""},
		},
		"a folder and what is in it": {
			func(d disk) { d.ok(os.MkdirAll(d.path("f/g"), 0o700)); d.write("f/g/a", "x", 0) },
			nil,
		},
		"unlinked": {
			func(d disk) { d.write("a", "x", os.O_SYNC); d.ok(os.Remove(d.path("a"))) },
			[]string{"a", "x"},
		},
		"unlinked and synced": {
			func(d disk) { d.write("a", "x", os.O_SYNC); d.ok(os.Remove(d.path("a"))); d.sync(".") },
			nil,
		},
		"a folder with all in it": {
			func(d disk) {
				d.ok(os.Mkdir(d.path("f"), 0o700))
				d.write("f/a", "x", os.O_SYNC)
				d.ok(os.RemoveAll(d.path("f")))
			},
			[]string{"f", "/", "f/a", "x"},
		},
		"renamed": {
			func(d disk) { d.write("a", "x", os.O_SYNC); d.ok(os.Rename(d.path("a"), d.path("b"))) },
			[]string{"a", "x"},
		},
		"renamed and synced": {
			func(d disk) { d.write("a", "x", os.O_SYNC); d.ok(os.Rename(d.path("a"), d.path("b"))); d.sync(".") },
			[]string{"b", "x"},
		},
		"replaced": {
			func(d disk) {
				d.write("a", "old", os.O_SYNC)
				d.write("a.tmp", "new", 0)
				d.ok(os.Rename(d.path("a.tmp"), d.path("a")))
			},
			[]string{"a", "old"},
		},
		"replaced and synced, the data by the rename": {
			func(d disk) {
				d.write("a", "old", os.O_SYNC)
				d.write("a.tmp", "new", 0)
				d.ok(os.Rename(d.path("a.tmp"), d.path("a")))
				d.sync(".")
			},
			[]string{"a", "new"},
		},
		"a folder that was renamed": {
			func(d disk) {
				d.ok(os.Mkdir(d.path("f"), 0o700))
				d.write("f/a", "x", os.O_SYNC)
				d.ok(os.Rename(d.path("f"), d.path("g")))
				d.write("g/b", "y", 0)
			},
			[]string{"f", "/", "f/a", "x"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := mount(t)
			test.do(d)
			d.Cut()
			d.has(test.want...)
			d.write("after", "works", os.O_SYNC)
			d.Cut()
			d.has(append(slices.Clone(test.want), "after", "works")...)
		})
	}
}

func TestNothingIsLostWithoutACut(t *testing.T) {
	t.Parallel()
	d := mount(t)
	d.ok(os.MkdirAll(d.path("f/g"), 0o700))
	d.write("f/g/a", "one", 0)
	d.write("f/g/a", " two", 0)
	d.over("f/g/a", "T", 4)
	d.ok(os.Rename(d.path("f/g/a"), d.path("b")))
	d.write("gone", "x", 0)
	d.ok(os.Remove(d.path("gone")))
	d.has("f", "/", "f/g", "/", "b", "one Two")
	if _, err := os.Stat(d.path("gone")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v for what is not there", err)
	}
}

// Whatever is done to one file, a cut gives what was there at its last sync.
func TestAnyWritesGoBackToTheLastSync(t *testing.T) {
	t.Parallel()
	d := mount(t)
	n := 0
	rapid.Check(t, func(r *rapid.T) {
		n++
		name := fmt.Sprintf("file-%d", n)
		d.write(name, "", os.O_SYNC)
		d.sync(name)
		synced, now := "", ""
		for range rapid.IntRange(1, 12).Draw(r, "steps") {
			switch rapid.IntRange(0, 3).Draw(r, "step") {
			case 0:
				text := rapid.StringMatching(`[a-z]{1,8}`).Draw(r, "text")
				d.write(name, text, 0)
				now += text
			case 1:
				text := rapid.StringMatching(`[A-Z]{1,8}`).Draw(r, "over")
				at := rapid.IntRange(0, len(now)).Draw(r, "at")
				d.over(name, text, int64(at))
				now = now[:at] + text + now[min(len(now), at+len(text)):]
			case 2:
				to := rapid.IntRange(0, len(now)+4).Draw(r, "size")
				d.ok(os.Truncate(d.path(name), int64(to)))
				now += strings.Repeat("\x00", max(0, to-len(now)))
				now = now[:to]
			case 3:
				d.sync(name)
				synced = now
			}
			if data, err := os.ReadFile(d.path(name)); err != nil || string(data) != now {
				r.Fatalf("it holds %q, want %q (%v)", data, now, err)
			}
		}
		d.Cut()
		if data, err := os.ReadFile(d.path(name)); err != nil || string(data) != synced {
			r.Fatalf("after the cut it holds %q, want %q (%v)", data, synced, err)
		}
		d.ok(os.Remove(d.path(name)))
		d.sync(".")
	})
}
