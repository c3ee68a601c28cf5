package console

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/sluiceflow/sluice/services/console/internal/index"
	"github.com/sluiceflow/sluice/services/console/internal/view"
)

const (
	defaultPage = 100
	maxPage     = 1000
)

type flowEntry struct {
	ID     string      `json:"id"`
	Digest view.Digest `json:"digest"`
}

type flowList struct {
	Flows []flowEntry `json:"flows"`
	Count int         `json:"count"` // of this page
	Total *int64      `json:"total,omitempty"`
	Next  string      `json:"next,omitempty"`
}

func (c *Console) listFlows(ec echo.Context) error {
	if err := onlyQuery(ec, "status", "label", "goal", "since", "until", "limit", "cursor", "id_prefix", "total", "children"); err != nil {
		return err
	}
	q, err := parseList(ec.QueryParams())
	if err != nil {
		return err
	}
	found, err := c.index.List(ec.Request().Context(), q)
	if errors.Is(err, index.ErrCursor) {
		return wrong("cursor", "must be the next of a page")
	}
	if err != nil {
		return err
	}
	list := flowList{Flows: make([]flowEntry, len(found.Rows)), Count: len(found.Rows), Next: found.Next}
	for i, row := range found.Rows {
		list.Flows[i] = flowEntry{row.ID, digestOf(row)}
	}
	if q.Total {
		list.Total = &found.Total
	}
	return answer(ec, http.StatusOK, list)
}

func digestOf(row index.Row) view.Digest {
	return view.Digest{Status: row.Status, CreatedAt: row.Created, CompletedAt: row.Completed, Error: row.Error}
}

func parseList(values url.Values) (index.Query, error) {
	q := index.Query{
		Limit: defaultPage, Cursor: values.Get("cursor"), IDPrefix: values.Get("id_prefix"),
		Goals: slices.DeleteFunc(values["goal"], func(goal string) bool { return goal == "" }),
	}
	var err error
	if q.Statuses, err = parseStatuses(values["status"]); err != nil {
		return q, err
	}
	for _, label := range values["label"] {
		q.Labels = append(q.Labels, parseLabel(label))
	}
	if q.Since, err = parseTime(values, "since"); err != nil {
		return q, err
	}
	if q.Until, err = parseTime(values, "until"); err != nil {
		return q, err
	}
	if text := values.Get("limit"); text != "" {
		if q.Limit, err = strconv.Atoi(text); err != nil || q.Limit < 1 || q.Limit > maxPage {
			return q, wrong("limit", "must be a whole number from 1 to %d", maxPage)
		}
	}
	if q.Total, err = parseBool(values, "total"); err != nil {
		return q, err
	}
	q.Children, err = parseBool(values, "children")
	return q, err
}

// parseStatuses reads statuses that are repeated or separated by commas.
func parseStatuses(texts []string) ([]string, error) {
	known := []string{"active", "paused", "completed", "failed", "canceled"}
	var out []string
	for _, text := range texts {
		for status := range strings.SplitSeq(text, ",") {
			switch status = strings.TrimSpace(status); {
			case status == "":
			case slices.Contains(known, status):
				out = append(out, status)
			default:
				return nil, wrong("status", "is %q, and must be one of %s", status, strings.Join(known, ", "))
			}
		}
	}
	return out, nil
}

// parseLabel reads name=value or name:value, or a name alone for any value.
func parseLabel(text string) index.Label {
	for _, separator := range []string{"=", ":"} {
		if name, value, ok := strings.Cut(text, separator); ok {
			return index.Label{Name: name, Value: value}
		}
	}
	return index.Label{Name: text, Any: true}
}

func parseTime(values url.Values, name string) (time.Time, error) {
	text := values.Get(name)
	if text == "" {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil || at.Year() < 1970 || at.Year() > 2200 { // what nanoseconds of an int64 can say
		return time.Time{}, wrong(name, "must be a time as RFC 3339, such as 2026-01-31T12:00:00Z")
	}
	return at, nil
}

func parseBool(values url.Values, name string) (bool, error) {
	switch values.Get(name) {
	case "", "false":
		return false, nil
	case "true":
		return true, nil
	}
	return false, wrong(name, "must be true or false")
}
