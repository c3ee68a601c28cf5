package testkit

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Blocks returns the files that hold the messages of a stream in the store of a
// NATS server, the oldest first.
func Blocks(tb testing.TB, store, stream string) []string {
	tb.Helper()
	files, err := filepath.Glob(filepath.Join(store, "jetstream", "$G", "streams", stream, "msgs", "*.blk"))
	if err != nil || len(files) == 0 {
		tb.Fatalf("no blocks of %s in %s: %v", stream, store, err)
	}
	number := func(file string) int {
		n, err := strconv.Atoi(strings.TrimSuffix(filepath.Base(file), ".blk"))
		if err != nil {
			tb.Fatal(err)
		}
		return n
	}
	slices.SortFunc(files, func(a, b string) int { return number(a) - number(b) })
	return files
}

// Size is how many bytes a file has.
func Size(tb testing.TB, file string) int64 {
	tb.Helper()
	info, err := os.Stat(file)
	if err != nil {
		tb.Fatal(err)
	}
	return info.Size()
}

// FlipBit changes one bit, from 0, of the byte of a file that stands at offset,
// as a bad disk would.
func FlipBit(tb testing.TB, file string, offset int64, bit int) {
	tb.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], offset); err != nil {
		tb.Fatal(err)
	}
	b[0] ^= 1 << bit
	if _, err := f.WriteAt(b[:], offset); err != nil {
		tb.Fatal(err)
	}
}

// Record is where a message stands in a file of a NATS server's store, by the
// offsets of its parts.
type Record struct {
	File string
	// Head is the record's length, the sequence, the time and the subject's
	// length: 22 bytes.
	Head    int64
	Subject int64
	// HeaderLength is 4 bytes that no checksum covers. Without headers it is
	// where Data is, and so is Headers.
	HeaderLength int64
	Headers      int64
	Data         int64
	Sum          int64 // 8 bytes
	End          int64
}

// Sizes within a record.
const (
	recordHead    = 22
	recordSum     = 8
	headersBit    = 1 << 31
	headerLengths = 4
)

// RecordOf finds the message with a sequence in the store of a NATS server that
// does not run.
func RecordOf(tb testing.TB, store, stream string, sequence uint64) Record {
	tb.Helper()
	for _, file := range Blocks(tb, store, stream) {
		r, ok := find(tb, file, func(_ Record, is uint64) bool { return is == sequence })
		if ok {
			return r
		}
	}
	tb.Fatalf("sequence %d is not in the files of %s", sequence, stream)
	return Record{}
}

// RecordAt finds the message that stands at an offset of a file, where no server
// runs that has it.
func RecordAt(tb testing.TB, file string, offset int64) Record {
	tb.Helper()
	r, ok := find(tb, file, func(r Record, _ uint64) bool { return offset < r.End })
	if !ok {
		tb.Fatalf("no message is at %d of %s", offset, file)
	}
	return r
}

// find returns the first record of a file that is wanted, by its place and its
// sequence.
func find(tb testing.TB, file string, wanted func(r Record, sequence uint64) bool) (Record, bool) {
	tb.Helper()
	bytes, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	for at := 0; at+recordHead <= len(bytes); {
		length := binary.LittleEndian.Uint32(bytes[at:])
		r := Record{File: file, Head: int64(at), Subject: int64(at + recordHead)}
		r.HeaderLength = r.Subject + int64(binary.LittleEndian.Uint16(bytes[at+20:]))
		r.Headers, r.Data = r.HeaderLength, r.HeaderLength
		if length&headersBit != 0 {
			r.Headers += headerLengths
			r.Data = r.Headers + int64(binary.LittleEndian.Uint32(bytes[r.HeaderLength:]))
		}
		at += int(length &^ headersBit)
		r.End, r.Sum = int64(at), int64(at-recordSum)
		if wanted(r, binary.LittleEndian.Uint64(bytes[r.Head+4:])) {
			return r, true
		}
	}
	return Record{}, false
}
