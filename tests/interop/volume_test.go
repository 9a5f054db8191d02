package interop

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"ringrelay.test/interop/internal/pki"
	"ringrelay.test/interop/internal/relay"
	"ringrelay.test/interop/internal/wire"
	"tailscale.com/derp"
	"tailscale.com/derp/derphttp"
	"tailscale.com/types/key"
)

// What the reference's prober (tailscale.com/prober) asks of a relay when it
// measures bandwidth: packets of the greatest size, 30 of them in flight, all
// of them delivered and in order. It does so in the same way here, with the
// same client, but every byte is verified. The real one is in derpprobe_test.go.

const (
	probeInFlight = 30
	probeVolume   = 100_000_000
	probeTime     = 15 * time.Second // the prober's patience; takes a second
)

// probeBytes is how much one of several transfers at once moves in -short.
func probeBytes() int {
	if testing.Short() {
		return probeVolume / 4
	}
	return probeVolume
}

var probeNoise = sync.OnceValue(func() []byte { return pattern(2*derp.MaxPacketSize, 11) })

// probePacket is the packet of this number; no two are alike in any stretch.
func probePacket(buf []byte, i, size int) []byte {
	at := i * 37 % derp.MaxPacketSize
	copy(buf[:size], probeNoise()[at:])
	binary.BigEndian.PutUint64(buf, uint64(i))
	return buf[:size]
}

// transfer sends size bytes from one client to the other as the prober does,
// and verifies all of them. receive returns the next packet.
func transfer(from *derphttp.Client, to key.NodePublic, receive func(deadline time.Time) ([]byte, error), size int) error {
	deadline := time.Now().Add(probeTime)
	inFlight := make(chan struct{}, probeInFlight)
	stop := make(chan struct{})
	defer close(stop)
	length := func(i int) int { return min(derp.MaxPacketSize, size-i*derp.MaxPacketSize) }
	count := (size + derp.MaxPacketSize - 1) / derp.MaxPacketSize
	sent := make(chan error, 1)
	go func() {
		buf := make([]byte, derp.MaxPacketSize)
		for i := range count {
			select {
			case inFlight <- struct{}{}:
			case <-stop:
				return
			}
			if err := from.Send(to, probePacket(buf, i, length(i))); err != nil {
				sent <- fmt.Errorf("sending packet %d: %w", i, err)
				return
			}
		}
		sent <- nil
	}()
	want := make([]byte, derp.MaxPacketSize)
	for i := range count {
		got, err := receive(deadline)
		if err != nil {
			return fmt.Errorf("waiting for packet %d of %d: %w", i, count, err)
		}
		if !bytes.Equal(got, probePacket(want, i, length(i))) {
			return fmt.Errorf("got %d bytes (%.8x…) instead of packet %d", len(got), got, i)
		}
		<-inFlight
	}
	return <-sent
}

// receiveFrom is for transfer: the Go client's packets.
func (c *client) receiveFrom(src key.NodePublic) func(time.Time) ([]byte, error) {
	return func(deadline time.Time) ([]byte, error) {
		timeout := time.NewTimer(time.Until(deadline))
		defer timeout.Stop()
		for {
			select {
			case m, ok := <-c.msgs:
				switch m := m.(type) {
				case derp.KeepAliveMessage:
				case derp.ReceivedPacket:
					if m.Source != src {
						return nil, fmt.Errorf("a packet from %v", m.Source.ShortString())
					}
					return m.Data, nil
				default:
					return nil, fmt.Errorf("got %#v (open: %v)", m, ok)
				}
			case <-timeout.C:
				return nil, errors.New("no packet in time")
			}
		}
	}
}

// receiveFrom is the same for our own client.
func (p *rawPeer) receiveFrom(src key.NodePublic) func(time.Time) ([]byte, error) {
	return func(deadline time.Time) ([]byte, error) {
		for {
			f, err := p.ReadFrameUntil(deadline)
			switch {
			case err != nil:
				return nil, err
			case f.Type == derp.FrameKeepAlive:
			case f.Type != derp.FrameRecvPacket || !bytes.HasPrefix(f.Body, wire.Raw(src)):
				return nil, fmt.Errorf("got %v", f)
			default:
				return f.Body[wire.KeyLen:], nil
			}
		}
	}
}

// atOnce runs several and says how long they took.
func atOnce(t *testing.T, what string, each int, transfers ...func() error) {
	t.Helper()
	start := time.Now()
	errs := make([]error, len(transfers))
	var wg sync.WaitGroup
	for i, f := range transfers {
		wg.Go(func() { errs[i] = f() })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	took := time.Since(start)
	t.Logf("%s: %d x %d MB in %.2f s, %.0f MB/s", what, len(transfers), each/1_000_000, took.Seconds(),
		float64(len(transfers)*each)/1e6/took.Seconds())
}

// TestVolume: no loss at all, whichever workers the two clients are on.
func TestVolume(t *testing.T) {
	places := []struct {
		name    string
		workers int // 0: as the server comes
		apart   bool
	}{{"as it comes", 0, false}}
	if program.Kind == relay.Ringrelay {
		places = append(places, []struct {
			name    string
			workers int
			apart   bool
		}{{"one worker", 1, false}, {"same worker", 2, false}, {"across workers", 2, true}}...)
	}
	for _, secure := range []bool{false, true} {
		for _, at := range places {
			t.Run(fmt.Sprintf("TLS %v, %s", secure, at.name), func(t *testing.T) {
				if testing.Short() && at.workers == 1 {
					t.Skip("not in -short")
				}
				var o relay.Options
				if secure {
					o.TLS = withCA(t, pki.ECDSA, tlsName)
				}
				var s *relay.Server
				if at.workers == 0 {
					s = privateServer(t, o)
				} else {
					s = serverWithWorkers(t, at.workers, "spread", o)
				}
				// Spread over two workers they are on 0, 1, 0, 1.
				a, b, c, d := connect(t, s), connect(t, s), connect(t, s), connect(t, s)
				pairs := [][2]*client{{a, b}, {d, c}}
				if !at.apart {
					pairs = [][2]*client{{a, c}, {d, b}}
				}
				one := func(i int) func() error {
					from, to := pairs[i][0], pairs[i][1]
					return func() error { return transfer(from.Client, to.pub, to.receiveFrom(from.pub), probeBytes()) }
				}
				atOnce(t, "one", probeBytes(), one(0))
				atOnce(t, "two at once", probeBytes(), one(0), one(1))
				for _, p := range []*client{a, b, c, d} {
					p.mustQuiet(t)
				}
				v := varz(t, s)
				if dropped := sum(t, v, metricDropped); dropped != 0 {
					t.Errorf("%v packets dropped", dropped)
				}
				if at.workers > 0 {
					want := 0.0
					if at.apart {
						want = v[metricReceived]
					}
					if v[metricCrossed] != want {
						t.Errorf("%v of %v packets crossed, want %v", v[metricCrossed], v[metricReceived], want)
					}
				}
			})
		}
	}
}

// TestVolumeSmallBuffers: a receiver with a small socket buffer gets the same,
// only slower: nothing is dropped as long as 30 packets fit the queue.
func TestVolumeSmallBuffers(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("TLS %v", secure), func(t *testing.T) {
			var o relay.Options
			if secure {
				o.TLS = withCA(t, pki.ECDSA, tlsName)
			}
			s := privateServer(t, o)
			for _, buffer := range []int{4 << 10, 16 << 10, 64 << 10} {
				from := connect(t, s)
				to := dialRawWindow(t, s, buffer).fastStart(t).login(t)
				atOnce(t, fmt.Sprintf("receive buffer of %d KiB", buffer>>10), probeBytes(), func() error {
					return transfer(from.Client, to.pub, to.receiveFrom(from.pub), probeBytes())
				})
				to.mustLive(t)
				from.Close()
				to.Close()
			}
			if dropped := sum(t, varz(t, s), metricDropped); dropped != 0 {
				t.Errorf("%v packets dropped", dropped)
			}
		})
	}
}
