package httpapi_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/sluiceflow/sluice/services/internal/fault"
	"github.com/sluiceflow/sluice/services/internal/httpapi"
)

func TestErrorsBecomeProblems(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	for _, tt := range []struct {
		name    string
		method  string
		path    string
		handler echo.HandlerFunc
		want    map[string]any
		retry   string
		logged  bool
	}{
		{
			name: "an invalid input", handler: fails(fault.New(fault.Invalid, "test.Op", boom)),
			want: map[string]any{"type": "urn:sluice:problem:invalid", "title": "Bad Request", "status": 400.0, "detail": "boom"},
		}, {
			name: "what is not there", handler: fails(fault.New(fault.NotFound, "test.Op", boom)),
			want: map[string]any{"type": "urn:sluice:problem:not_found", "status": 404.0},
		}, {
			name: "a conflict", handler: fails(fault.New(fault.Conflict, "test.Op", boom)),
			want: map[string]any{"type": "urn:sluice:problem:conflict", "status": 409.0},
		}, {
			name: "a dependency that is down", handler: fails(fault.New(fault.Unavailable, "test.Op", boom)), retry: "1", logged: true,
			want: map[string]any{"type": "urn:sluice:problem:unavailable", "status": 503.0},
		}, {
			name: "what is ours is not told", handler: fails(boom), logged: true,
			want: map[string]any{"type": "urn:sluice:problem:internal", "status": 500.0, "detail": "something went wrong here; the log says what"},
		}, {
			name: "a panic", handler: func(echo.Context) error { panic("boom") }, logged: true,
			want: map[string]any{"type": "urn:sluice:problem:internal", "status": 500.0},
		}, {
			name: "a problem as it is", retry: "2",
			handler: fails(&httpapi.ProblemError{Status: 429, Code: "slow_down", Detail: "too many", FlowID: "f-1", RetryAfter: 1500 * time.Millisecond}),
			want:    map[string]any{"type": "urn:sluice:problem:slow_down", "status": 429.0, "detail": "too many", "error": "too many", "flow_id": "f-1", "instance": "/here"},
		}, {
			name: "a problem with a field",
			handler: func(c echo.Context) error {
				return httpapi.Problem(c, 400, "bad", "no good", httpapi.Field{Name: "id", Message: "is empty"})
			},
			want: map[string]any{
				"field": "id", "detail": "no good",
				"errors": []any{map[string]any{"field": "id", "message": "is empty"}},
			},
		}, {
			name: "an instance that was set",
			handler: func(c echo.Context) error {
				httpapi.SetInstance(c, "/cut")
				return fault.New(fault.NotFound, "test.Op", boom)
			},
			want: map[string]any{"instance": "/cut"},
		}, {
			name: "a path that is not there", path: "/there", handler: fails(nil),
			want: map[string]any{"type": "urn:sluice:problem:not_found", "status": 404.0, "instance": "/there"},
		}, {
			name: "another method", method: http.MethodDelete, handler: fails(nil),
			want: map[string]any{"type": "urn:sluice:problem:method_not_allowed", "status": 405.0},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			e := httpapi.NewEcho(slog.New(slog.NewTextHandler(&log, nil)))
			e.POST("/here", tt.handler)
			rec := serve(e, orElse(tt.method, http.MethodPost), orElse(tt.path, "/here"), "")
			got := decode(t, rec)
			for key, want := range tt.want {
				if !reflect.DeepEqual(got[key], want) {
					t.Errorf("%s is %v, want %v", key, got[key], want)
				}
			}
			if float64(rec.Code) != got["status"] {
				t.Errorf("status %d, and %v in the problem", rec.Code, got["status"])
			}
			if got := rec.Header().Get("Retry-After"); got != tt.retry {
				t.Errorf("Retry-After is %q, want %q", got, tt.retry)
			}
			if logged := strings.Contains(log.String(), "boom"); logged != tt.logged {
				t.Errorf("logged is %t, want %t: %s", logged, tt.logged, &log)
			}
		})
	}
}

func TestBodiesAreBoundedAndJSON(t *testing.T) {
	t.Parallel()
	e := httpapi.NewEcho(slog.New(slog.DiscardHandler))
	e.POST("/here", func(c echo.Context) error {
		if err := httpapi.CheckJSON(c, c.QueryParam("absent") != ""); err != nil {
			return err
		}
		data, err := httpapi.ReadBody(c, 4)
		if err != nil {
			return err
		}
		return c.Blob(http.StatusOK, echo.MIMEApplicationJSON, data)
	})
	for _, tt := range []struct {
		name, media, query, body string
		want                     int
	}{
		{name: "as large as may be", media: "application/json", body: "1234", want: 200},
		{name: "with a charset", media: "application/json; charset=utf-8", body: "1", want: 200},
		{name: "too large", media: "application/json", body: "12345", want: 413},
		{name: "something else", media: "text/plain", body: "1", want: 415},
		{name: "not said", body: "1", want: 415},
		{name: "not said where it may be absent", query: "?absent=1", body: "1", want: 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			req := httptest.NewRequest(http.MethodPost, "/here"+tt.query, strings.NewReader(tt.body))
			if tt.media != "" {
				req.Header.Set("Content-Type", tt.media)
			}
			rec := httptest.NewRecorder()
			e.ServeHTTP(rec, req)
			if rec.Code != tt.want {
				t.Errorf("got %d, want %d: %s", rec.Code, tt.want, rec.Body)
			}
		})
	}
}

func fails(err error) echo.HandlerFunc { return func(echo.Context) error { return err } }

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func serve(h http.Handler, method, path, body string) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest(method, path, strings.NewReader(body)))
	return rec
}

func decode(t *testing.T, rec *httptest.ResponseRecorder) map[string]any {
	t.Helper()
	var got map[string]any
	if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil {
		t.Fatalf("%v in %s", err, rec.Body)
	}
	return got
}
