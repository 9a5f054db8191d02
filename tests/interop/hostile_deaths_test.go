package interop

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	"ringrelay.test/interop/internal/pki"
	"ringrelay.test/interop/internal/relay"
	"ringrelay.test/interop/internal/wire"
)

// tcpOf is the connection below TLS, if any.
func tcpOf(p *rawPeer) *net.TCPConn {
	nc := p.Conn.Conn
	if c, ok := nc.(*tls.Conn); ok {
		nc = c.NetConn()
	}
	return nc.(*net.TCPConn)
}

// deaths are ways to leave: with FIN, with RST, and without a word. For the
// last the kernel is made to forget the connection, which takes a privilege;
// it answers the next segment with RST, as a machine does that was restarted.
var deaths = map[string]func(c *net.TCPConn) error{
	"FIN": (*net.TCPConn).Close,
	"RST": func(c *net.TCPConn) error {
		if err := c.SetLinger(0); err != nil {
			return err
		}
		return c.Close()
	},
	"vanish": func(c *net.TCPConn) error {
		const tcpRepair = 19
		raw, err := c.SyscallConn()
		if err != nil {
			return err
		}
		var failed error
		err = raw.Control(func(fd uintptr) { failed = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpRepair, 1) })
		return errors.Join(err, failed, c.Close())
	},
}

// TestHostileDeaths: clients die in the middle of something, many in quick
// succession; nothing of them is left.
func TestHostileDeaths(t *testing.T) {
	eachTransport(t, func(t *testing.T, o relay.Options) {
		sc := stage(t, o)
		friend := login(t, sc.Server)
		moments := map[string]func(t *testing.T, p *rawPeer){
			"in a frame":  inFrame,
			"in a record": inRecord,
			"saturated":   saturated,
		}
		if o.TLS == nil {
			delete(moments, "in a record")
		}
		for moment, bring := range moments {
			for death, die := range deaths {
				t.Run(moment+"/"+death, func(t *testing.T) { dieOften(t, sc, friend, bring, die) })
			}
		}
		friend.Close()
		sc.end(t, 2*queueMemory)
	})
}

func dieOften(t *testing.T, sc *scene, friend *rawPeer, bring func(*testing.T, *rawPeer), die func(*net.TCPConn) error) {
	start := time.Now()
	before := varz(t, sc.Server)[metricConnections]
	n := often(200)
	for range n {
		p := loginSmall(t, sc.Server)
		bring(t, p)
		if err := die(tcpOf(p)); errors.Is(err, syscall.EPERM) {
			t.Skip("not permitted: ", err)
		} else if err != nil {
			t.Fatal(err)
		}
		// Whoever vanished is noticed when something is sent to it.
		friend.mustSend(t, wire.SendPacket(p.pub, []byte("are you there?")))
	}
	awaitVarz(t, sc.Server, map[string]float64{metricConnections: before})
	friend.mustLive(t)
	if err := sc.live.Err(); err != nil {
		t.Fatalf("live traffic: %v", err)
	}
	t.Logf("%d deaths in %v", n, time.Since(start).Round(time.Millisecond))
}

func inFrame(t *testing.T, p *rawPeer) {
	t.Helper()
	p.mustSend(t, wire.SendPacket(p.pub, pattern(40_000, 7))[:30_000])
}

// inRecord leaves a header that promises more than comes.
func inRecord(t *testing.T, p *rawPeer) {
	t.Helper()
	record := append([]byte{23, 3, 3, 0x40, 0}, pattern(9_000, 7)...)
	if _, err := tcpOf(p).Write(record); err != nil {
		t.Fatal(err)
	}
}

// saturated fills the way to the server and, since all of it is for itself and
// nothing is read, the way back; the last frame is not complete.
func saturated(t *testing.T, p *rawPeer) {
	t.Helper()
	for range 8 {
		p.mustSend(t, wire.SendPacket(p.pub, pattern(65536, 7)))
	}
	inFrame(t, p)
}

// TestHostileIdlers: connections that never get to a login cost the others
// nothing. ringrelayd has room for 512 of them; when more come the oldest go.
// (When they stay they are closed in the end: TestUnauthenticatedIsDropped.)
func TestHostileIdlers(t *testing.T) {
	secure := relay.Options{TLS: withCA(t, pki.ECDSA, tlsName)}
	request := wire.Request("derp.example.test", "DERP")
	for name, c := range map[string]struct {
		options relay.Options
		send    func(t *testing.T, s *relay.Server) []byte
	}{
		"nothing":        {relay.Options{}, nil},
		"half a request": {relay.Options{}, func(*testing.T, *relay.Server) []byte { return request[:len(request)/2] }},
		"half a hello": {secure, func(t *testing.T, s *relay.Server) []byte {
			hello := clientHello(t, s.TLSConfig())
			return hello[:len(hello)/2]
		}},
		"a hello": {secure, func(t *testing.T, s *relay.Server) []byte { return clientHello(t, s.TLSConfig()) }},
	} {
		t.Run(name, func(t *testing.T) {
			if name != "half a hello" {
				further(t)
			}
			sc := stage(t, c.options)
			var said []byte
			if c.send != nil {
				said = c.send(t, sc.Server)
			}
			idlers(t, sc, said)
		})
	}
	t.Run("all at once", func(t *testing.T) {
		further(t)
		idlersAtOnce(t, stage(t, relay.Options{}))
	})
}

const (
	idlersRoom, idlersCount = 512, 1000
	// doorMemory: 512 sessions and 256 that are closing, each with 140 KB at
	// most; they stay resident once used.
	doorMemory = 768 * 140 << 10
)

func (sc *scene) idler(t *testing.T, said []byte) net.Conn {
	t.Helper()
	nc := dialTCP(t, sc.Server)
	if len(said) > 0 {
		if _, err := nc.Write(said); err != nil {
			t.Fatal(err)
		}
	}
	return nc
}

// awaitDoor waits until ringrelayd has taken notice of all idlers so far.
// Whoever asks may be turned away during a burst, and then tries again.
func (sc *scene) awaitDoor(t *testing.T, idlers int) {
	t.Helper()
	if sc.Kind != relay.Ringrelay {
		return
	}
	const full = `ringrelay_refusals{reason="sessions_full"}`
	eventually(t, func() string {
		v, err := sc.Varz()
		if err != nil {
			return err.Error()
		}
		if n := v["ringrelay_sessions"] + v[full] - sc.before[full]; n < float64(idlers) {
			return fmt.Sprintf("%v sessions open or refused, want %d", n, idlers)
		}
		if n := v["ringrelay_sessions"]; n > idlersRoom {
			return fmt.Sprintf("%v sessions, want %d at most", n, idlersRoom)
		}
		return ""
	})
}

func idlers(t *testing.T, sc *scene, said []byte) {
	ours := sc.Kind == relay.Ringrelay
	var all []net.Conn
	for len(all) < idlersCount {
		all = append(all, sc.idler(t, said))
		if len(all)%100 == 0 {
			sc.awaitDoor(t, len(all))
		}
	}
	sc.liveGoesOn(t)
	login(t, sc.Server).Close() // whoever knows what it wants gets in
	held := 0
	for i := len(all) - 1; i >= 0 && isHeld(t, all[i]); i-- { // the newest first
		held++
	}
	for i, nc := range all[:idlersCount-held] {
		if isHeld(t, nc) {
			t.Errorf("connection %d is held, and %d, which came later, is not", i, idlersCount-held-1)
			break
		}
	}
	t.Logf("of %d connections the newest %d are held", idlersCount, held)
	// Readers of the metrics and the login took some of the places meanwhile.
	if ours && (held > idlersRoom || held < idlersRoom*3/4) || !ours && held != idlersCount {
		t.Errorf("%d connections are held", held)
	}
	for _, nc := range all {
		nc.Close()
	}
	sc.end(t, doorMemory)
}

// idlersAtOnce: a burst that leaves the server no time turns away the oldest
// too: who comes last gets in at once.
func idlersAtOnce(t *testing.T, sc *scene) {
	var all []net.Conn
	start := time.Now()
	for range idlersCount {
		all = append(all, sc.idler(t, nil))
	}
	burst := time.Since(start)
	login(t, sc.Server).Close()
	sc.awaitDoor(t, idlersCount)
	t.Logf("%d connections in %v; a login took %v beside them", idlersCount,
		burst.Round(time.Millisecond), (time.Since(start) - burst).Round(time.Millisecond))
	sc.liveGoesOn(t)
	for _, nc := range all {
		nc.Close()
	}
	sc.end(t, doorMemory)
}

// isHeld reports whether the server has not closed a connection. What it
// sends is of no interest.
func isHeld(t *testing.T, nc net.Conn) bool {
	t.Helper()
	raw, err := nc.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	held := true
	b := make([]byte, 4096)
	err = raw.Read(func(fd uintptr) bool { // does not wait
		for {
			n, err := syscall.Read(int(fd), b)
			switch {
			case err == syscall.EAGAIN:
				return true
			case err != nil || n == 0:
				held = false
				return true
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return held
}
