package interop

import (
	"reflect"
	"testing"
	"time"
)

// TestUDPRelayExpiry: what becomes of endpoints that not both clients bind. Whatever was promised is kept, to the end
// of the 30 s that each answer names. Not in short runs: it takes a minute.
func TestUDPRelayExpiry(t *testing.T) {
	further(t)
	t.Parallel()
	u := startUDPRelay(t, "127.0.0.1")
	one, other := newPair(t, u, "127.0.0.1", "127.0.0.1")
	begun := time.Now()
	open1, open2 := boundPair(t, u, "127.0.0.1", "127.0.0.1")
	promised := begun.Add(one.endpoint.BindLifetime.Duration)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()

	// The first endpoint is bound by one client and not asked for again: it answers until its time is over.
	one.mustBind(t)
	again, _ := newPair(t, u, "127.0.0.1", "127.0.0.1") // this one is, all the time
	replaced := time.Duration(0)
	for now := range tick.C {
		if now.Before(promised.Add(-time.Second / 2)) {
			one.settle(t)
		}
		e := u.mustAllocate(t, again.private.Public(), again.remote)
		if e.VNI != again.endpoint.VNI || e.LamportID != again.endpoint.LamportID {
			if e.LamportID <= again.endpoint.LamportID || e.VNI == again.endpoint.VNI {
				t.Fatalf("%+v is followed by %+v", again.endpoint, e)
			}
			replaced = time.Since(begun)
			break
		}
		if now.Sub(begun) > 65*time.Second {
			t.Fatal("the same endpoint is given for more than a minute, and nobody binds it")
		}
	}
	t.Logf("another one after %v", replaced)
	was := "replaced from 20 s on"
	if replaced > 30*time.Second {
		was = "the same until it is collected"
	}
	if replaced < 20*time.Second {
		t.Errorf("replaced after %v", replaced)
	}
	mustDiffer(t, "allocate, old and not open", was)

	// The end of the first: it answers no Bind.
	for now := range tick.C {
		one.generation++
		one.mustSend(t, one.bind(one.generation))
		one.SetReadDeadline(time.Now().Add(2 * time.Second))
		if _, err := one.Read(make([]byte, 200)); err != nil {
			t.Logf("it has gone after %v", time.Since(begun))
			break
		}
		if now.Sub(begun) > 70*time.Second {
			t.Fatal("an endpoint with one client still answers")
		}
	}
	if time.Now().Before(promised) {
		t.Errorf("it went before the end of its time")
	}
	e := u.mustAllocate(t, one.private.Public(), one.remote)
	if e.LamportID <= one.endpoint.LamportID || e.VNI == one.endpoint.VNI {
		t.Errorf("%+v is followed by %+v", one.endpoint, e)
	}
	// Who has moved on to the new one is not disturbed by the old.
	a := newLeg(t, e, u.at("127.0.0.1"), one.private, one.remote)
	b := newLeg(t, e, u.at("127.0.0.1"), other.private, other.remote)
	a.mustBind(t)
	b.mustBind(t)
	a.mustPass(t, b, "by the new one")

	// An open one lives on, whether packets come or not, and is the one that its clients are given.
	if same := u.mustAllocate(t, open1.private.Public(), open1.remote); !reflect.DeepEqual(same, open1.endpoint) {
		t.Errorf("%+v is followed by %+v", open1.endpoint, same)
	}
	open1.mustPass(t, open2, "still there")
}
