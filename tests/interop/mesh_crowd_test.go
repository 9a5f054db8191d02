package interop

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ringrelay.test/interop/internal/pki"
	"ringrelay.test/interop/internal/relay"
	"ringrelay.test/interop/internal/tools"
	"ringrelay.test/interop/internal/wire"
	"tailscale.com/derp"
	"tailscale.com/types/key"
)

// follower is a watcher that reads all the while.
type follower struct {
	w    *watcher
	mu   sync.Mutex
	err  error
	done chan struct{}
}

func follow(t *testing.T, w *watcher) *follower {
	f := &follower{w: w, done: make(chan struct{})}
	go f.run()
	t.Cleanup(func() {
		w.Close()
		<-f.done
	})
	return f
}

func (f *follower) run() {
	defer close(f.done)
	for {
		frame, err := f.w.ReadFrameUntil(time.Now().Add(2 * time.Minute)) // longer than any test
		f.mu.Lock()
		if err == nil {
			err = f.w.take(frame)
		}
		f.err = err
		f.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// awaitKeys waits until exactly these keys are here.
func (f *follower) awaitKeys(t *testing.T, want map[key.NodePublic]bool) {
	t.Helper()
	eventually(t, func() string {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.err != nil {
			t.Fatalf("after %d frames: %v", f.w.count, f.err)
		}
		for k := range want {
			if _, ok := f.w.here[k]; !ok {
				return fmt.Sprintf("%v is not among the %d keys, want %d", k.ShortString(), len(f.w.here), len(want))
			}
		}
		if len(f.w.here) != len(want) {
			return fmt.Sprintf("%d keys are here, want %d", len(f.w.here), len(want))
		}
		return ""
	})
}

func (c *crowd) keys(others ...key.NodePublic) map[key.NodePublic]bool {
	all := map[key.NodePublic]bool{}
	for _, m := range c.members {
		if m != nil {
			all[m.pub] = true
		}
	}
	for _, k := range others {
		all[k] = true
	}
	return all
}

// inShort is n, or less in -short.
func inShort(n, short int) int {
	if testing.Short() {
		return short
	}
	return n
}

// TestMeshFlood: thousands are here when watchers come, all of them leave and
// are replaced while those watch, and all leave. The watchers know each one.
func TestMeshFlood(t *testing.T) {
	eachMesh(t, func(t *testing.T, s *relay.Server) {
		n := inShort(10_000, 1000)
		c := &crowd{s: s}
		if s.TLS != nil {
			n = inShort(2000, 200)
			c.config = s.TLSConfig()
		}
		c.members = make([]*member, n)
		needFiles(t, s, n)
		t.Cleanup(func() { c.close() })
		if err := c.fill(); err != nil {
			t.Fatal(err)
		}
		var others []key.NodePublic
		var followers []*follower
		for range 4 {
			w := watch(t, s)
			others = append(others, w.pub)
			start := time.Now()
			want := c.keys(others...)
			w.await(t, "all keys", func() bool { return len(w.here) == len(want) })
			t.Logf("%d keys in %v", len(want), time.Since(start).Round(time.Millisecond))
			if w.count != len(want) {
				t.Errorf("%d frames for %d keys", w.count, len(want))
			}
			for k := range want {
				if _, ok := w.here[k]; !ok {
					t.Fatalf("%v is missing", k.ShortString())
				}
			}
			followers = append(followers, follow(t, w))
		}
		start := time.Now()
		if err := c.churn(); err != nil {
			t.Fatal(err)
		}
		for _, f := range followers {
			f.awaitKeys(t, c.keys(others...))
		}
		t.Logf("%d have been replaced in %v", n, time.Since(start).Round(time.Millisecond))
		if err := c.leave(); err != nil {
			t.Fatal(err)
		}
		for _, f := range followers {
			f.awaitKeys(t, c.keys(others...))
		}
		awaitVarz(t, s, map[string]float64{metricWatchers: 4, metricConnections: 4})
	})
}

// TestMeshFloodUnderChurn: keys come and go all the while that watchers come.
// In the end each watcher knows who is here; those who stayed were never gone,
// and of those who left nobody came back, unless they did.
func TestMeshFloodUnderChurn(t *testing.T) {
	for name, returning := range map[string]bool{"new keys": false, "returning keys": true} {
		t.Run(name, func(t *testing.T) {
			eachMesh(t, func(t *testing.T, s *relay.Server) { floodUnderChurn(t, s, returning) })
		})
	}
}

func floodUnderChurn(t *testing.T, s *relay.Server, returning bool) {
	stay := &crowd{s: s, members: make([]*member, inShort(3000, 200))}
	if s.TLS != nil {
		stay.config = s.TLSConfig()
		stay.members = stay.members[:200]
	}
	t.Cleanup(func() { stay.close() })
	if err := stay.fill(); err != nil {
		t.Fatal(err)
	}
	restless := &crowd{s: s, config: stay.config, members: make([]*member, 32)}
	t.Cleanup(func() { restless.close() })
	if returning {
		restless.privs = make([]key.NodePrivate, len(restless.members))
		for i := range restless.privs {
			restless.privs[i] = key.NewNode()
		}
	}
	if err := restless.fill(); err != nil {
		t.Fatal(err)
	}
	stop, stopped := make(chan struct{}), make(chan error, 1)
	go func() {
		rounds := 0
		for {
			select {
			case <-stop:
				t.Logf("%d rounds", rounds)
				stopped <- nil
				return
			default:
			}
			if err := restless.churn(); err != nil {
				stopped <- err
				return
			}
			rounds++
		}
	}()
	var followers []*follower
	var others []key.NodePublic
	for i := range 16 {
		p := dialRawWindow(t, s, i%2*4096) // some take it in small pieces
		p.fastStart(t).mustSend(t, p.clientInfo(meshInfo), wire.Encode(derp.FrameWatchConns))
		p.awaitServerInfo(t)
		w := newWatcher(p)
		w.mayReturn = returning
		others = append(others, w.pub)
		followers = append(followers, follow(t, w))
	}
	for _, f := range followers { // each has been through its flood
		eventually(t, func() string {
			f.mu.Lock()
			defer f.mu.Unlock()
			if f.err != nil {
				t.Fatal(f.err)
			}
			if len(f.w.here) < len(stay.members) {
				return fmt.Sprintf("%d keys are here", len(f.w.here))
			}
			return ""
		})
	}
	close(stop)
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	want := stay.keys(others...)
	maps.Copy(want, restless.keys())
	for _, f := range followers {
		f.awaitKeys(t, want)
		for _, m := range stay.members {
			if f.w.gone[m.pub] {
				t.Errorf("%v was said to be gone", m.pub.ShortString())
			}
		}
	}
}

// TestMeshStalledWatcher: a watcher that does not read is closed when it is
// too far behind. Until then it costs no more than another connection, and
// nobody else notices.
func TestMeshStalledWatcher(t *testing.T) {
	oursOnly(t, "derper remembers everything for a watcher that does not read")
	const behind, memory = `ringrelay_closes{reason="watch_behind"}`, "ringrelay_packet_memory_bytes"
	s := meshServer(t, relay.Options{})
	good := watch(t, s)
	f := follow(t, good)
	a, b := login(t, s), login(t, s)
	stalled := dialRawWindow(t, s, 4096).fastStart(t)
	stalled.mustSend(t, stalled.clientInfo(meshInfo))
	stalled.awaitServerInfo(t)
	stalled.mustSend(t, wire.Encode(derp.FrameWatchConns))
	before, err := s.Resident()
	if err != nil {
		t.Fatal(err)
	}
	c := &crowd{s: s, members: make([]*member, 500)}
	t.Cleanup(func() { c.close() })
	if err := c.fill(); err != nil {
		t.Fatal(err)
	}
	most, rounds := 0.0, 0
	for deadline := time.Now().Add(28 * time.Second); varz(t, s)[behind] == 0; rounds++ {
		if time.Now().After(deadline) { // the write timeout would come next
			t.Fatalf("not closed after %d rounds", rounds)
		}
		if err := c.churn(); err != nil {
			t.Fatal(err)
		}
		most = max(most, varz(t, s)[memory])
		a.mustSend(t, wire.SendPacket(b.pub, []byte("still there?")))
		b.mustReceive(t, a.pub, []byte("still there?"))
	}
	f.awaitKeys(t, c.keys(good.pub, a.pub, b.pub))
	after, err := s.Resident()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d rounds; packet memory at most %v bytes, the process grew by %d KiB", rounds, most, (after-before)>>10)
	if most > 1<<20 || after-before > 32<<20 {
		t.Errorf("packet memory %v, growth %d: too much for one that does not read", most, after-before)
	}
	awaitVarz(t, s, map[string]float64{metricWatchers: 1, behind: 1, metricConnections: 503})
}

// TestMeshWatchersFull: so many watch, and no more.
func TestMeshWatchersFull(t *testing.T) {
	oursOnly(t, "a number of watchers")
	const most = 64
	s := privateServer(t, relay.Options{Args: append(meshArgs(t), "-workers", "1")})
	watchers := make([]*watcher, most)
	for i := range watchers {
		watchers[i] = watch(t, s)
		watchers[i].await(t, "the flood", func() bool { return len(watchers[i].here) == i+1 })
	}
	p := meshLogin(t, s)
	p.mustSend(t, wire.Encode(derp.FrameWatchConns))
	p.mustClose(t)
	awaitVarz(t, s, map[string]float64{metricWatchers: most, `ringrelay_closes{reason="watchers_full"}`: 1})
	watchers[0].Close()
	awaitVarz(t, s, map[string]float64{metricWatchers: most - 1})
	w := watch(t, s)
	w.await(t, "the flood", func() bool { return len(w.here) == most })
}

// derperProgram is the real one, whoever is tested.
func derperProgram(t *testing.T) relay.Program {
	t.Helper()
	path := program.Path
	if program.Kind != relay.Derper {
		var err error
		if path, err = tools.Derper.Path(scratch); err != nil {
			t.Fatal(err)
		}
	}
	return relay.Program{Kind: relay.Derper, Path: path}
}

// TestMeshDerper: a real derper has the server under test as its neighbour:
// it learns who is here, and forwards to them what its own clients send.
func TestMeshDerper(t *testing.T) {
	s := meshServer(t, relay.Options{TLS: withCA(t, pki.ECDSA, tlsName)})
	early := connect(t, s)
	port := s.Addr[strings.LastIndex(s.Addr, ":"):]
	args := append(meshArgs(t), "-mesh-with", tlsName+port+"/127.0.0.1")
	neighbour := privateServerOf(t, derperProgram(t), relay.Options{
		Args: args, Env: slices.DeleteFunc(trustAuthority(t), func(v string) bool { return !strings.HasPrefix(v, "SSL_CERT_") }),
	})
	remote := func(n float64) {
		t.Helper()
		awaitVarz(t, neighbour, map[string]float64{"derp_clients_remote": n})
	}
	remote(2) // the client, and derper itself, which is a mesh peer
	awaitVarz(t, s, map[string]float64{metricWatchers: 1})
	there := connect(t, neighbour)
	for _, n := range []int{0, 1, 1400, 16384, 65536} {
		data := pattern(n, 3)
		there.mustSend(t, early.pub, data)
		early.mustReceive(t, there.pub, data)
	}

	// Who comes later is known as well, and soon.
	late := connect(t, s)
	remote(3)
	const packets, atOnce = 2000, 20 // derper queues 32 for one receiver
	for i := 0; i < packets; i += atOnce {
		for n := range atOnce {
			there.mustSend(t, late.pub, fmt.Appendf(nil, "packet %d", i+n))
		}
		for n := range atOnce {
			late.mustReceive(t, there.pub, fmt.Appendf(nil, "packet %d", i+n))
		}
	}
	awaitVarz(t, neighbour, map[string]float64{"derp_packets_forwarded_out": packets + 5})
	awaitVarz(t, s, map[string]float64{metricForwardedIn: packets + 5, metricFwdUnknown: 0})

	// And who has left is not here any more, as those are told who search for it.
	late.Close()
	remote(2)
	there.mustSend(t, late.pub, discoLike())
	there.mustPeerGone(t, late.pub, derp.PeerGoneReasonNotHere)
	early.mustQuiet(t)

	// A thousand at once.
	if testing.Short() {
		return
	}
	crowd := &crowd{s: s, config: s.TLSConfig(), members: make([]*member, 1000)}
	t.Cleanup(func() { crowd.close() })
	if err := crowd.fill(); err != nil {
		t.Fatal(err)
	}
	remote(1002)
	for _, m := range crowd.members {
		there.mustSend(t, m.pub, labelled(there.pub, m.pub, 1, 200))
	}
	err := crowd.each(func(i int, _ *rand.Rand) error { return crowd.members[i].receive(there.pub, 1) })
	if err = errors.Join(err, crowd.leave()); err != nil {
		t.Fatal(err)
	}
	remote(2)
}
