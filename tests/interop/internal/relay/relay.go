// Package relay starts and stops the DERP server process under test:
// ringrelayd, or the real derper as the reference.
package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Kind says which program is under test.
type Kind int

const (
	Ringrelay Kind = iota
	Derper
)

func (k Kind) String() string {
	if k == Derper {
		return "derper"
	}
	return "ringrelayd"
}

// Program is a server executable and how to start it.
type Program struct {
	Kind Kind
	Path string
	Args []string // appended to every start
}

// Options are what one instance may choose; the zero value is usable.
type Options struct {
	Host    string // listen address without port; default 127.0.0.1
	Addr    string // with port, instead of Host
	KeyFile string // required: both programs are given a key file
	TLS     *TLS   // nil: plain HTTP
	Args    []string
	Env     []string // added to ours: "NAME=value"
}

const (
	startDeadline = 15 * time.Second
	bindAttempts  = 5
)

// ErrExited is returned by Start when the process ended before it served.
var ErrExited = errors.New("server exited during start")

// Server is a running process.
type Server struct {
	Kind Kind
	Addr string // host:port
	TLS  *TLS   // nil: plain HTTP

	cmd    *exec.Cmd
	log    logBuffer
	exited chan struct{} // closed once the process was reaped
}

// Start starts p and returns once it answers HTTP. If the process exits
// first, the error wraps ErrExited and the returned Server holds its log and
// exit code.
func Start(p Program, o Options) (*Server, error) {
	if o.Host == "" {
		o.Host = "127.0.0.1"
	}
	if o.Addr != "" {
		return startAt(p, o)
	}
	if p.Kind == Ringrelay {
		return start(p, o, net.JoinHostPort(o.Host, "0"))
	}
	// derper does not tell which port it got, so it is given a free one;
	// somebody else may be faster, hence the attempts.
	for attempt := 1; ; attempt++ {
		addr, err := freeAddr(o.Host)
		if err != nil {
			return nil, err
		}
		s, err := start(p, o, addr)
		taken := errors.Is(err, ErrExited) && strings.Contains(s.Log(), "address already in use")
		if !taken || attempt == bindAttempts {
			return s, err
		}
	}
}

// startAt waits for an address that somebody else has for a moment: on a busy
// machine any client may have been given that port.
func startAt(p Program, o Options) (*Server, error) {
	deadline := time.Now().Add(startDeadline)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		s, err := start(p, o, o.Addr)
		taken := errors.Is(err, ErrExited) && strings.Contains(strings.ToLower(s.Log()), "address already in use")
		if !taken || time.Now().After(deadline) {
			return s, err
		}
		<-tick.C
	}
}

func arguments(p Program, o Options, addr string) []string {
	args := []string{"-a", addr, "-c", o.KeyFile}
	switch {
	case o.TLS != nil:
		args = append(args, tlsArguments(o.TLS)...)
	case p.Kind == Ringrelay:
		args = append([]string{"-dev"}, args...)
	}
	if p.Kind == Derper {
		// Not -dev: that forces port 3340 and a throw-away key. Any port
		// other than 443 is served as plain HTTP anyway.
		args = append(args, "-mesh-psk-file=")
	}
	args = append(args, "-stun=false") // one port for all; Args may ask for it
	args = append(args, p.Args...)
	return append(args, o.Args...)
}

func start(p Program, o Options, addr string) (*Server, error) {
	s := &Server{Kind: p.Kind, TLS: o.TLS, exited: make(chan struct{})}
	if p.Kind == Derper {
		s.Addr = addr
	}
	s.cmd = exec.Command(p.Path, arguments(p, o, addr)...)
	s.cmd.Env = append(os.Environ(), o.Env...)
	s.cmd.Stdout = &s.log
	s.cmd.Stderr = &s.log
	// A killed test binary must not leave servers behind.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.startPinned(); err != nil {
		return s, err
	}
	return s, s.awaitReady()
}

// startPinned starts the process from a goroutine that keeps its OS thread
// until the process is gone: Pdeathsig fires when that thread ends.
func (s *Server) startPinned() error {
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := s.cmd.Start()
		started <- err
		if err == nil {
			s.cmd.Wait()
		}
		close(s.exited)
	}()
	return <-started
}

var listeningOn = regexp.MustCompile(`listening on (\S+)\s`) // \s: not half a line

func (s *Server) awaitReady() error {
	ctx, cancel := context.WithTimeout(context.Background(), startDeadline)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if s.Addr == "" {
			if m := listeningOn.FindStringSubmatch(s.Log()); m != nil {
				s.Addr = m[1]
			}
		}
		if s.Addr != "" && s.answers(ctx) {
			return nil
		}
		select {
		case <-s.exited:
			return fmt.Errorf("%w: %v, code %d; log:\n%s", ErrExited, s.Kind, s.ExitCode(), s.Log())
		case <-ctx.Done():
			s.Kill()
			return fmt.Errorf("%v not ready within %v (address %q); log:\n%s", s.Kind, startDeadline, s.Addr, s.Log())
		case <-tick.C:
		}
	}
}

// answers asks for a page every server has; any status will do.
func (s *Server) answers(ctx context.Context) bool {
	req, err := http.NewRequestWithContext(ctx, "GET", s.URL("/derp/probe"), nil)
	if err != nil {
		return false
	}
	resp, err := s.HTTPClient().Do(req)
	if err != nil {
		return false
	}
	resp.Body.Close()
	select {
	case <-s.exited: // then it was somebody else who answered
		return false
	default:
		return true
	}
}

// URL returns the address of a page.
func (s *Server) URL(path string) string {
	if s.TLS != nil {
		return "https://" + s.Addr + path
	}
	return "http://" + s.Addr + path
}

// Log returns everything the process printed so far.
func (s *Server) Log() string { return s.log.String() }

// ExitCode is valid after the process ended; -1 means killed by a signal.
func (s *Server) ExitCode() int { return s.cmd.ProcessState.ExitCode() }

// PID is the process id, also after the process ended.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Stop sends SIGTERM and requires exit code 0 within the deadline.
func (s *Server) Stop(within time.Duration) error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("SIGTERM: %v (did the server crash?); log:\n%s", err, s.Log())
	}
	select {
	case <-s.exited:
	case <-time.After(within):
		s.Kill()
		return fmt.Errorf("%v still runs %v after SIGTERM; log:\n%s", s.Kind, within, s.Log())
	}
	if c := s.ExitCode(); c != 0 {
		return fmt.Errorf("%v exited with %d after SIGTERM; log:\n%s", s.Kind, c, s.Log())
	}
	return nil
}

// Kill ends the process without ceremony and waits for it.
func (s *Server) Kill() {
	s.cmd.Process.Kill()
	<-s.exited
}

// Exited reports whether the process is gone.
func (s *Server) Exited() bool {
	select {
	case <-s.exited:
		return true
	default:
		return false
	}
}

func freeAddr(host string) (string, error) {
	ln, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}

// Locate resolves a program path given relative to the working directory or
// to one of its parents, because tests run in their package's folder and
// people give paths relative to the repository.
func Locate(path string) (string, error) {
	if filepath.IsAbs(path) {
		_, err := os.Stat(path)
		return path, err
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		full := filepath.Join(dir, path)
		if st, err := os.Stat(full); err == nil && !st.IsDir() {
			return full, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("%s: not found here or in a parent folder", path)
		}
		dir = parent
	}
}

type logBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
