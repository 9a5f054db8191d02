package interop

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"tailscale.com/net/packet"
	"tailscale.com/types/key"
)

// TestUDPRelayWalk: Binds, Answers and data in any order, from four sockets, of two endpoints that have a client in
// common; and a model of the rules, which says after each step what must have been sent where.
func TestUDPRelayWalk(t *testing.T) {
	t.Parallel()
	steps := 2000
	if testing.Short() {
		steps = 300
	}
	u := startUDPRelay(t, "127.0.0.1", "::1")
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			w := newWalk(t, u, rand.New(rand.NewPCG(seed, 1)))
			for w.step = range steps {
				w.stepOnce(t)
			}
			t.Logf("%d challenges, %d bound, %d packets passed, %d dropped", len(w.given), w.bound, w.passed, w.dropped)
			if w.bound < steps/50 || w.passed < steps/50 || w.dropped < steps/50 {
				t.Error("that was no walk")
			}
		})
	}
}

const nowhere = -1

// walkEndpoint is the model of one endpoint. Leg 0 is the client that both have.
type walkEndpoint struct {
	legs      [2]*relayLeg // at no socket
	underWay  [2]uint32    // generations
	isBoundTo [2]int       // sockets
}

// walkChallenge is one that was given.
type walkChallenge struct {
	endpoint, leg, socket int
	generation            uint32
	value                 challenge
}

// walkDue is what a socket has to receive.
type walkDue struct {
	data       [][]byte
	challenges []walkChallenge // without values
}

type relayWalk struct {
	rng       *rand.Rand
	sockets   []*relayLeg
	endpoints [2]walkEndpoint
	due       []walkDue
	given     []walkChallenge
	fences    uint32

	step, bound, passed, dropped int
}

func newWalk(t *testing.T, u *udpRelay, rng *rand.Rand) *relayWalk {
	t.Helper()
	w := &relayWalk{rng: rng}
	common := key.NewDisco()
	for i := range w.endpoints {
		other := key.NewDisco()
		e := u.mustAllocate(t, common.Public(), other.Public())
		w.endpoints[i] = walkEndpoint{isBoundTo: [2]int{nowhere, nowhere}, legs: [2]*relayLeg{
			{endpoint: e, private: common, remote: other.Public()}, {endpoint: e, private: other, remote: common.Public()}}}
	}
	for _, host := range []string{"127.0.0.1", "127.0.0.1", "::1", "::1"} {
		w.sockets = append(w.sockets, newLeg(t, w.endpoints[0].legs[0].endpoint, u.at(host), common, common.Public()))
	}
	w.due = make([]walkDue, len(w.sockets))
	return w
}

// stepOnce does one thing, lets the relay finish it by two Binds from the same socket, and compares.
func (w *relayWalk) stepOnce(t *testing.T) {
	t.Helper()
	socket := w.rng.IntN(len(w.sockets))
	switch e, leg := w.rng.IntN(2), w.rng.IntN(2); w.rng.IntN(8) {
	case 0:
		w.bind(t, e, leg, socket, uint32(w.rng.IntN(4))) // 0: no answer
	case 1, 2, 3:
		socket = w.answer(t, socket)
	default:
		w.data(t, e, socket)
	}
	fence := w.rng.IntN(2) // leg 0 or 1 of the first endpoint, or of the other one: its handshake is forgotten by it
	for range 2 {
		w.fences++
		w.bind(t, w.step%2, fence, socket, 100+w.fences)
	}
	for i := range w.sockets {
		w.receive(t, i)
	}
}

func (w *relayWalk) bind(t *testing.T, e, leg, socket int, generation uint32) {
	t.Helper()
	w.sockets[socket].mustSend(t, w.endpoints[e].legs[leg].bind(generation))
	if generation != 0 {
		w.endpoints[e].underWay[leg] = generation
		w.due[socket].challenges = append(w.due[socket].challenges,
			walkChallenge{endpoint: e, leg: leg, socket: socket, generation: generation})
	}
}

// answer one of the last challenges, mostly from where it was received and with its generation. It returns from where.
func (w *relayWalk) answer(t *testing.T, socket int) int {
	t.Helper()
	if len(w.given) == 0 {
		return socket
	}
	c := w.given[len(w.given)-1-w.rng.IntN(min(6, len(w.given)))]
	if w.rng.IntN(4) > 0 {
		socket = c.socket
	}
	generation := c.generation
	if w.rng.IntN(8) == 0 {
		generation++
	}
	e := &w.endpoints[c.endpoint]
	w.sockets[socket].mustSend(t, e.legs[c.leg].answer(generation, c.value))
	if socket == c.socket && generation == c.generation && e.underWay[c.leg] == generation {
		e.isBoundTo[c.leg], e.underWay[c.leg] = socket, 0
		w.bound++
	}
	// What is behind it in the same queue is looked at behind it.
	if w.rng.IntN(2) == 0 {
		w.data(t, c.endpoint, socket)
	}
	return socket
}

func (w *relayWalk) data(t *testing.T, e, socket int) {
	t.Helper()
	p := &w.endpoints[e]
	d := p.legs[0].data(fmt.Sprint("step ", w.step))
	w.sockets[socket].mustSend(t, d)
	legs := p.isBoundTo
	if p.legs[0].endpoint.ClientDisco[0] != p.legs[0].private.Public() {
		legs[0], legs[1] = legs[1], legs[0] // in the relay's order, which says who speaks when both are at one socket
	}
	to := nowhere
	if legs[0] != nowhere && legs[1] != nowhere {
		switch socket {
		case legs[0]:
			to = legs[1]
		case legs[1]:
			to = legs[0]
		}
	}
	if to == nowhere {
		w.dropped++
		return
	}
	w.passed++
	w.due[to].data = append(w.due[to].data, d)
}

// receive takes what a socket has to receive. Data and challenges may overtake each other.
func (w *relayWalk) receive(t *testing.T, socket int) {
	t.Helper()
	due := &w.due[socket]
	var buf [2048]byte
	for len(due.data)+len(due.challenges) > 0 {
		w.sockets[socket].SetReadDeadline(time.Now().Add(wait))
		n, err := w.sockets[socket].Read(buf[:])
		if err != nil {
			t.Fatalf("step %d, socket %d: %d packets and %d challenges to come: %v", w.step, socket, len(due.data),
				len(due.challenges), err)
		}
		var h packet.GeneveHeader
		if err := h.Decode(buf[:n]); err != nil {
			t.Fatal(err)
		}
		if !h.Control {
			if len(due.data) == 0 || !bytes.Equal(buf[:n], due.data[0]) {
				t.Fatalf("step %d, socket %d: got %q, want one of %q", w.step, socket, buf[:n], due.data)
			}
			due.data = due.data[1:]
			continue
		}
		if len(due.challenges) == 0 {
			t.Fatalf("step %d, socket %d: got a challenge", w.step, socket)
		}
		c := due.challenges[0]
		c.value = w.endpoints[c.endpoint].legs[c.leg].readChallenge(t, buf[:n], c.generation)
		w.given = append(w.given, c)
		due.challenges = due.challenges[1:]
	}
}
