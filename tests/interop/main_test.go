package interop

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ringrelay.test/interop/internal/relay"
)

// wait bounds every single step of a test; nothing here takes that long
// unless the server is broken.
const wait = 10 * time.Second

const usage = `interop: no server to test. Set exactly one of

  RINGRELAY_SERVER=path/to/ringrelayd   the server of this repository
  RINGRELAY_REFERENCE=path/to/derper    the real one: go build -o derper tailscale.com/cmd/derper

relative to this folder or any parent; RINGRELAY_SERVER_ARGS adds arguments.
RINGRELAY_IDLE=131s adds the test that idles for that long.
`

var (
	program relay.Program // what private servers are started from
	shared  *relay.Server // one instance for all tests that do not count
	scratch string        // folder of the whole run
)

func TestMain(m *testing.M) {
	flag.Parse()
	// The slow tests only wait; let all of them wait at the same time.
	flag.Set("test.parallel", "32")
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if program, err = chooseProgram(); err != nil {
		fmt.Fprintf(os.Stderr, "%v\n", err)
		return 1
	}
	scratch, err = os.MkdirTemp("", "interop")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(scratch)
	shared, err = relay.Start(program, relay.Options{KeyFile: filepath.Join(scratch, "derper.key")})
	if err != nil {
		fmt.Fprintf(os.Stderr, "interop: starting the shared server: %v\n", err)
		return 1
	}
	code := m.Run()
	if err := crossedEnough([]*relay.Server{shared, sharedTLSServer}); err != nil {
		fmt.Fprintf(os.Stderr, "interop: %v\n", err)
		code = max(code, 1)
	}
	for _, s := range []*relay.Server{shared, sharedTLSServer} {
		if s == nil {
			continue // no test wanted TLS
		}
		died := s.Exited()
		if err := s.Stop(5 * time.Second); err != nil {
			fmt.Fprintf(os.Stderr, "interop: stopping a shared server: %v\n", err)
			return 1
		}
		if code != 0 && !died {
			fmt.Fprintf(os.Stderr, "interop: log of a shared server:\n%s\n", s.Log())
		}
	}
	return code
}

func chooseProgram() (relay.Program, error) {
	server, reference := os.Getenv("RINGRELAY_SERVER"), os.Getenv("RINGRELAY_REFERENCE")
	if (server == "") == (reference == "") {
		return relay.Program{}, fmt.Errorf("%s", usage)
	}
	p := relay.Program{Kind: relay.Ringrelay, Args: strings.Fields(os.Getenv("RINGRELAY_SERVER_ARGS"))}
	if reference != "" {
		p.Kind = relay.Derper
	}
	var err error
	p.Path, err = relay.Locate(server + reference)
	return p, err
}

// privateServer starts an instance for this test alone. It is stopped, and
// must stop properly, at the end of the test.
func privateServer(t *testing.T, o relay.Options) *relay.Server {
	t.Helper()
	return privateServerOf(t, program, o)
}

// privateServerOf is an instance of a given program.
func privateServerOf(t *testing.T, p relay.Program, o relay.Options) *relay.Server {
	t.Helper()
	if o.KeyFile == "" {
		o.KeyFile = filepath.Join(t.TempDir(), "derper.key")
	}
	s, err := relay.Start(p, o)
	if err != nil {
		t.Fatalf("starting a private server: %v", err)
	}
	t.Cleanup(func() {
		if !s.Exited() {
			if err := s.Stop(5 * time.Second); err != nil {
				t.Errorf("stopping the private server: %v", err)
			}
		}
		if t.Failed() {
			t.Logf("log of the private server:\n%s", s.Log())
		}
	})
	return s
}

// eventually polls until cond returns "" and fails with its last complaint.
func eventually(t *testing.T, cond func() string) {
	t.Helper()
	deadline := time.Now().Add(wait)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		complaint := cond()
		if complaint == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("still after %v: %s", wait, complaint)
		}
		<-tick.C
	}
}

// varz reads the metrics or fails the test.
func varz(t *testing.T, s *relay.Server) map[string]float64 {
	t.Helper()
	v, err := s.Varz()
	if err != nil {
		t.Fatalf("reading metrics: %v", err)
	}
	return v
}

// awaitVarz polls until every metric in want has its value.
func awaitVarz(t *testing.T, s *relay.Server, want map[string]float64) {
	t.Helper()
	eventually(t, func() string {
		got := varz(t, s)
		for name, v := range want {
			if g, ok := got[name]; !ok || g != v {
				return fmt.Sprintf("%s = %v (exposed: %v), want %v", name, g, ok, v)
			}
		}
		return ""
	})
}
