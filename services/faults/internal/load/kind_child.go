package load

import (
	"context"

	"github.com/sluiceflow/sluice/pkg/step"
)

// childKind has a child flow whose worker is as impolite as others, so that now and
// then it fails and another one is started, and a step that needs what it gave.
func (l *Load) childKind() kind {
	return kind{goal: "file", held: true, parts: []part{
		starting("errand", "toil", "chore"), l.part("toil", step.KindAsync, "chore"),
		l.part("file", step.KindAsync, "errand-out"),
	}}
}

// orphanKind is canceled while its child flow runs, whose worker says nothing until
// that has ended too.
func (l *Load) orphanKind() kind {
	return kind{
		goal:      "mission",
		parts:     []part{starting("mission", "idle", "order"), l.worked("idle", func(ctx context.Context, j *job) { j.endless(ctx) })},
		meanwhile: l.changeMind,
	}
}

// starting is a step that starts a flow for a goal, which knows the order by another
// name.
func starting(id, goal, order string) part {
	p := part{Definition: step.Definition{
		ID: id, Type: step.KindFlow,
		Flow: &step.Child{
			Goals: []string{goal}, InputMap: map[string]string{"order": order}, OutputMap: map[string]string{output(goal): output(id)},
		},
		Attributes: map[string]step.Attribute{
			"order":    {Role: step.RoleRequired, Type: step.TypeString},
			output(id): {Role: step.RoleOutput, Type: step.TypeString},
		},
		WorkConfig: &step.WorkConfig{MaxRetries: 1, BackoffMS: new(int64(50))},
	}}
	p.knows.Child = map[string]string{output(id): output(goal)}
	return p
}
