package interop

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"ringrelay.test/interop/internal/pki"
	"ringrelay.test/interop/internal/relay"
	"ringrelay.test/interop/internal/wire"
)

// trafficPage reads /debug/traffic round by round until the test ends.
type trafficPage struct {
	resp  *http.Response
	lines *bufio.Scanner
}

func openTraffic(t *testing.T, s *relay.Server, within time.Duration) *trafficPage {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, "GET", s.URL("/debug/traffic"), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.HTTPClient().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return &trafficPage{resp, bufio.NewScanner(resp.Body)}
}

type trafficLine struct {
	Sent, Recv, UniqueSenders int
	Key                       string
}

// round reads up to the next blank line.
func (p *trafficPage) round(t *testing.T) map[string]trafficLine {
	t.Helper()
	byKey := make(map[string]trafficLine)
	for p.lines.Scan() {
		text := p.lines.Text()
		if text == "" {
			return byKey
		}
		if !strings.HasPrefix(text, `{"Sent":`) {
			t.Fatalf("a line like %.100q", text)
		}
		var line trafficLine
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("%.100q: %v", text, err)
		}
		byKey[line.Key] = line
	}
	t.Fatalf("the page ends: %v", p.lines.Err())
	return nil
}

func TestDebugTraffic(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("ss"); err != nil && program.Kind == relay.Derper {
		t.Skip("derper asks ss, which is not here")
	}
	var o relay.Options
	if program.Kind == relay.Ringrelay {
		o.Args = []string{"-workers", "2", "-placement", "spread"}
	}
	s := privateServer(t, o)
	a, b, silent := login(t, s), login(t, s), login(t, s)
	send := func(count int) {
		data := pattern(1000, 3)
		for range count {
			a.mustSend(t, wire.SendPacket(b.pub, data))
			b.mustReceive(t, a.pub, data)
		}
	}
	send(3)
	page := openTraffic(t, s, 60*time.Second)
	if page.resp.StatusCode != 200 || page.resp.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Fatalf("%s, %q", page.resp.Status, page.resp.Header.Get("Content-Type"))
	}
	// Rounds may come before counters do, and derper's are of TCP.
	await := func(sent int) {
		for deadline := time.Now().Add(wait); ; {
			got := page.round(t)
			from, to := got[a.pub.String()], got[b.pub.String()]
			if program.Kind == relay.Derper && from.Recv >= sent && to.Sent >= sent {
				return
			}
			if from.Recv == sent && to.Sent == sent && from.Sent == 0 && to.Recv == 0 {
				if _, ok := got[silent.pub.String()]; ok {
					t.Error("somebody silent is in the list")
				}
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("after %v: %+v and %+v, want %d bytes", wait, from, to, sent)
			}
		}
	}
	await(3000)
	if got := page.round(t); len(got) != 0 {
		t.Errorf("nothing was sent, and there is %v", got)
	}
	begin := time.Now()
	page.round(t)
	if took := time.Since(begin); took < time.Second || took > 4*time.Second {
		t.Errorf("a round takes %v", took)
	}
	send(2)
	await(5000)
}

// One reader at a time; when it goes, the next one may.
func TestDebugTrafficOneReader(t *testing.T) {
	t.Parallel()
	if program.Kind == relay.Derper {
		t.Skip("derper has no such limit")
	}
	s := privateServer(t, relay.Options{})
	first := openTraffic(t, s, 60*time.Second)
	first.round(t)
	if second := openTraffic(t, s, wait); second.resp.StatusCode != 503 {
		t.Errorf("a second reader gets %s", second.resp.Status)
	}
	first.resp.Body.Close()
	eventually(t, func() string {
		next := openTraffic(t, s, wait)
		defer next.resp.Body.Close()
		if next.resp.StatusCode != 200 {
			return next.resp.Status
		}
		next.round(t)
		return ""
	})
}

// A round of many lines, while the admin socket asks for lists of its own.
func TestDebugTrafficOfMany(t *testing.T) {
	t.Parallel()
	trafficOfMany(t, nil)
}

func TestDebugTrafficOfManyTLS(t *testing.T) {
	t.Parallel()
	trafficOfMany(t, withCA(t, pki.ECDSA, tlsName))
}

func trafficOfMany(t *testing.T, o *relay.TLS) {
	t.Helper()
	const count = 300
	s, path := adminServer(t, o)
	peers := make([]*rawPeer, count)
	for i := range peers {
		peers[i] = login(t, s)
		peers[i].mustSend(t, wire.SendPacket(peers[i].pub, pattern(10, 1)))
		peers[i].mustReceive(t, peers[i].pub, pattern(10, 1))
	}
	page := openTraffic(t, s, 60*time.Second)
	c, err := dialAdmin(path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	seen := make(map[string]bool)
	for round := 0; len(seen) < count; round++ {
		for range 10 {
			if byKey, err := listed(c, ""); err != nil || len(byKey) != count {
				t.Fatalf("%d listed, %v", len(byKey), err)
			}
		}
		for k, line := range page.round(t) {
			if line.Recv != 10 || line.Sent > 10 {
				t.Fatalf("%+v", line)
			}
			seen[k] = true
		}
		if round == 5 {
			t.Fatalf("%d of %d after 5 rounds", len(seen), count)
		}
	}
}
