package interop

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
	"time"

	"ringrelay.test/interop/internal/pki"
	"ringrelay.test/interop/internal/relay"
	"ringrelay.test/interop/internal/tls13"
	"ringrelay.test/interop/internal/wire"
	"tailscale.com/derp"
)

const (
	rekeyAfter   = 100 // records, of the server that is told so
	rekeyPackets = 120_000
	rekeySize    = 150
	rekeyTime    = 90 * time.Second // for all of it; takes a few seconds
)

// rekeyingServer changes its keys every rekeyAfter records if it is ours;
// derper never does.
func rekeyingServer(t *testing.T) *relay.Server {
	t.Helper()
	o := relay.Options{TLS: withCA(t, pki.ECDSA, tlsName)}
	if program.Kind == relay.Ringrelay {
		o.Args = []string{"-tls-rekey-after", fmt.Sprint(rekeyAfter)}
	}
	return privateServer(t, o)
}

// stream sends numbered packets to dst and reads n of them from src, both at
// once, with so many on their way at most. before is called before each send.
func stream(p *rawPeer, to, from *rawPeer, n int, before func(i int) error) error {
	window := make(chan struct{}, orderInFlight)
	stop := make(chan struct{})
	defer close(stop)
	sent := make(chan error, 1)
	go func() {
		data := make([]byte, rekeySize)
		for i := range n {
			select {
			case window <- struct{}{}:
			case <-stop:
				return
			}
			if before != nil {
				if err := before(i); err != nil {
					sent <- err
					return
				}
			}
			number(data, i)
			if err := p.Send(wire.SendPacket(to.pub, data)); err != nil {
				sent <- fmt.Errorf("packet %d: %w", i, err)
				return
			}
		}
		sent <- nil
	}()
	want := append(wire.Raw(p.pub), make([]byte, rekeySize)...)
	end := time.Now().Add(rekeyTime)
	for i := 0; i < n; {
		f, err := from.ReadFrameUntil(end)
		if err != nil {
			return fmt.Errorf("waiting for packet %d: %w", i, err)
		}
		if f.Type == derp.FrameKeepAlive {
			continue
		}
		number(want[wire.KeyLen:], i)
		if f.Type != derp.FrameRecvPacket || !bytes.Equal(f.Body, want) {
			return fmt.Errorf("got %v, want packet %d", f, i)
		}
		i++
		<-window
	}
	return <-sent
}

// number fills a packet so that no two are alike in any stretch.
func number(data []byte, i int) {
	for at := 0; at+4 <= len(data); at += 4 {
		binary.BigEndian.PutUint32(data[at:], uint32(i)*2654435761+uint32(at))
	}
}

// bothWays runs a stream in each direction at once.
func bothWays(t *testing.T, a, b *rawPeer, n int, beforeA, beforeB func(int) error) {
	t.Helper()
	start := time.Now()
	done := make(chan error, 1)
	go func() { done <- stream(b, a, a, n, beforeB) }()
	err := stream(a, b, b, n, beforeA)
	if err := errors.Join(err, <-done); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d packets each way in %v", n, time.Since(start).Round(time.Millisecond))
}

func rekeyCount() int {
	if testing.Short() {
		return rekeyPackets / 20
	}
	return rekeyPackets
}

// TestKeyUpdateGo: the server changes keys under Go clients, both directions
// busy at once. (Against derper nobody does, and the packets must arrive too.)
func TestKeyUpdateGo(t *testing.T) {
	s := rekeyingServer(t)
	bothWays(t, login(t, s), login(t, s), rekeyCount(), nil, nil)
}

// TestKeyUpdateOpenSSL: the same under OpenSSL.
func TestKeyUpdateOpenSSL(t *testing.T) {
	s := rekeyingServer(t)
	a, b := dialOpenSSL(t, s, "-quiet", "-nocommands"), dialOpenSSL(t, s, "-quiet", "-nocommands")
	a.fastStart(t).login(t)
	b.fastStart(t).login(t)
	bothWays(t, a.rawPeer, b.rawPeer, rekeyCount(), nil, nil)
}

// TestKeyUpdateCrossing: both sides change keys all the time, the client
// asking the server to follow every other time.
func TestKeyUpdateCrossing(t *testing.T) {
	s := rekeyingServer(t)
	a, b := loginRecords(t, s), loginRecords(t, s)
	var asked int
	update := func(p *recordPeer) func(int) error {
		return func(i int) error {
			if i == 0 || i%rekeyAfter != 0 {
				return nil
			}
			return p.tls.UpdateKey(i/rekeyAfter%2 == 0)
		}
	}
	n := rekeyCount()
	asked = (n - 1) / rekeyAfter / 2
	bothWays(t, a.rawPeer, b.rawPeer, n, update(a), update(b))
	for _, p := range []*recordPeer{a, b} {
		p.mustLive(t) // with the answer to the last request
		least := int64(asked)
		if s.Kind == relay.Ringrelay {
			least = max(least, p.tls.Records.Load()/rekeyAfter-1)
		}
		updates, records := p.tls.Updates.Load(), p.tls.Records.Load()
		t.Logf("%d updates received among %d records", updates, records)
		if updates < least {
			t.Errorf("%d updates received among %d records, want at least %d", updates, records, least)
		}
	}
}

// TestKeyUpdateServerCounts: no key of the server's is used for more records
// than it was told.
func TestKeyUpdateServerCounts(t *testing.T) {
	oursOnly(t, "key updates by the server")
	s := rekeyingServer(t)
	p := loginRecords(t, s)
	data := []byte("count")
	var last, since int64
	for i := range 1000 {
		p.mustSend(t, wire.SendPacket(p.pub, data))
		p.mustReceive(t, p.pub, data)
		if u := p.tls.Updates.Load(); u != last {
			last, since = u, p.tls.Records.Load()
		}
		if n := p.tls.Records.Load() - since; n > rekeyAfter {
			t.Fatalf("after packet %d: %d records with one key, want %d at most", i, n, rekeyAfter)
		}
	}
	if last < 9 {
		t.Fatalf("%d updates for 1,000 records, want 9 at least", last)
	}
}

// TestKeyUpdateRequested: the answer comes with the next key, before or with
// the next data; several requests may share one answer.
func TestKeyUpdateRequested(t *testing.T) {
	p := loginRecords(t, sharedTLS(t))
	for i := range int64(8) {
		if err := p.tls.UpdateKey(true); err != nil {
			t.Fatal(err)
		}
		p.mustLive(t)
		if got := p.tls.Updates.Load(); got != i+1 {
			t.Fatalf("%d answers to %d requests", got, i+1)
		}
	}
	p.mustLive(t)
}

// TestKeyUpdateSegments: a KeyUpdate, and the first record of the new key, cut
// anywhere and together with anything.
func TestKeyUpdateSegments(t *testing.T) {
	p := loginRecords(t, sharedTLS(t))
	frame := wire.SendPacket(p.pub, []byte("around"))
	const size = tls13.Overhead + 5
	for cut := 0; cut <= size; cut += 5 {
		before := p.tls.Seal(tls13.Data, frame, 0)
		update, err := p.tls.SealKeyUpdate(false)
		if err != nil {
			t.Fatal(err)
		}
		after := p.tls.Seal(tls13.Data, frame, 0)
		p.sendTCP(t, before, update[:cut])
		p.mustReceive(t, p.pub, []byte("around"))
		p.sendTCP(t, update[cut:], after)
		p.mustReceive(t, p.pub, []byte("around"))
		for range 64 { // a server may ration updates by records
			p.sendTCP(t, p.tls.Seal(tls13.Data, wire.Encode(derp.FramePing, []byte("rationed")), 0))
			p.mustPong(t, []byte("rationed"))
		}
	}
	// Right behind the handshake, in the middle of a frame.
	q := dialRecords(t, sharedTLS(t))
	request := wire.Request("x", "DERP", wire.FastStart)
	head := q.tls.Seal(tls13.Data, request[:9], 0)
	update, err := q.tls.SealKeyUpdate(true)
	if err != nil {
		t.Fatal(err)
	}
	q.sendTCP(t, head, update, q.tls.Seal(tls13.Data, request[9:], 0))
	q.awaitServerKey(t)
	q.login(t).mustLive(t)
}

// TestKeyUpdateFlood: sixteen in a row are fine; with nothing between them no
// server goes on for ever.
func TestKeyUpdateFlood(t *testing.T) {
	s := sharedTLS(t)
	updates := func(p *recordPeer, n int, request bool) []byte {
		var all []byte
		for range n {
			u, err := p.tls.SealKeyUpdate(request)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, u...)
		}
		return all
	}
	for _, request := range []bool{false, true} {
		t.Run(fmt.Sprint("request=", request), func(t *testing.T) {
			p := loginRecords(t, s)
			p.sendTCP(t, updates(p, 16, request))
			p.mustLive(t)

			q := loginRecords(t, s)
			q.tcp.Write(updates(q, 2000, request)) // it may be closed on the way
			q.mustClose(t)
			login(t, s).mustLive(t)
		})
	}
}
