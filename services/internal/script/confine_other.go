//go:build !linux

package script

import (
	"os"
	"os/exec"
	"time"
)

// self is the program that runs.
var self, _ = os.Executable() //nolint:gochecknoglobals // a constant where there is /proc

// confine cannot limit memory here: only Linux counts what a Go program uses.
func confine(uint64) error { return nil }

func tie(*exec.Cmd) {}

// cpuTime is not known here: time by the clock stands for it.
func cpuTime(int) (time.Duration, bool) { return 0, false }
