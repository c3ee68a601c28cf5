package console

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/sluiceflow/sluice/services/console/internal/access"
)

// Routes adds the control API. Reading takes the role read; starting, canceling
// and repairing flows, also by schedules, and redriving dead letters operate; changing steps and
// deleting histories and dead letters admin.
func (c *Console) Routes(e *echo.Echo) {
	e.GET("/", page)
	for method, handle := range map[string]echo.HandlerFunc{http.MethodGet: c.showApproval, http.MethodPost: c.takeApproval} {
		e.Add(method, approvalPath+"/:id/:step/:answer/:place/:token", handle, c.measured, explained, c.sameOrigin)
	}
	for _, r := range c.routes() {
		// A group's middleware would also answer for wrong methods, as if the
		// path were unknown.
		e.Add(r.method, "/engine"+r.path, r.handle, c.measured, explained, c.sameOrigin, c.allow(r.role))
	}
}

type route struct {
	method, path string
	role         access.Role
	handle       echo.HandlerFunc
}

func (c *Console) routes() []route {
	const get, post, put, del = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete
	return append([]route{
		{get, "", access.Read, c.getEngine},
		{get, "/health", access.Read, c.listHealth},
		{get, "/health/:id", access.Read, c.getHealth},

		{post, "/step", access.Admin, c.createStep},
		{get, "/step", access.Read, c.listSteps},
		{get, "/step/:id", access.Read, c.getStep},
		{put, "/step/:id", access.Admin, c.updateStep},
		{del, "/step/:id", access.Admin, c.deleteStep},

		{post, "/plan", access.Read, c.makePlan},
		{post, "/flow", access.Operate, c.startFlow},
		{get, "/flow", access.Read, c.listFlows},
		{get, "/flow/:id", access.Read, c.getFlow},
		{get, "/flow/:id/status", access.Read, c.getStatus},
		{get, "/flow/:id/events", access.Read, c.getEvents},
		{post, "/flow/:id/cancel", access.Operate, c.cancelFlow},
		{post, "/flow/:id/pause", access.Operate, c.pauseFlow},
		{post, "/flow/:id/resume", access.Operate, c.resumeFlow},
		{post, "/flow/:id/retry", access.Operate, c.retryFlow},
		{post, "/flow/:id/step/:step/retry", access.Operate, c.retryStep},
		{post, "/flow/:id/step/:step/skip", access.Operate, c.skipStep},
		{post, "/flow/:id/step/:step/complete", access.Operate, c.completeStep},
		{post, "/flow/:id/step/:step/fail", access.Operate, c.failStep},
		{post, "/flow/:id/step/:step/approve", access.Operate, c.approveStep},
		{post, "/flow/:id/step/:step/reject", access.Operate, c.rejectStep},
		{del, "/flow/:id", access.Admin, c.deleteFlow},

		{post, "/message", access.Operate, c.postMessage},

		{get, "/schedule", access.Read, c.listSchedules},
		{get, "/schedule/:id", access.Read, c.getSchedule},
		{put, "/schedule/:id", access.Operate, c.putSchedule},
		{del, "/schedule/:id", access.Operate, c.deleteSchedule},
		{post, "/schedule/:id/pause", access.Operate, c.pauseSchedule},
		{post, "/schedule/:id/resume", access.Operate, c.resumeSchedule},

		{get, "/dead", access.Read, c.listLetters},
		{get, "/dead/:id", access.Read, c.getLetter},
		{post, "/dead/:id/redrive", access.Operate, c.redriveLetter},
		{del, "/dead/:id", access.Admin, c.dropLetter},
	}, absentRoutes()...)
}

// absentRoutes answer for what the contract has and this release has not.
func absentRoutes() []route {
	const get, post = http.MethodGet, http.MethodPost
	var list []route
	for _, r := range []struct{ what, method, path string }{
		{"ws", get, "/ws"},
		{"events", get, "/events"},
	} {
		list = append(list, route{r.method, r.path, access.Read, func(echo.Context) error {
			p := problem(http.StatusNotFound, "not_in_release", "this release does not have "+r.what)
			p.Field = r.what
			return p
		}})
	}
	return list
}
