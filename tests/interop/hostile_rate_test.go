package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"ringrelay.test/interop/internal/relay"
	"ringrelay.test/interop/internal/wire"
)

const (
	metricRate   = "derp_rate_limit_per_client_bytes_per_second"
	metricWaited = "derp_rate_limit_per_client_waited"

	ratedSize  = 4096
	ratedCost  = wire.KeyLen + ratedSize // what of a frame is charged
	ratedBurst = 100_000
)

// TestHostileRate: with -rate-config a client that sends as fast as it can is
// read at the rate, each for itself, and loses nothing: the rest waits in its
// own kernel. SIGHUP reads the file again.
func TestHostileRate(t *testing.T) {
	eachTransport(t, func(t *testing.T, o relay.Options) {
		file := filepath.Join(t.TempDir(), "rate.json")
		limit := func(rate int) string {
			return fmt.Sprintf(`{"PerClientRateLimitBytesPerSec":%d,"PerClientRateBurstBytes":%d}`, rate, ratedBurst)
		}
		replace(t, file, limit(1_000_000))
		o.Args = []string{"-rate-config", file}
		sc := stage(t, o)
		if got := varz(t, sc.Server)[metricRate]; got != 1_000_000 {
			t.Fatalf("%s = %v", metricRate, got)
		}
		a, b := sc.rated(t, 1001), sc.rated(t, 1002)
		a.start(t)
		b.start(t)
		mustKeepRate(t, 1_000_000, a, b)
		sc.awaitGrown(t, metricWaited, 10)

		reread := func(text string) (logged int) {
			t.Helper()
			logged = len(sc.Log())
			replace(t, file, text)
			if err := sc.Signal(syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
			return logged
		}
		reread(limit(3_000_000))
		awaitVarz(t, sc.Server, map[string]float64{metricRate: 3_000_000})
		mustKeepRate(t, 3_000_000, a, b)

		awaitLog(t, sc.Server, reread(`{"PerClientRateLimitBytesPerSec":`), file)
		mustKeepRate(t, 3_000_000, a, b)
		if got := varz(t, sc.Server)[metricRate]; got != 3_000_000 {
			t.Errorf("a broken file made %s %v", metricRate, got)
		}
		for _, r := range []*rated{a, b} {
			arrived, lost := r.in.of(r.torrent)
			t.Logf("%d packets arrived, %d did not", arrived, lost)
			if lost != 0 {
				t.Errorf("%d packets did not arrive", lost)
			}
		}
		if dropped := sum(t, varz(t, sc.Server), "derp_packets_dropped"); dropped != 0 {
			t.Errorf("%v packets dropped", dropped)
		}

		// Without a limit, what waits in the kernels comes faster than it is read.
		reread("{}")
		awaitVarz(t, sc.Server, map[string]float64{metricRate: 0})
		for _, r := range []*rated{a, b} {
			r.stop(t)
			r.last(t)
			r.in.finish(t)
			r.Close()
			r.in.p.Close()
		}
		sc.end(t, queueMemory)
	})
}

func replace(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// rated is a sender and its receiver.
type rated struct {
	*torrent
	in *intake
}

func (sc *scene) rated(t *testing.T, id uint32) *rated {
	t.Helper()
	p := login(t, sc.Server)
	f := sc.torrent(t, id, p.pub, fixed(ratedSize))
	return &rated{f, newIntake(p, f)}
}

func (r *rated) start(t *testing.T) {
	t.Helper()
	r.in.start(t, 0)
	r.torrent.start(t)
}

func (r *rated) charged() float64 {
	packets, _ := r.in.of(r.torrent)
	return float64(packets * ratedCost)
}

// mustKeepRate measures each of them, once what had been saved up is spent.
func mustKeepRate(t *testing.T, rate float64, all ...*rated) {
	t.Helper()
	from := make([]float64, len(all))
	for _, r := range all {
		spent := r.charged() + 2*ratedBurst
		eventually(t, func() string {
			if c := r.charged(); c < spent {
				return fmt.Sprintf("%v bytes came, want %v", c, spent)
			}
			return ""
		})
	}
	start := time.Now()
	for i, r := range all {
		from[i] = r.charged()
	}
	// What comes comes in portions of some tens of KB, which matter in a short time.
	duration, least, most := 1500*time.Millisecond, 0.8, 1.1
	if testing.Short() {
		duration, least, most = 500*time.Millisecond, 0.7, 1.25
	}
	all[0].in.goesOn(t, duration)
	for i, r := range all {
		got := (r.charged() - from[i]) / time.Since(start).Seconds()
		t.Logf("%.0f bytes per second, %.2f of the limit", got, got/rate)
		if got < least*rate || got > most*rate {
			t.Errorf("%.0f bytes per second, want %.0f", got, rate)
		}
	}
}
