package console

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/sluiceflow/sluice/services/console/internal/access"
	"github.com/sluiceflow/sluice/services/internal/httpapi"
)

// callerKey is where a request's key name is kept.
const callerKey = "console.caller"

// roleKey is where its role is kept.
const roleKey = "console.role"

// measured counts the requests of a route.
func (c *Console) measured(next echo.HandlerFunc) echo.HandlerFunc {
	return func(ec echo.Context) error {
		begin := time.Now()
		err := next(ec)
		if err != nil {
			ec.Error(err) // answers now, so that the status is known
		}
		method, route := ec.Request().Method, ec.Path()
		c.metrics.requests.WithLabelValues(method, route, strconv.Itoa(ec.Response().Status)).Inc()
		c.metrics.latency.WithLabelValues(method, route).Observe(time.Since(begin).Seconds())
		return nil
	}
}

// sameOrigin refuses what a page of somebody else's makes a browser send.
func (c *Console) sameOrigin(next echo.HandlerFunc) echo.HandlerFunc {
	var cross http.CrossOriginProtection
	return func(ec echo.Context) error {
		if err := cross.Check(ec.Request()); err != nil {
			return problem(http.StatusForbidden, "cross_origin", "a page of another origin may not change anything here")
		}
		// Without keys the address is all that keeps others out; a name that was
		// made to resolve to loopback must not let them in.
		if !c.keys.Any() && !c.cfg.PublicConsole && !access.IsLoopback(hostOf(ec.Request())) {
			return problem(http.StatusForbidden, "foreign_host",
				"without API keys the console answers to loopback names only; set API_KEYS or PUBLIC_CONSOLE=true")
		}
		return next(ec)
	}
}

func hostOf(r *http.Request) string {
	if host, _, err := net.SplitHostPort(r.Host); err == nil {
		return host
	}
	return r.Host
}

// allow lets in whoever has a key of that role. Without keys that is everybody.
func (c *Console) allow(role access.Role) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(ec echo.Context) error {
			if !c.keys.Any() {
				return next(ec)
			}
			name, has := c.keys.Find(bearer(ec.Request()))
			if has == access.Nobody {
				ec.Response().Header().Set(echo.HeaderWWWAuthenticate, `Bearer realm="sluice"`)
				return problem(http.StatusUnauthorized, "unauthorized", "send Authorization: Bearer with a key of API_KEYS")
			}
			if has < role {
				return problem(http.StatusForbidden, "forbidden", fmt.Sprintf("this takes the role %s, and the key %q has %s", role, name, has))
			}
			ec.Set(callerKey, name)
			ec.Set(roleKey, has)
			return next(ec)
		}
	}
}

// mayOperate reports whether a request came with a key that may do more than look.
// Without keys everybody may.
func (c *Console) mayOperate(ec echo.Context) bool {
	has, ok := ec.Get(roleKey).(access.Role)
	return !c.keys.Any() || ok && has >= access.Operate
}

func bearer(r *http.Request) string {
	scheme, key, _ := strings.Cut(r.Header.Get(echo.HeaderAuthorization), " ")
	if !strings.EqualFold(scheme, "bearer") {
		return ""
	}
	return strings.TrimSpace(key)
}

// caller is the name of the key that a request came with, or "".
func caller(ec echo.Context) string {
	name, ok := ec.Get(callerKey).(string)
	if !ok {
		return ""
	}
	return name
}

// explained turns what went wrong into its problem.
func explained(next echo.HandlerFunc) echo.HandlerFunc {
	return func(ec echo.Context) error {
		err := next(ec)
		if err == nil {
			return nil
		}
		if _, ok := errors.AsType[*echo.HTTPError](err); ok {
			return err
		}
		return explain(err)
	}
}

// problem is one that names no field.
func problem(status int, code, detail string) *httpapi.ProblemError {
	return &httpapi.ProblemError{Status: status, Code: code, Detail: detail}
}
