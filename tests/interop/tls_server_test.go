package interop

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ringrelay.test/interop/internal/pki"
	"ringrelay.test/interop/internal/relay"
	"ringrelay.test/interop/internal/tls13"
	"tailscale.com/types/key"
)

const tlsName = "derp.example.test" // nobody resolves it

// The authority that every client here trusts.
var testCA = sync.OnceValues(pki.New)

func authority(t *testing.T) *pki.Authority {
	t.Helper()
	a, err := testCA()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// installLeaf puts a fresh certificate for hostname into dir.
func installLeaf(t *testing.T, dir string, form pki.Form, hostname string) *pki.Leaf {
	t.Helper()
	leaf, err := authority(t).Issue(form, hostname)
	if err == nil {
		err = leaf.Install(dir, hostname)
	}
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

// withCA is the TLS of a server whose certificate our authority signed.
func withCA(t *testing.T, form pki.Form, hostname string) *relay.TLS {
	t.Helper()
	dir := t.TempDir()
	installLeaf(t, dir, form, hostname)
	return &relay.TLS{CertDir: dir, Hostname: hostname, Roots: authority(t).Roots}
}

var (
	sharedTLSOnce   sync.Once
	sharedTLSServer *relay.Server // for TestMain, which stops it
	sharedTLSError  error
)

// sharedTLS is the instance for all TLS tests that do not count. It starts
// when the first of them runs.
func sharedTLS(t *testing.T) *relay.Server {
	t.Helper()
	a := authority(t)
	sharedTLSOnce.Do(func() {
		dir := filepath.Join(scratch, "certs")
		if sharedTLSError = os.Mkdir(dir, 0o700); sharedTLSError != nil {
			return
		}
		leaf, err := a.Issue(pki.ECDSA, tlsName)
		if err == nil {
			err = leaf.Install(dir, tlsName)
		}
		if sharedTLSError = err; err != nil {
			return
		}
		var s *relay.Server
		s, sharedTLSError = relay.Start(program, relay.Options{
			KeyFile: filepath.Join(scratch, "derper-tls.key"),
			TLS:     &relay.TLS{CertDir: dir, Hostname: tlsName, Roots: a.Roots},
		})
		if sharedTLSError == nil {
			sharedTLSServer = s
		}
	})
	if sharedTLSError != nil {
		t.Fatalf("starting the shared TLS server: %v", sharedTLSError)
	}
	return sharedTLSServer
}

// tlsURL is what a client that knows the server by name is given.
func tlsURL(t *testing.T, s *relay.Server) string {
	t.Helper()
	_, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	return "https://" + net.JoinHostPort(s.TLS.Hostname, port) + "/derp"
}

// dialInstead dials addr whatever it is asked for: our names do not resolve.
func dialInstead(addr string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", addr)
	}
}

// dialTCP connects; the connection is closed after the test at the latest.
func dialTCP(t *testing.T, s *relay.Server) net.Conn {
	t.Helper()
	nc, err := net.DialTimeout("tcp", s.Addr, wait)
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	t.Cleanup(func() { nc.Close() })
	return nc
}

// tryHandshake is a handshake that may fail.
func tryHandshake(nc net.Conn, config *tls.Config) (*tls.Conn, error) {
	nc.SetDeadline(time.Now().Add(wait))
	defer nc.SetDeadline(time.Time{})
	c := tls.Client(nc, config)
	return c, c.Handshake()
}

func mustHandshake(t *testing.T, nc net.Conn, config *tls.Config) *tls.Conn {
	t.Helper()
	c, err := tryHandshake(nc, config)
	if err != nil {
		t.Fatalf("TLS handshake: %v", err)
	}
	return c
}

// recordPeer is a peer whose records we make ourselves.
type recordPeer struct {
	*rawPeer
	tls    *tls13.Conn
	tcp    net.Conn
	replay []byte // a record that was sent before
}

// dialRecords does the handshake and sends nothing else.
func dialRecords(t *testing.T, s *relay.Server) *recordPeer {
	t.Helper()
	nc := dialTCP(t, s)
	nc.SetDeadline(time.Now().Add(wait))
	c, err := tls13.Client(nc, s.TLSConfig())
	if err != nil {
		t.Fatalf("TLS handshake: %v", err)
	}
	nc.SetDeadline(time.Time{})
	return &recordPeer{rawPeer: newPeer(t, c), tls: c, tcp: nc}
}

// loginRecords goes up to and including ServerInfo.
func loginRecords(t *testing.T, s *relay.Server) *recordPeer {
	t.Helper()
	p := dialRecords(t, s)
	p.fastStart(t).login(t)
	return p
}

// sendTCP sends records as they are, in one write.
func (p *recordPeer) sendTCP(t *testing.T, records ...[]byte) {
	t.Helper()
	p.tcp.SetWriteDeadline(time.Now().Add(wait))
	if _, err := p.tcp.Write(slices.Concat(records...)); err != nil {
		t.Fatalf("send: %v", err)
	}
}

// serverKeyOf reads the key from the chain, as a client does for a fast start.
func serverKeyOf(t *testing.T, cs tls.ConnectionState) key.NodePublic {
	t.Helper()
	meta := cs.PeerCertificates[len(cs.PeerCertificates)-1]
	digits, ok := strings.CutPrefix(meta.Subject.CommonName, "derpkey")
	var k key.NodePublic
	if err := k.UnmarshalText([]byte("nodekey:" + digits)); !ok || err != nil {
		t.Fatalf("last certificate's name is %q: %v", meta.Subject.CommonName, err)
	}
	return k
}

// mustRefuse requires a handshake error with this text.
func mustRefuse(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Fatalf("handshake: %v, want an error with %q", err, want)
	}
}

// oursOnly skips what the reference does not have.
func oursOnly(t *testing.T, what string) {
	t.Helper()
	if program.Kind != relay.Ringrelay {
		t.Skip(fmt.Sprint(program.Kind, " does not have it: ", what))
	}
}
