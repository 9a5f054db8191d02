package interop

import (
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"testing"
	"time"

	"ringrelay.test/interop/internal/tls13"
	"ringrelay.test/interop/internal/wire"
	"tailscale.com/derp"
)

// choppy writes everything in segments of the sizes it is told.
type choppy struct {
	net.Conn
	size func() int
}

func (c choppy) Write(b []byte) (int, error) {
	for rest := b; len(rest) > 0; {
		n := min(c.size(), len(rest))
		if _, err := c.Conn.Write(rest[:n]); err != nil {
			return len(b) - len(rest), err
		}
		rest = rest[n:]
	}
	return len(b), nil
}

func one() int { return 1 }

// randomly is mostly small, sometimes larger than a record.
func randomly(seed uint64) func() int {
	r := rand.New(rand.NewPCG(seed, 50))
	return func() int {
		if r.IntN(4) == 0 {
			return 1 + r.IntN(40_000)
		}
		return 1 + r.IntN(300)
	}
}

// corked lets the first write through, the ClientHello, and holds back what
// follows until it is told to let go.
type corked struct {
	net.Conn
	started, open bool
	held          []byte
}

func (c *corked) Write(b []byte) (int, error) {
	if c.open || !c.started {
		c.started = true
		return c.Conn.Write(b)
	}
	c.held = append(c.held, b...)
	return len(b), nil
}

func (c *corked) letGo() error {
	c.open = true
	c.SetWriteDeadline(time.Now().Add(wait))
	_, err := c.Conn.Write(c.held)
	return err
}

// TestTLSChoppy: ClientHello and everything after it cut up.
func TestTLSChoppy(t *testing.T) {
	s := sharedTLS(t)
	sizes := map[string]func() func() int{"one byte per segment": func() func() int { return one }}
	for seed := range uint64(8) {
		sizes[fmt.Sprint("random segments ", seed)] = func() func() int { return randomly(seed) }
	}
	server := fastStart(t, s).server
	for name, size := range sizes {
		for start, request := range map[string][]byte{
			"fast":   wire.Request(s.Addr, "DERP", wire.FastStart),
			"normal": wire.Request(s.Addr, "DERP"),
		} {
			t.Run(name+"/"+start, func(t *testing.T) {
				t.Parallel()
				c := mustHandshake(t, choppy{dialTCP(t, s), size()}, s.TLSConfig())
				p := newPeer(t, c)
				p.server = server
				data := pattern(20_000, 51)
				p.mustSend(t, p.everything(request, data))
				if start == "fast" {
					p.awaitServerKey(t)
				} else {
					p.await101(t)
				}
				p.awaitEverything(t, data)
			})
		}
	}
}

// TestTLSOneSegment: Finished, request, login, and the first frames arrive
// together; the server must not lose what came behind the handshake.
func TestTLSOneSegment(t *testing.T) {
	s := sharedTLS(t)
	for name, n := range map[string]int{"short": 100, "a record and more": 20_000, "long": 65_536} {
		t.Run(name, func(t *testing.T) {
			nc := &corked{Conn: dialTCP(t, s)}
			c := mustHandshake(t, nc, s.TLSConfig())
			p := newPeer(t, c)
			p.server = serverKeyOf(t, c.ConnectionState())
			data := pattern(n, 52)
			p.mustSend(t, p.everything(wire.Request(s.Addr, "DERP", wire.FastStart), data))
			if err := nc.letGo(); err != nil {
				t.Fatal(err)
			}
			p.awaitServerKey(t)
			p.awaitEverything(t, data)
		})
	}
}

// TestTLSRecordsAndSegments: frames, records and segments with borders
// everywhere: many frames in a record, a frame in many records, padding,
// records without content, segments that end anywhere.
func TestTLSRecordsAndSegments(t *testing.T) {
	s := sharedTLS(t)
	recordSizes := map[string]func(*rand.Rand) int{
		"tiny":    func(r *rand.Rand) int { return 1 + r.IntN(3) },
		"header":  func(*rand.Rand) int { return wire.HeaderLen },
		"small":   func(r *rand.Rand) int { return 1 + r.IntN(200) },
		"mixed":   func(r *rand.Rand) int { return 1 + r.IntN(tls13.MaxContent) },
		"largest": func(*rand.Rand) int { return tls13.MaxContent },
	}
	for name, recordSize := range recordSizes {
		for _, padded := range []bool{false, true} {
			t.Run(fmt.Sprint(name, "/padded=", padded), func(t *testing.T) {
				t.Parallel()
				p := loginRecords(t, s)
				r := rand.New(rand.NewPCG(53, uint64(len(name))))
				rounds, longest := 6, 6000
				if name == "tiny" || name == "header" {
					rounds, longest = 2, 400
				}
				for range rounds {
					var packets [orderInFlight][]byte // more would be dropped
					var stream []byte
					for i := range packets {
						packets[i] = pattern(r.IntN(r.IntN(longest)+1), uint64(i))
						stream = append(stream, wire.SendPacket(p.pub, packets[i])...)
					}
					p.sendCut(t, r, stream, recordSize, padded)
					for _, data := range packets {
						p.mustReceive(t, p.pub, data)
					}
				}
				p.mustLive(t)
			})
		}
	}
}

// sendCut seals the stream in records of these sizes and sends them in random
// segments.
func (p *recordPeer) sendCut(t *testing.T, r *rand.Rand, stream []byte, recordSize func(*rand.Rand) int, padded bool) {
	t.Helper()
	var sealed []byte
	for len(stream) > 0 {
		n := min(recordSize(r), len(stream))
		padding := 0
		if padded {
			padding = r.IntN(min(tls13.MaxContent-n, 600) + 1)
			if r.IntN(8) == 0 { // content-free records, as cover traffic has them
				sealed = append(sealed, p.tls.Seal(tls13.Data, nil, r.IntN(64))...)
			}
		}
		sealed = append(sealed, p.tls.Seal(tls13.Data, stream[:n], padding)...)
		stream = stream[n:]
	}
	p.tcp.SetWriteDeadline(time.Now().Add(wait))
	if _, err := (choppy{p.tcp, randomly(uint64(len(sealed)))}).Write(sealed); err != nil {
		t.Fatal(err)
	}
}

// TestTLSManyFramesInOneRecord: and nothing behind them.
func TestTLSManyFramesInOneRecord(t *testing.T) {
	p := loginRecords(t, sharedTLS(t))
	var frames []byte
	for i := range orderInFlight {
		frames = append(frames, wire.SendPacket(p.pub, pattern(900, uint64(i)))...)
	}
	frames = append(frames, wire.Encode(derp.FrameNotePreferred, []byte{1})...)
	if len(frames) > tls13.MaxContent {
		t.Fatal("does not fit")
	}
	p.sendTCP(t, p.tls.Seal(tls13.Data, frames, 0))
	for i := range orderInFlight {
		p.mustReceive(t, p.pub, pattern(900, uint64(i)))
	}
	p.mustLive(t)
	// All borders of a short frame, one after the other.
	frame := wire.SendPacket(p.pub, []byte("cut"))
	for at := 1; at < len(frame); at++ {
		p.sendTCP(t, p.tls.Seal(tls13.Data, frame[:at], 0), p.tls.Seal(tls13.Data, slices.Concat(frame[at:], frame), 0))
		p.mustReceive(t, p.pub, []byte("cut"))
		p.mustReceive(t, p.pub, []byte("cut"))
	}
	p.mustLive(t)
}
