package interop

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"testing"
	"time"

	"tailscale.com/feature"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
)

// TestTLSProbeKeepsConnection: browsers time the second request of a
// connection, so there must be one.
func TestTLSProbeKeepsConnection(t *testing.T) {
	s := sharedTLS(t)
	client := &http.Client{Timeout: wait, Transport: &http.Transport{TLSClientConfig: s.TLSConfig()}}
	defer client.CloseIdleConnections()
	for i, path := range []string{"/derp/probe", "/derp/latency-check", "/derp/probe", "/generate_204", "/derp/probe"} {
		var reused bool
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
			GotConn: func(info httptrace.GotConnInfo) { reused = info.Reused },
		})
		req, err := http.NewRequestWithContext(ctx, "GET", s.URL(path), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		want := 200
		if path == "/generate_204" {
			want = 204
		}
		if resp.StatusCode != want {
			t.Errorf("%s: %s, want %d", path, resp.Status, want)
		}
		if resp.TLS == nil || resp.ProtoMajor != 1 {
			t.Errorf("%s: %s, TLS %v, want HTTP/1.1 over TLS", path, resp.Proto, resp.TLS != nil)
		}
		if reused != (i > 0) {
			t.Errorf("request %d, %s: over a used connection: %v", i, path, reused)
		}
	}
}

// TestTLSProbeThenDERP: the upgrade may be the third request of a connection.
func TestTLSProbeThenDERP(t *testing.T) {
	s := sharedTLS(t)
	for _, by := range []*rawPeer{dialRaw(t, s), dialRecords(t, s).rawPeer} {
		by.mustProbe(t)
		by.mustProbe(t)
		by.fastStart(t).login(t).mustLive(t)
	}
}

// TestPlainHTTPOnTLSPort: a browser that was given http:// is told so.
func TestPlainHTTPOnTLSPort(t *testing.T) {
	s := sharedTLS(t)
	const want = "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
	for _, request := range []string{
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HEAD /derp/probe HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST /derp HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "PUT / HTTP/1.1\r\nHost: x\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", "GET /derp HTTP/1.1\r\nHost: x\r\nUpgrade: DERP\r\n\r\n",
	} {
		p := newPeer(t, dialTCP(t, s))
		p.mustSend(t, []byte(request))
		p.SetReadDeadline(time.Now().Add(wait))
		if got, err := io.ReadAll(p.Reader()); string(got) != want || err != nil {
			t.Errorf("%.20q: got %q, %v, want %q", request, got, err, want)
		}
	}
}

// TestGarbageOnTLSPort: anything else is hung up on.
func TestGarbageOnTLSPort(t *testing.T) {
	s := sharedTLS(t)
	for name, b := range map[string]string{
		"text":                       "hello, hello, hello\r\n",
		"zeros":                      string(make([]byte, 64)),
		"SSH":                        "SSH-2.0-OpenSSH_9.2\r\n",
		"SSL 2":                      "\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10\x01\x00\x80\x03\x00\x80\x07\x00\xc0",
		"data before the hello":      "\x17\x03\x03\x00\x20" + string(make([]byte, 32)),
		"alert first":                "\x15\x03\x03\x00\x02\x02\x28",
		"an unknown message":         "\x16\x03\x01\x00\x04\x63\x00\x00\x00",
		"empty hello":                "\x16\x03\x01\x00\x04\x01\x00\x00\x00",
		"record too long":            "\x16\x03\x01\xff\xff\x01\x00\x10\x00",
		"hello of 16 MB":             "\x16\x03\x01\x00\x04\x01\xff\xff\xff",
		"a hello cut off":            "\x16\x03\x01\x00\x2a\x01\x00\x00\x26\x03\x03" + string(make([]byte, 37)),
		"the DERP magic, unwrapped":  "\x02\x00\x00\x00\x20" + string(make([]byte, 32)),
		"CONNECT":                    "CONNECT x:443 HTTP/1.1\r\n\r\n",
		"extension length too large": "\x16\x03\x01\x00\x30\x01\x00\x00\x2c\x03\x03" + string(make([]byte, 33)) + "\x00\x02\x13\x01\x01\x00\xff\xff\x00",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPeer(t, dialTCP(t, s))
			p.trySend([]byte(b))
			p.SetReadDeadline(time.Now().Add(wait))
			if got, err := io.ReadAll(p.Reader()); isTimeout(err) {
				t.Fatalf("still open after %v, got %x", wait, got)
			}
		})
	}
	t.Run("and the server lives", func(t *testing.T) { login(t, s).mustLive(t) })
}

// connectProxy passes connections on and reports their targets.
func connectProxy(t *testing.T) (*url.URL, <-chan string) {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	targets := make(chan string, 16)
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go tunnel(nc, targets)
		}
	}()
	return &url.URL{Scheme: "http", Host: ln.Addr().String()}, targets
}

func tunnel(nc net.Conn, targets chan<- string) {
	defer nc.Close()
	br := bufio.NewReader(nc)
	req, err := http.ReadRequest(br)
	if err != nil || req.Method != http.MethodConnect {
		fmt.Fprint(nc, "HTTP/1.1 400 Bad Request\r\n\r\n")
		return
	}
	targets <- req.Host
	up, err := net.Dial("tcp", req.Host)
	if err != nil {
		return
	}
	defer up.Close()
	fmt.Fprint(nc, "HTTP/1.1 200 OK\r\n\r\n")
	done := make(chan struct{}, 2)
	go func() { io.Copy(up, br); done <- struct{}{} }()
	go func() { io.Copy(nc, up); done <- struct{}{} }()
	<-done
}

// TestTLSThroughProxy is TestConnectThroughProxyHonorsDERPPort of the
// reference, and then packets.
func TestTLSThroughProxy(t *testing.T) {
	s := selfSigned(t, "127.0.0.1", "")
	proxy, targets := connectProxy(t)
	restore := feature.HookProxyFromEnvironment.SetForTest(func(*http.Request) (*url.URL, error) { return proxy, nil })
	defer restore() // not parallel: the hook is the whole program's

	insecure := region(t, s, "")
	insecure.Nodes[0].InsecureForTests = true
	var peers []*client
	for name, r := range map[string]*tailcfg.DERPRegion{"insecure": insecure, "pinned": region(t, s, pinFromLog(t, s))} {
		priv := key.NewNode()
		c := attach(t, regionClient(t, priv, r), priv)
		select {
		case target := <-targets:
			if target != s.Addr {
				t.Errorf("%s: the proxy was asked for %q, want %q", name, target, s.Addr)
			}
		default:
			t.Errorf("%s: the proxy was not asked", name)
		}
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		if err := c.Ping(ctx); err != nil {
			t.Errorf("%s: ping through the proxy: %v", name, err)
		}
		cancel()
		peers = append(peers, c)
	}
	data := pattern(65536, 61)
	peers[0].mustSend(t, peers[1].pub, data)
	peers[1].mustReceive(t, peers[0].pub, data)
}
