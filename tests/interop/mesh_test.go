package interop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go4.org/mem"
	"ringrelay.test/interop/internal/pki"
	"ringrelay.test/interop/internal/relay"
	"ringrelay.test/interop/internal/wire"
	"tailscale.com/derp"
	"tailscale.com/types/key"
)

// The inbound role of a mesh: others who know the mesh key watch who is here,
// forward packets to clients, and close them.

const (
	meshKeyText = "0123456789abcdef0123456789ABCDEF0123456789abcdef0123456789abcdef"
	meshInfo    = `{"meshKey":"` + meshKeyText + `","version":2,"CanAckPings":true}`
	otherMesh   = `{"meshKey":"1123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef","version":2}`

	metricWatchers       = "derp_watchers"
	metricForwardedIn    = "derp_packets_forwarded_in"
	metricFwdUnknown     = `derp_packets_dropped{reason="unknown_dest_on_fwd",kind="other"}`
	metricFwdUnknownDisc = `derp_packets_dropped{reason="unknown_dest_on_fwd",kind="disco"}`
)

// meshArgs name a file with the mesh key, as people write them.
func meshArgs(t *testing.T) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "mesh.key")
	if err := os.WriteFile(file, []byte(" "+meshKeyText+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"-mesh-psk-file", file}
}

// meshServer has a mesh key; ringrelayd has two workers, with clients on both.
func meshServer(t *testing.T, o relay.Options) *relay.Server {
	t.Helper()
	o.Args = append(slices.Clone(o.Args), meshArgs(t)...)
	if program.Kind == relay.Ringrelay {
		o.Args = append(o.Args, "-workers", "2", "-placement", "spread")
	}
	return privateServer(t, o)
}

// eachMesh runs f over plain HTTP and over TLS.
func eachMesh(t *testing.T, f func(t *testing.T, s *relay.Server)) {
	t.Run("plain", func(t *testing.T) {
		t.Parallel()
		f(t, meshServer(t, relay.Options{}))
	})
	t.Run("TLS", func(t *testing.T) {
		t.Parallel()
		f(t, meshServer(t, relay.Options{TLS: withCA(t, pki.ECDSA, tlsName)}))
	})
}

// loginInfo logs in with this ClientInfo.
func loginInfo(t *testing.T, s *relay.Server, info string) *rawPeer {
	t.Helper()
	p := fastStart(t, s)
	p.mustSend(t, p.clientInfo(info))
	p.awaitServerInfo(t)
	return p
}

// meshLogin is a mesh peer.
func meshLogin(t *testing.T, s *relay.Server) *rawPeer {
	t.Helper()
	return loginInfo(t, s, meshInfo)
}

// watch is a mesh peer that watches.
func watch(t *testing.T, s *relay.Server) *watcher {
	t.Helper()
	p := meshLogin(t, s)
	p.mustSend(t, wire.Encode(derp.FrameWatchConns))
	return newWatcher(p)
}

func rawKey(b []byte) key.NodePublic { return key.NodePublicFromRaw32(mem.B(b)) }

func forward(src, dst key.NodePublic, data []byte) []byte {
	return wire.Encode(derp.FrameForwardPacket, wire.Raw(src), wire.Raw(dst), data)
}

// watcher keeps what a mesh peer was told.
type watcher struct {
	*rawPeer
	here  map[key.NodePublic]presence
	gone  map[key.NodePublic]bool // was here, and left
	count int                     // frames
	// mayReturn: keys may come back after they left; else that is an error.
	mayReturn bool
}

func newWatcher(p *rawPeer) *watcher {
	return &watcher{rawPeer: p, here: map[key.NodePublic]presence{}, gone: map[key.NodePublic]bool{}}
}

type presence struct {
	addr    netip.AddrPort
	flags   derp.PeerPresentFlags
	appName string
}

func parsePresence(body []byte) (k key.NodePublic, p presence, err error) {
	if len(body) < 52 || len(body) != 52+int(body[51]) {
		return k, p, fmt.Errorf("PeerPresent of %d bytes: %x", len(body), body)
	}
	k = rawKey(body[:32])
	ip, _ := netip.AddrFromSlice(body[32:48])
	if !ip.Is4In6() {
		return k, p, fmt.Errorf("%v is not v4-mapped", ip)
	}
	p.addr = netip.AddrPortFrom(ip.Unmap(), uint16(body[48])<<8|uint16(body[49]))
	p.flags = derp.PeerPresentFlags(body[50])
	p.appName = string(body[52:])
	return k, p, nil
}

// take takes one frame into account.
func (w *watcher) take(f wire.Frame) error {
	w.count++
	switch f.Type {
	case derp.FrameKeepAlive:
		w.count--
	case derp.FramePeerPresent:
		k, p, err := parsePresence(f.Body)
		if err != nil {
			return err
		}
		if w.gone[k] && !w.mayReturn {
			return fmt.Errorf("%v is here after it left for good", k.ShortString())
		}
		delete(w.gone, k)
		w.here[k] = p
	case derp.FramePeerGone:
		if len(f.Body) != 33 || f.Body[32] != byte(derp.PeerGoneReasonDisconnected) {
			return fmt.Errorf("got %v, want PeerGone(Disconnected)", f)
		}
		k := rawKey(f.Body[:32])
		w.gone[k] = true
		delete(w.here, k)
	default:
		return fmt.Errorf("got %v, want presence", f)
	}
	return nil
}

// await reads until ok says so.
func (w *watcher) await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(wait); !ok(); {
		f, err := w.ReadFrameUntil(deadline)
		if err == nil {
			err = w.take(f)
		}
		if err != nil {
			t.Fatalf("waiting for %s, %d keys are here after %d frames: %v", what, len(w.here), w.count, err)
		}
	}
}

func (w *watcher) awaitHere(t *testing.T, k key.NodePublic) presence {
	t.Helper()
	w.await(t, "a key", func() bool { _, ok := w.here[k]; return ok })
	return w.here[k]
}

func (w *watcher) awaitGone(t *testing.T, k key.NodePublic) {
	t.Helper()
	w.await(t, "a departure", func() bool { return w.gone[k] })
}

func localAddr(p *rawPeer) netip.AddrPort { return netip.MustParseAddrPort(p.LocalAddr().String()) }

// TestMeshWatch: all that is said of who is here, at first and then live.
func TestMeshWatch(t *testing.T) {
	eachMesh(t, func(t *testing.T, s *relay.Server) {
		plain := login(t, s)
		prober := loginInfo(t, s, `{"version":2,"IsProber":true,"AppName":"a name"}`)
		far := dialRaw(t, s)
		far.mustSend(t, wire.Request(s.Addr, "DERP", wire.FastStart, derp.IdealNodeHeader+": 1a"))
		far.awaitServerKey(t)
		far.login(t)
		wrong := loginInfo(t, s, otherMesh)
		first := meshLogin(t, s)

		w := watch(t, s)
		want := map[key.NodePublic]presence{
			plain.pub:  {localAddr(plain), derp.PeerPresentIsRegular, ""},
			prober.pub: {localAddr(prober), derp.PeerPresentIsProber, "a name"},
			far.pub:    {localAddr(far), derp.PeerPresentNotIdeal, ""},
			wrong.pub:  {localAddr(wrong), derp.PeerPresentIsRegular, ""},
			first.pub:  {localAddr(first), derp.PeerPresentIsMeshPeer, ""},
			w.pub:      {localAddr(w.rawPeer), derp.PeerPresentIsMeshPeer, ""},
		}
		w.await(t, "the flood", func() bool { return len(w.here) == len(want) })
		for k, p := range want {
			if w.here[k] != p {
				t.Errorf("%+v, want %+v", w.here[k], p)
			}
		}
		if w.count != len(want) {
			t.Errorf("%d frames for %d keys", w.count, len(want))
		}

		// Live: an arrival, a second connection of its key, departures.
		priv := key.NewNode()
		one := dialRaw(t, s)
		one.priv, one.pub = priv, priv.Public()
		one.fastStart(t).mustSend(t, one.clientInfo(`{"IsProber":true,"AppName":"live"}`))
		one.awaitServerInfo(t)
		if got, want := w.awaitHere(t, one.pub), (presence{localAddr(one), derp.PeerPresentIsProber, "live"}); got != want {
			t.Errorf("live: %+v, want %+v", got, want)
		}
		frames := w.count
		two := loginAs(t, s, priv)
		w.await(t, "the second connection", func() bool { return w.count > frames })
		if got := w.here[one.pub].addr; got != localAddr(two) {
			t.Errorf("the second connection is from %v, want %v", got, localAddr(two))
		}
		two.Close()
		awaitVarz(t, s, map[string]float64{metricConnections: 7})

		// Who comes now is told of the one that is left.
		late := watch(t, s)
		late.await(t, "the flood", func() bool { return len(late.here) == len(want)+2 })
		if got := late.here[one.pub]; got.addr != localAddr(one) || got.appName != "live" {
			t.Errorf("of the connection that is left: %+v, want from %v", got, localAddr(one))
		}
		w.awaitHere(t, late.pub)
		awaitVarz(t, s, map[string]float64{metricWatchers: 2})
		one.Close()
		w.awaitGone(t, one.pub)
		late.awaitGone(t, one.pub)
		late.Close()
		w.awaitGone(t, late.pub)
		if frames += 4; w.count != frames { // second, gone, late, gone
			t.Errorf("%d frames, want %d", w.count, frames)
		}
		awaitVarz(t, s, map[string]float64{metricWatchers: 1})

		// Asking again is answered again.
		frames = w.count
		w.mustSend(t, wire.Encode(derp.FrameWatchConns))
		w.await(t, "the flood again", func() bool { return w.count == frames+len(want) })
		awaitVarz(t, s, map[string]float64{metricWatchers: 1})
	})
}

// TestMeshPipelined: what a mesh link sends, all in one segment.
func TestMeshPipelined(t *testing.T) {
	eachMesh(t, func(t *testing.T, s *relay.Server) {
		there := login(t, s)
		p := fastStart(t, s)
		p.mustSend(t, p.clientInfo(meshInfo), wire.Encode(derp.FrameWatchConns),
			forward(p.pub, there.pub, []byte("in one go")))
		p.awaitServerInfo(t)
		w := newWatcher(p)
		w.await(t, "the flood", func() bool { return len(w.here) == 2 })
		there.mustReceive(t, p.pub, []byte("in one go"))
	})
}

// TestMeshGoClient: Tailscale's own watch loop, as derper runs it.
func TestMeshGoClient(t *testing.T) {
	eachMesh(t, func(t *testing.T, s *relay.Server) {
		a, b := connect(t, s), connect(t, s)
		dc := newClient(t, s, key.NewNode())
		var err error
		if dc.MeshKey, err = key.ParseDERPMesh(meshKeyText); err != nil {
			t.Fatal(err)
		}
		dc.WatchConnectionChanges = true
		type event struct {
			peer key.NodePublic
			here bool
		}
		events := make(chan event, 64)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() {
			defer close(done)
			dc.RunWatchConnectionLoop(ctx, key.NodePublic{}, t.Logf,
				func(m derp.PeerPresentMessage) { events <- event{m.Key, true} },
				func(m derp.PeerGoneMessage) { events <- event{m.Peer, false} }, func(error) {})
		}()
		t.Cleanup(func() {
			cancel()
			dc.Close()
			<-done
		})
		expect := func(want ...event) {
			t.Helper()
			for left := slices.Clone(want); len(left) > 0; {
				select {
				case e := <-events:
					i := slices.Index(left, e)
					if i < 0 {
						t.Fatalf("got %v, want one of %v", e, left)
					}
					left = slices.Delete(left, i, i+1)
				case <-time.After(wait):
					t.Fatalf("still waiting for %v", left)
				}
			}
		}
		expect(event{a.pub, true}, event{b.pub, true}, event{dc.SelfPublicKey(), true})

		// What it forwards arrives, whatever the size and whoever it is from.
		stranger := key.NewNode().Public()
		for _, n := range []int{0, 1, 62, 1400, 16000, 16384, 65535, 65536} {
			for _, to := range []*client{a, b} {
				data := pattern(n, 7)
				if err := dc.ForwardPacket(stranger, to.pub, derp.LoanBytes(data)); err != nil {
					t.Fatal(err)
				}
				to.mustReceive(t, stranger, data)
			}
		}
		a.mustQuiet(t) // above all no PeerGone of a stranger
		awaitVarz(t, s, map[string]float64{metricForwardedIn: 16, metricReceived: 0, metricSent: 16})

		c := connect(t, s)
		expect(event{c.pub, true})
		c.Close()
		expect(event{c.pub, false})

		// It closes whom it is told to.
		if err := dc.ClosePeer(b.pub); err != nil {
			t.Fatal(err)
		}
		expect(event{b.pub, false})
		if err := dc.ClosePeer(stranger); err != nil {
			t.Fatal(err)
		}
		a.mustQuiet(t)
	})
}

// TestMeshForward: what becomes of packets that a mesh peer forwards.
func TestMeshForward(t *testing.T) {
	eachMesh(t, func(t *testing.T, s *relay.Server) {
		m := meshLogin(t, s)
		clients := []*rawPeer{login(t, s), login(t, s), login(t, s)}
		// Many in a row, of all sizes, some in one segment, to clients of both workers: none is lost or altered.
		for round := range 60 {
			var all []byte
			for i, c := range clients {
				all = append(all, forward(clients[(i+1)%3].pub, c.pub, pattern(round*53, uint64(i)))...)
			}
			m.mustSend(t, all)
			for i, c := range clients {
				c.mustReceive(t, clients[(i+1)%3].pub, pattern(round*53, uint64(i)))
			}
		}
		// A mesh peer may send for itself, too, and receive.
		m.mustSend(t, wire.SendPacket(clients[0].pub, []byte("from the peer itself")))
		clients[0].mustReceive(t, m.pub, []byte("from the peer itself"))
		clients[0].mustSend(t, wire.SendPacket(m.pub, []byte("back")))
		m.mustReceive(t, clients[0].pub, []byte("back"))
		awaitVarz(t, s, map[string]float64{metricForwardedIn: 180, metricReceived: 2, metricSent: 182})

		// To nobody: silence for data, NotHere for disco, three at once.
		nobody := key.NewNode().Public()
		src := clients[0].pub
		m.mustSend(t, bytes.Repeat(forward(src, nobody, []byte("data")), 3))
		if got := m.fence(t); len(got) != 0 {
			t.Fatalf("got %v, want nothing", got)
		}
		m.mustSend(t, bytes.Repeat(forward(src, nobody, discoLike()), 6))
		got := m.fence(t)
		want := wire.Encode(derp.FramePeerGone, wire.Raw(nobody), []byte{byte(derp.PeerGoneReasonNotHere)})
		for _, f := range got {
			if !bytes.Equal(wire.Encode(f.Type, f.Body), want) {
				t.Fatalf("got %v, want PeerGone(NotHere)", f)
			}
		}
		if len(got) != 3 {
			t.Fatalf("6 packets of disco got %d answers, want 3", len(got))
		}
		awaitVarz(t, s, map[string]float64{metricFwdUnknown: 3, metricFwdUnknownDisc: 6, metricNotHere: 3, metricUnknown: 0})
		for _, c := range clients {
			c.mustLive(t)
		}
	})
}

// TestMeshPeerGone: a source that was only ever vouched for is not reported
// gone before it has been here and left.
func TestMeshPeerGone(t *testing.T) {
	eachMesh(t, func(t *testing.T, s *relay.Server) {
		m, to := meshLogin(t, s), login(t, s)
		priv := key.NewNode()
		m.mustSend(t, forward(priv.Public(), to.pub, []byte("from afar")))
		to.mustReceive(t, priv.Public(), []byte("from afar"))
		to.mustLive(t) // and nothing else has come
		here := loginAs(t, s, priv)
		here.Close()
		to.mustPeerGone(t, priv.Public(), derp.PeerGoneReasonDisconnected)
		// The mesh peer's end is nobody's departure.
		m.mustSend(t, forward(key.NewNode().Public(), to.pub, []byte("bye")))
		if f := to.mustRead(t, "a packet"); f.Type != derp.FrameRecvPacket {
			t.Fatalf("got %v, want a packet", f)
		}
		m.Close()
		awaitVarz(t, s, map[string]float64{metricConnections: 1})
		to.mustLive(t)
	})
}

// TestMeshZeroSource: derper sends it in the form of DERP's first version,
// without a source, which no client of today can read.
func TestMeshZeroSource(t *testing.T) {
	oursOnly(t, "a source key of zero")
	eachMesh(t, func(t *testing.T, s *relay.Server) {
		m, to := meshLogin(t, s), login(t, s)
		m.mustSend(t, forward(key.NodePublic{}, to.pub, []byte("nobody's")), forward(m.pub, to.pub, []byte("mine")))
		to.mustReceive(t, m.pub, []byte("mine"))
		awaitVarz(t, s, map[string]float64{`derp_packets_dropped{reason="no_source",kind="other"}`: 1})
	})
}

// TestMeshClosePeer: all connections of a key, on whichever worker.
func TestMeshClosePeer(t *testing.T) {
	eachMesh(t, func(t *testing.T, s *relay.Server) {
		m := meshLogin(t, s)
		closePeer := func(k key.NodePublic) []byte { return wire.Encode(derp.FrameClosePeer, wire.Raw(k)) }
		bystander := login(t, s)
		for range 4 { // workers take turns
			priv := key.NewNode()
			one, two := loginAs(t, s, priv), loginAs(t, s, priv)
			m.mustSend(t, closePeer(key.NewNode().Public()), closePeer(priv.Public()))
			one.mustClose(t)
			two.mustClose(t)
		}
		awaitVarz(t, s, map[string]float64{metricConnections: 2})
		bystander.mustLive(t)
		m.mustLive(t)
		m.mustSend(t, closePeer(m.pub))
		m.mustClose(t)
		bystander.mustLive(t)
	})
}

// TestMeshWrongKey: whoever shows no key, another one, or any to a server
// without, is a regular client, and closed for the frames of the mesh.
func TestMeshWrongKey(t *testing.T) {
	with, without := meshServer(t, relay.Options{}), privateServer(t, relay.Options{Args: []string{"-mesh-psk-file="}})
	zero := strings.Replace(meshInfo, meshKeyText, strings.Repeat("0", 64), 1)
	for _, c := range []struct {
		s    *relay.Server
		info string
	}{{with, wire.DefaultInfo}, {with, otherMesh}, {with, zero}, {without, meshInfo}, {without, zero}} {
		victim := login(t, c.s)
		for _, f := range [][]byte{
			wire.Encode(derp.FrameWatchConns),
			wire.Encode(derp.FrameClosePeer, wire.Raw(victim.pub)),
			forward(victim.pub, victim.pub, []byte("forged")),
		} {
			p := loginInfo(t, c.s, c.info)
			p.mustLive(t)
			p.trySend(f)
			p.mustClose(t)
		}
		victim.mustLive(t)
	}
	for _, s := range []*relay.Server{with, without} {
		awaitVarz(t, s, map[string]float64{metricWatchers: 0, metricForwardedIn: 0})
	}
}

// TestMeshFrameLengths of a mesh peer: what is too short or too long ends the
// connection.
func TestMeshFrameLengths(t *testing.T) {
	s := meshServer(t, relay.Options{})
	for name, f := range map[string][]byte{
		"WatchConns with a byte":  wire.Encode(derp.FrameWatchConns, []byte{0}),
		"ClosePeer of 31":         wire.Encode(derp.FrameClosePeer, make([]byte, 31)),
		"ClosePeer of 33":         wire.Encode(derp.FrameClosePeer, make([]byte, 33)),
		"ForwardPacket of 63":     wire.Encode(derp.FrameForwardPacket, make([]byte, 63)),
		"ForwardPacket too large": append(wire.Header(derp.FrameForwardPacket, 64+65536+1), make([]byte, 64)...),
	} {
		t.Run(name, func(t *testing.T) {
			p := meshLogin(t, s)
			p.trySend(f)
			p.mustClose(t)
		})
	}
}

// TestMeshItself: a server that finds itself in the list of its neighbours is
// not told of its own clients, but for what else it is a mesh peer.
func TestMeshItself(t *testing.T) {
	priv := key.NewNode()
	file := filepath.Join(t.TempDir(), "derper.key")
	text, err := priv.MarshalText()
	if err == nil {
		err = os.WriteFile(file, fmt.Appendf(nil, `{"PrivateKey":%q}`, text), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	s := meshServer(t, relay.Options{KeyFile: file})
	c := login(t, s)
	p := dialRaw(t, s)
	p.priv, p.pub = priv, priv.Public()
	p.fastStart(t).mustSend(t, p.clientInfo(meshInfo), wire.Encode(derp.FrameWatchConns))
	p.awaitServerInfo(t)
	p.mustLive(t)
	c.Close()
	awaitVarz(t, s, map[string]float64{metricConnections: 1, metricWatchers: 0})
	p.mustLive(t)
}

// TestMeshKeyPlaces: where the key comes from, and what is no key.
func TestMeshKeyPlaces(t *testing.T) {
	hasKey := func(t *testing.T, o relay.Options) bool {
		t.Helper()
		o.Args = append(o.Args, "-a", "127.0.0.1:0")
		s := privateServer(t, o)
		p := loginInfo(t, s, meshInfo)
		p.trySend(forward(p.pub, p.pub, []byte("to myself")))
		f, err := p.ReadFrame()
		return err == nil && f.Type == derp.FrameRecvPacket
	}
	oursOnly(t, "-dev with other ports")
	home := t.TempDir()
	if err := os.Mkdir(filepath.Join(home, "keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	keys := filepath.Join(home, "keys", "derp-mesh.key")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(keys, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(meshKeyText)
	env := []string{"HOME=" + home, "TAILSCALE_DERPER_MESH_KEY="}
	tls := &relay.Options{TLS: withCA(t, pki.ECDSA, tlsName), Env: env}
	if !hasKey(t, *tls) {
		t.Error("$HOME/keys/derp-mesh.key was not found")
	}
	if hasKey(t, relay.Options{Env: env}) { // -dev
		t.Error("-dev took a file that nobody named")
	}
	if !hasKey(t, relay.Options{Env: []string{"HOME=" + home, "TAILSCALE_DERPER_MESH_KEY=" + meshKeyText}}) {
		t.Error("-dev did not take the key of the environment")
	}
	tls.Args = []string{"-mesh-psk-file="}
	if hasKey(t, *tls) {
		t.Error("an empty -mesh-psk-file is not none")
	}
	write("")
	tls.Args = nil
	if hasKey(t, *tls) {
		t.Error("an empty file made a key")
	}
	for text, want := range map[string]string{" \n": keys, meshKeyText + "0": keys, "xyz": keys} {
		write(text)
		s, err := relay.Start(program, relay.Options{KeyFile: filepath.Join(home, "derper.key"), Env: env, TLS: tls.TLS})
		if !errors.Is(err, relay.ErrExited) || s.ExitCode() != 1 || !strings.Contains(s.Log(), want) {
			t.Errorf("a file with %q: %v", text, err)
		}
		if strings.Contains(s.Log(), meshKeyText) {
			t.Errorf("the log shows the key:\n%s", s.Log())
		}
	}
}

// TestMeshExempt: what holds for clients and not for mesh peers.
func TestMeshExempt(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rate.json")
	replace(t, file, `{"PerClientRateLimitBytesPerSec":1000,"PerClientRateBurstBytes":70000}`)
	s := meshServer(t, relay.Options{Args: []string{"-rate-config", file, "-disallow-app-names", "bad,"}})
	m := loginInfo(t, s, strings.Replace(meshInfo, "{", `{"AppName":"bad",`, 1))
	to := loginInfo(t, s, `{"AppName":"good"}`)
	data := pattern(60_000, 1) // each would wait for a minute
	for range 30 {
		m.mustSend(t, forward(m.pub, to.pub, data))
		to.mustReceive(t, m.pub, data)
	}
	m.mustLive(t)
	awaitVarz(t, s, map[string]float64{metricWaited: 0, metricForwardedIn: 30})
}

// TestMeshWriteTimeout: a client that does not read is closed after the write
// timeout, a mesh peer has thirty seconds.
func TestMeshWriteTimeout(t *testing.T) {
	t.Parallel()
	// The kernel would close after its own timeout, which is the shorter one.
	s := meshServer(t, relay.Options{Args: []string{"-tcp-write-timeout", "300ms", "-tcp-user-timeout", "90s"}})
	from := login(t, s)
	stalled := dialRawWindow(t, s, 4096).fastStart(t).login(t)
	patient := dialRawWindow(t, s, 4096).fastStart(t)
	patient.mustSend(t, patient.clientInfo(meshInfo))
	patient.awaitServerInfo(t)
	data := pattern(60_000, 1)
	start := time.Now()
	for timeouts, sent := 0.0, 0; timeouts == 0; sent++ {
		if time.Since(start) > wait {
			t.Fatalf("nobody was closed after %d packets to each", sent)
		}
		from.mustSend(t, wire.SendPacket(patient.pub, data), wire.SendPacket(stalled.pub, data))
		timeouts = varz(t, s)["derp_sclient_write_timeouts"]
	}
	awaitVarz(t, s, map[string]float64{metricConnections: 2})
	// The one that is left goes on as soon as it reads.
	if f := patient.mustRead(t, "a packet"); f.Type != derp.FrameRecvPacket || !bytes.Equal(f.Body[32:], data) {
		t.Fatalf("got %v, want a packet", f)
	}
	if testing.Short() {
		return
	}
	stuck := dialRawWindow(t, s, 4096).fastStart(t)
	stuck.mustSend(t, stuck.clientInfo(meshInfo))
	stuck.awaitServerInfo(t)
	start = time.Now()
	patient.Close()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for varz(t, s)["derp_sclient_write_timeouts"] < 2 {
		if time.Since(start) > 60*time.Second {
			t.Fatal("a mesh peer that does not read is never closed")
		}
		from.mustSend(t, wire.SendPacket(stuck.pub, data[:8000]))
		<-tick.C
	}
	if after := time.Since(start); after < 29*time.Second {
		t.Errorf("closed after %v, want thirty seconds", after)
	}
}

// TestMeshWebSocket: a watcher in a browser, as it were.
func TestMeshWebSocket(t *testing.T) {
	eachMesh(t, func(t *testing.T, s *relay.Server) {
		crowd := &crowd{s: s, members: make([]*member, 60)}
		if s.TLS != nil {
			crowd.config = s.TLSConfig()
		}
		t.Cleanup(func() { crowd.close() })
		if err := crowd.fill(); err != nil {
			t.Fatal(err)
		}
		p := wsStart(t, s)
		p.mustSend(t, p.clientInfo(meshInfo), wire.Encode(derp.FrameWatchConns))
		p.awaitServerInfo(t)
		w := newWatcher(p.rawPeer)
		w.await(t, "the flood", func() bool { return len(w.here) == 61 })
		one := login(t, s)
		w.awaitHere(t, one.pub)
		p.mustSend(t, forward(p.pub, one.pub, []byte("by a message")))
		one.mustReceive(t, p.pub, []byte("by a message"))
		one.Close()
		w.awaitGone(t, one.pub)
	})
}
