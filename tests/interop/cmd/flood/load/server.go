package load

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"ringrelay.test/interop/internal/relay"
)

const hostname = "127.0.0.1"

func certificateIn(dir string) string { return filepath.Join(dir, "certs", hostname+".crt") }

// Attach is the server at addr that another process started with this dir:
// for its target and its pages.
func Attach(addr, dir string) (*Server, error) {
	s := &Server{}
	s.Addr = addr
	return s, s.trust(certificateIn(dir))
}

// Server is a process with TLS on 127.0.0.1 and a self-signed certificate. The
// tests have their own (internal/relay); this one tells its process id and can
// be bound to a CPU.
type Server struct {
	relay.Server // only its address and TLS are set: for pages
	Name         string
	PID          int

	cmd    *exec.Cmd
	log    *os.File
	exited chan struct{}
}

// StartServer starts the program at path, ringrelayd or derper. Servers with
// the same dir have one certificate and one key. cpu "" binds to nothing.
func StartServer(kind relay.Kind, path, cpu, dir string) (*Server, error) {
	certs := filepath.Join(dir, "certs")
	if err := os.MkdirAll(certs, 0o700); err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", hostname+":0")
	if err != nil {
		return nil, err
	}
	addr := ln.Addr().String()
	ln.Close()
	args := []string{path, "-a", addr, "-c", filepath.Join(dir, "derper.key"), "-certmode", "manual",
		"-certdir", certs, "-hostname", hostname, "-stun=false", "-http-port", "-1"}
	if kind == relay.Derper {
		args = append(args, "-mesh-psk-file=")
	}
	if cpu != "" {
		args = append([]string{"taskset", "-c", cpu}, args...) // becomes the server: the process id stays
	}
	log, err := os.Create(filepath.Join(dir, kind.String()+".log"))
	if err != nil {
		return nil, err
	}
	s := &Server{Name: kind.String(), cmd: exec.Command(args[0], args[1:]...), log: log, exited: make(chan struct{})}
	s.Kind, s.Addr = kind, addr
	s.cmd.Stdout, s.cmd.Stderr = log, log
	// A killed program must not leave servers behind.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // Pdeathsig fires when the thread ends
		err := s.cmd.Start()
		started <- err
		if err == nil {
			s.cmd.Wait()
		}
		close(s.exited)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	s.PID = s.cmd.Process.Pid
	if err := s.awaitReady(certificateIn(dir)); err != nil {
		s.Kill()
		return nil, fmt.Errorf("%s: %w; log:\n%s", s.Name, err, s.Log())
	}
	return s, nil
}

func (s *Server) awaitReady(certificate string) error {
	deadline := time.Now().Add(15 * time.Second)
	for {
		err := s.trust(certificate)
		if err == nil {
			var c *tls.Conn
			if c, err = s.Target().Handshake(); err == nil {
				return c.Close()
			}
		}
		select {
		case <-s.exited:
			return errors.New("exited during start")
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not ready: %w", err)
		}
	}
}

func (s *Server) trust(certificate string) error {
	text, err := os.ReadFile(certificate)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return fmt.Errorf("%s: no certificate in it", certificate)
	}
	s.TLS = &relay.TLS{Hostname: hostname, Roots: roots}
	return nil
}

// Target is for clients. They offer X25519 alone, so that every server does
// the same arithmetic: left to itself Go adds a post-quantum share, which
// servers are free to take or leave.
func (s *Server) Target() Target {
	config := s.TLSConfig()
	config.CurvePreferences = []tls.CurveID{tls.X25519}
	return Target{Addr: s.Addr, TLS: config}
}

// Log is what the process printed.
func (s *Server) Log() string {
	text, _ := os.ReadFile(s.log.Name())
	return string(text)
}

// Stop ends the process with SIGTERM, or by force after five seconds.
func (s *Server) Stop() error {
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.exited:
	case <-time.After(5 * time.Second):
		s.Kill()
		return fmt.Errorf("%s: still there 5 s after SIGTERM", s.Name)
	}
	defer s.log.Close()
	// derper has no handler for SIGTERM in every release; ringrelayd exits with 0.
	if code := s.cmd.ProcessState.ExitCode(); s.Kind == relay.Ringrelay && code != 0 {
		return fmt.Errorf("%s: exit status %d; log:\n%s", s.Name, code, s.Log())
	}
	return nil
}

// Kill ends the process without ceremony.
func (s *Server) Kill() {
	s.cmd.Process.Kill()
	<-s.exited
}

// CPU is the processor time of the process with all its threads, user and
// system, since it started. The kernel counts in steps of 10 ms.
func (s *Server) CPU() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.PID))
	if err != nil {
		return 0, err
	}
	// The name may contain anything; what follows its last parenthesis does not.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	const utime, stime = 11, 12 // fields 14 and 15 of proc(5)
	if len(fields) <= stime {
		return 0, fmt.Errorf("/proc/%d/stat: %q", s.PID, text)
	}
	var ticks int64
	for _, i := range []int{utime, stime} {
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / 100, nil // USER_HZ is 100 wherever Go runs
}

// Memory is of /proc/PID/smaps_rollup, in KiB.
type Memory struct {
	RSS  int `json:"rss_kib"`
	Anon int `json:"pss_anon_kib"`
}

// Memory asks the kernel now.
func (s *Server) Memory() (Memory, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", s.PID))
	if err != nil {
		return Memory{}, err
	}
	m := Memory{RSS: -1, Anon: -1}
	sc := bufio.NewScanner(bytes.NewReader(text))
	for sc.Scan() {
		if f := strings.Fields(sc.Text()); len(f) == 3 && f[0] == "Rss:" {
			m.RSS, err = strconv.Atoi(f[1])
		} else if len(f) == 3 && f[0] == "Pss_Anon:" {
			m.Anon, err = strconv.Atoi(f[1])
		}
		if err != nil {
			return m, err
		}
	}
	if m.RSS < 0 || m.Anon < 0 {
		return m, fmt.Errorf("/proc/%d/smaps_rollup lacks Rss or Pss_Anon", s.PID)
	}
	return m, nil
}
