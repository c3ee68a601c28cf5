package httpapi

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"

	"github.com/labstack/echo/v4"
)

// NewEcho makes an echo that answers every error, panics and unknown routes
// too, as a problem, and logs those that are ours.
func NewEcho(log *slog.Logger) *echo.Echo {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.HTTPErrorHandler = func(err error, c echo.Context) { answer(log, err, c) }
	e.Use(recoverPanics)
	return e
}

func recoverPanics(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		defer func() {
			r := recover()
			if r == nil {
				return
			}
			if r == http.ErrAbortHandler { //nolint:errorlint,err113 // the value itself is the signal
				panic(r)
			}
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}()
		return next(c)
	}
}

// answer is the error handler: the one place where an error of a request ends.
// The log has the route and not the path, for paths hold tokens.
func answer(log *slog.Logger, err error, c echo.Context) {
	ctx := c.Request().Context()
	p := problemOf(err)
	if p.Status >= http.StatusInternalServerError && p.Cause != nil {
		log.ErrorContext(ctx, "request failed",
			slog.String("method", c.Request().Method), slog.String("route", c.Path()),
			slog.Int("status", p.Status), slog.Any("error", p.Cause))
	}
	if c.Response().Committed {
		return
	}
	if err := write(c, p); err != nil {
		log.DebugContext(ctx, "answer not sent", slog.Any("error", err))
	}
}

func problemOf(err error) *ProblemError {
	if p, ok := errors.AsType[*ProblemError](err); ok {
		return p
	}
	if he, ok := errors.AsType[*echo.HTTPError](err); ok {
		return &ProblemError{Status: he.Code, Code: codeOf(he.Code), Detail: detailOf(he)}
	}
	return FromFault(err)
}

// codeOf is a status' text as a code: 404 is not_found.
func codeOf(status int) string {
	return strings.ReplaceAll(strings.ToLower(http.StatusText(status)), " ", "_")
}

func detailOf(he *echo.HTTPError) string {
	switch he.Code {
	case http.StatusNotFound:
		return "there is nothing at this path"
	case http.StatusMethodNotAllowed:
		return "this path does not have this method"
	default:
		return fmt.Sprint(he.Message)
	}
}
