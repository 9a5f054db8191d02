package interop

import (
	"os"
	"slices"
	"testing"
	"time"

	"ringrelay.test/interop/internal/wire"
	"tailscale.com/derp"
)

// The tests here mostly wait, so they run beside each other after all others.

// slack is what a busy machine may add to a server's timer.
const slack = 5 * time.Second

func slow(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("waits for server deadlines; not in -short")
	}
	t.Parallel()
}

// TestUnauthenticatedIsDropped: nobody may hold a connection without logging in.
func TestUnauthenticatedIsDropped(t *testing.T) {
	slow(t) // the parent too, or all tests behind it would wait for it
	const httpDeadline, loginDeadline = 30 * time.Second, 10 * time.Second
	request := wire.Request(shared.Addr, "DERP")
	fast := wire.Request(shared.Addr, "DERP", wire.FastStart)
	server := fastStart(t, shared).server
	info := func(p *rawPeer) []byte {
		p.server = server
		return p.clientInfo(wire.DefaultInfo)
	}
	cases := map[string]struct {
		deadline time.Duration
		send     func(p *rawPeer) []byte
		trickle  []byte // then one byte a second
	}{
		"nothing":             {httpDeadline, func(*rawPeer) []byte { return nil }, nil},
		"half a request line": {httpDeadline, func(*rawPeer) []byte { return request[:7] }, nil},
		"half a head":         {httpDeadline, func(*rawPeer) []byte { return request[:len(request)-2] }, nil},
		"trickled head":       {httpDeadline, func(*rawPeer) []byte { return nil }, request},
		"no ClientInfo":       {loginDeadline, func(*rawPeer) []byte { return request }, nil},
		"no ClientInfo, fast": {loginDeadline, func(*rawPeer) []byte { return fast }, nil},
		"half a frame header": {loginDeadline, func(p *rawPeer) []byte { return slices.Concat(fast, info(p)[:3]) }, nil},
		"half a ClientInfo":   {loginDeadline, func(p *rawPeer) []byte { return slices.Concat(fast, info(p)[:60]) }, nil},
		"trickled ClientInfo": {loginDeadline, func(*rawPeer) []byte { return fast }, wire.Header(derp.FrameClientInfo, 104)},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := dialRaw(t, shared)
			p.mustSend(t, c.send(p))
			if c.trickle != nil {
				go trickle(p, slices.Concat(c.trickle, make([]byte, 99)))
			}
			p.mustDrop(t, c.deadline/2, c.deadline+slack)
		})
	}
}

// trickle sends a byte a second until the connection ends.
func trickle(p *rawPeer, b []byte) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for i := range b {
		if p.Send(b[i:i+1]) != nil {
			return
		}
		<-tick.C
	}
}

// TestIdleConnection: a client that says nothing stays connected and hears a
// KeepAlive at least once every 65 s.
func TestIdleConnection(t *testing.T) {
	set := os.Getenv("RINGRELAY_IDLE")
	if set == "" {
		t.Skip("takes more than two minutes; set RINGRELAY_IDLE=131s, or for the whole of it 10m")
	}
	duration, err := time.ParseDuration(set)
	if err != nil {
		t.Fatalf("RINGRELAY_IDLE: %v", err)
	}
	t.Parallel()
	t.Run("plain", func(t *testing.T) {
		t.Parallel()
		idle(t, login(t, shared), duration)
	})
	t.Run("TLS", func(t *testing.T) {
		t.Parallel()
		idle(t, login(t, sharedTLS(t)), duration)
	})
	t.Run("WebSocket", func(t *testing.T) {
		t.Parallel()
		idle(t, wsLogin(t, shared).rawPeer, duration)
	})
}

func idle(t *testing.T, p *rawPeer, idle time.Duration) {
	const least, most = 60 * time.Second, 65 * time.Second
	const early, late = 100 * time.Millisecond, 1500 * time.Millisecond // clocks and scheduling
	start := time.Now()
	for previous := start; ; {
		end := start.Add(idle)
		f, err := p.ReadFrameUntil(end)
		if isTimeout(err) && !time.Now().Before(end) {
			if silent := time.Since(previous); silent > most+late {
				t.Fatalf("no KeepAlive for the last %v", silent)
			}
			break
		}
		if err != nil {
			t.Fatalf("idle connection ended after %v: %v", time.Since(start), err)
		}
		if f.Type != derp.FrameKeepAlive || len(f.Body) != 0 {
			t.Fatalf("got %v, want an empty KeepAlive", f)
		}
		gap := time.Since(previous)
		t.Logf("KeepAlive after %v", gap)
		if gap < least-early || gap > most+late {
			t.Errorf("KeepAlive after %v, want %v to %v", gap, least, most)
		}
		previous = time.Now()
	}
	p.mustLive(t)
}
