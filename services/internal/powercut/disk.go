//go:build linux

package powercut

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
)

// disk is a folder and the way back to what of it is synced. Changes are made at
// once, and what undoes them is kept until they are synced.
type disk struct {
	root  string
	trash string // what was unlinked, while that may be undone

	mu      sync.Mutex
	files   map[uint64]*unsynced // by inode number
	folders []change
	trashed int
}

// unsynced is a file with changes that are not synced.
type unsynced struct {
	file *os.File // of its own, so that it is found whatever its name is
	size int64    // as synced
	old  []piece  // what was overwritten, in order
}

type piece struct {
	offset int64
	data   []byte
}

// change is one in a folder. Undo takes it back; keep makes it last.
type change struct {
	undo func() error
	keep func() error
}

func newDisk(dir string) (*disk, error) {
	d := &disk{root: filepath.Join(dir, "disk"), trash: filepath.Join(dir, "trash"), files: map[uint64]*unsynced{}}
	for _, folder := range []string{d.root, d.trash} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return nil, fmt.Errorf("make a disk: %w", err)
		}
	}
	return d, nil
}

func inode(f *os.File) (uint64, int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, 0, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, errors.New("a file without an inode")
	}
	return stat.Ino, info.Size(), nil
}

// dirty returns the way back of a file that is about to change, and its size.
func (d *disk) dirty(f *os.File) (*unsynced, int64, error) {
	number, size, err := inode(f)
	if err != nil {
		return nil, 0, err
	}
	u := d.files[number]
	if u == nil {
		own, err := os.OpenFile("/proc/self/fd/"+strconv.Itoa(int(f.Fd())), os.O_RDWR, 0)
		if err != nil {
			return nil, 0, err
		}
		u = &unsynced{file: own, size: size}
		d.files[number] = u
	}
	return u, size, nil
}

// save keeps what of the synced file stands between two offsets.
func (u *unsynced) save(from, to, size int64) error {
	to = min(to, size, u.size)
	if from >= to {
		return nil
	}
	data := make([]byte, to-from)
	if _, err := u.file.ReadAt(data, from); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	u.old = append(u.old, piece{from, data})
	return nil
}

// write writes and, where synced is true, syncs.
func (d *disk) write(f *os.File, data []byte, offset int64, synced bool) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	u, size, err := d.dirty(f)
	if err == nil {
		err = u.save(offset, offset+int64(len(data)), size)
	}
	if err != nil {
		return 0, err
	}
	n, err := u.file.WriteAt(data, offset)
	if err == nil && synced {
		err = d.sync(f)
	}
	return n, err
}

func (d *disk) truncate(f *os.File, to int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	u, size, err := d.dirty(f)
	if err == nil {
		err = u.save(to, size, size)
	}
	if err != nil {
		return err
	}
	return u.file.Truncate(to)
}

// fsync makes a file and all that happened in folders last.
func (d *disk) fsync(f *os.File) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sync(f)
}

func (d *disk) sync(f *os.File) error {
	number, _, err := inode(f)
	if err != nil {
		return err
	}
	return errors.Join(d.settle(number), d.commit())
}

// settle makes the data of a file last.
func (d *disk) settle(number uint64) error {
	u := d.files[number]
	if u == nil {
		return nil
	}
	delete(d.files, number)
	return u.file.Close()
}

// commit makes what happened in folders last.
func (d *disk) commit() error {
	var errs []error
	for _, c := range d.folders {
		if c.keep != nil {
			errs = append(errs, c.keep())
		}
	}
	d.folders = nil
	return errors.Join(errs...)
}

// syncFolder is an fsync of a folder.
func (d *disk) syncFolder() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.commit()
}

// syncAll makes everything last.
func (d *disk) syncAll() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	for number := range d.files {
		errs = append(errs, d.settle(number))
	}
	return errors.Join(append(errs, d.commit())...)
}

// change makes a change in a folder and remembers the way back.
func (d *disk) change(do func() error, c change) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := do(); err != nil {
		return err
	}
	d.folders = append(d.folders, c)
	return nil
}

// create opens a file that may be new.
func (d *disk) create(path string, flags int, mode os.FileMode) (*os.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, err := os.Lstat(path)
	isNew := errors.Is(err, os.ErrNotExist)
	f, err := os.OpenFile(path, flags|os.O_CREATE, mode)
	if err == nil && isNew {
		d.folders = append(d.folders, change{undo: func() error { return os.Remove(path) }})
	}
	return f, err
}

// unlink moves a file away until that is synced.
func (d *disk) unlink(path string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.discard(path)
}

func (d *disk) discard(path string) error {
	d.trashed++
	away := filepath.Join(d.trash, strconv.Itoa(d.trashed))
	if err := os.Rename(path, away); err != nil {
		return err
	}
	d.folders = append(d.folders, change{
		undo: func() error { return os.Rename(away, path) },
		keep: func() error { return os.RemoveAll(away) },
	})
	return nil
}

func (d *disk) rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	moved, err := os.Lstat(from)
	if err != nil {
		return err
	}
	if there, err := os.Lstat(to); err == nil {
		if there.IsDir() != moved.IsDir() {
			return syscall.ENOTDIR
		}
		if stat, ok := moved.Sys().(*syscall.Stat_t); ok {
			if err := d.settle(stat.Ino); err != nil {
				return err
			}
		}
		if err := d.discard(to); err != nil {
			return err
		}
	}
	if err := os.Rename(from, to); err != nil {
		return err
	}
	d.folders = append(d.folders, change{undo: func() error { return os.Rename(to, from) }})
	return nil
}

// cut forgets all that is not synced.
func (d *disk) cut() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	for _, u := range d.files {
		errs = append(errs, u.revert())
	}
	d.files = map[uint64]*unsynced{}
	for _, c := range slices.Backward(d.folders) {
		errs = append(errs, c.undo())
	}
	d.folders = nil
	return errors.Join(errs...)
}

func (u *unsynced) revert() error {
	var errs []error
	for _, p := range slices.Backward(u.old) {
		_, err := u.file.WriteAt(p.data, p.offset)
		errs = append(errs, err)
	}
	return errors.Join(append(errs, u.file.Truncate(u.size), u.file.Close())...)
}
