package interop

import (
	"sync"
	"testing"
	"time"

	"ringrelay.test/interop/internal/relay"
	"ringrelay.test/interop/internal/wire"
)

// trickle reads a little now and then, so that the server always sees some
// progress, until the connection ends.
func trickleReads(p *rawPeer) {
	b := make([]byte, 4096)
	for tick := time.NewTicker(200 * time.Millisecond); ; <-tick.C {
		if _, err := p.Conn.Conn.Read(b); err != nil {
			tick.Stop()
			return
		}
	}
}

// TestHostileManySlowReceivers: many clients that read a trickle are sent the
// largest packets by one sender. Each holds up a send of 64 KiB, and together
// they could hold all packet memory. Two others still exchange small packets,
// and none of those is lost.
func TestHostileManySlowReceivers(t *testing.T) {
	const slowOnes = 150 // 10 MB for the chunks alone
	oursOnly(t, "-packet-memory")
	further(t)
	s := privateServer(t, relay.Options{Args: []string{"-packet-memory", "8m"}})
	a, b := connect(t, s), connect(t, s)
	exchange(t, a, b, -1)
	defer func() {
		if t.Failed() {
			for k, x := range varz(t, s) {
				if x != 0 {
					t.Log(k, x)
				}
			}
		}
	}()
	var slow []*rawPeer
	var reading sync.WaitGroup
	for range slowOnes {
		p := dialRawWindow(t, s, 4096).fastStart(t).login(t)
		slow = append(slow, p)
		reading.Add(1)
		go func() {
			defer reading.Done()
			trickleReads(p)
		}()
	}
	flooder := login(t, s)
	flooded := make(chan error, 1)
	stop := make(chan struct{})
	go func() {
		data := make([]byte, 65000)
		for i := 0; ; i++ {
			select {
			case <-stop:
				flooded <- nil
				return
			default:
			}
			if err := flooder.Send(wire.SendPacket(slow[i%slowOnes].pub, data)); err != nil {
				flooded <- err
				return
			}
		}
	}()
	for n, end := 0, time.Now().Add(lasting(5*time.Second)); time.Now().Before(end); n++ {
		exchange(t, a, b, n)
	}
	close(stop)
	if err := <-flooded; err != nil {
		t.Errorf("the sender was not to suffer: %v", err)
	}
	v := varz(t, s)
	lost := v[`derp_packets_dropped{reason="pool_empty",kind="other"}`]
	t.Logf("dropped: %v as queue_tail, %v as queue_head, %v as pool_empty; closed as slow: %v",
		v[`derp_packets_dropped{reason="queue_tail",kind="other"}`], v[metricQueueHead], lost,
		v[`ringrelay_closes{reason="slow"}`])
	if lost > 0 {
		t.Errorf("%v packets found no memory", lost)
	}
	for _, p := range slow {
		p.Close()
	}
	reading.Wait()
	exchange(t, a, b, -2)
}

// TestHostilePartialFrames: idle clients that have sent the beginning of the
// largest frame hold memory only as long as nobody needs it.
func TestHostilePartialFrames(t *testing.T) {
	const idlers = 150 // 10 MB, if each kept its own
	var args []string
	if program.Kind == relay.Ringrelay {
		args = []string{"-packet-memory", "8m"}
	}
	s := privateServer(t, relay.Options{Args: args})
	a, b := connect(t, s), connect(t, s)
	beginning := wire.SendPacket(b.pub, make([]byte, 65000))[:45]
	for range idlers {
		p := login(t, s)
		p.mustSend(t, beginning)
	}
	eventually(t, func() string {
		if n := varz(t, s)[metricConnections]; n != idlers+2 {
			return "not all have logged in"
		}
		return ""
	})
	for n := range 300 {
		exchange(t, a, b, n)
	}
	if program.Kind == relay.Ringrelay {
		v := varz(t, s)
		for _, reason := range []string{"pool_empty", "queue_tail", "queue_head"} {
			if lost := v[`derp_packets_dropped{reason="`+reason+`",kind="other"}`]; lost != 0 {
				t.Errorf("%v packets were dropped as %s", lost, reason)
			}
		}
	}
}
