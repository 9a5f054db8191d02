package interop

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"ringrelay.test/interop/internal/pki"
	"ringrelay.test/interop/internal/relay"
	"ringrelay.test/interop/internal/wire"
	"tailscale.com/derp"
	"tailscale.com/types/key"
)

// Several worker threads: who is where, what crosses from one to another, and
// that nobody can tell the difference.

const (
	metricCrossed  = "ringrelay_packets_crossed"
	metricReceived = "derp_packets_received"
	metricSent     = "derp_packets_sent"
	metricDropped  = "derp_packets_dropped"
)

// serverWithWorkers has n of them, with "-placement fill" or "spread".
func serverWithWorkers(t *testing.T, n int, placement string, o relay.Options) *relay.Server {
	t.Helper()
	oursOnly(t, "worker threads")
	o.Args = append(slices.Clone(o.Args), "-workers", fmt.Sprint(n), "-placement", placement)
	return privateServer(t, o)
}

// crossedEnough holds a run of the whole suite with several workers, clients
// spread over them, to its purpose: at least a tenth of what the shared
// servers relayed went from one worker to another. A run of a few tests that
// relay little proves nothing and passes.
func crossedEnough(servers []*relay.Server) error {
	const little = 5000
	workers, _ := strconv.Atoi(argument(program.Args, "workers"))
	if program.Kind != relay.Ringrelay || workers < 2 || argument(program.Args, "placement") != "spread" {
		return nil
	}
	var crossed, received float64
	for _, s := range servers {
		if s == nil || s.Exited() {
			continue
		}
		v, err := s.Varz()
		if err != nil {
			return fmt.Errorf("metrics of a shared server: %w", err)
		}
		crossed += v[metricCrossed]
		received += v[metricReceived]
	}
	if received >= little && crossed < received/10 {
		return fmt.Errorf("%v of %v packets went from one worker to another, want a tenth at least", crossed, received)
	}
	return nil
}

// argument is the value that the last of "-name value" and "-name=value" in
// args gives; "" when there is none.
func argument(args []string, name string) string {
	var value string
	for i, a := range args {
		a, isFlag := strings.CutPrefix(a, "-")
		if !isFlag {
			continue
		}
		a = strings.TrimPrefix(a, "-")
		if a == name && i+1 < len(args) {
			value = args[i+1]
		} else if v, ok := strings.CutPrefix(a, name+"="); ok {
			value = v
		}
	}
	return value
}

// placement is how many connections each worker has.
func placement(v map[string]float64) []float64 {
	var counts []float64
	for {
		n, ok := v[fmt.Sprintf(`ringrelay_worker_connections{worker="%d"}`, len(counts))]
		if !ok {
			return counts
		}
		counts = append(counts, n)
	}
}

func total(counts []float64) float64 {
	var sum float64
	for _, n := range counts {
		sum += n
	}
	return sum
}

// awaitPlacement polls until so many connections are on each worker.
func awaitPlacement(t *testing.T, s *relay.Server, want ...float64) {
	t.Helper()
	eventually(t, func() string {
		if got := placement(varz(t, s)); !slices.Equal(got, want) {
			return fmt.Sprintf("connections per worker are %v, want %v", got, want)
		}
		return ""
	})
}

// placed logs in and says on which worker the connection is. Nobody else may
// come or leave meanwhile.
func placed(t *testing.T, s *relay.Server, priv key.NodePrivate) (p *rawPeer, worker int) {
	t.Helper()
	before := placement(varz(t, s))
	p = loginAs(t, s, priv)
	eventually(t, func() string {
		after := placement(varz(t, s))
		if len(after) == 0 || total(after) != total(before)+1 {
			return fmt.Sprintf("connections per worker were %v and are %v after a login", before, after)
		}
		for worker = range after {
			if after[worker] != before[worker] {
				break
			}
		}
		return ""
	})
	return p, worker
}

// loginAs is login with a key of the caller's.
func loginAs(t *testing.T, s *relay.Server, priv key.NodePrivate) *rawPeer {
	t.Helper()
	p := dialRaw(t, s)
	p.priv, p.pub = priv, priv.Public()
	return p.fastStart(t).login(t)
}

// reset ends the TCP connection by RST; what is on its way is lost.
func (p *rawPeer) reset() { reset(p.Conn.Conn) }

// leave ends the connection by FIN or by RST.
func (p *rawPeer) leave(rst bool) {
	if rst {
		p.reset()
	} else {
		p.Close()
	}
}

// A labelled packet says from whom it is, for whom, and its number; what
// follows depends on all of them, so that no byte of another one fits.
const labelLen = 2*wire.KeyLen + 8

func labelled(src, dst key.NodePublic, number uint64, size int) []byte {
	data := make([]byte, labelLen, size+8)
	copy(data, wire.Raw(src))
	copy(data[wire.KeyLen:], wire.Raw(dst))
	binary.BigEndian.PutUint64(data[2*wire.KeyLen:], number)
	x := number ^ binary.BigEndian.Uint64(data) ^ binary.BigEndian.Uint64(data[wire.KeyLen:])
	for len(data) < size {
		x = x*6364136223846793005 + 1442695040888963407
		data = binary.BigEndian.AppendUint64(data, x^x>>33)
	}
	return data[:size]
}

// numberOf verifies every byte of a labelled packet from src for dst.
func numberOf(f wire.Frame, src, dst key.NodePublic) (uint64, error) {
	if f.Type != derp.FrameRecvPacket || len(f.Body) < wire.KeyLen+labelLen || !bytes.Equal(f.Body[:wire.KeyLen], wire.Raw(src)) {
		return 0, fmt.Errorf("got %v, want a labelled packet from %v", f, src.ShortString())
	}
	data := f.Body[wire.KeyLen:]
	number := binary.BigEndian.Uint64(data[2*wire.KeyLen:])
	if !bytes.Equal(data, labelled(src, dst, number, len(data))) {
		return 0, fmt.Errorf("a packet of %d bytes, number %d or not, is not what was sent to %v", len(data), number, dst.ShortString())
	}
	return number, nil
}

// mustNumber requires the next frame to be a labelled packet for p.
func (p *rawPeer) mustNumber(t *testing.T, src key.NodePublic, want uint64) {
	t.Helper()
	n, err := numberOf(p.mustRead(t, fmt.Sprintf("packet %d", want)), src, p.pub)
	if err != nil {
		t.Fatal(err)
	}
	if n != want {
		t.Fatalf("got packet %d, want %d", n, want)
	}
}

func (p *rawPeer) mustPeerGone(t *testing.T, peer key.NodePublic, reason derp.PeerGoneReasonType) {
	t.Helper()
	f := p.mustRead(t, "PeerGone")
	if f.Type != derp.FramePeerGone || !bytes.Equal(f.Body, append(wire.Raw(peer), byte(reason))) {
		t.Fatalf("got %v, want PeerGone of %v, reason %v", f, peer.ShortString(), reason)
	}
}

// feed sends labelled packets to one key for as long as it is let. Every few
// packets it waits for a pong, so it never runs ahead of the server, and with a
// window not ahead of those who read either.
type feed struct {
	from   *rawPeer
	to     key.NodePublic
	size   int
	window uint64 // packets sent and not acknowledged, a burst at least; 0: any number

	mu      sync.Mutex
	changed *sync.Cond
	next    uint64 // number of the next packet
	acked   uint64
	stopped bool
	done    chan error
}

const feedBurst = 8

func startFeed(from *rawPeer, to key.NodePublic, size int) *feed {
	return newFeed(from, to, size, 0).start()
}

func newFeed(from *rawPeer, to key.NodePublic, size int, window uint64) *feed {
	f := &feed{from: from, to: to, size: size, window: window, done: make(chan error, 1)}
	f.changed = sync.NewCond(&f.mu)
	return f
}

func (f *feed) start() *feed {
	go func() { f.done <- f.run() }()
	return f
}

func (f *feed) run() error {
	for burst := uint64(0); f.may(); burst++ {
		if err := f.send(burst); err != nil {
			return fmt.Errorf("sending to %v: %w", f.to.ShortString(), err)
		}
	}
	return nil
}

// may waits for room in the window; false is the end.
func (f *feed) may() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for !f.stopped && f.window != 0 && f.next+feedBurst > f.acked+f.window {
		f.changed.Wait()
	}
	return !f.stopped
}

// ack says that all packets below this number have come or never will.
func (f *feed) ack(below uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.acked = max(f.acked, below)
	f.changed.Broadcast()
}

func (f *feed) send(burst uint64) error {
	f.mu.Lock()
	first := f.next
	f.next += feedBurst
	f.mu.Unlock()
	var out []byte
	for i := range uint64(feedBurst) {
		out = append(out, wire.SendPacket(f.to, labelled(f.from.pub, f.to, first+i, f.size))...)
	}
	echo := binary.BigEndian.AppendUint64(nil, burst)
	if err := f.from.Send(append(out, wire.Encode(derp.FramePing, echo)...)); err != nil {
		return err
	}
	for {
		got, err := f.from.ReadFrame()
		switch {
		case err != nil:
			return err
		case got.Type == derp.FramePong && bytes.Equal(got.Body, echo):
			return nil
		case got.Type != derp.FrameKeepAlive:
			return fmt.Errorf("got %v, want Pong", got)
		}
	}
}

// sent is how many packets were given numbers so far.
func (f *feed) sent() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.next
}

// mustEnd stops it; all its packets have reached the server then.
func (f *feed) mustEnd(t *testing.T) uint64 {
	t.Helper()
	f.mu.Lock()
	f.stopped = true
	f.changed.Broadcast()
	f.mu.Unlock()
	if err := <-f.done; err != nil {
		t.Fatal(err)
	}
	return f.sent()
}

// drops is how many packets were dropped, by reason.
func drops(v map[string]float64) map[string]float64 {
	by := make(map[string]float64)
	for name, n := range v {
		if reason, ok := strings.CutPrefix(name, metricDropped+`{reason="`); ok && n != 0 {
			reason, _, _ = strings.Cut(reason, `"`)
			by[reason] += n
		}
	}
	return by
}

// awaitAccounted waits until each packet that came in has gone out or was
// dropped with a reason, and returns the drops.
func awaitAccounted(t *testing.T, s *relay.Server) (by map[string]float64) {
	t.Helper()
	eventually(t, func() string {
		v := varz(t, s)
		by = drops(v)
		accounted := v[metricSent]
		for _, n := range by {
			accounted += n
		}
		if v[metricReceived] != accounted {
			return fmt.Sprintf("%v packets came in, %v went out, dropped were %v", v[metricReceived], v[metricSent], by)
		}
		return ""
	})
	return by
}

// TestWorkersCross: each client to each, itself too, one after the other and
// all at once: what is sent between different workers crosses, the rest does
// not, all of it arrives in order.
func TestWorkersCross(t *testing.T) {
	const each = 30
	for workers := 1; workers <= 3; workers++ {
		t.Run(fmt.Sprint(workers), func(t *testing.T) {
			s := serverWithWorkers(t, workers, "spread", relay.Options{})
			peers := make([]*rawPeer, 2*workers)
			for i := range peers {
				var at int
				if peers[i], at = placed(t, s, key.NewNode()); at != i%workers {
					t.Fatalf("client %d is on worker %d of %d", i, at, workers)
				}
			}
			var crossed, sent float64
			for i, from := range peers {
				for j, to := range peers {
					if err := stream(from, to, to, each, nil); err != nil {
						t.Fatalf("from client %d to %d: %v", i, j, err)
					}
					sent += each
					if i%workers != j%workers {
						crossed += each
					}
					awaitVarz(t, s, map[string]float64{metricReceived: sent, metricSent: sent, metricCrossed: crossed})
				}
			}

			// A ring: each sends to the next and reads from the one before.
			const ring = 500
			errs := make([]error, len(peers))
			var wg sync.WaitGroup
			for i, p := range peers {
				to := peers[(i+1)%len(peers)]
				if to == p {
					continue
				}
				wg.Go(func() { errs[i] = stream(p, to, to, ring, nil) })
				sent += ring
				if workers > 1 {
					crossed += ring
				}
			}
			wg.Wait()
			if err := errors.Join(errs...); err != nil {
				t.Fatal(err)
			}
			for _, p := range peers {
				p.mustLive(t)
			}
			awaitVarz(t, s, map[string]float64{metricReceived: sent, metricSent: sent, metricCrossed: crossed})
			t.Logf("%v of %v packets crossed", crossed, sent)
		})
	}
}

// TestWorkersOrder: packets of all sizes across, 16 of them in flight.
func TestWorkersOrder(t *testing.T) {
	for _, c := range []struct {
		name string
		tls  bool
	}{{"plain", false}, {"TLS", true}} {
		t.Run(c.name, func(t *testing.T) {
			var o relay.Options
			if c.tls {
				o.TLS = withCA(t, pki.ECDSA, tlsName)
			}
			s := serverWithWorkers(t, 2, "spread", o)
			a, b := connect(t, s), connect(t, s)
			awaitPlacement(t, s, 1, 1)
			runOrdered(t, a, b)
			runOrdered(t, b, a)
			awaitVarz(t, s, map[string]float64{metricCrossed: 2 * orderPackets, metricReceived: 2 * orderPackets})
			if lost := awaitAccounted(t, s); len(lost) != 0 {
				t.Errorf("dropped: %v", lost)
			}
		})
	}
}

// TestWorkersPeerGone: a sender that leaves behind its last packet is told of
// behind that packet, once, on whichever worker the receivers are.
func TestWorkersPeerGone(t *testing.T) {
	const times = 200
	for _, c := range []struct {
		name    string
		workers int
		tls     bool
	}{{"one worker", 1, false}, {"two workers", 2, false}, {"two workers, TLS", 2, true}} {
		t.Run(c.name, func(t *testing.T) {
			var o relay.Options
			if c.tls {
				o.TLS = withCA(t, pki.ECDSA, tlsName)
			}
			s := serverWithWorkers(t, c.workers, "spread", o)
			near, _ := placed(t, s, key.NewNode())
			far, at := placed(t, s, key.NewNode())
			if at != c.workers-1 {
				t.Fatalf("second client is on worker %d", at)
			}
			untouched := login(t, s) // on worker 0: the senders are on 1 if there is one
			priv := key.NewNode()
			var crossed, gone float64
			for i := range times {
				if i%2 == 0 {
					priv = key.NewNode() // else the same key again: it is told of again
				}
				a := loginAs(t, s, priv)
				first := i % 3 // packets that are there before the last ones are sent
				n := first + 1 + i%5
				send := func(from, to int) {
					t.Helper()
					var out []byte
					for k := from; k < to; k++ {
						for _, p := range []*rawPeer{near, far} {
							out = append(out, wire.SendPacket(p.pub, labelled(a.pub, p.pub, uint64(k), 100+i))...)
						}
					}
					a.mustSend(t, out)
				}
				if first > 0 {
					send(0, first)
				}
				for k := range first {
					near.mustNumber(t, a.pub, uint64(k))
					far.mustNumber(t, a.pub, uint64(k))
				}
				send(first, n)
				if i%4 == 3 { // else directly behind them
					a.mustLive(t)
				}
				a.Close()
				for _, to := range []*rawPeer{near, far} {
					for k := first; k < n; k++ {
						to.mustNumber(t, a.pub, uint64(k))
					}
					to.mustPeerGone(t, a.pub, derp.PeerGoneReasonDisconnected)
				}
				if c.workers > 1 {
					crossed += float64(n)
				}
				gone += 2
			}
			for _, p := range []*rawPeer{near, far, untouched} {
				p.mustLive(t) // nothing more was said to any
			}
			awaitVarz(t, s, map[string]float64{metricGone: gone, metricCrossed: crossed, metricConnections: 3})
		})
	}
}

// TestWorkersPeerGoneWaits: PeerGone does not overtake the packets of its key
// that wait for a slow receiver, who has had others from it before, and is
// said once.
func TestWorkersPeerGoneWaits(t *testing.T) {
	const n = 1000 // packets that wait, far more than the sockets between hold
	for workers := 1; workers <= 2; workers++ {
		t.Run(fmt.Sprint(workers), func(t *testing.T) {
			s := serverWithWorkers(t, workers, "spread", relay.Options{})
			slow := dialRawWindow(t, s, 4<<10).fastStart(t).login(t)
			awaitVarz(t, s, map[string]float64{metricConnections: 1})
			a := login(t, s)
			for i := range uint64(3) {
				a.mustSend(t, wire.SendPacket(slow.pub, labelled(a.pub, slow.pub, i, 1000)))
				slow.mustNumber(t, a.pub, i)
			}
			for i := uint64(3); i < n; i++ {
				a.mustSend(t, wire.SendPacket(slow.pub, labelled(a.pub, slow.pub, i, 1000)))
			}
			a.mustLive(t)
			a.Close()
			awaitVarz(t, s, map[string]float64{metricConnections: 1, metricKeys: 1, metricReceived: n})
			if v := varz(t, s); v[metricSent] == n {
				t.Fatal("nothing waited")
			}
			for i := uint64(3); i < n; i++ {
				slow.mustNumber(t, a.pub, i)
			}
			slow.mustPeerGone(t, a.pub, derp.PeerGoneReasonDisconnected)
			slow.mustLive(t)
			awaitVarz(t, s, map[string]float64{metricGone: 1})
		})
	}
}

// TestWorkersPeerGoneReset: after RST packets may be lost, but what arrives is
// before PeerGone, and who got something is told.
func TestWorkersPeerGoneReset(t *testing.T) {
	s := serverWithWorkers(t, 2, "spread", relay.Options{})
	near, far := login(t, s), login(t, s)
	awaitPlacement(t, s, 1, 1)
	arrived := 0
	for i := range 100 {
		a := login(t, s)
		for _, to := range []*rawPeer{near, far} {
			a.mustSend(t, wire.SendPacket(to.pub, labelled(a.pub, to.pub, uint64(i), 200)))
		}
		a.reset()
		awaitVarz(t, s, map[string]float64{metricConnections: 2, "derp_clients_local": 2})
		for _, to := range []*rawPeer{near, far} {
			got := to.fence(t)
			if len(got) == 0 {
				continue // lost
			}
			arrived++
			if n, err := numberOf(got[0], a.pub, to.pub); err != nil || n != uint64(i) {
				t.Fatalf("packet %d (%v), want %d", n, err, i)
			}
			switch len(got) {
			case 1:
				to.mustPeerGone(t, a.pub, derp.PeerGoneReasonDisconnected)
			case 2:
				if got[1].Type == derp.FramePeerGone && bytes.Equal(got[1].Body, append(wire.Raw(a.pub), 0)) {
					break
				}
				fallthrough
			default:
				t.Fatalf("got %v behind the packet, want one PeerGone", got[1:])
			}
		}
	}
	t.Logf("%d of 200 packets arrived", arrived)
}

// TestWorkersNotHere: nobody is asked on another worker about a key that is
// not here; one that was there is told of like any other.
func TestWorkersNotHere(t *testing.T) {
	s := serverWithWorkers(t, 2, "spread", relay.Options{})
	a, b := login(t, s), login(t, s)
	awaitPlacement(t, s, 1, 1)
	for _, p := range []*rawPeer{a, b} {
		nobody := key.NewNode().Public()
		p.mustSend(t, wire.SendPacket(nobody, discoLike()), wire.SendPacket(nobody, pattern(100, 1)))
		p.mustPeerGone(t, nobody, derp.PeerGoneReasonNotHere)
		p.mustLive(t)
	}
	awaitVarz(t, s, map[string]float64{metricNotHere: 2, metricUnknownDisc: 2, metricUnknown: 2, metricCrossed: 0})

	data := pattern(500, 2)
	a.mustSend(t, wire.SendPacket(b.pub, data)) // so a knows a way
	b.mustReceive(t, a.pub, data)
	b.Close()
	awaitVarz(t, s, map[string]float64{"derp_clients_local": 1})
	a.mustSend(t, wire.SendPacket(b.pub, discoLike()))
	a.mustPeerGone(t, b.pub, derp.PeerGoneReasonNotHere)
	a.mustLive(t)
	awaitVarz(t, s, map[string]float64{metricNotHere: 3, metricUnknownDisc: 3, metricUnknown: 2, metricCrossed: 1})
}

// TestWorkersComeBack: a key that leaves and comes back all the time, now on
// this worker and now on that, while clients of both send to it, and while
// others take the places it had. Nobody else gets its packets, it gets
// nothing twice and nothing out of order, and what is lost is accounted for.
func TestWorkersComeBack(t *testing.T) {
	rounds := 400
	if testing.Short() {
		rounds = 100
	}
	s := serverWithWorkers(t, 2, "spread", relay.Options{})
	a, b := login(t, s), login(t, s)
	awaitPlacement(t, s, 1, 1)
	priv := key.NewNode()
	target := priv.Public()
	const window = 256 // packets; no more than fit the queue of a key
	feeds := []*feed{newFeed(a, target, 700, window).start(), newFeed(b, target, 1400, window).start()}
	seen := []map[uint64]bool{{}, {}}
	r := rand.New(rand.NewPCG(3, 4))
	var other *rawPeer // takes a place the key had, or makes a worker the fuller one
	toggle := func() {
		if other == nil {
			other = login(t, s)
			return
		}
		other.mustLive(t)
		other.leave(r.IntN(2) == 0)
		other = nil
	}
	on := make([]int, 2) // logins there, as far as that can be told
	var p *rawPeer
	for i := range rounds {
		if i%3 == 0 { // the server knows that the key is gone, before it is back
			if p != nil {
				closeWrite(t, p)
				p.mustDrain(t)
			}
			awaitVarz(t, s, map[string]float64{metricKeys: 2 + float64(i%2)})
			toggle()
			awaitVarz(t, s, map[string]float64{metricKeys: 3 - float64(i%2), metricConnections: 3 - float64(i%2)})
			var at int
			p, at = placed(t, s, priv)
			on[at]++
		} else {
			p.leave(i%3 == 1)
			p = loginAs(t, s, priv)
		}
		for _, f := range feeds {
			f.ack(f.sent()) // whatever became of them
		}
		last := []uint64{0, 0}
		for range 1 + r.IntN(20) {
			f := p.mustRead(t, "a packet")
			which := 0
			if len(f.Body) == wire.KeyLen+1400 {
				which = 1
			}
			n, err := numberOf(f, feeds[which].from.pub, target)
			if err != nil {
				t.Fatalf("round %d: %v", i, err)
			}
			if seen[which][n] || n+1 <= last[which] {
				t.Fatalf("round %d: packet %d came twice or late: after %d", i, n, last[which])
			}
			seen[which][n], last[which] = true, n+1
		}
		if i%3 == 1 { // twice, so that the next round finds what this one found
			toggle()
			toggle()
		}
	}
	if other != nil {
		other.mustLive(t)
	}
	var sent float64
	for i, f := range feeds {
		n := f.mustEnd(t)
		sent += float64(n)
		t.Logf("feed %d: %d packets sent, %d read", i, n, len(seen[i]))
	}
	lost := awaitAccounted(t, s)
	v := varz(t, s)
	if v[metricReceived] != sent {
		t.Errorf("%s = %v, want %v", metricReceived, v[metricReceived], sent)
	}
	for _, reason := range []string{"lane_full", "pool_empty", "queue_head", "queue_tail", "dup_client"} {
		if lost[reason] != 0 {
			t.Errorf("%v packets dropped as %s", lost[reason], reason)
		}
	}
	if c := v[metricCrossed]; c == 0 || c >= sent {
		t.Errorf("%v of %v packets crossed", c, sent)
	}
	t.Logf("%v sent, %v crossed, went out %v, dropped %v; found on worker 0 %d times, on 1 %d times",
		sent, v[metricCrossed], v[metricSent], lost, on[0], on[1])
	a.mustLive(t)
	b.mustLive(t)
}

type closeWriter interface{ CloseWrite() error }

// mustDrain reads until the server has ended the connection.
func (p *rawPeer) mustDrain(t *testing.T) {
	t.Helper()
	p.SetReadDeadline(time.Now().Add(wait))
	var err error
	for buf := make([]byte, 65536); err == nil; {
		_, err = p.Reader().Read(buf)
	}
	if isTimeout(err) {
		t.Fatalf("connection still open after %v", wait)
	}
}

// TestWorkersOneKey: all connections of a key are on one worker, however full
// it is, so that packets reach the active one from everywhere.
func TestWorkersOneKey(t *testing.T) {
	s := serverWithWorkers(t, 2, "spread", relay.Options{})
	a, b := login(t, s), login(t, s)
	priv := key.NewNode()
	c1, first := placed(t, s, priv)
	c2, second := placed(t, s, priv)
	c3, third := placed(t, s, priv)
	if first != 0 || second != 0 || third != 0 {
		t.Fatalf("connections of one key are on workers %d, %d, %d, want 0", first, second, third)
	}
	awaitPlacement(t, s, 4, 1)
	number := uint64(0)
	reach := func(p *rawPeer) {
		t.Helper()
		for _, from := range []*rawPeer{a, b} {
			from.mustSend(t, wire.SendPacket(p.pub, labelled(from.pub, p.pub, number, 900)))
			p.mustNumber(t, from.pub, number)
			number++
		}
	}
	reach(c3)
	for _, p := range []*rawPeer{c1, c2, c1, c3, c2} {
		p.mustLive(t)
		reach(p)
	}
	c2.Close()
	awaitPlacement(t, s, 3, 1)
	reach(c3)
	c3.reset()
	awaitPlacement(t, s, 2, 1)
	reach(c1)
	c1.mustLive(t)
	awaitVarz(t, s, map[string]float64{metricCrossed: float64(number) / 2})
	c1.Close()
	awaitPlacement(t, s, 1, 1)
	for _, p := range []*rawPeer{a, b} {
		p.mustLive(t) // they got nothing from the key, so they are not told
	}
}

// TestWorkersPlacement: fill keeps few clients on one worker, spread puts each
// where fewest are.
func TestWorkersPlacement(t *testing.T) {
	t.Run("fill", func(t *testing.T) {
		s := serverWithWorkers(t, 2, "fill", relay.Options{})
		var peers []*rawPeer
		for range 20 {
			peers = append(peers, login(t, s))
		}
		awaitPlacement(t, s, 20, 0)
		if err := stream(peers[0], peers[19], peers[19], 100, nil); err != nil {
			t.Fatal(err)
		}
		awaitVarz(t, s, map[string]float64{metricCrossed: 0})
	})
	t.Run("spread", func(t *testing.T) {
		s := serverWithWorkers(t, 3, "spread", relay.Options{})
		var peers []*rawPeer
		for range 30 {
			peers = append(peers, login(t, s))
		}
		awaitPlacement(t, s, 10, 10, 10)
		for i := 1; i < 30; i += 3 { // all of worker 1
			peers[i].leave(i%2 == 0)
		}
		awaitPlacement(t, s, 10, 0, 10)
		for range 12 {
			login(t, s)
		}
		awaitPlacement(t, s, 11, 11, 10)
	})
}
