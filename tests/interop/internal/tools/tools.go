// Package tools finds the programs of the reference implementation that play
// a part in tests: derpprobe, derper and tailscaled.
//
// They are built from the revisions in go.mod when a test asks for them. What
// takes minutes, to compile, is kept in Go's build cache.
package tools

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// Tool is a program that may have been built already.
type Tool struct {
	pkg      string
	variable string // environment variable that names a ready-made one
	module   string // folder with its go.mod, from tests/interop
	tags     string // file in that folder with its build tags, or empty

	once sync.Once
	path string
	err  error
}

var (
	Derper    = &Tool{pkg: "tailscale.com/cmd/derper", variable: "RINGRELAY_DERPER", module: "."}
	Derpprobe = &Tool{pkg: "tailscale.com/cmd/derpprobe", variable: "RINGRELAY_DERPPROBE", module: "."}

	// Tailscaled is the tailscale command too: see README.md in its folder.
	Tailscaled = &Tool{
		pkg: "tailscale.com/cmd/tailscaled", variable: "RINGRELAY_TAILSCALED", module: "tailscaled", tags: "tags",
	}
)

// Path is where the program is; if need be it is built, into dir. The working
// directory must be that of the tests.
func (p *Tool) Path(dir string) (string, error) {
	p.once.Do(func() {
		if p.path = os.Getenv(p.variable); p.path == "" {
			p.path = filepath.Join(dir, filepath.Base(p.pkg))
			p.err = p.build()
		}
	})
	return p.path, p.err
}

func (p *Tool) build() error {
	args := []string{"build", "-buildvcs=false", "-o", p.path}
	if p.tags != "" {
		tags, err := os.ReadFile(filepath.Join(p.module, p.tags))
		if err != nil {
			return err
		}
		args = append(args, "-tags="+strings.TrimSpace(string(tags)))
	}
	cmd := exec.Command("go", append(args, p.pkg)...)
	cmd.Dir = p.module
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s (%s names a ready-made one): %v\n%s", p.pkg, p.variable, err, out)
	}
	return nil
}
