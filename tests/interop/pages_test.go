package interop

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"ringrelay.test/interop/internal/pki"
	"ringrelay.test/interop/internal/relay"
)

// ask sends one request, byte for byte, and reads one answer.
func ask(t *testing.T, s *relay.Server, request string) (*http.Response, string) {
	t.Helper()
	nc, err := net.DialTimeout("tcp", s.Addr, wait)
	if err != nil {
		t.Fatal(err)
	}
	if s.TLS != nil {
		nc = tls.Client(nc, s.TLSConfig())
	}
	return askOn(t, nc, request)
}

func askOn(t *testing.T, nc net.Conn, request string) (*http.Response, string) {
	t.Helper()
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(wait))
	if _, err := io.WriteString(nc, request); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(request, " ")
	resp, err := http.ReadResponse(bufio.NewReader(nc), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%q: %v", request, err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%q: reading the body: %v", request, err)
	}
	return resp, string(body)
}

// head is a request without a body.
func head(method, target string, headers ...string) string {
	return method + " " + target + " HTTP/1.1\r\n" + strings.Join(append([]string{"Host: derp.example"}, headers...), "\r\n") + "\r\n\r\n"
}

const (
	policy      = "default-src 'self'; frame-ancestors 'none'; form-action 'self'; base-uri 'self'; block-all-mixed-content; object-src 'none'"
	debugPolicy = policy + "; style-src 'self' 'unsafe-inline'"
)

// checkBrowserHeaders requires all of them, or none when policy is "".
func checkBrowserHeaders(t *testing.T, resp *http.Response, policy string) {
	t.Helper()
	want := map[string]string{"Content-Security-Policy": policy}
	if policy != "" {
		want["Strict-Transport-Security"] = "max-age=63072000; includeSubDomains"
		want["X-Frame-Options"] = "DENY"
		want["X-Content-Type-Options"] = "nosniff"
	} else {
		want["Strict-Transport-Security"], want["X-Frame-Options"] = "", ""
	}
	for name, v := range want {
		if got := resp.Header.Get(name); got != v {
			t.Errorf("%s is %q, want %q", name, got, v)
		}
	}
}

// page is a row of the table of routes.
type page struct {
	request  string
	status   int
	policy   string // "": no browser headers
	body     string // whole; "HOME" for the home page, "*" for any
	location string
}

const disabledText, noUpgrade = "derp server disabled\n", "DERP requires connection upgrade\n"

var routes = []page{
	// Everything that is nothing else is the home page, for every method.
	{head("GET", "/"), 200, policy, "HOME", ""},
	{head("HEAD", "/"), 200, policy, "", ""},
	{head("POST", "/"), 200, policy, "HOME", ""},
	{head("OPTIONS", "/"), 200, policy, "HOME", ""},
	{head("BREW", "/"), 200, policy, "HOME", ""},
	{head("GET", "/foo"), 200, policy, "HOME", ""},
	{head("GET", "/derp/"), 200, policy, "HOME", ""},
	{head("GET", "/derp/x"), 200, policy, "HOME", ""},
	{head("GET", "/derp%2fprobe"), 200, policy, "HOME", ""},
	{head("GET", "/generate_204/"), 200, policy, "HOME", ""},
	{head("GET", "/robots.txt.bak"), 200, policy, "HOME", ""},
	{head("GET", "/debugger"), 200, policy, "HOME", ""},
	{head("GET", "/DERP/probe"), 200, policy, "HOME", ""},
	{head("GET", "/a/%2e%2e/b"), 200, policy, "HOME", ""},
	{"GET / HTTP/1.0\r\n\r\n", 200, policy, "HOME", ""},

	// Paths that are not clean.
	{head("GET", "//derp"), 307, "", "<a href=\"/derp\">Temporary Redirect</a>.\n\n", "/derp"},
	{head("HEAD", "//derp"), 307, "", "", "/derp"},
	{head("POST", "//derp"), 307, "", "", "/derp"},
	{head("GET", "/debug"), 307, "", "*", "/debug/"},
	{head("GET", "//debug"), 307, "", "*", "/debug/"},
	{head("GET", "/debug?a=b&c"), 307, "", "<a href=\"/debug/?a=b&amp;c\">Temporary Redirect</a>.\n\n", "/debug/?a=b&c"},
	{head("GET", "/a/../derp/?x=1&y=<b>"), 307, "", "*", "/derp/?x=1&y=<b>"},
	{head("GET", "/../../.."), 307, "", "*", "/"},
	{head("GET", "/derp/./probe"), 307, "", "*", "/derp/probe"},
	{head("GET", "/foo//"), 307, "", "*", "/foo/"},
	{head("GET", "/foo/.."), 307, "", "*", "/"},
	{head("GET", "/foo/."), 307, "", "*", "/foo"},
	{head("GET", "//a%20b"), 307, "", "*", "/a%20b"},
	{head("GET", "//a\"b"), 307, "", "*", "/a%22b"},

	// Targets of other forms.
	{head("OPTIONS", "*"), 200, "", "", ""},
	{head("GET", "*"), 400, "", "", ""},
	{head("GET", "/a%zz"), 400, "", "*", ""},
	{head("GET", "/a%"), 400, "", "*", ""},
	{"GET / HTTP/1.1\r\n\r\n", 400, "", "*", ""},
	{head("GET", "http://other/derp/probe"), 200, "", "", ""},

	// /derp without an upgrade.
	{head("GET", "/derp"), 426, "", noUpgrade, ""},
	{head("POST", "/derp"), 426, "", noUpgrade, ""},
	{head("GET", "/derp?a", "Upgrade: h2c", "Connection: Upgrade"), 426, "", noUpgrade, ""},

	// Small pages.
	{head("GET", "/robots.txt"), 200, policy, "User-agent: *\nDisallow: /\n", ""},
	{head("PUT", "/robots.txt"), 200, policy, "User-agent: *\nDisallow: /\n", ""},
	{head("GET", "/derp/probe"), 200, "", "", ""},
	{head("HEAD", "/derp/probe"), 200, "", "", ""},
	{head("GET", "/derp/probe?x=1"), 200, "", "", ""},
	{head("GET", "/d%65rp/prob%65"), 200, "", "", ""},
	{head("GET", "/derp/latency-check"), 200, "", "", ""},
	{head("POST", "/derp/probe"), 405, "", "bogus probe method\n", ""},
	{head("OPTIONS", "/derp/latency-check"), 405, "", "bogus probe method\n", ""},
	{head("GET", "/generate_204"), 204, "", "", ""},
}

func checkPage(t *testing.T, s *relay.Server, want page) {
	resp, body := ask(t, s, want.request)
	if resp.StatusCode != want.status {
		t.Fatalf("%s, want %d; body %.200q", resp.Status, want.status, body)
	}
	checkBrowserHeaders(t, resp, want.policy)
	if got := resp.Header.Get("Location"); got != want.location {
		t.Errorf("Location %q, want %q", got, want.location)
	}
	switch want.body {
	case "*":
	case "HOME":
		if !strings.Contains(body, "<h1>DERP</h1>") || resp.Header.Get("Content-Type") != "text/html; charset=utf-8" {
			t.Errorf("no home page: %s %.100q", resp.Header.Get("Content-Type"), body)
		}
	default:
		if body != want.body {
			t.Errorf("body %.200q, want %q", body, want.body)
		}
	}
}

func TestRoutes(t *testing.T) {
	for _, over := range []string{"plain", "TLS"} {
		s := shared
		if over == "TLS" {
			s = sharedTLS(t)
		}
		for _, row := range routes {
			t.Run(over+" "+row.request[:strings.IndexByte(row.request, '\r')], func(t *testing.T) { checkPage(t, s, row) })
		}
	}
}

// TestErrorsKeepTheConnection: what a page answers is not the end.
func TestErrorsKeepTheConnection(t *testing.T) {
	p := newPeer(t, dialTCP(t, shared))
	for _, row := range []struct {
		request string
		status  int
	}{
		{head("POST", "/derp/probe"), 405}, {head("GET", "/derp"), 426}, {head("GET", "//x"), 307},
		{head("GET", "/debug/nowhere"), 404}, {head("GET", "/generate_204"), 204}, {head("GET", "/derp/probe"), 200},
	} {
		p.mustSend(t, []byte(row.request))
		resp, err := p.ReadResponse()
		if err != nil {
			t.Fatalf("%q: %v", row.request, err)
		}
		io.Copy(io.Discard, resp.Body)
		if resp.StatusCode != row.status {
			t.Errorf("%q: %s, want %d", row.request, resp.Status, row.status)
		}
	}
}

func TestChallenge(t *testing.T) {
	for name, row := range map[string]struct{ header, answer string }{
		"none":        {"X-Other: 1", ""},
		"valid":       {"X-Tailscale-Challenge: ts_derp1.example.com", "response ts_derp1.example.com"},
		"all signs":   {"X-Tailscale-Challenge: aZ09._:-", "response aZ09._:-"},
		"empty":       {"X-Tailscale-Challenge:", ""},
		"a space":     {"X-Tailscale-Challenge: a b", ""},
		"a slash":     {"X-Tailscale-Challenge: a/b", ""},
		"64 bytes":    {"X-Tailscale-Challenge: " + strings.Repeat("a", 64), "response " + strings.Repeat("a", 64)},
		"65 bytes":    {"X-Tailscale-Challenge: " + strings.Repeat("a", 65), ""},
		"not ASCII":   {"X-Tailscale-Challenge: \xc3\xa4", ""},
		"other case":  {"x-tailscale-CHALLENGE: abc", "response abc"},
		"two of them": {"X-Tailscale-Challenge: abc\r\nX-Tailscale-Challenge: def", "response abc"},
	} {
		for _, method := range []string{"GET", "HEAD", "POST", "DELETE"} {
			t.Run(name+" "+method, func(t *testing.T) {
				resp, body := ask(t, shared, head(method, "/generate_204?q", row.header))
				if resp.StatusCode != 204 || body != "" {
					t.Errorf("%s, body %q", resp.Status, body)
				}
				if got := resp.Header.Get("X-Tailscale-Response"); got != row.answer {
					t.Errorf("response %q, want %q", got, row.answer)
				}
				if got := resp.Header.Get("Cache-Control"); got != "no-cache, no-store, must-revalidate, no-transform, max-age=0" {
					t.Errorf("Cache-Control %q", got)
				}
				checkBrowserHeaders(t, resp, "")
			})
		}
	}
	t.Run("NUL", func(t *testing.T) {
		if resp, _ := ask(t, shared, head("GET", "/generate_204", "X-Tailscale-Challenge: a\x00b")); resp.StatusCode != 400 {
			t.Errorf("%s, want 400", resp.Status)
		}
	})
}

func TestProbeMayBeReadFromAnywhere(t *testing.T) {
	resp, _ := ask(t, shared, head("GET", "/derp/probe"))
	if got := resp.Header.Get("Access-Control-Allow-Origin"); got != "*" {
		t.Errorf("Access-Control-Allow-Origin %q", got)
	}
}

func TestHome(t *testing.T) {
	debugLink := "<a href='/debug/'>/debug/</a>"
	t.Run("default", func(t *testing.T) {
		_, local := ask(t, shared, head("GET", "/"))
		_, proxied := ask(t, shared, head("GET", "/", "X-Forwarded-For: 192.0.2.1"))
		if !strings.Contains(local, debugLink) || strings.Contains(proxied, debugLink) {
			t.Errorf("link to /debug/: %v, through a proxy: %v", strings.Contains(local, debugLink), strings.Contains(proxied, debugLink))
		}
		if strings.Contains(local, "disabled") {
			t.Error("says that it is disabled")
		}
	})
	t.Run("blank", func(t *testing.T) {
		s := privateServer(t, relay.Options{Args: []string{"-home", "blank"}})
		checkPage(t, s, page{head("GET", "/"), 200, policy, "", ""})
		checkPage(t, s, page{head("GET", "/robots.txt"), 200, policy, "*", ""})
	})
	t.Run("elsewhere", func(t *testing.T) {
		const url = "https://example.com/a?b=c&d"
		s := privateServer(t, relay.Options{Args: []string{"-home", url}})
		checkPage(t, s, page{head("GET", "/foo"), 302, policy, "<a href=\"https://example.com/a?b=c&amp;d\">Found</a>.\n\n", url})
		checkPage(t, s, page{head("POST", "/"), 302, policy, "", url})
		checkPage(t, s, page{head("HEAD", "/"), 302, policy, "", url})
	})
	for _, bad := range []string{"off", "ftp://example.com/", "//example.com"} {
		t.Run(bad, func(t *testing.T) { mustNotStart(t, relay.Options{Args: []string{"-home", bad}}, "home") })
	}
}

// mustNotStart requires that the program ends at once and that its log has what.
func mustNotStart(t *testing.T, o relay.Options, what string) {
	t.Helper()
	o.KeyFile = t.TempDir() + "/derper.key"
	s, err := relay.Start(program, o)
	if err == nil {
		s.Kill()
		t.Fatal("it started")
	}
	if s.ExitCode() <= 0 || !strings.Contains(s.Log(), what) {
		t.Errorf("exit status %d, log %q; want a failure that speaks of %q", s.ExitCode(), s.Log(), what)
	}
}

func TestDERPDisabled(t *testing.T) {
	s := privateServer(t, relay.Options{Args: []string{"-derp=false"}})
	for _, request := range []string{head("GET", "/derp"), head("GET", "/derp", "Upgrade: DERP", "Connection: Upgrade"),
		head("GET", "/derp", "Upgrade: DERP", "Derp-Fast-Start: 1")} {
		checkPage(t, s, page{request, 404, "", disabledText, ""})
	}
	checkPage(t, s, page{head("GET", "/derp/probe"), 200, "", "", ""})
	if _, body := ask(t, s, head("GET", "/")); !strings.Contains(body, "<p>Status: <b>disabled</b></p>") {
		t.Errorf("home page without the notice: %q", body)
	}
}

// TestConnectIsOff: only over TLS is it a method of its own.
func TestConnectIsOff(t *testing.T) {
	const request = "CONNECT derp.example:443 HTTP/1.1\r\nHost: derp.example:443\r\n\r\n"
	if resp, _ := ask(t, shared, request); resp.StatusCode != 404 {
		t.Errorf("plain: %s, want 404", resp.Status)
	}
	if resp, body := ask(t, sharedTLS(t), request); resp.StatusCode != 403 || body != "CONNECT not enabled\n" {
		t.Errorf("TLS: %s %q", resp.Status, body)
	}
}

// TestAcceptLimit: the second connection is closed, and the relay lives on.
func TestAcceptLimit(t *testing.T) {
	oursOnly(t, "derper ends at its first rejection")
	s := privateServer(t, relay.Options{TLS: withCA(t, pki.ECDSA, tlsName),
		Args: []string{"-accept-connection-limit", "0.02", "-accept-connection-burst", "4"}})
	client := &http.Client{Timeout: wait, Transport: &http.Transport{TLSClientConfig: s.TLSConfig()}}
	defer client.CloseIdleConnections()
	resp, err := client.Get(s.URL("/derp/probe")) // keeps its connection
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	rejected := 0
	for range 6 {
		nc, err := tls.DialWithDialer(&net.Dialer{Timeout: wait}, "tcp", s.Addr, s.TLSConfig())
		if err != nil {
			rejected++
			continue
		}
		nc.Close()
	}
	if rejected < 4 || rejected > 6 {
		t.Errorf("%d of 6 rejected, want those above the burst", rejected)
	}
	resp, err = client.Get(s.URL("/debug/varz"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	for _, want := range []string{"\ntls_listener_accepted_connections 4\n", `ringrelay_refusals{reason="accept_limit"} `} {
		if !strings.Contains(string(body), want) {
			t.Errorf("%q is missing in varz", want)
		}
	}
	if strings.Contains(string(body), "\ntls_listener_rejected_connections 0\n") {
		t.Error("no rejection is counted")
	}
}

func TestDisallowedAppNames(t *testing.T) {
	s := privateServer(t, relay.Options{Args: []string{"-disallow-app-names", "bad,worse app"}})
	for name, isFine := range map[string]bool{"bad": false, "worse app": false, "good": true, "Bad": true, "worse": true, "": true} {
		t.Run(name, func(t *testing.T) {
			p := fastStart(t, s)
			p.mustSend(t, p.clientInfo(`{"version":2,"AppName":"`+name+`"}`))
			if isFine {
				p.awaitServerInfo(t)
			} else {
				p.mustClose(t)
			}
		})
	}
	t.Run("empty item", func(t *testing.T) {
		s := privateServer(t, relay.Options{Args: []string{"-disallow-app-names", "bad,"}})
		p := fastStart(t, s)
		p.mustSend(t, p.clientInfo(`{"version":2}`))
		p.mustClose(t)
	})
}
