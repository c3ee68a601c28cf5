// Package proc reads what Linux says about a process.
package proc

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// Memory is what a process holds in RAM, in bytes.
type Memory struct {
	RSS  int64 `json:"rss"`  // now
	Peak int64 `json:"peak"` // the most since it began
}

// MemoryOf reads the memory of a process that runs.
func MemoryOf(pid int) (Memory, error) {
	f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return Memory{}, fmt.Errorf("read the memory of a process: %w", err)
	}
	defer f.Close()
	m, err := ParseStatus(f)
	if err != nil {
		return Memory{}, fmt.Errorf("read the memory of process %d: %w", pid, err)
	}
	return m, nil
}

// ParseStatus finds VmRSS and VmHWM in the text of /proc/<pid>/status. It is an error when one is missing: a process that has ended and
// was not waited for has neither.
func ParseStatus(r io.Reader) (Memory, error) {
	var m Memory
	fields := map[string]*int64{"VmRSS": &m.RSS, "VmHWM": &m.Peak}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		name, text, _ := strings.Cut(lines.Text(), ":")
		field, wanted := fields[name]
		if !wanted {
			continue
		}
		var err error
		if *field, err = kibibytes(text); err != nil {
			return Memory{}, fmt.Errorf("%s: %w", name, err)
		}
		delete(fields, name)
	}
	if err := lines.Err(); err != nil {
		return Memory{}, err
	}
	for name := range fields {
		return Memory{}, fmt.Errorf("no %s", name)
	}
	return m, nil
}

// kibibytes reads a size such as "  5120 kB" and gives bytes.
func kibibytes(text string) (int64, error) {
	number, unit, _ := strings.Cut(strings.TrimSpace(text), " ")
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || unit != "kB" {
		return 0, fmt.Errorf("%q is not a size in kB", text)
	}
	return n << 10, nil
}
