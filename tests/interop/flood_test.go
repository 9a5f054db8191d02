package interop

import (
	"crypto/tls"
	"sync"
	"testing"
	"time"

	"ringrelay.test/interop/cmd/flood/load"
	"ringrelay.test/interop/internal/pki"
	"ringrelay.test/interop/internal/relay"
)

const (
	floodWorkers  = 16
	livePace      = 500  // packets per second of the live pair, each way
	livePayload   = 1400 // bytes of each
	floodSessions = 512  // no more than what ringrelayd holds before login
)

// TestTLSFlood: strangers who shake hands and leave, fall silent, or talk
// garbage cost a pair of clients that talks to each other no packet; when they
// are gone nothing of them is left. The figures it logs come from one process
// that floods, talks and measures at the same time: perf/flood measures.
func TestTLSFlood(t *testing.T) {
	duration := 5 * time.Second
	if testing.Short() {
		duration = 500 * time.Millisecond
	}
	s := privateServer(t, relay.Options{TLS: withCA(t, pki.ECDSA, tlsName)})
	config := s.TLSConfig()
	config.CurvePreferences = []tls.CurveID{tls.X25519}
	target := load.Target{Addr: s.Addr, TLS: config}
	live, err := load.NewLive(target, livePayload)
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	talk := func(t *testing.T, what string, d time.Duration) {
		t.Helper()
		r, err := live.Run(d, livePace)
		if err != nil {
			t.Fatalf("live pair, %s: %v", what, err)
		}
		t.Logf("live pair, %s: %d packets there and back, round trip p50 %v, p99 %v, max %v; %d waited for the window",
			what, r.Packets, load.Percentile(r.RTT, 50), load.Percentile(r.RTT, 99), load.Percentile(r.RTT, 100), r.HeldBack)
	}
	talk(t, "no flood", duration/2)

	for _, c := range []struct {
		name   string
		flood  load.Flood
		enough bool // all of them have a session
	}{
		{"handshakes", load.Flood{Kind: load.Handshakes, Workers: floodWorkers}, true},
		{"silent", load.Flood{Kind: load.Silent, Workers: floodWorkers, Hold: floodSessions / 2 / floodWorkers}, true},
		{"silent, far more than sessions", load.Flood{Kind: load.Silent, Workers: floodWorkers, Hold: floodSessions * 3 / floodWorkers}, false},
		{"garbage", load.Flood{Kind: load.Garbage, Workers: floodWorkers}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := varz(t, s)
			var r load.FloodResult
			var err error
			var wg sync.WaitGroup
			wg.Go(func() { r, err = c.flood.Run(target, duration) })
			talk(t, "during the flood", duration)
			wg.Wait()
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d in %.1f s: %.0f/s; %d more failed (%s)", r.Done, r.Seconds, float64(r.Done)/r.Seconds, r.Failed, r.First)
			if r.Done == 0 || c.enough && r.Failed != 0 {
				t.Errorf("%d connections as they should be, %d failed: %s", r.Done, r.Failed, r.First)
			}
			floodLeftNothing(t, s, c.flood.Kind, before, r)
		})
	}

	talk(t, "after the floods", duration/2)
	a, b := connect(t, s), connect(t, s)
	a.mustSend(t, b.pub, []byte("are we through?"))
	b.mustReceive(t, a.pub, []byte("are we through?"))
}

// floodLeftNothing asks our metrics; of derper's, none tells.
func floodLeftNothing(t *testing.T, s *relay.Server, kind load.Kind, before map[string]float64, r load.FloodResult) {
	t.Helper()
	if s.Kind != relay.Ringrelay {
		return
	}
	awaitVarz(t, s, map[string]float64{
		"ringrelay_sessions":       1, // the request for the metrics
		"derp_current_connections": 2, // the live pair
	})
	after := varz(t, s)
	if dropped := sum(t, after, "derp_packets_dropped"); dropped != 0 {
		t.Errorf("%v packets dropped", dropped)
	}
	counter, least := "ringrelay_handshakes", float64(r.Done)
	switch kind {
	case load.Garbage:
		counter = `ringrelay_handshake_failures{reason="not_tls"}`
	case load.Silent:
		least = 0
	}
	if grown := after[counter] - before[counter]; grown < least {
		t.Errorf("%s grew by %v, want %v at least", counter, grown, least)
	}
}
