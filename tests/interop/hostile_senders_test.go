package interop

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"ringrelay.test/interop/internal/relay"
	"ringrelay.test/interop/internal/wire"
	"tailscale.com/derp"
	"tailscale.com/types/key"
)

// TestHostileFlood: a client that sends as fast as it can, to one that reads as
// fast as it can, to nobody, and to itself.
func TestHostileFlood(t *testing.T) {
	eachTransport(t, func(t *testing.T, o relay.Options) {
		for _, size := range []int{32, 65536} {
			for name, f := range map[string]func(*testing.T, relay.Options, int){
				"reader": floodReader, "nobody": floodNobody, "itself": floodItself,
			} {
				t.Run(fmt.Sprint(name, "/", size), func(t *testing.T) {
					if size == 65536 && name != "itself" || size == 32 && name == "itself" {
						further(t)
					}
					f(t, o, size)
				})
			}
		}
	})
}

const floodTime = time.Second

func rate(packets uint64, since time.Time) string {
	return fmt.Sprintf("%d packets, %.0f/s", packets, float64(packets)/time.Since(since).Seconds())
}

func floodReader(t *testing.T, o relay.Options, size int) {
	sc := stage(t, o)
	p := login(t, sc.Server)
	start := time.Now()
	f := sc.flood(t, 1001, p.pub, fixed(size))
	in := newIntake(p, f)
	in.start(t, 0)
	in.goesOn(t, lasting(floodTime))
	f.stop(t)
	f.last(t)
	in.finish(t)
	arrived, lost := in.of(f)
	t.Logf("%s; %d arrived", rate(f.sent.Load(), start), arrived)
	sc.mustHaveDropped(t, lost)
	f.Close()
	p.Close()
	sc.end(t, queueMemory)
}

func floodNobody(t *testing.T, o relay.Options, size int) {
	sc := stage(t, o)
	start := time.Now()
	f := sc.flood(t, 1001, key.NewNode().Public(), fixed(size))
	select {
	case err := <-f.done:
		t.Fatal(err)
	case <-time.After(lasting(floodTime)):
	}
	f.stop(t)
	t.Log(rate(f.sent.Load(), start))
	packets := float64(f.sent.Load())
	awaitVarz(t, sc.Server, map[string]float64{
		metricUnknown: packets,
		`derp_bytes_dropped{reason="unknown_dest",kind="other"}`: packets * float64(size),
	})
	f.Close()
	sc.end(t, queueMemory)
}

func floodItself(t *testing.T, o relay.Options, size int) {
	sc := stage(t, o)
	p := login(t, sc.Server)
	f := torrentOf(p, 1001, p.pub, fixed(size))
	start := time.Now()
	f.start(t)
	in := newIntake(p, f)
	in.start(t, 0)
	in.goesOn(t, lasting(floodTime))
	f.stop(t)
	f.last(t)
	in.finish(t)
	p.mustLive(t)
	arrived, lost := in.of(f)
	t.Logf("%s; %d arrived", rate(f.sent.Load(), start), arrived)
	if arrived+lost != f.sent.Load() {
		t.Errorf("%d packets sent, %d arrived and %d did not", f.sent.Load(), arrived, lost)
	}
	p.Close()
	sc.end(t, queueMemory)
}

// TestHostilePings: whoever sends more pings than it gets pongs is owed one at
// a time, for the first that came since.
func TestHostilePings(t *testing.T) {
	eachTransport(t, func(t *testing.T, o relay.Options) {
		t.Run("reading", func(t *testing.T) { pingFlood(t, o, true) })
		t.Run("not reading", func(t *testing.T) {
			further(t)
			pingFlood(t, o, false)
		})
	})
}

// pinger is a client that sends numbered pings.
type pinger struct {
	*rawPeer
	sent  atomic.Uint64
	pongs atomic.Uint64
	last  atomic.Int64 // the ping that was answered last
}

// ping sends n pings in one write.
func (p *pinger) ping(n int) error {
	var b []byte
	for range n {
		b = append(b, wire.Header(derp.FramePing, 8)...)
		b = binary.BigEndian.AppendUint64(b, p.sent.Add(1)-1)
	}
	return p.Send(b)
}

func (p *pinger) flood(quit <-chan struct{}) error {
	for {
		select {
		case <-quit:
			return nil
		default:
		}
		if err := p.ping(1000); err != nil {
			return err
		}
	}
}

// read requires nothing but pongs with rising numbers, until the connection
// is closed by us.
func (p *pinger) read() error {
	for {
		f, err := p.ReadFrame()
		if err != nil {
			return err
		}
		if f.Type == derp.FrameKeepAlive {
			continue
		}
		if f.Type != derp.FramePong || len(f.Body) != 8 {
			return fmt.Errorf("got %v, want Pong", f)
		}
		n, last := int64(binary.BigEndian.Uint64(f.Body)), p.last.Load()
		if last < 0 && n != 0 {
			return fmt.Errorf("the first Pong answers ping %d", n)
		}
		if n == last && program.Kind == relay.Derper {
			p.pongs.Add(1) // it may answer one ping twice
			continue
		}
		if n <= last || uint64(n) >= p.sent.Load() {
			return fmt.Errorf("Pong %d after Pong %d, of %d pings", n, last, p.sent.Load())
		}
		p.last.Store(n)
		p.pongs.Add(1)
	}
}

func pingFlood(t *testing.T, o relay.Options, reading bool) {
	sc := stage(t, o)
	p := &pinger{rawPeer: loginSmall(t, sc.Server)}
	p.last.Store(-1)
	read := make(chan error, 1)
	if reading {
		go func() { read <- p.read() }()
	}
	quit, flooded := make(chan struct{}), make(chan error, 1)
	start := time.Now()
	go func() { flooded <- p.flood(quit) }()
	select {
	case err := <-read:
		t.Fatal(err)
	case err := <-flooded:
		if reading {
			t.Fatalf("pinging: %v", err)
		}
		flooded <- err // closed by the write timeout
	case <-time.After(lasting(floodTime)):
	}
	close(quit)
	took := time.Since(start)
	if err := <-flooded; reading && err != nil {
		t.Fatalf("pinging: %v", err)
	}
	if reading {
		p.settle(t, sc, read)
	}
	v := varz(t, sc.Server)
	t.Logf("%d pings, %.0f/s; the server had read %.0f and sent %.0f pongs", p.sent.Load(),
		float64(p.sent.Load())/took.Seconds(), v["derp_got_ping"], v["derp_sent_pong"])
	if v["derp_sent_pong"] > v["derp_got_ping"] {
		t.Errorf("%v pongs for %v pings", v["derp_sent_pong"], v["derp_got_ping"])
	}
	p.Close()
	sc.end(t, 4*megabyte)
}

// settle waits until nothing is owed any more: single pings are answered, and
// all that was counted has been seen.
func (p *pinger) settle(t *testing.T, sc *scene, read <-chan error) {
	t.Helper()
	flood := int64(p.sent.Load())
	eventually(t, func() string {
		select {
		case err := <-read:
			t.Fatal(err)
		default:
		}
		if p.last.Load() >= flood {
			return ""
		}
		if err := p.ping(1); err != nil { // the one before may have come when one was owed
			t.Fatal(err)
		}
		return fmt.Sprintf("no answer to one of %d single pings", int64(p.sent.Load())-flood)
	})
	eventually(t, func() string {
		v := varz(t, sc.Server)
		if got, sent := v["derp_got_ping"], v["derp_sent_pong"]; got != float64(p.sent.Load()) || sent != float64(p.pongs.Load()) {
			return fmt.Sprintf("%d pings sent, %v read; %v pongs sent, %d came", p.sent.Load(), got, sent, p.pongs.Load())
		}
		return ""
	})
}
