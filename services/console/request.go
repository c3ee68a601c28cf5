package console

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/sluiceflow/sluice/pkg/subject"
	"github.com/sluiceflow/sluice/services/console/internal/strict"
	"github.com/sluiceflow/sluice/services/internal/httpapi"
)

// body reads a request's JSON text.
func (c *Console) body(ec echo.Context) ([]byte, error) {
	if err := httpapi.CheckJSON(ec, true); err != nil {
		return nil, err
	}
	return httpapi.ReadBody(ec, int64(c.bus.Config.MaxBodyBytes))
}

// decode reads a request's JSON object into v.
func (c *Console) decode(ec echo.Context, v any) error {
	text, err := c.body(ec)
	if err != nil {
		return err
	}
	return strict.Decode(text, v)
}

// decodeOptional is decode for a body that may be absent.
func (c *Console) decodeOptional(ec echo.Context, v any) error {
	text, err := c.body(ec)
	if err != nil || len(bytes.TrimSpace(text)) == 0 {
		return err
	}
	return strict.Decode(text, v)
}

// pathID reads the id of the path. Clients may escape more of it than they must.
func pathID(ec echo.Context) (string, error) {
	id, err := url.PathUnescape(ec.Param("id"))
	if err == nil {
		err = subject.CheckID(id)
	}
	if err != nil {
		return "", wrong("id", "%s", err)
	}
	return id, nil
}

// onlyQuery refuses query parameters that a call does not have: a filter that is
// mistyped would select everything.
func onlyQuery(ec echo.Context, known ...string) error {
	values, err := url.ParseQuery(ec.Request().URL.RawQuery)
	if err != nil {
		return problem(http.StatusBadRequest, "invalid", "the query is malformed: "+err.Error())
	}
	for name := range values {
		found := false
		for _, k := range known {
			found = found || k == name
		}
		if !found {
			return wrong(name, "unknown query parameter; this call has: %s", strings.Join(known, ", "))
		}
	}
	return nil
}

// answer writes JSON as it is: HTML is not escaped, so that texts and values
// look as they came.
func answer(ec echo.Context, status int, v any) error {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	ec.Response().Header().Set("X-Content-Type-Options", "nosniff")
	ec.Response().Header().Set(echo.HeaderCacheControl, "no-store")
	return ec.Blob(status, echo.MIMEApplicationJSON, buf.Bytes())
}
