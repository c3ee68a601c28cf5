package flow

// Listens is when to ask again whether the item's worker was heard.
func (it *Item) Listens() int64 { return it.listen }
