package interop

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"ringrelay.test/interop/internal/live"
	"ringrelay.test/interop/internal/relay"
	"ringrelay.test/interop/internal/wire"
	"tailscale.com/derp"
	"tailscale.com/disco"
)

const smallWindow = 16 << 10 // receive buffer of those who read slowly

// loginSmall logs in with a small window.
func loginSmall(t *testing.T, s *relay.Server) *rawPeer {
	t.Helper()
	return dialRawWindow(t, s, smallWindow).fastStart(t).login(t)
}

// TestHostileSlowReceiver: two senders flood a client that reads, but slower.
// It gets whole packets in order, loses the oldest, and is not closed.
func TestHostileSlowReceiver(t *testing.T) {
	eachTransport(t, func(t *testing.T, o relay.Options) {
		for _, c := range []struct {
			name string
			size func(uint64) int
			pace int64 // bytes per second
			time time.Duration
		}{
			{"small", fixed(100), 2_000_000, 2 * time.Second},
			{"usual", fixed(1400), 2_000_000, 2 * time.Second},
			{"largest", fixed(65536), 4_000_000, 2 * time.Second},
			{"mixed", live.MixedSize, 2_000_000, 2 * time.Second},
			{slowLink, fixed(1400), 30_000, 6 * time.Second},
		} {
			t.Run(c.name, func(t *testing.T) {
				if c.name != "mixed" {
					further(t)
				}
				// derper closes it: to its kernel's buffer of megabytes this is no progress.
				if c.name == slowLink {
					oursOnly(t, "progress is what the client acknowledges")
				}
				slowReceiver(t, o, c.size, c.pace, lasting(c.time))
			})
		}
	})
}

const slowLink = "slow link"

func slowReceiver(t *testing.T, o relay.Options, size func(uint64) int, pace int64, duration time.Duration) {
	sc := stage(t, o)
	p := loginSmall(t, sc.Server)
	a, b := sc.flood(t, 1001, p.pub, size), sc.flood(t, 1002, p.pub, size)
	in := newIntake(p, a, b)
	in.start(t, pace)
	in.goesOn(t, duration)
	sc.awaitGrown(t, metricQueueHead, 100)
	a.stop(t)
	b.stop(t)
	in.pace.Store(0)
	a.last(t)
	b.last(t)
	in.finish(t)
	p.mustLive(t)
	var missing uint64
	for _, f := range []*torrent{a, b} {
		arrived, lost := in.of(f)
		t.Logf("of %d packets from one sender %d arrived", f.sent.Load(), arrived)
		if arrived < 2 || lost == 0 {
			t.Errorf("%d packets arrived and %d did not; want some of both", arrived, lost)
		}
		missing += lost
		f.Close()
	}
	sc.mustHaveDropped(t, missing)
	p.Close()
	sc.end(t, queueMemory)
}

// mustHaveDropped: what did not arrive was the oldest in a queue. With several
// workers a flood may also find the lane to the receiver's worker full.
func (sc *scene) mustHaveDropped(t *testing.T, missing uint64) {
	t.Helper()
	v := varz(t, sc.Server)
	head, all := v[metricQueueHead], sum(t, v, "derp_packets_dropped")
	if workers() > 1 {
		lane := v[metricLaneFull]
		t.Logf("dropped: %v as queue_head, %v as lane_full", head, lane)
		head += lane
	}
	if head != float64(missing) || all != head {
		t.Errorf("%v packets did not arrive; %v dropped as queue_head, %v for any reason", missing, head, all)
	}
}

// TestHostileReceiverNeverReads: a client that takes nothing for the write
// timeout is closed, and what the kernel holds for it is bounded.
func TestHostileReceiverNeverReads(t *testing.T) {
	timeout := 2 * time.Second // the default
	if testing.Short() {
		timeout = 500 * time.Millisecond
	}
	eachTransport(t, func(t *testing.T, o relay.Options) {
		for name, size := range map[string]func(uint64) int{"usual": fixed(1400), "mixed": live.MixedSize} {
			t.Run(name, func(t *testing.T) {
				if name != "mixed" {
					further(t)
				}
				o.Args = []string{"-tcp-write-timeout", timeout.String()}
				neverReads(t, o, size, timeout)
			})
		}
	})
}

func neverReads(t *testing.T, o relay.Options, size func(uint64) int, timeout time.Duration) {
	const kernel = 400 << 10 // what may lie in the server's kernel for one client
	sc := stage(t, o)
	p := loginSmall(t, sc.Server)
	f := sc.flood(t, 1001, p.pub, size)
	start, held := time.Now(), 0
	eventually(t, func() string {
		held = max(held, unsent(t, sc.Server, p))
		if varz(t, sc.Server)["derp_sclient_write_timeouts"] != 1 {
			return "no write timeout counted"
		}
		return ""
	})
	took := time.Since(start)
	t.Logf("closed %v after the flood began, %d packets; the kernel held %d KB", took.Round(time.Millisecond), f.sent.Load(), held>>10)
	if took < timeout {
		t.Errorf("closed after %v, want %v at least", took, timeout)
	}
	sc.awaitGrown(t, metricUnknown, 1)
	f.stop(t)
	if sc.Kind == relay.Ringrelay {
		awaitVarz(t, sc.Server, map[string]float64{metricWriteTimeout: 1})
	}
	left := readToEnd(t, newIntake(p, f))
	t.Logf("%d KB could be read afterwards", left>>10)
	// derper leaves it to the kernel, which grows the buffer to megabytes.
	if sc.Kind == relay.Ringrelay && max(held, left) > 2*smallWindow+kernel {
		t.Errorf("%d KB lay in the server's kernel, %d KB came from there, want %d at most",
			held>>10, left>>10, (2*smallWindow+kernel)>>10)
	}
	f.Close()
	p.Close()
	sc.end(t, queueMemory)
}

// unsent is how much the server's kernel holds for a client.
func unsent(t *testing.T, s *relay.Server, p *rawPeer) int {
	t.Helper()
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	port := func(a net.Addr) string { return fmt.Sprintf(":%04X", a.(*net.TCPAddr).Port) }
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line) // number, local, remote, state, unsent:unread
		if len(f) < 5 || !strings.HasSuffix(f[1], port(p.RemoteAddr())) || !strings.HasSuffix(f[2], port(p.LocalAddr())) {
			continue
		}
		queue, _, _ := strings.Cut(f[4], ":")
		n, err := strconv.ParseUint(queue, 16, 31)
		if err != nil {
			t.Fatalf("/proc/net/tcp: %q: %v", line, err)
		}
		return int(n)
	}
	return 0 // closed
}

// readToEnd reads until the server's end of the connection, verifies the
// packets in it, and returns how many bytes they were and what was cut off.
func readToEnd(t *testing.T, in *intake) int {
	t.Helper()
	in.p.SetReadDeadline(time.Now().Add(wait))
	all, err := io.ReadAll(in.p.Reader())
	if isTimeout(err) {
		t.Fatalf("not closed, after %d bytes", len(all))
	}
	for rest := all; len(rest) >= wire.HeaderLen; {
		end := wire.HeaderLen + int(binary.BigEndian.Uint32(rest[1:]))
		if len(rest) < end {
			break
		}
		if err := in.take(wire.Frame{Type: derp.FrameType(rest[0]), Body: rest[wire.HeaderLen:end]}); err != nil {
			t.Fatal(err)
		}
		rest = rest[end:]
	}
	return len(all)
}

// TestHostileFairness: a source that floods a slow receiver costs itself: what
// others send it now and then passes the flood by. derper has one queue for
// all, of which the oldest go.
//
// Sources share twelve flows by a secret hash, so some of them may share one
// with the flood and then do lose packets. Disco has flows of its own.
func TestHostileFairness(t *testing.T) {
	oursOnly(t, "a share of the receiver for each source")
	const data, ofDisco, perSecond, pace = 12, 3, 20, 2_000_000
	sc := stage(t, relay.Options{})
	defer func() {
		if !t.Failed() {
			return
		}
		for name, n := range varz(t, sc.Server) {
			if n != 0 {
				t.Log(name, n) // where are the packets?
			}
		}
	}()
	p := loginSmall(t, sc.Server)
	f := sc.flood(t, 1001, p.pub, fixed(1400))
	all := []*torrent{f}
	for i := range data + ofDisco {
		l := sc.torrent(t, uint32(2000+i), p.pub, fixed(200))
		if i >= data {
			l.prefix = []byte(disco.Magic)
		}
		all = append(all, l)
	}
	light := all[1:]
	sc.awaitGrown(t, metricQueueHead, 100) // all is full: nobody reads yet
	in := newIntake(p, all...)
	defer func() {
		if !t.Failed() {
			return
		}
		for i, l := range all {
			arrived, lost := in.of(l)
			t.Logf("torrent %d: %d sent, %d arrived, %d before them lost", i, l.sent.Load(), arrived, lost)
		}
	}()
	in.start(t, pace)
	end := time.Now().Add(lasting(3 * time.Second))
	for time.Now().Before(end) {
		for _, l := range light {
			l.one(t)
		}
		in.goesOn(t, time.Second/perSecond)
	}
	f.stop(t)
	for _, l := range all {
		l.last(t)
	}
	in.finish(t)

	whole := 0
	for i, l := range light {
		arrived, lost := in.of(l)
		switch {
		case lost == 0:
			whole++
		case i >= data:
			t.Errorf("disco of light source %d: %d packets arrived, %d did not", i, arrived, lost)
		default:
			t.Logf("light source %d: %d packets arrived, %d did not", i, arrived, lost)
		}
		l.Close()
	}
	arrived, lost := in.of(f)
	t.Logf("%d of %d light sources lost nothing; of the flood %d packets arrived, %d did not", whole, len(light), arrived, lost)
	// One in twelve is expected to lose; more than six of twelve do once in
	// 50,000 times.
	if whole < data/2+ofDisco {
		t.Errorf("only %d of %d light sources lost nothing", whole, len(light))
	}
	f.Close()
	p.Close()
	sc.end(t, queueMemory)
}
