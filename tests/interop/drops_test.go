package interop

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"testing"
	"time"

	"ringrelay.test/interop/internal/relay"
	"ringrelay.test/interop/internal/wire"
	"tailscale.com/derp"
)

const (
	floodSize     = 65536
	floodDeadline = 30 * time.Second
)

// TestStalledReceiver: one client never reads while another floods it. The
// server drops the oldest packets of that one queue and counts them; the
// flooding sender keeps its connection and other pairs notice nothing.
func TestStalledReceiver(t *testing.T) {
	s := privateServer(t, relay.Options{})
	stalled := dialRawWindow(t, s, 16<<10).fastStart(t).login(t)
	flooder := login(t, s)
	bystander, friend := connect(t, s), connect(t, s)

	stop := make(chan struct{})
	flooded := make(chan error, 1)
	go func() { flooded <- flood(flooder, stalled, stop) }()
	// The same pair of metrics is read until the first drop; between two
	// readings the bystanders exchange a packet, within the usual deadline.
	deadline := time.Now().Add(floodDeadline)
	for n := 0; varz(t, s)[metricQueueHead] == 0; n++ {
		if time.Now().After(deadline) {
			t.Fatalf("no drop counted after flooding a stalled client for %v", floodDeadline)
		}
		exchange(t, bystander, friend, n)
	}
	close(stop)
	if err := <-flooded; err != nil {
		t.Fatalf("the sender was not to suffer: %v", err)
	}
	flooder.mustLive(t)
	exchange(t, bystander, friend, -1)

	v := varz(t, s)
	packets, volume := v[metricQueueHead], v[`derp_bytes_dropped{reason="queue_head",kind="other"}`]
	if volume != packets*floodSize {
		t.Errorf("%v packets but %v bytes dropped, want %v", packets, volume, packets*floodSize)
	}
	if d := v[`derp_packets_dropped{reason="queue_head",kind="disco"}`]; d != 0 {
		t.Errorf("%v disco packets dropped; none were sent", d)
	}
	checkStalledStream(t, stalled, flooder)
}

func flood(from, to *rawPeer, stop <-chan struct{}) error {
	data := make([]byte, floodSize)
	for seq := uint64(0); ; seq++ {
		select {
		case <-stop:
			return nil
		default:
		}
		binary.BigEndian.PutUint64(data, seq)
		if err := from.Send(wire.SendPacket(to.pub, data)); err != nil {
			return fmt.Errorf("packet %d: %w", seq, err)
		}
	}
}

func exchange(t *testing.T, a, b *client, n int) {
	t.Helper()
	there, back := fmt.Appendf(nil, "there %d", n), fmt.Appendf(nil, "back %d", n)
	a.mustSend(t, b.pub, there)
	b.mustReceive(t, a.pub, there)
	b.mustSend(t, a.pub, back)
	a.mustReceive(t, b.pub, back)
}

// checkStalledStream reads what the stalled client was sent after all: whole
// frames in rising order, with gaps. It ends with a last packet sent now, the
// newest and so never the one dropped, or with the server's write timeout
// having closed the connection.
func checkStalledStream(t *testing.T, p, from *rawPeer) {
	t.Helper()
	final := make([]byte, floodSize)
	binary.BigEndian.PutUint64(final, math.MaxInt64)
	from.mustSend(t, wire.SendPacket(p.pub, final))

	last, got := int64(-1), 0
	for last != math.MaxInt64 {
		f, err := p.ReadFrame()
		if isTimeout(err) {
			t.Fatalf("after packet %d: neither more packets nor the end within %v", last, wait)
		}
		if err != nil {
			t.Logf("stalled client was closed: %v", err)
			break
		}
		if f.Type == derp.FrameKeepAlive {
			continue
		}
		if f.Type != derp.FrameRecvPacket || len(f.Body) != wire.KeyLen+floodSize ||
			!bytes.HasPrefix(f.Body, wire.Raw(from.pub)) {
			t.Fatalf("after packet %d: unexpected %v", last, f)
		}
		seq := int64(binary.BigEndian.Uint64(f.Body[wire.KeyLen:]))
		if seq <= last {
			t.Fatalf("packet %d after packet %d", seq, last)
		}
		last, got = seq, got+1
	}
	if got == 0 {
		t.Error("the stalled client got nothing at all")
	}
	t.Logf("stalled client got %d packets", got)
}

// TestReceiverLeavesDuringFlood: once the receiver is gone its packets are
// counted as having no destination, and the sender lives on.
func TestReceiverLeavesDuringFlood(t *testing.T) {
	s := privateServer(t, relay.Options{})
	stalled := dialRawWindow(t, s, 16<<10).fastStart(t).login(t)
	flooder := login(t, s)
	stop := make(chan struct{})
	flooded := make(chan error, 1)
	go func() { flooded <- flood(flooder, stalled, stop) }()
	eventually(t, func() string {
		if varz(t, s)[metricQueueHead] == 0 {
			return "no drop counted"
		}
		return ""
	})
	stalled.Close()
	eventually(t, func() string {
		if varz(t, s)[metricUnknown] == 0 {
			return "no packet was dropped for want of a destination"
		}
		return ""
	})
	close(stop)
	if err := <-flooded; err != nil {
		t.Fatalf("the sender was not to suffer: %v", err)
	}
	awaitVarz(t, s, map[string]float64{metricConnections: 1, "derp_clients_total": 1})
	flooder.mustLive(t)
}
