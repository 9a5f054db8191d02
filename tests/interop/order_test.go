package interop

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"tailscale.com/derp"
)

const (
	orderPackets  = 10_000
	orderInFlight = 16
)

// mixedSizes mixes what tunnels carry with the extremes; never less than the
// sequence number needs.
func mixedSizes(n int) []int {
	r := rand.New(rand.NewPCG(1, 2))
	common := []int{8, 62, 96, 148, 1280, 1400, 1452}
	s := make([]int, n)
	for i := range s {
		switch r.IntN(50) {
		case 0:
			s[i] = 65536
		case 1, 2:
			s[i] = 8 + r.IntN(65536-8)
		default:
			s[i] = common[r.IntN(len(common))]
		}
	}
	return s
}

// TestOrderWithoutLoss: a sender that keeps no more than 16 packets in
// flight loses none, and the receiver sees them in order.
func TestOrderWithoutLoss(t *testing.T) {
	a, b := connect(t, shared), connect(t, shared)
	runOrdered(t, a, b)
}

// TestOrderToSelf: the same over one connection, to its own key.
func TestOrderToSelf(t *testing.T) {
	a := connect(t, shared)
	runOrdered(t, a, a)
}

func runOrdered(t *testing.T, from, to *client) {
	t.Helper()
	sizes := mixedSizes(orderPackets)
	noise := pattern(65536, 10)
	inFlight := make(chan struct{}, orderInFlight)
	sent := make(chan error, 1)
	abort := make(chan struct{})
	go func() {
		buf := make([]byte, 65536)
		for i, size := range sizes {
			select {
			case inFlight <- struct{}{}:
			case <-abort:
				return
			}
			copy(buf, noise[:size])
			binary.BigEndian.PutUint64(buf, uint64(i))
			if err := from.Send(to.pub, buf[:size]); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	defer close(abort)
	start := time.Now()
	for i, size := range sizes {
		m := to.next(t, "an ordered packet")
		p, ok := m.(derp.ReceivedPacket)
		if !ok {
			t.Fatalf("got %#v, want packet %d", m, i)
		}
		if p.Source != from.pub || len(p.Data) != size {
			t.Fatalf("packet %d: %d bytes from %v, want %d", i, len(p.Data), p.Source.ShortString(), size)
		}
		if seq := binary.BigEndian.Uint64(p.Data); seq != uint64(i) {
			t.Fatalf("got packet %d, want %d", seq, i)
		}
		if !bytes.Equal(p.Data[8:], noise[8:size]) {
			t.Fatalf("packet %d of %d bytes arrived with other content", i, size)
		}
		<-inFlight
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	t.Logf("%d packets in %v", orderPackets, time.Since(start).Round(time.Millisecond))
}
