package console

import (
	"errors"
	"fmt"
	"net"
	"net/url"

	"github.com/sluiceflow/sluice/services/console/internal/access"
	"github.com/sluiceflow/sluice/services/internal/plan"
	"github.com/sluiceflow/sluice/services/internal/script"
)

// Config is what the console can be told.
type Config struct {
	APIKeys               string `env:"API_KEYS" secret:"true" help:"who may use the control API: name:role:key,... with role read, operate or admin"`
	PublicConsole         bool   `env:"PUBLIC_CONSOLE" envDefault:"false" help:"let a console without API keys listen on other than loopback"`
	ConsoleBaseURL        string `env:"CONSOLE_BASE_URL" help:"absolute URL of the console in the links of approvals; by default the address that the reader came by"`
	DataDir               string `env:"DATA_DIR" envDefault:"data" help:"folder of the index, which can be deleted at any time"`
	AllowPrivateEndpoints bool   `env:"ALLOW_PRIVATE_ENDPOINTS" envDefault:"false" help:"ask health checks at private and loopback addresses too"`
	// EndpointAllowHosts are the only hosts whose health checks are asked; empty
	// means any.
	EndpointAllowHosts []string `env:"ENDPOINT_ALLOW_HOSTS" help:"the only hosts whose health checks are asked, as host or *.domain, with commas between; any by default"`

	Planning plan.Settings

	WaitConcurrency int `env:"WAIT_CONCURRENCY" envDefault:"4096" help:"requests that wait for the end of a flow at once (wait_ms)"`
	Scripts         script.Config

	MaxGoals  int `env:"MAX_GOALS" envDefault:"64" help:"goals of one flow"`
	MaxInit   int `env:"MAX_INIT_VALUES" envDefault:"128" help:"init values of one flow"`
	MaxLabels int `env:"MAX_LABELS" envDefault:"32" help:"labels of one flow"`
}

// maxTimeoutMS is ten years: what is longer is a mistake.
const maxTimeoutMS = plan.MaxTimeoutMS

// Validate reports every value that makes no sense.
func (c Config) Validate() error {
	var mistakes []error
	within := func(name string, value, least, most int64) {
		if value < least || value > most {
			mistakes = append(mistakes, fmt.Errorf("%s is %d, and must be from %d to %d", name, value, least, most))
		}
	}
	if _, err := access.Parse(c.APIKeys); err != nil {
		mistakes = append(mistakes, fmt.Errorf("API_KEYS: %w", err))
	}
	if err := checkBase(c.ConsoleBaseURL); err != nil {
		mistakes = append(mistakes, err)
	}
	if c.DataDir == "" {
		mistakes = append(mistakes, errors.New("DATA_DIR must name a folder"))
	}
	mistakes = append(mistakes, c.Planning.Validate())
	within("WAIT_CONCURRENCY", int64(c.WaitConcurrency), 1, 1_000_000)
	mistakes = append(mistakes, c.Scripts.Validate())
	within("MAX_GOALS", int64(c.MaxGoals), 1, 10_000)
	within("MAX_INIT_VALUES", int64(c.MaxInit), 1, 100_000)
	within("MAX_LABELS", int64(c.MaxLabels), 1, 1_000)
	return errors.Join(mistakes...)
}

// checkBase says why a text is no base of URLs. It may be absent.
func checkBase(text string) error {
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return errors.New("CONSOLE_BASE_URL must be an absolute http or https URL")
	}
	return nil
}

// CheckListen refuses an address that others can reach when there are no API
// keys, unless that was asked for in so many words.
func (c Config) CheckListen(addr string) error {
	keys, err := access.Parse(c.APIKeys)
	if err != nil {
		return fmt.Errorf("API_KEYS: %w", err)
	}
	if keys.Any() || c.PublicConsole {
		return nil
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("LISTEN_ADDR %q: %w", addr, err)
	}
	if !access.IsLoopback(host) {
		return fmt.Errorf("without API_KEYS the console listens on loopback only, and %s is not: "+
			"set API_KEYS, or LISTEN_ADDR to 127.0.0.1:<port>, or PUBLIC_CONSOLE=true to let everybody in", addr)
	}
	return nil
}
