package plan

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/sluiceflow/sluice/pkg/step"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// plan writes what was chosen as a message whose lists are sorted, so that equal
// plans have equal bytes.
func (b *builder) plan(goals []string, d Defaults) (*sluicev1.Plan, error) {
	p := &sluicev1.Plan{
		Goals:     goals,
		Required:  slices.Sorted(maps.Keys(b.required)),
		Satisfied: slices.Sorted(maps.Keys(b.satisfy)),
	}
	for _, id := range slices.Sorted(maps.Keys(b.chosen)) {
		planned, err := b.plannedStep(b.byID[id], d)
		if err != nil {
			return nil, err
		}
		p.Steps = append(p.Steps, planned)
	}
	for _, id := range slices.Sorted(maps.Keys(b.reached)) {
		p.GivenGoals = append(p.GivenGoals, &sluicev1.GivenGoal{StepId: id, Outputs: b.outputs(id)})
	}
	p.Attributes = graph(p.GetSteps())
	for _, id := range slices.Sorted(maps.Keys(b.lacking)) {
		p.Missing = append(p.Missing, &sluicev1.MissingInputs{StepId: id, Inputs: b.lacking[id]})
	}
	return p, nil
}

// outputs are the names of what a step gives, sorted.
func (b *builder) outputs(id string) []string {
	var names []string
	for name, a := range b.byID[id].Definition.Attributes {
		if a.Role == step.RoleOutput {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func graph(steps []*sluicev1.PlannedStep) []*sluicev1.PlannedAttribute {
	edges := map[string]*sluicev1.PlannedAttribute{}
	for _, s := range steps {
		for _, a := range s.GetAttributes() {
			edge := edges[a.GetName()]
			if edge == nil {
				edge = &sluicev1.PlannedAttribute{Name: a.GetName()}
				edges[a.GetName()] = edge
			}
			switch a.GetRole() {
			case sluicev1.AttributeRole_ATTRIBUTE_ROLE_OUTPUT:
				edge.Providers = append(edge.Providers, s.GetId())
			case sluicev1.AttributeRole_ATTRIBUTE_ROLE_REQUIRED, sluicev1.AttributeRole_ATTRIBUTE_ROLE_OPTIONAL:
				edge.Consumers = append(edge.Consumers, s.GetId())
			case sluicev1.AttributeRole_ATTRIBUTE_ROLE_CONST, sluicev1.AttributeRole_ATTRIBUTE_ROLE_UNSPECIFIED:
			}
		}
	}
	var list []*sluicev1.PlannedAttribute
	for _, name := range slices.Sorted(maps.Keys(edges)) {
		if e := edges[name]; len(e.GetProviders())+len(e.GetConsumers()) > 0 {
			list = append(list, e)
		}
	}
	return list
}

func (b *builder) plannedStep(r *Registered, d Defaults) (*sluicev1.PlannedStep, error) {
	def, defaults := r.Definition, d
	if def.Type == step.KindFlow {
		defaults = d.ofChild()
	}
	text, err := json.Marshal(def.Redacted())
	if err != nil {
		return nil, fmt.Errorf("write the definition of step %q: %w", def.ID, err)
	}
	s := &sluicev1.PlannedStep{
		Id: def.ID, Type: kindOf(def.Type), Work: workConfig(def.WorkConfig, defaults),
		RegistryRevision: r.Revision, HasCredentials: def.HasCredentials(), Definition: text, Memoizable: def.Memoizable,
	}
	switch def.Type { //nolint:exhaustive // the others have nothing of their own
	case step.KindScript:
		s.Script = scriptOf(def.Script)
	case step.KindFlow:
		if s.Child, err = b.child(def, d); err != nil {
			return nil, err
		}
	}
	s.Predicate = scriptOf(def.Predicate)
	if def.Wait != nil {
		s.Wait, s.Work = waitOf(def.Wait), waitWork(def.WorkConfig)
	}
	if def.HTTP != nil {
		s.Endpoint, s.CallTimeoutMs = def.HTTP.Endpoint, def.HTTP.Timeout
		s.Compensate = def.HTTP.Compensate
		if s.GetCallTimeoutMs() == 0 {
			s.CallTimeoutMs = d.StepTimeoutMS
		}
	}
	for _, name := range slices.Sorted(maps.Keys(def.Attributes)) {
		a := def.Attributes[name]
		out := &sluicev1.StepAttribute{Name: name, Role: roleOf(a.Role), Type: string(a.EffectiveType()), ForEach: a.ForEach}
		if a.Default != nil {
			out.Default = []byte(*a.Default)
		}
		s.Attributes = append(s.Attributes, out)
	}
	return s, nil
}

func scriptOf(s *step.Script) *sluicev1.Script {
	if s == nil {
		return nil
	}
	return &sluicev1.Script{Language: s.Language, Source: s.Script}
}

// workConfig fills in what a definition leaves out. One that is given has no
// retries where it names none; one that is not given has the installation's.
func workConfig(w *step.WorkConfig, d Defaults) *sluicev1.WorkConfig {
	out := &sluicev1.WorkConfig{
		MaxRetries: d.MaxRetries, BackoffMs: d.BackoffMS, MaxBackoffMs: d.MaxBackoffMS,
		BackoffType: d.BackoffType, Parallelism: 1, TimeoutMs: d.AttemptTimeoutMS,
	}
	if w != nil {
		out.MaxRetries = w.MaxRetries
		if w.BackoffMS != nil {
			out.BackoffMs = *w.BackoffMS
		}
		if w.MaxBackoffMS != nil && *w.MaxBackoffMS > 0 {
			out.MaxBackoffMs = *w.MaxBackoffMS
			if w.BackoffMS == nil {
				out.BackoffMs = min(out.GetBackoffMs(), out.GetMaxBackoffMs())
			}
		}
		if w.BackoffType != "" {
			out.BackoffType = backoffOf(w.BackoffType)
		}
		if w.Parallelism > 0 {
			out.Parallelism = w.Parallelism
		}
		if w.TimeoutMS != 0 {
			out.TimeoutMs = w.TimeoutMS
		}
		out.HeartbeatTimeoutMs = w.HeartbeatTimeoutMS
		out.DeadlineMs = w.DeadlineMS
	}
	out.TimeoutMs = max(out.GetTimeoutMs(), 0) // -1 means no limit
	out.MaxBackoffMs = max(out.GetMaxBackoffMs(), out.GetBackoffMs())
	return out
}

func backoffOf(b step.Backoff) sluicev1.BackoffType {
	switch b {
	case step.BackoffFixed:
		return sluicev1.BackoffType_BACKOFF_TYPE_FIXED
	case step.BackoffLinear:
		return sluicev1.BackoffType_BACKOFF_TYPE_LINEAR
	case step.BackoffExponential:
	}
	return sluicev1.BackoffType_BACKOFF_TYPE_EXPONENTIAL
}

func kindOf(k step.Kind) sluicev1.StepType {
	switch k {
	case step.KindSync:
		return sluicev1.StepType_STEP_TYPE_SYNC
	case step.KindAsync:
		return sluicev1.StepType_STEP_TYPE_ASYNC
	case step.KindScript:
		return sluicev1.StepType_STEP_TYPE_SCRIPT
	case step.KindFlow:
		return sluicev1.StepType_STEP_TYPE_FLOW
	case step.KindWait:
		return sluicev1.StepType_STEP_TYPE_WAIT
	}
	return sluicev1.StepType_STEP_TYPE_UNSPECIFIED
}

func roleOf(r step.Role) sluicev1.AttributeRole {
	switch r {
	case step.RoleRequired:
		return sluicev1.AttributeRole_ATTRIBUTE_ROLE_REQUIRED
	case step.RoleOptional:
		return sluicev1.AttributeRole_ATTRIBUTE_ROLE_OPTIONAL
	case step.RoleConst:
		return sluicev1.AttributeRole_ATTRIBUTE_ROLE_CONST
	case step.RoleOutput:
		return sluicev1.AttributeRole_ATTRIBUTE_ROLE_OUTPUT
	}
	return sluicev1.AttributeRole_ATTRIBUTE_ROLE_UNSPECIFIED
}
