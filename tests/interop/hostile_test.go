package interop

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go4.org/mem"
	"ringrelay.test/interop/internal/live"
	"ringrelay.test/interop/internal/pki"
	"ringrelay.test/interop/internal/relay"
	"ringrelay.test/interop/internal/wire"
	"tailscale.com/derp"
	"tailscale.com/types/key"
)

// Each hostile test has a server of its own, on which pairs of well-behaved
// clients talk while others misbehave. They must not lose, get wrong or wait
// noticeably for a single packet, and what the others did must be counted and
// leave nothing behind.

const (
	livePairs     = 4
	livePerSecond = 200         // of each pair
	liveSlowest   = time.Second // round trip, 99 of 100; on an idle machine it is some ms

	megabyte = int64(1 << 20)
	// queueMemory is what a few full queues and chunks may take: pages of packet
	// memory that were used once stay resident, on each worker.
	queueMemory = 16 * megabyte
	// referenceMemory is granted to derper, whose collector takes its time.
	referenceMemory = 512 * megabyte

	metricWriteTimeout = `ringrelay_closes{reason="write_timeout"}`
	metricForbidden    = `ringrelay_closes{reason="frame_forbidden"}`
	metricLaneFull     = `derp_packets_dropped{reason="lane_full",kind="other"}`
	metricMemory       = "ringrelay_packet_memory_bytes"
	metricFiles        = "derp_current_file_descriptors"
)

// eachTransport runs f on TLS and, without -short, on plain HTTP.
func eachTransport(t *testing.T, f func(t *testing.T, o relay.Options)) {
	t.Run("plain", func(t *testing.T) {
		further(t)
		f(t, relay.Options{})
	})
	t.Run("TLS", func(t *testing.T) { f(t, relay.Options{TLS: withCA(t, pki.ECDSA, tlsName)}) })
}

// further is for one more of a kind: not with -short.
func further(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("one more of its kind; not in -short")
	}
}

// lasting is how long something goes on: much less with -short.
func lasting(d time.Duration) time.Duration {
	if testing.Short() {
		return d / 4
	}
	return d
}

// often is how many times: less with -short.
func often(n int) int {
	if testing.Short() {
		return n / 5
	}
	return n
}

// workers is what the server was told, 1 if nothing.
func workers() int {
	if at := slices.Index(program.Args, "-workers"); at >= 0 && at+1 < len(program.Args) {
		if n, err := strconv.Atoi(program.Args[at+1]); err == nil && n > 0 {
			return n
		}
	}
	return 1
}

// scene is a server with live traffic, and what it was like before.
type scene struct {
	*relay.Server
	live     *live.Traffic
	before   map[string]float64
	resident int64
	logged   int // bytes
}

func stage(t *testing.T, o relay.Options) *scene {
	t.Helper()
	sc := &scene{Server: privateServer(t, o)}
	sc.live = live.Start(t, sc.Server, livePairs, livePerSecond)
	sc.liveGoesOn(t)
	sc.before = varz(t, sc.Server)
	sc.resident = sc.residentNow(t)
	sc.logged = len(sc.Log())
	return sc
}

func (sc *scene) residentNow(t *testing.T) int64 {
	t.Helper()
	r, err := sc.Resident()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// liveGoesOn waits until some more packets went there and back, more than
// were under way.
func (sc *scene) liveGoesOn(t *testing.T) {
	t.Helper()
	target := sc.live.Packets() + 20*livePairs
	eventually(t, func() string {
		if err := sc.live.Err(); err != nil {
			v := varz(t, sc.Server)
			for name := range v {
				if v[name] > 0 && strings.HasPrefix(name, "derp_packets_dropped") {
					t.Logf("%s %.0f", name, v[name])
				}
			}
			t.Fatalf("live traffic: %v", err)
		}
		if n := sc.live.Packets(); n < target {
			return fmt.Sprintf("%d live packets, want %d", n, target)
		}
		return ""
	})
}

// end is called when the hostile clients have closed or been closed. memory is
// how much each worker may have grown.
func (sc *scene) end(t *testing.T, memory int64) live.Result {
	t.Helper()
	ours := sc.Kind == relay.Ringrelay
	sc.liveGoesOn(t)
	want := map[string]float64{metricConnections: float64(sc.live.Clients())}
	if ours {
		want["ringrelay_sessions"] = 1 // the request for the metrics
	}
	awaitVarz(t, sc.Server, want)
	eventually(t, func() string {
		if files := varz(t, sc.Server)[metricFiles]; files > sc.before[metricFiles] {
			return fmt.Sprintf("%v file descriptors open, %v before", files, sc.before[metricFiles])
		}
		return ""
	})
	r := sc.live.Stop()
	t.Logf("live pairs: %v", r)
	if r.P99 > liveSlowest {
		t.Errorf("live pairs: round trip p99 %v, want less than %v", r.P99, liveSlowest)
	}
	awaitVarz(t, sc.Server, map[string]float64{metricConnections: 0})
	sc.mustAddUp(t)
	if memory *= int64(workers()); !ours {
		memory = referenceMemory
	}
	if strings.Contains(sc.Log(), "instrumented build") {
		memory *= 4 // sanitizers keep books of their own about each byte
	}
	if grown := sc.residentNow(t) - sc.resident; grown > memory {
		t.Errorf("the server takes %d MB more than before, want %d at most", grown/megabyte, memory/megabyte)
	} else {
		t.Logf("the server takes %.1f MB more than before", float64(grown)/float64(megabyte))
	}
	if ours {
		sc.mustBeClean(t)
	}
	return r
}

// mustAddUp: whatever came in went out or was dropped for a reason.
func (sc *scene) mustAddUp(t *testing.T) {
	t.Helper()
	eventually(t, func() string {
		v := varz(t, sc.Server)
		for _, unit := range []string{"packets", "bytes"} {
			in, out := v["derp_"+unit+"_received"], v["derp_"+unit+"_sent"]
			if dropped := sum(t, v, "derp_"+unit+"_dropped"); in != out+dropped {
				return fmt.Sprintf("%s: %.0f received, %.0f sent and %.0f dropped: %+.0f", unit, in, out, dropped, out+dropped-in)
			}
		}
		return ""
	})
}

// mustBeClean is what only ringrelayd tells.
func (sc *scene) mustBeClean(t *testing.T) {
	t.Helper()
	const crumbs, lines = 64 << 10, 50
	eventually(t, func() string {
		if m := varz(t, sc.Server)[metricMemory]; m > crumbs {
			return fmt.Sprintf("%v bytes of packet memory in use", m)
		}
		return ""
	})
	if n := strings.Count(sc.Log()[sc.logged:], "\n"); n > lines {
		t.Errorf("%d lines were logged meanwhile, want %d at most", n, lines)
	}
	if slices.Contains(program.Args, "spread") && workers() > 1 {
		if crossed := varz(t, sc.Server)["ringrelay_packets_crossed"]; crossed == 0 {
			t.Error("no packet went from one worker to another")
		}
	}
}

// grown is by how much a metric grew since the scene was set.
func (sc *scene) grown(t *testing.T, metric string) float64 {
	t.Helper()
	return varz(t, sc.Server)[metric] - sc.before[metric]
}

// awaitGrown waits until a metric has grown by n at least.
func (sc *scene) awaitGrown(t *testing.T, metric string, n float64) {
	t.Helper()
	eventually(t, func() string {
		if g := sc.grown(t, metric); g < n {
			return fmt.Sprintf("%s grew by %v, want %v", metric, g, n)
		}
		return ""
	})
}

// torrent is a client that sends numbered packets to one key.
type torrent struct {
	*rawPeer
	live.Content
	dst    key.NodePublic
	prefix []byte // of each payload
	size   func(n uint64) int

	sent atomic.Uint64 // packets handed to the kernel
	over atomic.Bool   // there is no packet after those
	quit chan struct{}
	done chan error
}

// torrent logs one in that sends nothing by itself. IDs must differ among
// those who send to one receiver.
func (sc *scene) torrent(t *testing.T, id uint32, dst key.NodePublic, size func(uint64) int) *torrent {
	t.Helper()
	return torrentOf(login(t, sc.Server), id, dst, size)
}

func torrentOf(p *rawPeer, id uint32, dst key.NodePublic, size func(uint64) int) *torrent {
	return &torrent{rawPeer: p, Content: live.Content{ID: id}, dst: dst, size: size}
}

// flood logs one in that sends as fast as it can.
func (sc *scene) flood(t *testing.T, id uint32, dst key.NodePublic, size func(uint64) int) *torrent {
	t.Helper()
	f := sc.torrent(t, id, dst, size)
	f.start(t)
	return f
}

func fixed(size int) func(uint64) int { return func(uint64) int { return size } }

// start sends as fast as it can from now on.
func (f *torrent) start(t *testing.T) {
	f.quit, f.done = make(chan struct{}), make(chan error, 1)
	go func() { f.done <- f.run() }()
	t.Cleanup(func() { f.Close() }) // ends it
}

func (f *torrent) run() error {
	const enough = 64 << 10 // bytes in one write
	var b []byte
	for {
		select {
		case <-f.quit:
			return nil
		default:
		}
		n := f.sent.Load()
		for b = b[:0]; len(b) < enough; n++ {
			b = f.frame(b, n)
		}
		if err := f.Send(b); err != nil {
			return fmt.Errorf("packet %d: %w", n, err)
		}
		f.sent.Store(n)
	}
}

// frame appends the frame of packet n.
func (f *torrent) frame(b []byte, n uint64) []byte {
	size := f.size(n)
	b = append(b, wire.Header(derp.FrameSendPacket, uint32(wire.KeyLen+len(f.prefix)+size))...)
	b = append(b, wire.Raw(f.dst)...)
	b = append(b, f.prefix...)
	b = slices.Grow(b, size)[:len(b)+size]
	f.Fill(b[len(b)-size:], n)
	return b
}

// one sends the next packet.
func (f *torrent) one(t *testing.T) {
	t.Helper()
	f.mustSend(t, f.frame(nil, f.sent.Add(1)-1))
}

// stop ends the flood, which must not have been disturbed, and waits until the
// server has read all of it. A torrent to itself has other means.
func (f *torrent) stop(t *testing.T) {
	t.Helper()
	close(f.quit)
	if err := <-f.done; err != nil {
		t.Fatalf("the sender was not to suffer: %v", err)
	}
	if f.dst != f.pub {
		f.mustLive(t)
	}
}

// last sends the last packet, when the others have stopped: the newest, which
// is not the one that is dropped, but for what finish says.
func (f *torrent) last(t *testing.T) {
	t.Helper()
	n := f.sent.Add(1) - 1
	f.over.Store(true) // before it can arrive
	f.mustSend(t, f.frame(nil, n))
}

// intake reads what one client receives from torrents and verifies it: every
// byte, and rising numbers from each.
type intake struct {
	p    *rawPeer
	pace atomic.Int64 // bytes per second; 0: as fast as it can
	done chan error

	mu   sync.Mutex
	from map[key.NodePublic]*counted
}

type counted struct {
	*torrent
	next    uint64 // least number that may come
	packets uint64
	missing uint64 // gaps between those that came
}

// newIntake reads nothing by itself.
func newIntake(p *rawPeer, from ...*torrent) *intake {
	in := &intake{p: p, done: make(chan error, 1), from: make(map[key.NodePublic]*counted)}
	for _, f := range from {
		in.from[f.pub] = &counted{torrent: f}
	}
	return in
}

// start reads until the last packet of each torrent came.
func (in *intake) start(t *testing.T, pace int64) {
	in.pace.Store(pace)
	go func() { in.done <- in.run() }()
	t.Cleanup(func() { in.p.Close() }) // ends it
}

func (in *intake) run() error {
	due := time.Now()
	for !in.isOver() {
		f, err := in.p.ReadFrame()
		if err == nil {
			err = in.take(f)
		}
		if err != nil {
			return err
		}
		if pace := in.pace.Load(); pace > 0 {
			time.Sleep(time.Until(due))
			due = due.Add(time.Duration(len(f.Body)+wire.HeaderLen) * time.Second / time.Duration(pace))
		}
	}
	return nil
}

func (in *intake) isOver() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, c := range in.from {
		if !c.over.Load() || c.next < c.sent.Load() {
			return false
		}
	}
	return true
}

// goesOn fails the test if the receiver comes to an end within d.
func (in *intake) goesOn(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case err := <-in.done:
		t.Fatalf("receiver: %v", err)
	case <-time.After(d):
	}
}

// finish waits for the last packets. One may be lost: when another worker is
// behind, packets that its clients sent earlier arrive later, and push it out
// of the queue of a receiver that is full. Then it is sent again, and counts as
// missing.
func (in *intake) finish(t *testing.T) {
	t.Helper()
	const patience = 2 * time.Second
	for range wait / patience {
		select {
		case err := <-in.done:
			if err != nil {
				t.Fatalf("receiver: %v", err)
			}
			return
		case <-time.After(patience):
		}
		for _, f := range in.unfinished() {
			t.Logf("packet %d of %d was the last and did not come within %v", f.sent.Load()-1, f.ID, patience)
			f.one(t)
		}
	}
	t.Fatalf("the last packets do not come within %v", wait)
}

func (in *intake) unfinished() (torrents []*torrent) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, c := range in.from {
		if c.next < c.sent.Load() {
			torrents = append(torrents, c.torrent)
		}
	}
	return torrents
}

func (in *intake) take(f wire.Frame) error {
	if f.Type == derp.FrameKeepAlive {
		return nil
	}
	if f.Type != derp.FrameRecvPacket || len(f.Body) < wire.KeyLen {
		return fmt.Errorf("got %v, want a packet", f)
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	c, ok := in.from[key.NodePublicFromRaw32(mem.B(f.Body[:wire.KeyLen]))]
	if !ok {
		return fmt.Errorf("a packet from %x, who sent none", f.Body[:wire.KeyLen])
	}
	payload, ok := bytes.CutPrefix(f.Body[wire.KeyLen:], c.prefix)
	if !ok {
		return fmt.Errorf("after %d packets: one of %d bytes that begins wrong", c.packets, len(f.Body))
	}
	n, err := c.Verify(payload)
	if err == nil && n < c.next {
		err = fmt.Errorf("packet %d when %d or more was to come", n, c.next)
	}
	if err != nil {
		return fmt.Errorf("after %d packets: %w", c.packets, err)
	}
	c.packets, c.missing, c.next = c.packets+1, c.missing+n-c.next, n+1
	return nil
}

// of returns how many packets of a torrent came, and how many before the last
// of those did not.
func (in *intake) of(f *torrent) (packets, missing uint64) {
	in.mu.Lock()
	defer in.mu.Unlock()
	c := in.from[f.pub]
	return c.packets, c.missing
}

// TestHostileMeshFrames: who has no mesh key is closed for the frames of the
// mesh, however well formed they are. Nobody is disturbed, the one named in
// them least of all.
func TestHostileMeshFrames(t *testing.T) {
	eachTransport(t, func(t *testing.T, o relay.Options) {
		sc := stage(t, o)
		victim, friend := login(t, sc.Server), login(t, sc.Server)
		rounds := often(50)
		frames := [][]byte{
			wire.Encode(derp.FrameWatchConns),
			wire.Encode(derp.FrameClosePeer, wire.Raw(victim.pub)),
			wire.Encode(derp.FrameForwardPacket, wire.Raw(friend.pub), wire.Raw(victim.pub), []byte("forged")),
		}
		for range rounds {
			for _, f := range frames {
				p := login(t, sc.Server)
				p.trySend(f, wire.SendPacket(victim.pub, []byte("what follows is not heard any more")))
				p.mustClose(t)
				p.Close()
			}
		}
		friend.mustSend(t, wire.SendPacket(victim.pub, []byte("still there?")))
		victim.mustReceive(t, friend.pub, []byte("still there?"))
		victim.mustLive(t)
		if sc.Kind == relay.Ringrelay {
			awaitVarz(t, sc.Server, map[string]float64{metricForbidden: float64(rounds * len(frames))})
		}
		victim.Close()
		friend.Close()
		sc.end(t, 8*megabyte)
		if dropped := sum(t, varz(t, sc.Server), "derp_packets_dropped"); dropped != 0 {
			t.Errorf("%v packets dropped", dropped)
		}
	})
}
