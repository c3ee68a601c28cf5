package index

import (
	"context"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/sluiceflow/sluice/pkg/subject"
)

// ErrCursor means that a cursor is none that a page ended with.
var ErrCursor = errors.New("not a cursor of this list")

// A Row is what the index knows of a flow.
type Row struct {
	ID        string
	Status    string
	Created   time.Time
	Completed time.Time // zero while it runs
	Error     string
	Sequence  uint64 // of the commit that it is from
}

// A Label is a label that a flow must have.
type Label struct {
	Name  string
	Value string
	Any   bool // any value will do
}

// A Query selects flows. What is empty selects all.
type Query struct {
	Statuses []string // one of them
	Labels   []Label  // all of them
	Goals    []string // all of them
	IDPrefix string
	Since    time.Time // created then or later
	Until    time.Time // created before
	Children bool      // those that have a parent too
	Limit    int
	Cursor   string
	Total    bool // count all that is selected
}

// A Page is a part of the list, newest first.
type Page struct {
	Rows  []Row
	Next  string // cursor of the page that follows; empty at the end
	Total int64  // where it was asked for
}

// List returns one page. It returns [ErrCursor] for a cursor that is none.
func (x *Index) List(ctx context.Context, q Query) (*Page, error) {
	s := q.selection()
	page := &Page{Rows: []Row{}}
	if q.Total {
		statement := "SELECT count(*) " + s.from + s.where()
		if err := x.read.QueryRowContext(ctx, statement, s.args...).Scan(&page.Total); err != nil {
			return nil, fmt.Errorf("count flows: %w", err)
		}
	}
	if q.Cursor != "" {
		created, id, err := parseCursor(q.Cursor)
		if err != nil {
			return nil, err
		}
		s.and("("+s.key+".created, "+s.key+".id) < (?, ?)", created, id)
	}
	statement := "SELECT f.id, f.status, f.created, f.completed, f.error, f.sequence " + s.from + s.where() + //nolint:gosec // only texts of this file are put together
		" ORDER BY " + s.key + ".created DESC, " + s.key + ".id DESC LIMIT ?"
	rows, err := x.read.QueryContext(ctx, statement, append(s.args, q.Limit+1)...)
	if err != nil {
		return nil, fmt.Errorf("list flows: %w", err)
	}
	defer rows.Close() // Err tells what went wrong
	for rows.Next() {
		row, err := scan(rows)
		if err != nil {
			return nil, err
		}
		page.Rows = append(page.Rows, row)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list flows: %w", err)
	}
	if len(page.Rows) > q.Limit {
		page.Rows = page.Rows[:q.Limit]
		page.Next = cursorOf(page.Rows[q.Limit-1])
	}
	return page, nil
}

// Get returns what the index knows of one flow, and whether it knows it.
func (x *Index) Get(ctx context.Context, id string) (Row, bool, error) {
	row, err := scan(x.read.QueryRowContext(ctx, "SELECT f.id, f.status, f.created, f.completed, f.error, f.sequence FROM flows f WHERE f.id = ?", id))
	if errors.Is(err, sql.ErrNoRows) {
		return Row{}, false, nil
	}
	return row, err == nil, err
}

func scan(from interface{ Scan(dest ...any) error }) (Row, error) {
	var row Row
	var created, completed, sequence int64
	if err := from.Scan(&row.ID, &row.Status, &created, &completed, &row.Error, &sequence); err != nil {
		return Row{}, fmt.Errorf("read a flow of the index: %w", err)
	}
	row.Sequence = uint64(sequence) //nolint:gosec // it was written from one
	row.Created = time.Unix(0, created).UTC()
	if completed != 0 {
		row.Completed = time.Unix(0, completed).UTC()
	}
	return row, nil
}

// A selection is a query's FROM and WHERE.
type selection struct {
	from  string
	key   string // the table that leads: its created and id are the order
	terms []string
	args  []any
}

func (s *selection) and(term string, args ...any) {
	s.terms = append(s.terms, term)
	s.args = append(s.args, args...)
}

func (s *selection) where() string {
	if len(s.terms) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(s.terms, " AND ")
}

func (q Query) selection() *selection {
	s := &selection{from: "FROM flows f", key: "f"}
	for i, tag := range q.tags() {
		if i == 0 { // the cross join makes SQLite start from the tag
			s.from, s.key = "FROM tags t CROSS JOIN flows f ON f.id = t.id AND f.created = t.created", "t"
			s.and("t.tag = ?", tag)
			continue
		}
		s.and("EXISTS (SELECT 1 FROM tags o WHERE o.tag = ? AND o.created = f.created AND o.id = f.id)", tag)
	}
	if !q.Children {
		s.and("f.child = 0")
	}
	if len(q.Statuses) > 0 {
		args := make([]any, len(q.Statuses))
		for i, status := range q.Statuses {
			args[i] = status
		}
		s.and("f.status IN (?"+strings.Repeat(", ?", len(args)-1)+")", args...)
	}
	if q.IDPrefix != "" { // ids are ASCII: DEL sorts after all that they hold
		s.and("f.id >= ? AND f.id < ?", q.IDPrefix, q.IDPrefix+"\x7f")
	}
	if !q.Since.IsZero() {
		s.and(s.key+".created >= ?", q.Since.UnixNano())
	}
	if !q.Until.IsZero() {
		s.and(s.key+".created < ?", q.Until.UnixNano())
	}
	return s
}

func (q Query) tags() []string {
	var tags []string
	for _, l := range q.Labels {
		if l.Any {
			tags = append(tags, labelTag(l.Name))
		} else {
			tags = append(tags, pairTag(l.Name, l.Value))
		}
	}
	for _, goal := range q.Goals {
		tags = append(tags, goalTag(goal))
	}
	return tags
}

func cursorOf(row Row) string {
	return base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatInt(row.Created.UnixNano(), 10) + " " + row.ID))
}

func parseCursor(cursor string) (created int64, id string, err error) {
	text, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil {
		return 0, "", ErrCursor
	}
	number, id, ok := strings.Cut(string(text), " ")
	if created, err = strconv.ParseInt(number, 10, 64); err != nil || !ok || subject.CheckID(id) != nil {
		return 0, "", ErrCursor
	}
	return created, id, nil
}
