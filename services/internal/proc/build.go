package proc

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
)

// Programs are the paths of what an installation runs.
type Programs struct {
	Sluice string
	NATS   string
}

// Build makes the programs from source, into a folder. The tag lets tests set an
// engine's clock wrong, and nothing else.
func Build(ctx context.Context, dir string) (Programs, error) {
	p := Programs{Sluice: filepath.Join(dir, "sluice"), NATS: filepath.Join(dir, "nats-server")}
	for out, pkg := range map[string]string{
		p.Sluice: "github.com/sluiceflow/sluice/services/cmd/sluice",
		p.NATS:   "github.com/nats-io/nats-server/v2",
	} {
		text, err := exec.CommandContext(ctx, "go", "build", "-tags", "faults", "-o", out, pkg).CombinedOutput()
		if err != nil {
			return Programs{}, fmt.Errorf("build %s: %w: %s", pkg, err, text)
		}
	}
	return p, nil
}
