package testkit

import (
	"fmt"
	"os"
	"strconv"

	"github.com/sluiceflow/sluice/services/internal/script"
)

// Script makes a test binary a child that runs scripts where it was started as
// one, and reports whether it was. TestMain asks it first in packages that run
// scripts.
func Script() bool {
	if len(os.Args) != 3 || os.Args[1] != script.Command {
		return false
	}
	memory, err := strconv.ParseUint(os.Args[2], 10, 64)
	if err == nil {
		err = script.Serve(os.Stdin, os.Stdout, memory)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return true
}
