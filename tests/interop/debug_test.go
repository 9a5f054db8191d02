package interop

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"ringrelay.test/interop/internal/pki"
	"ringrelay.test/interop/internal/relay"
	"ringrelay.test/interop/internal/wire"
	"tailscale.com/types/key"
)

const denied = "debug access denied\n"

func TestDebugPages(t *testing.T) {
	s := sharedTLS(t)
	proxied := "X-Forwarded-For: 192.0.2.1"
	for _, row := range []page{
		{head("GET", "/debug/"), 200, policy, "*", ""},
		{head("GET", "/debug/", "X-Forwarded-For: "), 200, policy, "*", ""},
		{head("GET", "/debug/vars"), 200, debugPolicy, "*", ""},
		{head("GET", "/debug/varz"), 200, debugPolicy, "*", ""},
		{head("HEAD", "/debug/varz"), 200, debugPolicy, "", ""},
		{head("POST", "/debug/varz"), 200, debugPolicy, "*", ""},
		{head("GET", "/debug/check"), 200, debugPolicy, "*", ""},
		{head("GET", "/debug/nowhere"), 404, "", "*", ""},
		{head("GET", "/debug/vars/"), 404, "", "*", ""},
		{head("GET", "/debug/%2f"), 404, "", "*", ""},
		{head("GET", "/debug/", proxied), 403, "", denied, ""},
		{head("GET", "/debug/varz", proxied), 403, "", denied, ""},
		{head("GET", "/debug/nowhere", proxied), 403, "", denied, ""},
		{head("GET", "/debug/pprof/", proxied), 403, "", denied, ""},
	} {
		t.Run(row.request[:strings.IndexByte(row.request, '\r')], func(t *testing.T) { checkPage(t, s, row) })
	}
	t.Run("types", func(t *testing.T) {
		for path, want := range map[string]string{"/debug/": "text/html; charset=utf-8",
			"/debug/vars": "application/json; charset=utf-8", "/debug/varz": "text/plain; charset=utf-8",
			"/debug/check": "text/plain; charset=utf-8"} {
			if resp, _ := ask(t, s, head("GET", path)); resp.Header.Get("Content-Type") != want {
				t.Errorf("%s: %q, want %q", path, resp.Header.Get("Content-Type"), want)
			}
		}
	})
	t.Run("not Go", func(t *testing.T) {
		oursOnly(t, "it is")
		for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/gc", "/debug/set-mutex-profile-fraction?rate=1"} {
			if resp, body := ask(t, s, head("GET", path)); resp.StatusCode != 404 || !strings.Contains(body, "not a Go program") {
				t.Errorf("%s: %s %q", path, resp.Status, body)
			}
		}
	})
}

func TestDebugIndex(t *testing.T) {
	_, body := ask(t, sharedTLS(t), head("GET", "/debug/"))
	machine, _ := os.Hostname()
	for _, want := range []string{
		`<li><b>Uptime:</b> \d+(m\d+)?s</li><li><b>Version:</b> \d+\.\d+\.\d+[^<]*</li>`,
		`<li><b>Machine:</b> ` + regexp.QuoteMeta(machine) + `</li>`,
		`<li><b>TLS hostname:</b> ` + regexp.QuoteMeta(tlsName) + `</li><li><b>Mesh key:</b> false</li>`,
		`<li><a href="/debug/vars">/debug/vars</a> \(.+\)</li>`, `<a href="/debug/varz">`, `<a href="/debug/check">`,
	} {
		if !regexp.MustCompile(want).MatchString(body) {
			t.Errorf("%s is not in %s", want, body)
		}
	}
}

func TestDebugKey(t *testing.T) {
	file := filepath.Join(t.TempDir(), "debug.key")
	if err := os.WriteFile(file, []byte(" s3cret+key&\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := privateServer(t, relay.Options{TLS: withCA(t, pki.ECDSA, tlsName), Env: []string{"TS_DEBUG_KEY_PATH=" + file}})
	proxied := "X-Forwarded-For: 192.0.2.1"
	for query, status := range map[string]int{
		"?debugkey=s3cret%2Bkey%26":             200,
		"?a=b&debugkey=s3cret%2Bkey%26":         200,
		"?debugkey=s3cret+key%26":               403, // '+' is a blank
		"?debugkey=s3cret%2Bkey":                403,
		"?debugkey=":                            403,
		"":                                      403,
		"?debugkey=no&debugkey=s3cret%2Bkey%26": 403, // the first counts
		"?debugkey=s3cret%2bkey%26;":            403,
		"?Debugkey=s3cret%2Bkey%26":             403,
	} {
		if resp, _ := ask(t, s, head("GET", "/debug/varz"+query, proxied)); resp.StatusCode != status {
			t.Errorf("%s: %s, want %d", query, resp.Status, status)
		}
	}
	if resp, _ := ask(t, s, head("HEAD", "/debug/varz?debugkey=s3cret%2Bkey%26", proxied)); resp.StatusCode != 403 {
		t.Errorf("HEAD with the key: %s, want 403", resp.Status)
	}
	if strings.Contains(s.Log(), "s3cret") {
		t.Error("the key is in the log")
	}
}

// Networks and addresses: tests/unit/test_debug_access.c; here everybody is local.
func TestDebugNetworks(t *testing.T) {
	privateServer(t, relay.Options{Env: []string{"TS_DEBUG_TRUSTED_CIDRS= 10.0.0.0/8,, fd00::/8 ", "TS_ALLOW_DEBUG_IP=192.0.2.1"}})
	for _, bad := range []string{"10.0.0.0", "10.0.0.0/33", "example.com/8", "fe80::%eth0/64", "10.0.0.0/08"} {
		t.Run(bad, func(t *testing.T) {
			// derper looks at it when the first page asks for it.
			if program.Kind == relay.Derper {
				t.Skip("it ends later")
			}
			mustNotStart(t, relay.Options{Env: []string{"TS_DEBUG_TRUSTED_CIDRS=10.0.0.0/8," + bad}}, "TS_DEBUG_TRUSTED_CIDRS")
		})
	}
}

// samples are the lines of a page of metrics: types, and names with labels.
func samples(text string) (lines []string) {
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "# TYPE ") {
			lines = append(lines, line)
		} else if line != "" && line[0] != '#' {
			lines = append(lines, line[:strings.LastIndexByte(line, ' ')])
		}
	}
	return lines
}

var derperVarz = strings.Split(strings.TrimSpace(derperVarzText), "\n")

// TestVarzOrder: every name of derper's, its type, and their order. Values may come between, those of labels we always show.
func TestVarzOrder(t *testing.T) {
	s := sharedTLS(t)
	login(t, s).mustLive(t) // derper shows labels from the first event on
	text, err := s.VarzText()
	if err != nil {
		t.Fatal(err)
	}
	got := samples(text)
	at := 0
	for _, want := range derperVarz {
		found := at
		for found < len(got) && got[found] != want {
			found++
		}
		if found == len(got) {
			t.Errorf("%q is missing, or out of order", want)
			continue
		}
		at = found + 1
	}
}

func TestVars(t *testing.T) {
	s := privateServer(t, relay.Options{TLS: withCA(t, pki.ECDSA, tlsName)})
	p := login(t, s)
	p.mustLive(t)
	_, body := ask(t, s, head("GET", "/debug/vars"))
	var vars map[string]any
	if err := json.Unmarshal([]byte(body), &vars); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	derp := vars["derp"].(map[string]any)
	for name, want := range map[string]float64{"accepts": 1, "gauge_current_connections": 1, "gauge_clients_local": 1} {
		if derp[name] != want {
			t.Errorf("derp.%s is %v, want %v", name, derp[name], want)
		}
	}
	for path, want := range map[string]string{
		"derp.counter_buffered_write_frames.+Inf": "number", "derp.counter_buffered_write_frames.count": "number",
		"derp.counter_packets_received_kind.disco": "number", "derp.version": "string", "version": "string",
		"derp_packets_dropped": "string", "derp_websocket_accepts": "number", "counter_uptime_sec": "number",
		"derper_tls_request_version.1.3": "number", "gauge_derper_tls_active_version.1.3": "number",
		"stun.counter_requests.success": "number", "stun.counter_addrfamily.ipv6": "number",
		"tls_listener.counter_accepted_connections": "number", "node_boot_time_seconds": "number",
		"counter_bootstrap_dns_queried_domains": "number", "process_start_unix_time": "number",
	} {
		if got := kindAt(vars, path); got != want {
			t.Errorf("%s is a %s, want a %s", path, got, want)
		}
	}
}

// kindAt follows a path of member names; a name may hold dots.
func kindAt(v any, path string) string {
	switch v := v.(type) {
	case string:
		return "string"
	case float64:
		return "number"
	case map[string]any:
		for name, member := range v {
			if name == path {
				return kindAt(member, "")
			}
			if rest, ok := strings.CutPrefix(path, name+"."); ok {
				return kindAt(member, rest)
			}
		}
	}
	return fmt.Sprintf("%T without %q", v, path)
}

// TestTLSVersionCounts: requests are counted when they come, a DERP connection is active until it ends.
func TestTLSVersionCounts(t *testing.T) {
	s := privateServer(t, relay.Options{TLS: withCA(t, pki.ECDSA, tlsName)})
	const requests, active = `derper_tls_request_version{version="1.3"}`, `derper_tls_active_version{version="1.3"}`
	before := varz(t, s)
	if before[active] != 1 { // this one
		t.Errorf("%s is %v, want 1", active, before[active])
	}
	peers := []*rawPeer{login(t, s), login(t, s), login(t, s)}
	for _, p := range peers {
		p.mustLive(t)
	}
	after := varz(t, s)
	if after[active] != 4 || after[requests] != before[requests]+4 {
		t.Errorf("active %v, requests %v; want 4 and %v", after[active], after[requests], before[requests]+4)
	}
	for _, p := range peers {
		p.Close()
	}
	awaitVarz(t, s, map[string]float64{active: 1, "derp_current_connections": 0})
}

func TestConsistencyCheck(t *testing.T) {
	s := privateServer(t, relay.Options{})
	const fine = "derp.Server ConsistencyCheck okay"
	checkPage(t, s, page{head("GET", "/debug/check"), 200, debugPolicy, fine, ""})
	for range 5 {
		login(t, s).mustLive(t)
	}
	checkPage(t, s, page{head("GET", "/debug/check"), 200, debugPolicy, fine, ""})
	t.Run("duplicates", func(t *testing.T) {
		oursOnly(t, "it takes them for a fault")
		a := login(t, s)
		b := fastStart(t, s)
		b.priv, b.pub = a.priv, a.pub
		b.login(t).mustLive(t)
		checkPage(t, s, page{head("GET", "/debug/check"), 200, debugPolicy, fine, ""})
		a.Close()
		b.Close()
		checkPage(t, s, page{head("GET", "/debug/check"), 200, debugPolicy, fine, ""})
	})
}

// TestConsistencyCheckInACrowd: figures that differ because somebody is on the way are no fault.
func TestConsistencyCheckInACrowd(t *testing.T) {
	oursOnly(t, "it counts connections and keys at different moments")
	s := privateServer(t, relay.Options{})
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if nc, err := wire.Dial(s.Addr, wait, 0); err == nil {
				nc.Send(wire.Request(s.Addr, "DERP", wire.FastStart))
				if server, err := nc.ReadServerKey(); err == nil {
					nc.Send(wire.ClientInfo(key.NewNode(), server, wire.DefaultInfo))
					nc.ReadFrame()
				}
				nc.Close()
			}
		}
	}()
	for range 200 {
		checkPage(t, s, page{head("GET", "/debug/check"), 200, debugPolicy, "derp.Server ConsistencyCheck okay", ""})
	}
	close(stop)
	<-stopped
}

// TestRTTSamples: each connection is asked about within ten seconds and a little.
func TestRTTSamples(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for ten seconds")
	}
	t.Parallel()
	s := privateServer(t, relay.Options{})
	off := privateServer(t, relay.Options{Env: []string{"TS_DERP_DISABLE_RTT_STATS=true"}})
	for range 3 {
		login(t, s).mustLive(t)
		login(t, off).mustLive(t)
	}
	for range 3 { // eventually allows ten seconds
		if varz(t, s)[`derp_tcp_rtt{le="10ms"}`] >= 3 {
			break
		}
		waitFor(t, func() bool { return varz(t, s)[`derp_tcp_rtt{le="10ms"}`] >= 3 })
	}
	if got := varz(t, s)[`derp_tcp_rtt{le="10ms"}`]; got < 3 {
		t.Errorf("%v samples of 3 connections", got)
	}
	if got := varz(t, off)[`derp_tcp_rtt{le="10ms"}`]; got != 0 {
		t.Errorf("%v samples though they are off", got)
	}
}

// waitFor polls for as long as one step may take; it does not fail.
func waitFor(t *testing.T, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(wait)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !cond() && time.Now().Before(deadline) {
		<-tick.C
	}
}
