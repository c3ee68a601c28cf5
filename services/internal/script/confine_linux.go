package script

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// self is the program that runs, even where its file was replaced.
const self = "/proc/self/exe"

// clockTick is the unit of the times in /proc/<pid>/stat.
const clockTick = 10 * time.Millisecond

// confine takes from this process what scripts must not have: more memory than
// it has now and the given bytes, and anything new that is a file or a socket.
func confine(memory uint64) error {
	used, err := dataSize()
	if err != nil {
		return err
	}
	for what, limit := range map[int]uint64{
		unix.RLIMIT_DATA: used + memory, unix.RLIMIT_CORE: 0, unix.RLIMIT_FSIZE: 0, unix.RLIMIT_NOFILE: 0,
	} {
		if err := unix.Setrlimit(what, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
			return fmt.Errorf("limit %d: %w", what, err)
		}
	}
	return nil
}

// dataSize is what RLIMIT_DATA counts, as it is now.
func dataSize() (uint64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, fmt.Errorf("read how much memory is used: %w", err)
	}
	for line := range bytes.Lines(status) {
		if rest, ok := bytes.CutPrefix(line, []byte("VmData:")); ok {
			if fields := bytes.Fields(rest); len(fields) > 0 {
				kib, err := strconv.ParseUint(string(fields[0]), 10, 64)
				return kib << 10, err //nolint:wrapcheck // never fails, and says all
			}
		}
	}
	return 0, errors.New("the system does not say how much memory is used")
}

// tie makes the child end when the thread that starts it does, and keeps
// signals to our group from it.
func tie(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

// cpuTime is how long a process has computed, and false where it is gone.
func cpuTime(pid int) (time.Duration, bool) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, false
	}
	// The name in parentheses may hold anything; utime and stime are the 12th
	// and 13th after it.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0, false
	}
	user, err1 := strconv.ParseInt(string(fields[11]), 10, 64)
	system, err2 := strconv.ParseInt(string(fields[12]), 10, 64)
	return time.Duration(user+system) * clockTick, err1 == nil && err2 == nil
}
