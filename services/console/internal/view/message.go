package view

import (
	"encoding/hex"
	"encoding/json"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/sluiceflow/sluice/pkg/token"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// mark stands for what is not shown.
const mark = "********"

// MessageOf shows a message of NATS, what is set of it. Fields that hold secrets
// are known by debug_redact in proto/: of a token the first 8 characters are
// shown, of others nothing.
func MessageOf(m proto.Message) map[string]any { return fieldsOf(m.ProtoReflect()) }

func fieldsOf(m protoreflect.Message) map[string]any {
	out := map[string]any{}
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		out[string(fd.Name())] = fieldOf(fd, v)
		return true
	})
	return out
}

func fieldOf(fd protoreflect.FieldDescriptor, v protoreflect.Value) any {
	switch {
	case isSecret(fd) && fd.Kind() == protoreflect.StringKind && fd.Name() == "token":
		return token.Prefix(v.String())
	case isSecret(fd):
		return mark
	case fd.IsMap():
		out := map[string]any{}
		v.Map().Range(func(key protoreflect.MapKey, value protoreflect.Value) bool {
			out[key.String()] = valueOf(fd.MapValue(), value)
			return true
		})
		return out
	case fd.IsList():
		out := make([]any, v.List().Len())
		for i := range out {
			out[i] = valueOf(fd, v.List().Get(i))
		}
		return out
	}
	return valueOf(fd, v)
}

func isSecret(fd protoreflect.FieldDescriptor) bool {
	options, ok := fd.Options().(*descriptorpb.FieldOptions)
	return ok && options.GetDebugRedact()
}

func valueOf(fd protoreflect.FieldDescriptor, v protoreflect.Value) any {
	switch value := v.Interface().(type) {
	case protoreflect.Message:
		return fieldsOf(value)
	case protoreflect.EnumNumber:
		if named := fd.Enum().Values().ByNumber(value); named != nil {
			return string(named.Name())
		}
		return value
	case []byte:
		return bytesOf(string(fd.Name()), value)
	default:
		return value
	}
}

// bytesOf shows bytes as what they are: digests in hexadecimal, a plan as a
// plan, JSON as it is, and anything else as bytes that nobody can read.
func bytesOf(name string, data []byte) any {
	if strings.HasSuffix(name, "digest") {
		return hex.EncodeToString(data)
	}
	if name == "plan" {
		plan := &sluicev1.Plan{}
		if proto.Unmarshal(data, plan) == nil {
			return PlanOf(plan)
		}
	}
	if json.Valid(data) {
		return json.RawMessage(data)
	}
	return Masked(data)
}

// shown is how many characters of a row that may be a token are shown.
const (
	shown   = 8
	maxText = 16
)

// Masked returns a copy of bytes that nobody can read, in which of each row of
// more than 16 characters that tokens are made of only the first 8 are left: in
// a message that was cut or is none of ours a token may stand anywhere.
func Masked(data []byte) []byte {
	out := make([]byte, len(data))
	copy(out, data)
	for i := 0; i < len(out); {
		end := i
		for end < len(out) && inToken(out[end]) {
			end++
		}
		if end-i > maxText {
			for j := i + shown; j < end; j++ {
				out[j] = '*'
			}
		}
		i = end + 1
	}
	return out
}

func inToken(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}
