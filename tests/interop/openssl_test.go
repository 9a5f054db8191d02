package interop

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"ringrelay.test/interop/internal/relay"
)

// opensslConn is `openssl s_client` used as a pipe: what is written to it is
// encrypted by OpenSSL, not by Go.
type opensslConn struct {
	net.Conn           // only its addresses
	in, out  *os.File  // s_client's standard input and output
	errors   syncLog   // what it says about itself
	cmd      *exec.Cmd // reaped by Close
	closing  sync.Once
}

type opensslPeer struct {
	*rawPeer
	ssl *opensslConn
}

type syncLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *syncLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *syncLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// dialOpenSSL starts s_client; the chain and the name are verified. Output is
// only what the server sent. args are further ones; "-nocommands" is not
// given, so input must not begin with a letter that s_client has for a command.
func dialOpenSSL(t *testing.T, s *relay.Server, args ...string) *opensslPeer {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("no openssl on PATH")
	}
	root := filepath.Join(t.TempDir(), "root.pem")
	if err := os.WriteFile(root, authority(t).RootPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	args = append([]string{"s_client", "-brief", "-connect", s.Addr, "-CAfile", root,
		"-servername", s.TLS.Hostname, "-verify_hostname", s.TLS.Hostname, "-verify_return_error"}, args...)
	c := &opensslConn{cmd: exec.Command(path, args...)}
	inRead, inWrite, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	outRead, outWrite, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	c.in, c.out = inWrite, outRead
	c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr = inRead, outWrite, &c.errors
	err = c.cmd.Start()
	inRead.Close()
	outWrite.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		if t.Failed() {
			t.Logf("openssl %s said:\n%s", strings.Join(args, " "), c.errors.String())
		}
	})
	return &opensslPeer{newPeer(t, c), c}
}

func (c *opensslConn) Read(b []byte) (int, error)  { return c.out.Read(b) }
func (c *opensslConn) Write(b []byte) (int, error) { return c.in.Write(b) }

func (c *opensslConn) SetReadDeadline(d time.Time) error  { return c.out.SetReadDeadline(d) }
func (c *opensslConn) SetWriteDeadline(d time.Time) error { return c.in.SetWriteDeadline(d) }

func (c *opensslConn) Close() error {
	c.closing.Do(func() {
		c.in.Close()
		c.out.Close()
		c.cmd.Process.Kill()
		c.cmd.Wait()
	})
	return nil
}

type opensslAddr struct{}

func (opensslAddr) Network() string { return "openssl" }
func (opensslAddr) String() string  { return "openssl" }

func (c *opensslConn) RemoteAddr() net.Addr { return opensslAddr{} }
func (c *opensslConn) LocalAddr() net.Addr  { return opensslAddr{} }

// awaitSaid polls until OpenSSL has said a text so many times.
func (c *opensslConn) awaitSaid(t *testing.T, text string, times int) {
	t.Helper()
	deadline := time.Now().Add(wait)
	for strings.Count(c.errors.String(), text) < times {
		if time.Now().After(deadline) {
			t.Fatalf("openssl has not said %q %d times within %v", text, times, wait)
		}
		time.Sleep(100 * time.Microsecond)
	}
}
