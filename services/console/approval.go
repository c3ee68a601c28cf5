package console

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/flow"
	"github.com/sluiceflow/sluice/services/internal/httpapi"
)

// maxBy is the longest name that a person may give.
const maxBy = 128

// maxForm bounds what an approval's page sends.
const maxForm = 64 << 10

//go:embed approval.html
var approvalText string

//nolint:gochecknoglobals // a constant, but for Go's type system
var approvalTemplate = template.Must(template.New("approval").Parse(approvalText))

// approvalView is what the page of an approval shows.
type approvalView struct {
	Title  string // what is asked
	Flow   string
	Step   string
	Says   string // what has become of it
	Button string // what a click does; empty where nothing is left to do
	Person int
	People int
}

const noLink = "There is no such link, or what it was for is gone."

// showApproval asks once more: programs that look at each link in a mail, as
// scanners do, must not decide anything.
func (c *Console) showApproval(ec echo.Context) error {
	l, ok := c.readLink(ec)
	if !ok {
		return approvalPage(ec, http.StatusNotFound, approvalView{Says: noLink})
	}
	httpapi.SetInstance(ec, approvalPath) // the path holds the link's token
	state, broken, err := c.load(ec.Request().Context(), l.flow)
	if p := explainGone(err); p != nil {
		return p
	}
	if err != nil || broken != "" || state.Run != l.run {
		return approvalPage(ec, http.StatusNotFound, approvalView{Says: noLink})
	}
	return approvalPage(ec, http.StatusOK, viewOf(state, l))
}

// explainGone is the problem of an error that is not about the flow being gone.
func explainGone(err error) error {
	if err == nil || explain(err).Status == http.StatusNotFound {
		return nil
	}
	return err
}

// viewOf is what the page of a link shows while the flow is so.
func viewOf(s *flow.State, l link) approvalView {
	out := approvalView{Flow: l.flow, Step: l.step, Person: l.place}
	i, known := s.Plan.Index[l.step]
	if !known || int(l.item) >= len(s.Steps[i].Items) {
		out.Says = noLink
		return out
	}
	it := &s.Steps[i].Items[l.item]
	out.Title, out.People = s.Plan.Steps[i].Proto.GetWait().GetApproval().GetTitle(), s.Approvers(i)
	if it.Generation != l.generation {
		out.Says = "It was asked anew since: this link does not count any more."
		return out
	}
	open, says := s.Asks(l.step, l.item)
	out.Says = says
	for _, given := range it.Approvals {
		open = open && given.Voter != l.voter()
	}
	if open {
		out.Button = l.answer
	}
	return out
}

// takeApproval is the click.
func (c *Console) takeApproval(ec echo.Context) error {
	l, ok := c.readLink(ec)
	if !ok {
		return approvalPage(ec, http.StatusNotFound, approvalView{Says: noLink})
	}
	httpapi.SetInstance(ec, approvalPath)
	shown := approvalView{Flow: l.flow, Step: l.step, Person: l.place}
	r := ec.Request()
	r.Body = http.MaxBytesReader(ec.Response(), r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		shown.Says, shown.Button = "What was sent cannot be read. Please try again.", l.answer
		return approvalPage(ec, http.StatusBadRequest, shown)
	}
	by, comment := strings.TrimSpace(r.PostForm.Get("by")), strings.TrimSpace(r.PostForm.Get("comment"))
	if problem := checkSaid(by, comment); problem != "" {
		shown.Says, shown.Button = problem, l.answer
		return approvalPage(ec, http.StatusBadRequest, shown)
	}
	if by == "" {
		by = fmt.Sprintf("link %d", l.place)
	}
	reply, err := c.bus.Ask(r.Context(), decision(l, l.voter(), by, comment))
	if err != nil {
		if explain(err).Status >= http.StatusInternalServerError {
			shown.Says, shown.Button = "It could not be stored. Please try again.", l.answer
			return approvalPage(ec, http.StatusServiceUnavailable, shown)
		}
		return err
	}
	shown.Says = reply.GetDetail()
	switch reply.GetCode() {
	case sluicev1.ReplyCode_REPLY_CODE_OK, sluicev1.ReplyCode_REPLY_CODE_REPEATED, sluicev1.ReplyCode_REPLY_CODE_CONFLICT:
		return approvalPage(ec, http.StatusOK, shown)
	case sluicev1.ReplyCode_REPLY_CODE_NOT_FOUND, sluicev1.ReplyCode_REPLY_CODE_UNKNOWN_STEP:
		return approvalPage(ec, http.StatusNotFound, approvalView{Says: noLink})
	case sluicev1.ReplyCode_REPLY_CODE_UNSPECIFIED, sluicev1.ReplyCode_REPLY_CODE_INVALID:
	}
	return refusal(reply)
}

// checkSaid says what is wrong with a name and a comment, or nothing.
func checkSaid(by, comment string) string {
	switch {
	case !utf8.ValidString(by) || utf8.RuneCountInString(by) > maxBy:
		return fmt.Sprintf("A name has at most %d characters.", maxBy)
	case !utf8.ValidString(comment) || len(comment) > maxReason:
		return fmt.Sprintf("A comment has at most %d characters.", maxReason)
	}
	return ""
}

// decision is the command that a link, or who has a key, gives.
func decision(l link, voter, by, comment string) *sluicev1.Command {
	return &sluicev1.Command{FlowId: l.flow, Kind: &sluicev1.Command_DecideApproval{DecideApproval: &sluicev1.DecideApproval{
		Work:     &sluicev1.WorkRef{Run: l.run, StepId: l.step, Item: l.item, Generation: l.generation},
		Approved: l.answer == answerApprove, Voter: voter, By: by, Comment: comment,
	}}}
}

// approvalPage writes the page. It has neither script nor style, and its policy
// allows none. Where it is sent from is told to this console only, by which it
// knows its own pages.
func approvalPage(ec echo.Context, status int, shown approvalView) error {
	var text bytes.Buffer
	if err := approvalTemplate.Execute(&text, shown); err != nil {
		return err
	}
	header := ec.Response().Header()
	header.Set(echo.HeaderContentSecurityPolicy, "default-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("X-Robots-Tag", "noindex")
	header.Set("Referrer-Policy", "same-origin")
	header.Set(echo.HeaderCacheControl, "no-store")
	return ec.HTMLBlob(status, text.Bytes())
}

func (c *Console) approveStep(ec echo.Context) error { return c.decideStep(ec, answerApprove) }

func (c *Console) rejectStep(ec echo.Context) error { return c.decideStep(ec, answerReject) }

// decideStep is the answer of who has a key to what a work item asks.
func (c *Console) decideStep(ec echo.Context, said string) error {
	var r struct {
		Item    json.RawMessage `json:"item"`
		By      string          `json:"by"`
		Comment string          `json:"comment"`
	}
	id, err := readID(ec)
	if err != nil {
		return err
	}
	l := link{flow: id, answer: said}
	if l.step, err = pathStep(ec); err != nil {
		return err
	}
	if err := c.decodeOptional(ec, &r); err != nil {
		return err
	}
	if problem := checkSaid(r.By, r.Comment); problem != "" {
		return wrong("comment", "%s", problem)
	}
	if c.keys.Any() && r.By != "" {
		return wrong("by", "is the name of the key that the request comes with")
	}
	if err := c.aim(ec, &l, r.Item); err != nil {
		return err
	}
	voter, by := "name/"+r.By, r.By
	if name := caller(ec); name != "" {
		voter, by = "key/"+name, name
	}
	if by == "" {
		by = "somebody"
	}
	reply, err := c.ask(ec, decision(l, voter, by, r.Comment))
	if err != nil {
		return err
	}
	return answer(ec, http.StatusOK, map[string]string{"flow_id": id, "step_id": l.step, "message": reply.GetDetail()})
}

// aim completes the link with what the flow is now: the work item that is meant.
func (c *Console) aim(ec echo.Context, l *link, place json.RawMessage) error {
	item, err := parseItem(place)
	if err != nil {
		return err
	}
	state, broken, err := c.load(ec.Request().Context(), l.flow)
	switch {
	case err != nil:
		return err
	case broken != "":
		return problem(http.StatusConflict, "conflict", broken)
	}
	i, known := state.Plan.Index[l.step]
	if !known || state.Approvers(i) == 0 {
		return problem(http.StatusNotFound, "unknown_step", fmt.Sprintf("flow %q has no step %q that asks people", l.flow, l.step))
	}
	if item == nil && state.Plan.Steps[i].ForEach {
		return wrong("item", "is required: step %q asks for each of its work items", l.step)
	}
	if item != nil {
		l.item = *item
	}
	if int(l.item) >= len(state.Steps[i].Items) {
		return problem(http.StatusNotFound, "unknown_step", fmt.Sprintf("step %q of flow %q has no work item %d", l.step, l.flow, l.item))
	}
	l.run, l.generation = state.Run, state.Steps[i].Items[l.item].Generation
	return nil
}
