package console

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/sluiceflow/sluice/services/console/internal/view"
	"github.com/sluiceflow/sluice/services/internal/dead"
	"github.com/sluiceflow/sluice/services/internal/fault"
)

// countEvery is how often the dead letters are counted.
const countEvery = 5 * time.Second

type letterList struct {
	Letters []view.Letter `json:"letters"`
	Count   int           `json:"count"` // of this page
	Next    string        `json:"next,omitempty"`
}

func (c *Console) listLetters(ec echo.Context) error {
	if err := onlyQuery(ec, "limit", "cursor", "what"); err != nil {
		return err
	}
	what, before, limit, err := parseLetters(ec.QueryParams())
	if err != nil {
		return err
	}
	page, more, err := c.letters.List(ec.Request().Context(), what, before, limit)
	if err != nil {
		return err
	}
	list := letterList{Letters: make([]view.Letter, len(page)), Count: len(page)}
	for i, letter := range page {
		list.Letters[i] = view.LetterOf(letter, c.bus)
	}
	if more {
		list.Next = strconv.FormatUint(page[len(page)-1].ID, 10)
	}
	return answer(ec, http.StatusOK, list)
}

func parseLetters(values url.Values) (what string, before uint64, limit int, err error) {
	what, limit = values.Get("what"), defaultPage
	if what != "" && !slices.Contains(dead.Kinds(), what) {
		return "", 0, 0, wrong("what", "is %q, and must be one of %s", what, strings.Join(dead.Kinds(), ", "))
	}
	if text := values.Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > maxPage {
			return "", 0, 0, wrong("limit", "must be a whole number from 1 to %d", maxPage)
		}
	}
	if text := values.Get("cursor"); text != "" {
		if before, err = strconv.ParseUint(text, 10, 64); err != nil || before == 0 {
			return "", 0, 0, wrong("cursor", "must be the next of a page")
		}
	}
	return what, before, limit, nil
}

// letterID reads the id of the path.
func letterID(ec echo.Context) (uint64, error) {
	if err := onlyQuery(ec); err != nil {
		return 0, err
	}
	id, err := strconv.ParseUint(ec.Param("id"), 10, 64)
	if err != nil || id == 0 {
		return 0, wrong("id", "must be the number of a dead letter")
	}
	return id, nil
}

func (c *Console) getLetter(ec echo.Context) error {
	id, err := letterID(ec)
	if err != nil {
		return err
	}
	letter, err := c.letters.Get(ec.Request().Context(), id)
	if err != nil {
		return unknownLetter(err)
	}
	return answer(ec, http.StatusOK, view.WholeLetterOf(letter, c.bus))
}

func (c *Console) redriveLetter(ec echo.Context) error {
	id, err := letterID(ec)
	if err != nil {
		return err
	}
	if err := c.decodeOptional(ec, &struct{}{}); err != nil {
		return err
	}
	if err := c.letters.Ask(ec.Request().Context(), id, caller(ec)); err != nil {
		return unknownLetter(err)
	}
	return answer(ec, http.StatusOK, map[string]string{"message": fmt.Sprintf("dead letter %d is published again", id)})
}

func (c *Console) dropLetter(ec echo.Context) error {
	id, err := letterID(ec)
	if err != nil {
		return err
	}
	ctx := ec.Request().Context()
	if err := c.letters.Drop(ctx, id); err != nil {
		return unknownLetter(err)
	}
	c.log.InfoContext(ctx, "a dead letter was dropped", slog.Uint64("letter", id), slog.String("by", caller(ec)))
	return ec.NoContent(http.StatusNoContent)
}

// unknownLetter names the problem of a letter that is not there.
func unknownLetter(err error) error {
	if e, ok := errors.AsType[*fault.Error](err); ok && e.Kind == fault.NotFound {
		p := problem(http.StatusNotFound, "unknown_letter", e.Err.Error())
		p.Cause = err
		return p
	}
	return err
}

// countLetters keeps the figure of dead letters current until ctx ends.
func (c *Console) countLetters(ctx context.Context) error {
	tick := time.NewTicker(countEvery)
	defer tick.Stop()
	for {
		n, err := c.letters.Count(ctx)
		if err == nil {
			c.metrics.dead.Set(float64(n))
		} else if ctx.Err() == nil {
			c.log.DebugContext(ctx, "the dead letters could not be counted", slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
