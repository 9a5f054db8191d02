package interop

import (
	"crypto/tls"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ringrelay.test/interop/internal/pki"
	"ringrelay.test/interop/internal/relay"
)

// refusesTLS12: the one difference from derper that is wanted. Every DERP
// client speaks TLS 1.3, and the fast start needs it.
func refusesTLS12(k relay.Kind) bool { return k == relay.Ringrelay }

// refusesHTTP2: Go's HTTP server adds h2 behind derper's http/1.1, so that a
// client that offers only h2 gets it. No DERP connection can come of it.
func refusesHTTP2(k relay.Kind) bool { return k == relay.Ringrelay }

func TestTLSServerName(t *testing.T) {
	byName := sharedTLS(t)
	byIP := selfSigned(t, "127.0.0.1", "")
	for name, c := range map[string]struct {
		s       *relay.Server
		sni     string // empty or an IP address: none is sent
		refused string
	}{
		"name":                      {byName, tlsName, ""},
		"other name":                {byName, "other.example.test", "internal error"},
		"parent name":               {byName, "example.test", "internal error"},
		"name below":                {byName, "x." + tlsName, "internal error"},
		"long name":                 {byName, strings.Repeat("a.", 126) + "b", "internal error"},
		"no name":                   {byName, "", "internal error"},
		"no name as for an IP":      {byName, "127.0.0.1", "internal error"},
		"by address, no name":       {byIP, "", ""},
		"by address, that address":  {byIP, "127.0.0.1", ""},
		"by address, other address": {byIP, "192.0.2.9", ""},
		"by address, some name":     {byIP, "whatever.example.test", ""},
	} {
		t.Run(name, func(t *testing.T) {
			nc := dialTCP(t, c.s)
			conn, err := tryHandshake(nc, &tls.Config{ServerName: c.sni, InsecureSkipVerify: true})
			if c.refused != "" {
				mustRefuse(t, err, "remote error: tls: "+c.refused)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			p := newPeer(t, conn)
			p.fastStart(t).login(t).mustLive(t)
		})
	}
}

func TestTLSProtocolNegotiation(t *testing.T) {
	s := sharedTLS(t)
	for name, c := range map[string]struct {
		offer   []string
		want    string
		refused bool
	}{
		"none":               {nil, "", false},
		"http/1.1":           {[]string{"http/1.1"}, "http/1.1", false},
		"h2 and http/1.1":    {[]string{"h2", "http/1.1"}, "http/1.1", false},
		"unknown, http/1.1":  {[]string{"x/1", "http/1.1"}, "http/1.1", false},
		"h2":                 {[]string{"h2"}, "h2", refusesHTTP2(s.Kind)},
		"acme-tls/1":         {[]string{"acme-tls/1"}, "", true},
		"prefix of http/1.1": {[]string{"http/1"}, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			config := s.TLSConfig()
			config.NextProtos = c.offer
			conn, err := tryHandshake(dialTCP(t, s), config)
			if c.refused {
				mustRefuse(t, err, "remote error: tls: no application protocol")
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := conn.ConnectionState().NegotiatedProtocol; got != c.want {
				t.Errorf("negotiated %q, want %q", got, c.want)
			}
			if c.want == "h2" {
				return
			}
			p := newPeer(t, conn)
			p.fastStart(t).login(t).mustLive(t)
		})
	}
}

func TestTLSVersions(t *testing.T) {
	s := sharedTLS(t)
	for name, c := range map[string]struct {
		min, max uint16
		refused  bool
	}{
		"1.0 to 1.1": {tls.VersionTLS10, tls.VersionTLS11, true},
		"1.2":        {tls.VersionTLS12, tls.VersionTLS12, refusesTLS12(s.Kind)},
		"1.2 to 1.3": {tls.VersionTLS12, tls.VersionTLS13, false},
		"1.3":        {tls.VersionTLS13, tls.VersionTLS13, false},
	} {
		t.Run(name, func(t *testing.T) {
			config := s.TLSConfig()
			config.MinVersion, config.MaxVersion = c.min, c.max
			conn, err := tryHandshake(dialTCP(t, s), config)
			if c.refused {
				mustRefuse(t, err, "remote error: tls: protocol version not supported")
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if v := conn.ConnectionState().Version; v != c.max {
				t.Errorf("negotiated %s, want %s", tls.VersionName(v), tls.VersionName(c.max))
			}
			p := newPeer(t, conn)
			p.fastStart(t).login(t).mustLive(t)
		})
	}
}

// TestTLSGroups: what Go offers by itself has a post-quantum share of 1.2 KB
// in it; the server may take it or not.
func TestTLSGroups(t *testing.T) {
	s := sharedTLS(t)
	for name, curves := range map[string][]tls.CurveID{
		"as Go offers": nil,
		"X25519":       {tls.X25519},
		"P-256":        {tls.CurveP256},
		"both":         {tls.CurveP256, tls.X25519},
	} {
		t.Run(name, func(t *testing.T) {
			config := s.TLSConfig()
			config.CurvePreferences = curves
			p := newPeer(t, mustHandshake(t, dialTCP(t, s), config))
			p.fastStart(t).login(t).mustLive(t)
		})
	}
}

// TestTLSTicketCache: a client that keeps tickets gets along, whether the
// server hands out any or not.
func TestTLSTicketCache(t *testing.T) {
	s := sharedTLS(t)
	config := s.TLSConfig()
	config.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	for range 3 {
		p := newPeer(t, mustHandshake(t, dialTCP(t, s), config))
		p.fastStart(t).login(t).mustLive(t)
		p.Close()
	}
}

// TestTLSBadCertificateFiles: a server that cannot have its certificate must
// not start without.
func TestTLSBadCertificateFiles(t *testing.T) {
	t.Parallel()
	a := authority(t)
	good, err := a.Issue(pki.ECDSA, tlsName)
	if err != nil {
		t.Fatal(err)
	}
	other, err := a.Issue(pki.ECDSA, "other.example.test")
	if err != nil {
		t.Fatal(err)
	}
	for name, leaf := range map[string]pki.Leaf{
		"none":                 {},
		"no certificate in it": {ChainPEM: []byte("hello\n"), KeyPEM: good.KeyPEM},
		"no key in it":         {ChainPEM: good.ChainPEM, KeyPEM: good.ChainPEM},
		"key of another":       {ChainPEM: good.ChainPEM, KeyPEM: other.KeyPEM},
		"for another name":     *other,
		"truncated":            {ChainPEM: good.ChainPEM[:200], KeyPEM: good.KeyPEM},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if leaf.ChainPEM != nil {
				if err := leaf.Install(dir, tlsName); err != nil {
					t.Fatal(err)
				}
			}
			keyFile := filepath.Join(t.TempDir(), "derper.key")
			s, err := relay.Start(program, relay.Options{KeyFile: keyFile, TLS: &relay.TLS{CertDir: dir, Hostname: tlsName}})
			if err == nil {
				s.Kill()
				t.Fatal("server started")
			}
			if !errors.Is(err, relay.ErrExited) {
				t.Fatalf("want the server to exit: %v", err)
			}
			if s.ExitCode() <= 0 {
				t.Errorf("exit code %d, want a failure of its own making", s.ExitCode())
			}
			if !strings.Contains(s.Log(), tlsName) {
				t.Errorf("the log does not name %s:\n%s", tlsName, s.Log())
			}
			if left, _ := os.ReadDir(dir); leaf.ChainPEM == nil && len(left) != 0 {
				t.Errorf("files were made for a host name: %v", left)
			}
		})
	}
}
