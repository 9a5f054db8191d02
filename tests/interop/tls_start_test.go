package interop

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"strings"
	"sync"
	"testing"

	"ringrelay.test/interop/internal/pki"
	"ringrelay.test/interop/internal/relay"
	"ringrelay.test/interop/internal/tls13"
	"ringrelay.test/interop/internal/wire"
	"tailscale.com/types/key"
)

// TestTLSSendRecv is the Go client against every form of certificate.
func TestTLSSendRecv(t *testing.T) {
	for name, form := range map[string]pki.Form{
		"ECDSA": pki.ECDSA, "ECDSA, SEC 1 file": pki.ECDSASec, "RSA": pki.RSA, "RSA, PKCS 8 file": pki.RSAPKCS8,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := privateServer(t, relay.Options{TLS: withCA(t, form, tlsName)})
			a, b := connect(t, s), connect(t, s)
			for _, n := range []int{0, 1, 2, 100, 1186, 1280, 1400, 4096, 16345, 16346, 16347, 16384, 32768, 65535, 65536} {
				data := pattern(n, 31)
				a.mustSend(t, b.pub, data)
				b.mustReceive(t, a.pub, data)
				b.mustSend(t, a.pub, data)
				a.mustReceive(t, b.pub, data)
			}
			a.mustQuiet(t)
			b.mustQuiet(t)
			a.Close()
			awaitVarz(t, s, map[string]float64{metricConnections: 1, metricGone: 1})
		})
	}
}

func TestTLSOrder(t *testing.T) {
	s := sharedTLS(t)
	runOrdered(t, connect(t, s), connect(t, s))
}

func TestTLSOrderToSelf(t *testing.T) {
	a := connect(t, sharedTLS(t))
	runOrdered(t, a, a)
}

// tap records both directions of a connection and its secrets.
type tap struct {
	mu             sync.Mutex
	sent, received bytes.Buffer
	secrets        bytes.Buffer
}

type tappedConn struct {
	net.Conn
	tap *tap
}

func (c tappedConn) Write(b []byte) (int, error) {
	c.tap.mu.Lock()
	c.tap.sent.Write(b)
	c.tap.mu.Unlock()
	return c.Conn.Write(b)
}

func (c tappedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.tap.mu.Lock()
	c.tap.received.Write(b[:n])
	c.tap.mu.Unlock()
	return n, err
}

// content returns the application data of one direction so far.
func (p *tap) content(t *testing.T, suite uint16, label string) string {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	secret, err := tls13.SecretFromLog(p.secrets.Bytes(), label)
	if err != nil {
		t.Fatal(err)
	}
	stream := p.sent.Bytes()
	if label == tls13.ServerSecret {
		stream = p.received.Bytes()
	}
	data, err := tls13.Content(stream, suite, secret)
	if err != nil {
		t.Fatalf("decrypting %s: %v", label, err)
	}
	return string(data)
}

// TestTLSGoClientFastStart: the client trusts the last certificate, asks for
// no answer, and gets none.
func TestTLSGoClientFastStart(t *testing.T) {
	s := sharedTLS(t)
	priv := key.NewNode()
	dc := newClient(t, s, priv)
	var rec tap
	dial := dialInstead(s.Addr)
	dc.SetURLDialer(func(ctx context.Context, network, addr string) (net.Conn, error) {
		nc, err := dial(ctx, network, addr)
		return tappedConn{nc, &rec}, err
	})
	dc.TLSConfig = &tls.Config{RootCAs: s.TLS.Roots, KeyLogWriter: &rec.secrets}
	c := attach(t, dc, priv)
	c.mustSend(t, c.pub, []byte("self"))
	c.mustReceive(t, c.pub, []byte("self"))
	cs, ok := dc.TLSConnectionState()
	if !ok || cs.Version != tls.VersionTLS13 {
		t.Fatalf("connection state %v, %+v, want TLS 1.3", ok, cs)
	}
	if up := rec.content(t, cs.CipherSuite, tls13.ClientSecret); !strings.Contains(up, "\r\n"+wire.FastStart+"\r\n") {
		t.Errorf("the client did not ask for a fast start: %.200q", up)
	}
	down := rec.content(t, cs.CipherSuite, tls13.ServerSecret)
	if !strings.HasPrefix(down, "\x01\x00\x00\x00\x28DERP") {
		t.Errorf("the server's first bytes are %.60q, want ServerKey", down)
	}
	if got, want := dc.ServerPublicKey(), serverKeyOf(t, *cs); got != want {
		t.Errorf("the client took the server for %v, the certificate says %v", got, want)
	}
}

// TestTLSNormalStart is what clients do behind a middlebox that swallows the
// last certificate, over each TLS client we have.
func TestTLSNormalStart(t *testing.T) {
	s := sharedTLS(t)
	for name, dial := range map[string]func(*testing.T) *rawPeer{
		"crypto/tls": func(t *testing.T) *rawPeer { return dialRaw(t, s) },
		"by record":  func(t *testing.T) *rawPeer { return dialRecords(t, s).rawPeer },
		"openssl":    func(t *testing.T) *rawPeer { return dialOpenSSL(t, s).rawPeer },
	} {
		t.Run(name, func(t *testing.T) {
			p := dial(t)
			p.mustSend(t, wire.Request(s.Addr, "DERP"))
			p.await101(t)
			p.login(t).mustLive(t)
			p.mustSend(t, wire.SendPacket(p.pub, []byte("self")))
			p.mustReceive(t, p.pub, []byte("self"))
		})
	}
}

// TestTLSRestartsOfOneKey: the newest connection of a key gets its packets,
// the roaming case, over TLS.
func TestTLSRestartsOfOneKey(t *testing.T) {
	s := sharedTLS(t)
	sender := connect(t, s)
	priv := key.NewNode()
	for i := range 5 {
		c := attach(t, newClient(t, s, priv), priv)
		data := pattern(1000+i, 32)
		sender.mustSend(t, c.pub, data)
		c.mustReceive(t, sender.pub, data)
	}
}

// TestTLSTerminate: SIGTERM ends a server with live connections at once.
func TestTLSTerminate(t *testing.T) {
	s := privateServer(t, relay.Options{TLS: withCA(t, pki.ECDSA, tlsName)})
	live := login(t, s)
	halfway := fastStart(t, s)
	silent := dialRaw(t, s)
	tcp := newPeer(t, dialTCP(t, s)) // no handshake
	if err := s.Stop(wait / 2); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*rawPeer{live, halfway, silent, tcp} {
		p.mustClose(t)
	}
}
