package ownership

// Rename gives a member another id.
func Rename(m *Members, id string) { m.id = id }

// ID is the id that a member has, once it does not run.
func ID(m *Members) string { return m.id }
