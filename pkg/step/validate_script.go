package step

import (
	"slices"
	"strings"
)

// maxScript is how many bytes a script may have.
const maxScript = 64 << 10

// scripts looks at the scripts from outside: whether they compile is for who runs
// them to say.
func (v *validation) scripts(d Definition) {
	if d.Type == KindScript {
		v.check(d.Script != nil, "script", "is required for a step of type script")
		v.check(d.HTTP == nil, "http", "is for steps of type sync and async only")
	} else {
		v.check(d.Script == nil, "script", "is for steps of type script only")
	}
	v.script("script", d.Script)
	v.script("predicate", d.Predicate)
}

func (v *validation) script(field string, s *Script) {
	if s == nil {
		return
	}
	v.check(slices.Contains([]string{"cel", "lua", "ale"}, s.Language), field+".language", "must be cel, lua or ale")
	v.check(strings.TrimSpace(s.Script) != "", field+".script", "is required")
	v.check(len(s.Script) <= maxScript, field+".script", "has at most %d bytes", maxScript)
}
