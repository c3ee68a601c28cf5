package main

import (
	"io"
	"strings"
	"testing"
)

// What makes no sense is refused before anything is started.
func TestRefusedArguments(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"nonsense":           `no command "nonsense"`,
		"-sections fast,all": `no section "all"`,
		"-sections ":         `no section ""`,
		"-c 1,x":             `"x" is not a number of flows`,
		"-c 0":               `"0" is not a number of flows`,
		"-seconds 0":         "at least 1",
		"-flows 1":           "-flows is at least 2",
		"waiting -flows 1":   "-flows is at least 2",
	} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			err := realMain(t.Context(), strings.Split(args, " "), io.Discard, io.Discard)
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q", err, want)
			}
		})
	}
}
