package interop

import (
	"net"
	"strings"
	"testing"

	"ringrelay.test/interop/internal/pki"
	"ringrelay.test/interop/internal/relay"
)

// withPort80 starts a server with TLS and the plain listener beside it, whose address it returns.
func withPort80(t *testing.T) (*relay.Server, string) {
	t.Helper()
	o := relay.Options{TLS: withCA(t, pki.ECDSA, tlsName)}
	for range 5 { // somebody else may take the port
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_, port, _ := net.SplitHostPort(ln.Addr().String())
		ln.Close()
		o.KeyFile = t.TempDir() + "/derper.key"
		o.Args = []string{"-http-port", port}
		s, err := relay.Start(program, o)
		if err == nil {
			t.Cleanup(func() { s.Stop(wait) })
			return s, ln.Addr().String()
		}
		if !strings.Contains(s.Log(), "in use") {
			t.Fatal(err)
		}
	}
	t.Fatal("no port")
	return nil, ""
}

func TestPort80(t *testing.T) {
	_, addr := withPort80(t)
	plain := &relay.Server{Addr: addr} // only to be asked
	eventually(t, func() string {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			return err.Error()
		}
		nc.Close()
		return ""
	})
	proxied := "X-Forwarded-For: 192.0.2.1"
	for _, row := range []page{
		{head("GET", "/generate_204"), 204, "", "", ""},
		{head("POST", "/generate_204"), 204, "", "", ""},
		{head("GET", "/"), 302, "", "<a href=\"https://derp.example/debug/\">Found</a>.\n\n", "https://derp.example/debug/"},
		{head("GET", "/", proxied), 302, "", "*", "https://derp.example/"},
		{head("GET", "/?a=b"), 302, "", "*", "https://derp.example/?a=b"},
		{head("GET", "/a?b=c&d"), 302, "", "*", "https://derp.example/a?b=c&d"},
		{head("HEAD", "/a"), 302, "", "", "https://derp.example/a"},
		{"GET /a HTTP/1.1\r\nHost: derp.example:8080\r\n\r\n", 302, "", "*", "https://derp.example:8080/a"},
		{head("GET", "/derp", "Upgrade: DERP", "Connection: Upgrade"), 302, "", "*", "https://derp.example/derp"},
		{head("GET", "/derp", "Upgrade: DERP", "Derp-Fast-Start: 1"), 302, "", "*", "https://derp.example/derp"},
		{head("GET", "/derp/probe"), 302, "", "*", "https://derp.example/derp/probe"},
		{head("GET", "/bootstrap-dns"), 302, "", "*", "https://derp.example/bootstrap-dns"},
		{head("POST", "/"), 400, "", "Use HTTPS\n", ""},
		{head("OPTIONS", "/a"), 400, "", "Use HTTPS\n", ""},
		{head("GET", "//a"), 307, "", "*", "/a"},
		{head("GET", "/debug"), 307, "", "*", "/debug/"},
		{head("GET", "/debug/"), 200, policy, "*", ""},
		{head("GET", "/debug/", proxied), 403, "", "debug access denied\n", ""},
		{head("GET", "/debug/varz"), 200, debugPolicy, "*", ""},
		{head("GET", "/debugger"), 200, policy, "HOME", ""},
		{head("OPTIONS", "*"), 200, "", "", ""},
	} {
		t.Run(row.request[:strings.IndexByte(row.request, '\r')], func(t *testing.T) { checkPage(t, plain, row) })
	}
}

// TestPort80IsTaken: a relay without its redirects would go unnoticed.
func TestPort80IsTaken(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	if program.Kind == relay.Derper {
		t.Skip("it serves for a moment before it ends")
	}
	mustNotStart(t, relay.Options{TLS: withCA(t, pki.ECDSA, tlsName), Args: []string{"-http-port", port}}, "-http-port -1")
}
