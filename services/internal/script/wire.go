package script

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// What a child is asked for.
const (
	opWarm  = "warm"  // start a language
	opCheck = "check" // compile
	opRun   = "run"   // compile, and run
)

// request is a frame to a child.
type request struct {
	Op      string                     `json:"op"`
	Program Program                    `json:"program"`
	Inputs  map[string]json.RawMessage `json:"inputs,omitempty"`
}

// response is the frame that answers it.
type response struct {
	// Value is the result of a script, as JSON.
	Value json.RawMessage `json:"value,omitempty"`
	Truth bool            `json:"truth,omitempty"`
	// Error is why the script failed; empty where it did not.
	Error string `json:"error,omitempty"`
	Line  int    `json:"line,omitempty"`
}

// maxMessage is how long the message of a script's failure may be.
const maxMessage = 1 << 10

// maxAnswer is how long the frame of an answer may be: a result, and what
// stands around it.
const maxAnswer = MaxOutput + 16*maxMessage

// maxQuestion is how long a frame to a child may be: more than an invocation may
// carry.
const maxQuestion = 64 << 20

var errFrame = errors.New("a frame is too long")

// writeFrame writes a message after its length.
func writeFrame(w io.Writer, message any) error {
	body, err := json.Marshal(message)
	if err != nil {
		return fmt.Errorf("write a frame: %w", err)
	}
	if len(body) > maxQuestion {
		return errFrame
	}
	frame := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(body)), uint32(len(body))) //nolint:gosec // bounded above
	if _, err := w.Write(append(frame, body...)); err != nil {
		return fmt.Errorf("write a frame: %w", err)
	}
	return nil
}

// readFrame reads a message that is at most limit bytes long.
func readFrame(r io.Reader, limit uint32, message any) error {
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return fmt.Errorf("read a frame: %w", err)
	}
	n := binary.BigEndian.Uint32(length[:])
	if n > limit {
		return errFrame
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return fmt.Errorf("read a frame: %w", err)
	}
	if err := json.Unmarshal(body, message); err != nil {
		return fmt.Errorf("read a frame: %w", err)
	}
	return nil
}
