package console

import (
	"cmp"
	"net/url"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/sluiceflow/sluice/pkg/event"
	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/pkg/subject"
	"github.com/sluiceflow/sluice/pkg/token"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/console/internal/view"
	"github.com/sluiceflow/sluice/services/internal/flow"
	"github.com/sluiceflow/sluice/services/internal/plan"
)

// approvalPath is where the pages of approvals are.
const approvalPath = "/approval"

// The answers that a link can give.
const (
	answerApprove = "approve"
	answerReject  = "reject"
)

// A link is one of the two by which one person answers what a work item asks.
type link struct {
	flow, step string
	answer     string // approve or reject
	place      int    // of the person, from 1
	run        uint64
	item       uint32
	generation uint32
}

// claims are what the link's token stands for. No step's id holds a slash, so the
// token is good for nothing else.
func (l link) claims() token.Claims {
	return token.Claims{
		FlowID: l.flow, StepID: l.answer + "/" + strconv.Itoa(l.place) + "/" + l.step,
		Run: l.run, Item: l.item, Generation: l.generation,
	}
}

// voter tells the person who has the link from others.
func (l link) voter() string { return "link/" + strconv.Itoa(l.place) }

// linkURL is the page of a link under a base.
func (c *Console) linkURL(base string, l link) string {
	return strings.Join([]string{
		base + approvalPath, url.PathEscape(l.flow), url.PathEscape(l.step), l.answer, strconv.Itoa(l.place), c.links.Ring().Mint(l.claims()),
	}, "/")
}

// readLink reads the link of a request's path. It reports false for any that was
// not made here, and never says why.
func (c *Console) readLink(ec echo.Context) (link, bool) {
	var l link
	var err error
	for name, into := range map[string]*string{"id": &l.flow, "step": &l.step} {
		if *into, err = url.PathUnescape(ec.Param(name)); err != nil || subject.CheckID(*into) != nil {
			return link{}, false
		}
	}
	l.answer = ec.Param("answer")
	l.place, err = strconv.Atoi(ec.Param("place"))
	if err != nil || l.place < 1 || l.place > step.MaxApprovers || l.answer != answerApprove && l.answer != answerReject || c.links == nil {
		return link{}, false
	}
	claims, err := c.links.Ring().Verify(l.flow, l.claims().StepID, ec.Param("token"))
	if err != nil {
		return link{}, false
	}
	l.run, l.item, l.generation = claims.Run, claims.Item, claims.Generation
	return l, true
}

// base is under which URL people find this console: as it was told, or as the
// request that is being answered found it.
func (c *Console) base(ec echo.Context) string {
	return cmp.Or(strings.TrimSuffix(c.cfg.ConsoleBaseURL, "/"), ec.Scheme()+"://"+ec.Request().Host)
}

// pairs are the links of a work item, two for each person that it asks.
func (c *Console) pairs(ec echo.Context, l link, approvers int) []event.ApprovalLinks {
	var out []event.ApprovalLinks
	for place := range approvers {
		approve, reject := l, l
		approve.place, approve.answer = place+1, answerApprove
		reject.place, reject.answer = place+1, answerReject
		out = append(out, event.ApprovalLinks{Approve: c.linkURL(c.base(ec), approve), Reject: c.linkURL(c.base(ec), reject)})
	}
	return out
}

// addLinks adds the links of what a flow asks now, for who may operate.
func (c *Console) addLinks(ec echo.Context, shown view.Flow, s *flow.State) {
	if c.links == nil || !c.mayOperate(ec) {
		return
	}
	for i := range s.Steps {
		id := s.Plan.Steps[i].ID
		for place := range s.Steps[i].Items {
			if open, _ := s.Asks(id, uint32(place)); !open {
				continue
			}
			l := link{flow: s.ID, step: id, run: s.Run, item: uint32(place), generation: s.Steps[i].Items[place].Generation}
			shown.Executions[id].WorkItems[strconv.Itoa(place)].Approval.Links = c.pairs(ec, l, s.Approvers(i))
		}
	}
}

// eventLinks adds links to the events of a history, which come in order.
type eventLinks struct {
	c    *Console
	ec   echo.Context
	off  bool
	plan *plan.Plan
	run  uint64
}

func (c *Console) linksOf(ec echo.Context) *eventLinks {
	return &eventLinks{c: c, ec: ec, off: c.links == nil || !c.mayOperate(ec)}
}

// add completes the events of one commit.
func (e *eventLinks) add(commit *sluicev1.Commit, events []event.Event) {
	if e.off {
		return
	}
	for n, stored := range commit.GetEvents() {
		if begun := stored.GetFlowStarted(); begun != nil {
			e.run = begun.GetRun()
			e.plan, _ = e.c.plans.Decode(begun.GetPlan()) // the events were read, so it is a plan
		}
		if e.plan == nil || stored.GetWorkStarted() == nil {
			continue
		}
		i, ok := e.plan.Index[stored.GetStepId()]
		if !ok {
			continue
		}
		asks := e.plan.Steps[i].Proto.GetWait().GetApproval()
		if asks == nil {
			continue
		}
		events[n].Links = e.c.pairs(e.ec, link{
			flow: commit.GetFlowId(), step: stored.GetStepId(), run: e.run, item: stored.GetItem(), generation: stored.GetGeneration(),
		}, int(max(1, asks.GetApprovers())))
	}
}
