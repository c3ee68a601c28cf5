//go:build linux

package powercut

import (
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// unmountTimeout is how long processes that were killed may take to let go.
const unmountTimeout = 20 * time.Second

// FS is a mounted file system.
type FS struct {
	// Dir is where it is mounted.
	Dir string

	t      testing.TB
	disk   *disk
	server *fuse.Server
}

// Mount mounts an empty file system until the test ends. It skips the test where
// the machine has no FUSE.
func Mount(tb testing.TB) *FS {
	tb.Helper()
	if _, err := os.Stat("/dev/fuse"); err != nil {
		tb.Skipf("no power cuts on this machine: %v", err)
	}
	d, err := newDisk(tb.TempDir())
	if err != nil {
		tb.Fatal(err)
	}
	f := &FS{Dir: tb.TempDir(), t: tb, disk: d}
	if err := f.mount(); err != nil {
		tb.Skipf("no power cuts on this machine: mount a FUSE file system: %v", err)
	}
	tb.Cleanup(func() {
		if f.server != nil {
			f.unmount()
		}
	})
	return f
}

func (f *FS) mount() error {
	var stat syscall.Stat_t
	if err := syscall.Stat(f.disk.root, &stat); err != nil {
		return err
	}
	root := &fs.LoopbackRoot{Path: f.disk.root, Dev: stat.Dev}
	top := &node{LoopbackNode: fs.LoopbackNode{RootData: root}, disk: f.disk}
	root.RootNode = top
	server, err := fs.Mount(f.Dir, top, &fs.Options{
		MountOptions: fuse.MountOptions{DirectMount: true, FsName: "powercut", Name: "powercut"},
	})
	f.server = server
	return err
}

func (f *FS) unmount() {
	f.t.Helper()
	deadline := time.Now().Add(unmountTimeout)
	for {
		err := f.server.Unmount()
		if err == nil {
			f.server = nil
			return
		}
		if time.Now().After(deadline) {
			f.t.Fatalf("unmount %s: %v", f.Dir, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Cut forgets all that was not synced. Whoever used the file system must have
// been killed before.
func (f *FS) Cut() {
	f.t.Helper()
	f.unmount()
	if err := f.disk.cut(); err != nil {
		f.t.Fatalf("forget what was not synced: %v", err)
	}
	if err := f.mount(); err != nil {
		f.t.Fatalf("mount %s again: %v", f.Dir, err)
	}
}

// Sync makes all that was written until now last, as the kernel does by itself
// after a while.
func (f *FS) Sync() {
	f.t.Helper()
	if err := f.disk.syncAll(); err != nil {
		f.t.Fatalf("sync everything: %v", err)
	}
}
