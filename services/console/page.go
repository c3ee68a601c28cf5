package console

import (
	"net/http"

	"github.com/labstack/echo/v4"
)

// startPage is the page at /. It has neither script nor style, and its policy
// allows none.
const startPage = `<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Sluice</title></head>
<body>
<h1>Sluice</h1>
<p>This is the control API. Steps are registered and flows started with JSON over HTTP.</p>
<ul>
<li><a href="https://github.com/sluiceflow/sluice/tree/main/docs">Documentation</a></li>
<li><a href="engine">The engine</a>, <a href="engine/step">its steps</a> and <a href="engine/flow">flows</a></li>
<li><a href="ready">What it depends on</a> and <a href="metrics">its metrics</a></li>
</ul>
</body>
</html>
`

func page(ec echo.Context) error {
	header := ec.Response().Header()
	header.Set(echo.HeaderContentSecurityPolicy, "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	return ec.HTML(http.StatusOK, startPage)
}
