package interop

import (
	"reflect"
	"testing"
	"time"

	"tailscale.com/types/key"
)

// TestUDPRelayServer is udprelay.TestServer: two clients, by IPv4, by IPv6 and one by each, send both ways and move to
// other sockets, one after the other.
func TestUDPRelayServer(t *testing.T) {
	t.Parallel()
	for name, hosts := range map[string][]string{
		"over-ipv4":              {"127.0.0.1"},
		"over-ipv6":              {"::1"},
		"mixed-address-families": {"127.0.0.1", "::1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := startUDPRelay(t, hosts...)
			privateA, privateB := key.NewDisco(), key.NewDisco()
			e := u.mustAllocate(t, privateA.Public(), privateB.Public())
			mustBeSame := func(when string) {
				t.Helper()
				if again := u.mustAllocate(t, privateB.Public(), privateA.Public()); !reflect.DeepEqual(again, e) {
					t.Errorf("%s: got %+v, want %+v", when, again, e)
				}
			}
			mustBeSame("before the handshakes")
			if e.ClientDisco != key.NewSortedPairOfDiscoPublic(privateA.Public(), privateB.Public()).Get() ||
				e.VNI < 1 || e.VNI > 1<<24-1 || e.LamportID < 1 || len(e.AddrPorts) != len(hosts) ||
				e.BindLifetime.Duration != 30*time.Second || e.SteadyStateLifetime.Duration != 5*time.Minute {
				t.Fatalf("got %+v", e)
			}
			for i, host := range hosts {
				if e.AddrPorts[i] != u.at(host) {
					t.Errorf("addresses are %v, want those of %v in order", e.AddrPorts, hosts)
				}
			}

			a := newLeg(t, e, e.AddrPorts[0], privateA, privateB.Public())
			b := newLeg(t, e, e.AddrPorts[len(hosts)-1], privateB, privateA.Public())
			for range 2 { // when the second challenge has come the first Answer has been read
				a.handshake(t)
				b.handshake(t)
			}
			mustBeSame("after the handshakes")
			a.mustPass(t, b, "\x01\x02\x03")
			b.mustPass(t, a, "\x04\x05\x06")

			a2 := a.moved(t)
			a2.handshake(t)
			a2.mustPass(t, b, "\x07\x08\x09") // at once: on one socket all is done in order
			b.mustPass(t, a2, "\x0a\x0b\x0c")
			b2 := b.moved(t)
			b2.handshake(t)
			b2.mustPass(t, a2, "\x0d\x0e\x0f")
			a2.mustPass(t, b2, "\x10\x11\x12")
			mustBeSame("after both moved")

			// The old sockets are nobody's any more.
			a.mustSend(t, a.data("from where a was"))
			a.settle(t)
			b.mustSend(t, b.data("from where b was"))
			b.settle(t)
			a2.mustPass(t, b2, "a")
			b2.mustPass(t, a2, "b")
		})
	}
}
