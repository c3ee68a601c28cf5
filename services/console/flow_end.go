package console

import (
	"fmt"
	"log/slog"
	"net/http"

	"github.com/labstack/echo/v4"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// maxReason is the longest reason that a person may give.
const maxReason = 1024

func (c *Console) cancelFlow(ec echo.Context) error {
	id, err := pathID(ec)
	if err != nil {
		return err
	}
	var r struct {
		Reason string `json:"reason"`
	}
	if err := c.decodeOptional(ec, &r); err != nil {
		return err
	}
	if err := checkReason("reason", r.Reason); err != nil {
		return err
	}
	reply, err := c.ask(ec, &sluicev1.Command{FlowId: id, Kind: &sluicev1.Command_CancelFlow{
		CancelFlow: &sluicev1.CancelFlow{Reason: r.Reason, By: caller(ec)},
	}})
	if err != nil {
		return err
	}
	if reply.GetDetail() != "" { // it is not canceled yet
		return answer(ec, http.StatusOK, map[string]string{"flow_id": id, "status": "active", "message": reply.GetDetail()})
	}
	return answer(ec, http.StatusOK, map[string]string{
		"flow_id": id, "status": "canceled", "message": fmt.Sprintf("flow %q is canceled", id),
	})
}

func (c *Console) deleteFlow(ec echo.Context) error {
	id, err := pathID(ec)
	if err != nil {
		return err
	}
	_, err = c.ask(ec, &sluicev1.Command{FlowId: id, Kind: &sluicev1.Command_RetireFlow{
		RetireFlow: &sluicev1.RetireFlow{By: caller(ec)},
	}})
	if err != nil {
		return err
	}
	ctx := ec.Request().Context()
	if err := c.index.Remove(ctx, id); err != nil {
		c.log.WarnContext(ctx, "deleted flow still listed", slog.String("flow_id", id), slog.Any("error", err))
	}
	return ec.NoContent(http.StatusNoContent)
}

// ask sends a command that a flow must exist for.
func (c *Console) ask(ec echo.Context, cmd *sluicev1.Command) (*sluicev1.Reply, error) {
	reply, err := c.bus.Ask(ec.Request().Context(), cmd)
	if err != nil {
		return nil, err
	}
	if reply.GetCode() == sluicev1.ReplyCode_REPLY_CODE_NOT_FOUND {
		return nil, unknownFlow(cmd.GetFlowId())
	}
	return reply, refusal(reply)
}
