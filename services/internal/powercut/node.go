//go:build linux

package powercut

import (
	"context"
	"os"
	"path/filepath"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// node is a file or folder. What it does not do itself changes nothing that is
// lost in a cut.
type node struct {
	fs.LoopbackNode

	disk *disk
}

var (
	_ fs.NodeWrapChilder    = (*node)(nil)
	_ fs.NodeCreater        = (*node)(nil)
	_ fs.NodeOpener         = (*node)(nil)
	_ fs.NodeMkdirer        = (*node)(nil)
	_ fs.NodeRmdirer        = (*node)(nil)
	_ fs.NodeUnlinker       = (*node)(nil)
	_ fs.NodeRenamer        = (*node)(nil)
	_ fs.NodeSetattrer      = (*node)(nil)
	_ fs.NodeOpendirHandler = (*node)(nil)
	_ fs.NodeLinker         = (*node)(nil)
	_ fs.NodeSymlinker      = (*node)(nil)
	_ fs.NodeMknoder        = (*node)(nil)
	_ fs.NodeTmpfiler       = (*node)(nil)
	_ fs.NodeCopyFileRanger = (*node)(nil)
)

func (n *node) path() string { return filepath.Join(n.RootData.Path, n.Path(n.Root())) }

// WrapChild makes the children of a node of its kind.
func (n *node) WrapChild(context.Context, fs.InodeEmbedder) fs.InodeEmbedder {
	return &node{LoopbackNode: fs.LoopbackNode{RootData: n.RootData}, disk: n.disk}
}

const syncFlags = syscall.O_SYNC | syscall.O_DSYNC

// handle makes a handle. Sync is the disk's business, not that of the folder below.
func (n *node) handle(f *os.File, flags uint32) (*handle, error) {
	h := &handle{file: f, disk: n.disk, sync: flags&syncFlags != 0}
	if flags&syscall.O_TRUNC != 0 {
		return h, n.disk.truncate(f, 0)
	}
	return h, nil
}

// below are the flags that the folder below is opened with.
func below(flags uint32) int {
	out := int(flags) &^ (syncFlags | syscall.O_APPEND | syscall.O_TRUNC | fuse.FMODE_EXEC)
	if out&syscall.O_ACCMODE == syscall.O_WRONLY {
		out = out&^syscall.O_ACCMODE | syscall.O_RDWR
	}
	return out
}

func (n *node) Open(_ context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	f, err := os.OpenFile(n.path(), below(flags), 0)
	if err != nil {
		return nil, 0, fs.ToErrno(err)
	}
	h, err := n.handle(f, flags)
	return h, 0, fs.ToErrno(err)
}

func (n *node) Create(
	ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut,
) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	f, err := n.disk.create(filepath.Join(n.path(), name), below(flags), os.FileMode(mode))
	if err != nil {
		return nil, nil, 0, fs.ToErrno(err)
	}
	h, err := n.handle(f, flags)
	if err != nil {
		return nil, nil, 0, fs.ToErrno(err)
	}
	child, errno := n.Lookup(ctx, name, out)
	return child, h, 0, errno
}

func (n *node) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	path := filepath.Join(n.path(), name)
	err := n.disk.change(func() error { return os.Mkdir(path, os.FileMode(mode)) },
		change{undo: func() error { return os.Remove(path) }})
	if err != nil {
		return nil, fs.ToErrno(err)
	}
	return n.Lookup(ctx, name, out)
}

func (n *node) Rmdir(_ context.Context, name string) syscall.Errno {
	path := filepath.Join(n.path(), name)
	info, err := os.Stat(path)
	if err == nil {
		err = n.disk.change(func() error { return syscall.Rmdir(path) },
			change{undo: func() error { return os.Mkdir(path, info.Mode().Perm()) }})
	}
	return fs.ToErrno(err)
}

func (n *node) Unlink(_ context.Context, name string) syscall.Errno {
	return fs.ToErrno(n.disk.unlink(filepath.Join(n.path(), name)))
}

func (n *node) Rename(_ context.Context, name string, parent fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	to, ok := parent.(*node)
	if !ok || flags != 0 {
		return syscall.ENOTSUP
	}
	return fs.ToErrno(n.disk.rename(filepath.Join(n.path(), name), filepath.Join(to.path(), newName)))
}

func (n *node) Setattr(ctx context.Context, fh fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if size, ok := in.GetSize(); ok {
		if err := n.resize(fh, int64(size)); err != nil { //nolint:gosec // sizes fit
			return fs.ToErrno(err)
		}
		in.Valid &^= fuse.FATTR_SIZE
	}
	return n.LoopbackNode.Setattr(ctx, nil, in, out)
}

func (n *node) resize(fh fs.FileHandle, size int64) error {
	if h, ok := fh.(*handle); ok {
		return n.disk.truncate(h.file, size)
	}
	f, err := os.OpenFile(n.path(), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return n.disk.truncate(f, size)
}

// OpendirHandle opens a folder, so that it can be listed and synced.
func (n *node) OpendirHandle(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	list, errno := fs.NewLoopbackDirStream(n.path())
	if errno != 0 {
		return nil, 0, errno
	}
	entries, ok := list.(entries)
	if !ok {
		list.Close()
		return nil, 0, syscall.ENOTSUP
	}
	return &folder{entries, n.disk}, 0, 0
}

// entries is what can be done with the list of a folder.
type entries interface {
	fs.FileReaddirenter
	fs.FileSeekdirer
	fs.FileReleasedirer
}

// folder is an open folder.
type folder struct {
	entries

	disk *disk
}

// Fsyncdir makes what happened in folders last.
func (f *folder) Fsyncdir(context.Context, uint32) syscall.Errno {
	return fs.ToErrno(f.disk.syncFolder())
}

// Link is not modelled.
func (*node) Link(context.Context, fs.InodeEmbedder, string, *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return nil, syscall.ENOTSUP
}

// Symlink is not modelled.
func (*node) Symlink(context.Context, string, string, *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return nil, syscall.ENOTSUP
}

// Mknod is not modelled.
func (*node) Mknod(context.Context, string, uint32, uint32, *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return nil, syscall.ENOTSUP
}

// Tmpfile is not modelled.
func (*node) Tmpfile(context.Context, uint32, uint32, *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	return nil, nil, 0, syscall.ENOTSUP
}

// CopyFileRange is not modelled: the kernel then reads and writes.
func (*node) CopyFileRange(
	context.Context, fs.FileHandle, uint64, *fs.Inode, fs.FileHandle, uint64, uint64, uint64,
) (uint32, syscall.Errno) {
	return 0, syscall.ENOTSUP
}

// handle is an open file.
type handle struct {
	file *os.File
	disk *disk
	sync bool
}

var (
	_ fs.FileReader     = (*handle)(nil)
	_ fs.FileWriter     = (*handle)(nil)
	_ fs.FileFsyncer    = (*handle)(nil)
	_ fs.FileFsyncdirer = (*folder)(nil)
	_ fs.FileFlusher    = (*handle)(nil)
	_ fs.FileReleaser   = (*handle)(nil)
	_ fs.FileGetattrer  = (*handle)(nil)
)

func (h *handle) Read(_ context.Context, dest []byte, offset int64) (fuse.ReadResult, syscall.Errno) {
	return fuse.ReadResultFd(h.file.Fd(), offset, len(dest)), 0
}

func (h *handle) Write(_ context.Context, data []byte, offset int64) (uint32, syscall.Errno) {
	n, err := h.disk.write(h.file, data, offset, h.sync)
	return uint32(n), fs.ToErrno(err) //nolint:gosec // a write is far smaller
}

// Fsync makes the file last.
func (h *handle) Fsync(context.Context, uint32) syscall.Errno {
	return fs.ToErrno(h.disk.fsync(h.file))
}

// Flush comes with each close, which syncs nothing.
func (*handle) Flush(context.Context) syscall.Errno { return 0 }

func (h *handle) Release(context.Context) syscall.Errno { return fs.ToErrno(h.file.Close()) }

func (h *handle) Getattr(_ context.Context, out *fuse.AttrOut) syscall.Errno {
	var stat syscall.Stat_t
	if err := syscall.Fstat(int(h.file.Fd()), &stat); err != nil {
		return fs.ToErrno(err)
	}
	out.FromStat(&stat)
	return 0
}
