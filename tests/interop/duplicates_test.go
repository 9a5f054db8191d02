package interop

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"ringrelay.test/interop/internal/relay"
	"ringrelay.test/interop/internal/wire"
	"tailscale.com/derp"
	"tailscale.com/types/key"
)

// Several connections of one key: which of them gets the packets.

const (
	metricDupKeys  = "derp_current_dup_client_keys"
	metricDupConns = "derp_current_dup_client_conns"
	metricDupTotal = "derp_total_dup_client_conns"
	metricDupDrop  = `derp_packets_dropped{reason="dup_client",kind="other"}`
	metricDupDisco = `derp_packets_dropped{reason="dup_client",kind="disco"}`
	metricKeys     = "derp_clients_local"
)

// reset ends the TCP connection by RST, also under TLS.
func reset(nc net.Conn) {
	if c, ok := nc.(interface{ NetConn() net.Conn }); ok {
		nc = c.NetConn()
	}
	nc.(*net.TCPConn).SetLinger(0)
	nc.Close()
}

// rules are the reference's for the connections of one key, by number: the
// newest is active, then whichever sent last. When the active one leaves, the
// last in the history of senders takes over. The first connection is in that
// history, the second is not before it sends, later ones are. With fighters
// disabled who sends a second time, after another one, disables all.
type rules struct {
	fighters bool
	members  []int
	disabled map[int]bool
	isDup    bool
	last     int // 0: none
	history  []int
	active   int // 0: none
}

func (r *rules) join(c int) {
	r.members = append(r.members, c)
	switch {
	case r.isDup:
		r.history = append(r.history, c)
	case len(r.members) == 2:
		r.isDup = true
		r.history = []int{r.members[0]}
	}
	r.last, r.active = c, c
}

func (r *rules) leave(c int) {
	without := func(s []int) []int { return slices.DeleteFunc(s, func(x int) bool { return x == c }) }
	r.members, r.history = without(r.members), without(r.history)
	delete(r.disabled, c)
	switch {
	case len(r.members) == 0:
		r.active = 0
	case len(r.members) == 1:
		r.isDup, r.history, r.disabled = false, nil, nil
		r.active = r.members[0]
	default:
		if r.last == c {
			r.last = 0
			if n := len(r.history); n > 0 {
				r.last = r.history[n-1]
			}
		}
		r.active = r.last
		if r.disabled[r.last] {
			r.active = 0
		}
	}
}

func (r *rules) note(c int) {
	if !r.isDup || r.disabled[c] {
		return
	}
	if !r.fighters || r.last == 0 {
		r.last, r.active = c, c
	}
	at := slices.Index(r.history, c)
	if at == len(r.history)-1 && at >= 0 {
		return
	}
	if at >= 0 {
		if r.fighters {
			r.disabled = make(map[int]bool)
			for _, m := range r.members {
				r.disabled[m] = true
			}
			r.active = 0
		}
		r.history = slices.Delete(r.history, at, at+1)
	}
	r.history = append(r.history, c)
}

// clones are the connections of one key, and a client that sends to it.
type clones struct {
	*rules
	s      *relay.Server
	priv   key.NodePrivate
	conns  map[int]*rawPeer
	from   *rawPeer
	next   uint64  // number of the next packet
	joined float64 // metricDupTotal before
	others float64 // connections that are not ours
}

func newClones(t *testing.T, s *relay.Server, from *rawPeer, fighters bool) *clones {
	t.Helper()
	v := varz(t, s)
	return &clones{rules: &rules{fighters: fighters}, s: s, priv: key.NewNode(), conns: make(map[int]*rawPeer), from: from,
		joined: v[metricDupTotal], others: v[metricConnections]}
}

// do takes "+1" a login, "!1" a ping, "-1" an end by FIN, "x1" by RST.
func (k *clones) do(t *testing.T, op string) {
	t.Helper()
	var c int
	fmt.Sscan(op[1:], &c)
	switch op[0] {
	case '+':
		k.conns[c] = loginAs(t, k.s, k.priv)
		k.join(c)
		if len(k.members) > 1 {
			k.joined++
		}
	case '!':
		echo := fmt.Appendf(nil, "%08d", k.next)
		k.conns[c].mustSend(t, wire.Encode(derp.FramePing, echo))
		k.conns[c].mustPong(t, echo)
		k.note(c)
	case '-', 'x':
		k.conns[c].leave(op[0] == 'x')
		delete(k.conns, c)
		k.rules.leave(c)
	default:
		t.Fatalf("no such step: %q", op)
	}
	want := map[string]float64{metricConnections: k.others + float64(len(k.conns)), metricDupTotal: k.joined,
		metricDupKeys: 0, metricDupConns: 0}
	if len(k.conns) > 1 {
		want[metricDupKeys], want[metricDupConns] = 1, float64(len(k.conns))
	}
	awaitVarz(t, k.s, want)
}

// check sends a packet, which the one active connection must get.
func (k *clones) check(t *testing.T) {
	t.Helper()
	pub := k.priv.Public()
	data := labelled(k.from.pub, pub, k.next, 300)
	switch {
	case k.active != 0:
		k.from.mustSend(t, wire.SendPacket(pub, data))
		k.conns[k.active].mustNumber(t, k.from.pub, k.next)
	case len(k.conns) > 0: // all disabled
		before := varz(t, k.s)
		k.from.mustSend(t, wire.SendPacket(pub, data), wire.SendPacket(pub, discoLike()))
		k.from.mustLive(t) // no NotHere: the key is here
		awaitVarz(t, k.s, map[string]float64{metricDupDrop: before[metricDupDrop] + 1, metricDupDisco: before[metricDupDisco] + 1,
			metricNotHere: before[metricNotHere]})
	}
	k.next++
}

// end requires that no connection was sent anything else, and ends them all.
func (k *clones) end(t *testing.T) {
	t.Helper()
	for _, p := range k.conns {
		p.mustLive(t)
		p.Close()
	}
	awaitVarz(t, k.s, map[string]float64{metricConnections: k.others, metricDupKeys: 0, metricDupConns: 0})
}

// TestDuplicateRows: who gets the packets after each step.
func TestDuplicateRows(t *testing.T) {
	rows := []struct {
		steps []string
		gets  []int // after each step
	}{
		{[]string{"+1", "+2", "-1"}, []int{1, 2, 2}},
		{[]string{"+1", "+2", "x1"}, []int{1, 2, 2}},
		{[]string{"+1", "+2", "-2"}, []int{1, 2, 1}},
		{[]string{"+1", "+2", "x2"}, []int{1, 2, 1}},
		{[]string{"+1", "+2", "!1", "!2", "-2"}, []int{1, 2, 1, 2, 1}},
		{[]string{"+1", "+2", "!1", "-1", "-2", "+3"}, []int{1, 2, 1, 2, 0, 3}},
		// Three: after joins without activity the heir is the first, for the
		// second is not in the history of senders, and the first is.
		{[]string{"+1", "+2", "+3", "-3"}, []int{1, 2, 3, 1}},
		{[]string{"+1", "+2", "+3", "x3", "-1"}, []int{1, 2, 3, 1, 2}},
		{[]string{"+1", "+2", "!2", "+3", "-3"}, []int{1, 2, 2, 3, 2}},
		{[]string{"+1", "+2", "+3", "-2", "-1"}, []int{1, 2, 3, 3, 3}},
		{[]string{"+1", "+2", "+3", "x1", "x2"}, []int{1, 2, 3, 3, 3}},
		{[]string{"+1", "+2", "+3", "!2", "-2"}, []int{1, 2, 3, 2, 3}},
		{[]string{"+1", "+2", "+3", "!2", "!1", "-1", "-2"}, []int{1, 2, 3, 2, 1, 2, 3}},
		{[]string{"+1", "+2", "+3", "!1", "!1", "!3", "x3", "+4", "-4"}, []int{1, 2, 3, 1, 1, 3, 1, 4, 1}},
		// Back to one, and to many again: a new history.
		{[]string{"+1", "+2", "-1", "+3", "!2", "-2", "+4", "-4"}, []int{1, 2, 2, 3, 2, 3, 4, 3}},
	}
	s := privateServer(t, relay.Options{})
	from := login(t, s)
	for _, row := range rows {
		t.Run(fmt.Sprint(row.steps), func(t *testing.T) {
			k := newClones(t, s, from, false)
			for i, op := range row.steps {
				k.do(t, op)
				if k.active != row.gets[i] {
					t.Fatalf("after %v: the rules say %d, the row %d", row.steps[:i+1], k.active, row.gets[i])
				}
				k.check(t)
			}
			k.end(t)
		})
	}
}

// TestDuplicateWalk: random steps with up to five connections.
func TestDuplicateWalk(t *testing.T) {
	steps := 1500
	if testing.Short() {
		steps = 150
	}
	s := privateServer(t, relay.Options{})
	walk(t, s, steps, false)
}

func walk(t *testing.T, s *relay.Server, steps int, fighters bool) {
	t.Helper()
	r := rand.New(rand.NewPCG(5, 6))
	k := newClones(t, s, login(t, s), fighters)
	var did []string
	defer func() {
		if t.Failed() {
			t.Logf("steps: %v", did[max(0, len(did)-40):])
		}
	}()
	got := make(map[int]int)
	joined := 0
	for range steps {
		op := ""
		n := len(k.members)
		switch what := r.IntN(10); {
		case n == 0 || what < 3 && n < 5:
			joined++
			op = fmt.Sprintf("+%d", joined)
		case what < 5:
			op = fmt.Sprintf("%c%d", "-x"[r.IntN(2)], k.members[r.IntN(n)])
		default:
			op = fmt.Sprintf("!%d", k.members[r.IntN(n)])
		}
		did = append(did, op)
		k.do(t, op)
		k.check(t)
		if k.active == 0 {
			got[0]++
		} else {
			got[slices.Index(k.members, k.active)+1]++
		}
	}
	k.end(t)
	t.Logf("%d steps, %d logins; packets by age of who got them (0: nobody): %v", steps, joined, got)
}

// TestDuplicateFighters: connections of one key that take turns are disabled,
// until a new one comes or one is left.
func TestDuplicateFighters(t *testing.T) {
	oursOnly(t, "-duplicates disable-fighters")
	s := privateServer(t, relay.Options{Args: []string{"-duplicates", "disable-fighters"}})
	from := login(t, s)
	k := newClones(t, s, from, true)
	for _, step := range []struct {
		op   string
		gets int
	}{
		{"+1", 1}, {"+2", 2}, {"!2", 2}, {"!1", 0}, {"!2", 0}, {"+3", 3}, {"!1", 3}, {"!3", 3}, {"-3", 0}, {"-2", 1}, {"!1", 1},
		{"+4", 4}, {"x4", 1}, // and as if nothing had been
	} {
		k.do(t, step.op)
		if k.active != step.gets {
			t.Fatalf("after %v the rules say %d, the row %d", step.op, k.active, step.gets)
		}
		k.check(t)
	}
	// Who is disabled is still heard, and answered.
	k.do(t, "+5")
	k.do(t, "!5")
	k.do(t, "!1")
	k.check(t)
	for _, c := range []int{1, 5} {
		data := labelled(k.priv.Public(), from.pub, uint64(c), 400)
		k.conns[c].mustSend(t, wire.SendPacket(from.pub, data))
		from.mustReceive(t, k.priv.Public(), data)
	}
	k.end(t)
	from.mustPeerGone(t, k.priv.Public(), derp.PeerGoneReasonDisconnected)

	t.Run("walk", func(t *testing.T) {
		from.Close()
		awaitVarz(t, s, map[string]float64{metricConnections: 0})
		steps := 1500
		if testing.Short() {
			steps = 150
		}
		walk(t, s, steps, true)
	})
}

// arrival is a packet at one of several connections.
type arrival struct {
	at     int
	number uint64
	err    error
}

// collect reads packets of the feed at p until the connection ends, which is the
// last thing it reports.
func (p *rawPeer) collect(at int, feed *feed, out chan<- arrival) {
	for {
		f, err := p.ReadFrameUntil(time.Now().Add(3 * wait))
		if err != nil {
			out <- arrival{at: at, err: err}
			return
		}
		if f.Type == derp.FrameKeepAlive || f.Type == derp.FramePong {
			continue
		}
		n, err := numberOf(f, feed.from.pub, p.pub)
		if err != nil {
			err = &badArrival{err}
		}
		feed.ack(n + 1)
		out <- arrival{at, n, err}
		if err != nil {
			return
		}
	}
}

type badArrival struct{ error }

// audience is the connections of one key with a reader for each, while a feed
// sends to the key.
type audience struct {
	t        *testing.T
	s        *relay.Server
	priv     key.NodePrivate
	feed     *feed
	in       chan arrival
	lossless bool

	conns  map[int]*rawPeer
	last   map[int]uint64  // number of the last packet there, plus 1
	seen   map[uint64]bool // everywhere
	prefix uint64          // all below have been seen
	open   int             // readers
}

// newAudience has connection 1 and a feed that runs, no further ahead than the
// queues of either program are long.
func newAudience(t *testing.T, s *relay.Server, size int, lossless bool) *audience {
	t.Helper()
	a := &audience{t: t, s: s, priv: key.NewNode(), in: make(chan arrival, 1024), lossless: lossless,
		conns: make(map[int]*rawPeer), last: make(map[int]uint64), seen: make(map[uint64]bool)}
	a.feed = newFeed(login(t, s), a.priv.Public(), size, 2*feedBurst)
	a.join(1)
	a.feed.start()
	a.only(1)
	return a
}

func (a *audience) join(c int) {
	a.t.Helper()
	p := dialRaw(a.t, a.s)
	p.priv, p.pub = a.priv, a.priv.Public()
	p.fastStart(a.t).login(a.t)
	a.conns[c] = p
	a.open++
	go p.collect(c, a.feed, a.in)
}

// take notes an arrival; false is the end of a connection.
func (a *audience) take(x arrival) bool {
	a.t.Helper()
	var bad *badArrival
	if errors.As(x.err, &bad) {
		a.t.Fatalf("connection %d: %v", x.at, x.err)
	}
	if x.err != nil {
		if a.conns[x.at] != nil {
			a.t.Fatalf("connection %d: %v", x.at, x.err)
		}
		a.open--
		return false
	}
	if a.seen[x.number] || x.number+1 <= a.last[x.at] {
		a.t.Fatalf("connection %d: packet %d twice, or behind %d", x.at, x.number, a.last[x.at])
	}
	a.seen[x.number] = true
	a.last[x.at] = x.number + 1
	for a.seen[a.prefix] {
		a.prefix++
	}
	return true
}

// until takes arrivals until cond is true after one.
func (a *audience) until(what string, cond func(arrival) bool) {
	a.t.Helper()
	timeout := time.NewTimer(wait)
	defer timeout.Stop()
	for {
		select {
		case x := <-a.in:
			if a.take(x) && cond(x) {
				return
			}
		case err := <-a.feed.done:
			a.t.Fatalf("waiting for %s: feed: %v", what, err)
		case <-timeout.C:
			a.t.Fatalf("no %s within %v", what, wait)
		}
	}
}

// only requires that what is sent from now on arrives at connection c (the
// next packets may already be under way elsewhere), and without losses that
// all before has arrived somewhere.
func (a *audience) only(c int) {
	a.t.Helper()
	from := a.feed.sent() + feedBurst
	n := 0
	a.until(fmt.Sprintf("packets at connection %d", c), func(x arrival) bool {
		if x.number >= from {
			if x.at != c {
				a.t.Fatalf("packet %d, sent after %d became active, is at %d", x.number, c, x.at)
			}
			n++
		}
		return n >= 2*feedBurst && (!a.lossless || a.prefix >= from)
	})
}

// finish stops everything; nothing may be missing unless something may.
func (a *audience) finish() {
	a.t.Helper()
	sent := a.feed.mustEnd(a.t)
	// What is lost never comes, so the server must say that it has nothing left.
	awaitAccounted(a.t, a.s)
	for c, p := range a.conns {
		delete(a.conns, c)
		closeWrite(a.t, p) // the server ends it behind what is under way
	}
	timeout := time.NewTimer(wait)
	defer timeout.Stop()
	for a.open > 0 {
		select {
		case x := <-a.in:
			a.take(x)
		case <-timeout.C:
			a.t.Fatalf("%d connections still open after %v", a.open, wait)
		}
	}
	a.t.Logf("%d packets sent, %d came", sent, len(a.seen))
	if a.lossless && uint64(len(a.seen)) != sent {
		a.t.Errorf("%d packets sent, %d came", sent, len(a.seen))
	}
	a.feed.from.mustLive(a.t)
	a.feed.from.Close()
	awaitVarz(a.t, a.s, map[string]float64{metricConnections: 0, metricKeys: 0, metricDupKeys: 0, metricDupConns: 0})
}

func closeWrite(t *testing.T, p *rawPeer) {
	t.Helper()
	if err := p.Conn.Conn.(closeWriter).CloseWrite(); err != nil {
		t.Fatal(err)
	}
}

// drop ends a connection and waits until the server knows.
func (a *audience) drop(c int, rst bool) {
	a.t.Helper()
	p := a.conns[c]
	delete(a.conns, c)
	before := varz(a.t, a.s)[metricConnections]
	p.leave(rst)
	awaitVarz(a.t, a.s, map[string]float64{metricConnections: before - 1})
	a.feed.ack(a.feed.sent()) // what has not come by now may be lost
}

// TestDuplicateTraffic: two and three connections of a key, while somebody
// sends to it all the time. As long as only idle ones leave, nothing is lost.
func TestDuplicateTraffic(t *testing.T) {
	s := privateServer(t, relay.Options{})
	for _, c := range []struct {
		name     string
		lossless bool
		script   func(a *audience)
	}{
		{"idle ones leave by FIN", true, func(a *audience) {
			a.join(2)
			a.only(2)
			a.drop(1, false)
			a.only(2)
			a.join(3)
			a.only(3)
			a.join(4)
			a.only(4)
			a.drop(3, false)
			a.drop(2, false)
			a.only(4)
		}},
		{"idle ones leave by RST", true, func(a *audience) {
			a.join(2)
			a.join(3)
			a.only(3)
			a.drop(1, true)
			a.only(3)
			a.drop(2, true)
			a.only(3)
		}},
		{"turns", true, func(a *audience) {
			a.join(2)
			a.join(3)
			for _, turn := range []int{1, 2, 3, 1, 3, 2, 1} {
				a.ping(turn)
				a.only(turn)
			}
		}},
		{"the active one leaves by FIN", false, func(a *audience) {
			a.join(2)
			a.join(3)
			a.ping(2)
			a.ping(3)
			a.only(3)
			a.drop(3, false)
			a.only(2)
			a.drop(2, false)
			a.only(1)
		}},
		{"the active one leaves by RST", false, func(a *audience) {
			a.join(2)
			a.join(3)
			a.only(3)
			a.drop(3, true)
			a.only(1)
			a.join(4)
			a.only(4)
			a.drop(4, true)
			a.only(1)
			a.drop(1, true)
			a.only(2)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAudience(t, s, 1000, c.lossless)
			c.script(a)
			a.finish()
		})
	}
}

// ping makes connection c active, which it is not; collect swallows the pong.
func (a *audience) ping(c int) {
	a.t.Helper()
	from := a.feed.sent()
	a.conns[c].mustSend(a.t, wire.Encode(derp.FramePing, []byte("activity")))
	a.until(fmt.Sprintf("a packet at %d", c), func(x arrival) bool { return x.at == c && x.number >= from })
}

// TestDuplicateActivity: any frame makes its connection the active one.
func TestDuplicateActivity(t *testing.T) {
	s := privateServer(t, relay.Options{})
	frames := []struct {
		name  string
		frame []byte
	}{
		{"ping", wire.Encode(derp.FramePing, []byte("12345678"))},
		{"NotePreferred 1", wire.Encode(derp.FrameNotePreferred, []byte{1})},
		{"NotePreferred 0", wire.Encode(derp.FrameNotePreferred, []byte{0})},
		{"unknown, empty", wire.Encode(derp.FrameType(0x77))},
		{"unknown, 1000 bytes", wire.Encode(derp.FrameType(0xfe), make([]byte, 1000))},
		{"pong", wire.Encode(derp.FramePong, []byte("12345678"))},
		{"keep-alive", wire.Encode(derp.FrameKeepAlive)},
		{"packet for nobody", wire.SendPacket(key.NewNode().Public(), []byte("hello"))},
	}
	a := newAudience(t, s, 200, true)
	a.join(2)
	for i, f := range frames {
		c := 1 + i%2
		a.only(3 - c)
		a.conns[c].mustSend(t, f.frame)
		a.until("a packet where "+f.name+" was sent", func(x arrival) bool { return x.at == c })
	}
	a.finish()
}

// TestDuplicatePeerGone: nobody is told of a key of which a connection is
// left; of the last one everybody is, once.
func TestDuplicatePeerGone(t *testing.T) {
	s := privateServer(t, relay.Options{})
	x, y := login(t, s), login(t, s)
	for n := 2; n <= 3; n++ {
		for _, newestFirst := range []bool{false, true} {
			for _, rst := range []bool{false, true} {
				t.Run(fmt.Sprintf("%d, newest first %v, RST %v", n, newestFirst, rst), func(t *testing.T) {
					priv := key.NewNode()
					pub := priv.Public()
					var conns []*rawPeer
					for i := range n {
						p := loginAs(t, s, priv)
						conns = append(conns, p)
						data := labelled(pub, x.pub, uint64(i), 200) // each of them, to x
						p.mustSend(t, wire.SendPacket(x.pub, data))
						x.mustReceive(t, pub, data)
					}
					x.mustSend(t, wire.SendPacket(pub, []byte("answer"))) // sending subscribes nobody
					conns[n-1].mustReceive(t, x.pub, []byte("answer"))
					if newestFirst {
						slices.Reverse(conns)
					}
					for i, p := range conns {
						p.leave(rst)
						awaitVarz(t, s, map[string]float64{metricConnections: float64(2 + n - 1 - i)})
						if i == n-1 {
							x.mustPeerGone(t, pub, derp.PeerGoneReasonDisconnected)
							awaitVarz(t, s, map[string]float64{metricKeys: 2})
						}
						x.mustLive(t)
						y.mustLive(t)
					}
				})
			}
		}
	}
}

// TestDuplicateReconnect: a client is thrown out for a bad frame and is back
// before the server may know, again and again, while others send to it. Each
// connection gets whole packets, in order, for its key, none twice.
func TestDuplicateReconnect(t *testing.T) {
	const times = 300
	bad := [][]byte{
		wire.Encode(derp.FrameSendPacket, make([]byte, 31)),
		wire.Encode(derp.FramePing, make([]byte, 7)),
		wire.Encode(derp.FrameNotePreferred, make([]byte, 2)),
		wire.Encode(derp.FrameWatchConns),
		wire.Header(derp.FrameSendPacket, 1<<30),
	}
	s := privateServer(t, relay.Options{})
	a, b := login(t, s), login(t, s)
	stop := make(chan struct{})
	talked := make(chan error, 1)
	talks := 0
	go func() { talked <- talk(a, b, 0, stop, &talks) }()

	from := login(t, s)
	priv := key.NewNode()
	pub := priv.Public()
	f := startFeed(from, pub, 1200)
	r := rand.New(rand.NewPCG(7, 8))
	var mu sync.Mutex
	seen := make(map[uint64]bool)
	var wg sync.WaitGroup
	note := func(f wire.Frame, last *uint64) error {
		n, err := numberOf(f, from.pub, pub)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		if seen[n] || n+1 <= *last {
			return fmt.Errorf("packet %d twice, or behind %d", n, *last)
		}
		seen[n], *last = true, n+1
		return nil
	}
	left := make(chan error, times)
	for i := range times {
		p := loginAs(t, s, priv)
		last := uint64(0)
		for range r.IntN(12) {
			if err := note(p.mustRead(t, "a packet"), &last); err != nil {
				t.Fatalf("connection %d: %v", i, err)
			}
		}
		p.trySend(bad[i%len(bad)], wire.SendPacket(a.pub, []byte("behind a bad frame: nobody may see this")))
		wg.Go(func() { // what the old one still gets
			for {
				f, err := p.ReadFrame()
				if err == nil && f.Type != derp.FrameKeepAlive {
					err = note(f, &last)
					if err != nil {
						left <- fmt.Errorf("connection %d, after its bad frame: %w", i, err)
						return
					}
				}
				if isTimeout(err) {
					left <- fmt.Errorf("connection %d, thrown out, is still open after %v", i, wait)
				}
				if err != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	close(left)
	for err := range left {
		t.Error(err)
	}
	p := loginAs(t, s, priv) // and the key is as good as new
	last := uint64(0)
	for range 100 {
		if err := note(p.mustRead(t, "a packet"), &last); err != nil {
			t.Fatal(err)
		}
	}
	sent := f.mustEnd(t)
	close(stop)
	if err := <-talked; err != nil {
		t.Fatal(err)
	}
	a.mustLive(t)
	awaitVarz(t, s, map[string]float64{metricConnections: 4, metricKeys: 4, metricDupKeys: 0, metricDupConns: 0})
	t.Logf("%d packets sent, %d read; %d packets there and back between two others", sent, len(seen), talks)
	if talks == 0 {
		t.Error("the others did not talk")
	}
}

// talk sends packets there and back, one at a time, until stop; at a pace
// unless that is 0.
func talk(a, b *rawPeer, pace time.Duration, stop <-chan struct{}, n *int) error {
	tick := time.NewTicker(max(pace, 1))
	defer tick.Stop()
	for i := uint64(0); ; i++ {
		select {
		case <-stop:
			return nil
		case <-tick.C:
		}
		for _, way := range [][2]*rawPeer{{a, b}, {b, a}} {
			from, to := way[0], way[1]
			if err := from.Send(wire.SendPacket(to.pub, labelled(from.pub, to.pub, i, 100+int(i%1300)))); err != nil {
				return err
			}
			f, err := to.ReadFrame()
			for err == nil && f.Type == derp.FrameKeepAlive {
				f, err = to.ReadFrame()
			}
			if err != nil {
				return fmt.Errorf("packet %d: %w", i, err)
			}
			if got, err := numberOf(f, from.pub, to.pub); err != nil || got != i {
				return fmt.Errorf("packet %d instead of %d: %w", got, i, errors.Join(err, errNumber))
			}
		}
		*n++
	}
}

var errNumber = errors.New("a packet that was not expected")
