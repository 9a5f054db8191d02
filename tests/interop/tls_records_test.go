package interop

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"ringrelay.test/interop/internal/tls13"
	"ringrelay.test/interop/internal/wire"
	"tailscale.com/derp"
)

// Alerts.
const (
	closeNotify       = 0
	unexpectedMessage = 10
	badRecordMAC      = 20
	recordOverflow    = 22
	illegalParameter  = 47
	decodeError       = 50
	protocolVersion   = 70
)

// mustAlert requires the server to end the connection with one of these
// alerts and then close it, without another frame.
func (p *recordPeer) mustAlert(t *testing.T, oneOf ...byte) {
	t.Helper()
	f, err := p.ReadFrame()
	var alert tls13.AlertError
	if !errors.As(err, &alert) {
		t.Fatalf("got %v, %v, want an alert", f, err)
	}
	if !slices.Contains(oneOf, byte(alert)) {
		t.Fatalf("got alert %d, want one of %d", alert, oneOf)
	}
	// derper may have a close_notify behind a fatal alert.
	p.SetReadDeadline(time.Now().Add(wait))
	if n, err := p.Reader().Read(make([]byte, 1)); n != 0 || isTimeout(err) {
		t.Fatalf("after the alert: data %v, error %v, want the connection closed", n != 0, err)
	}
}

// goPasses are records that Go lets pass although RFC 8446 does not.
var goPasses = map[string]bool{"cipher change inside": true}

// flip damages one bit.
func flip(record []byte, at int) []byte {
	r := bytes.Clone(record)
	r[at] ^= 0x40
	return r
}

// TestTLSBadRecords: each ends the connection with an alert; what came before
// it is delivered, nothing of it and nothing behind it is.
func TestTLSBadRecords(t *testing.T) {
	s := sharedTLS(t)
	type P = *recordPeer
	seal := func(kind byte, content []byte) func(P, []byte) []byte {
		return func(p P, _ []byte) []byte { return p.tls.Seal(kind, content, 0) }
	}
	plain := func(kind byte, content ...byte) func(P, []byte) []byte {
		return func(P, []byte) []byte { return append(tls13.Header(kind, len(content)), content...) }
	}
	good := func(p P, frame []byte) []byte { return p.tls.Seal(tls13.Data, frame, 0) }
	for name, c := range map[string]struct {
		bad   func(p P, frame []byte) []byte // the record; frame would be a packet
		alert []byte
	}{
		"first bit of content":   {func(p P, f []byte) []byte { return flip(good(p, f), tls13.HeaderLen) }, []byte{badRecordMAC}},
		"last bit of content":    {func(p P, f []byte) []byte { r := good(p, f); return flip(r, len(r)-17) }, []byte{badRecordMAC}},
		"first byte of the tag":  {func(p P, f []byte) []byte { r := good(p, f); return flip(r, len(r)-16) }, []byte{badRecordMAC}},
		"last byte of the tag":   {func(p P, f []byte) []byte { r := good(p, f); return flip(r, len(r)-1) }, []byte{badRecordMAC}},
		"replayed":               {func(p P, _ []byte) []byte { return p.replay }, []byte{badRecordMAC}},
		"one left out":           {func(p P, f []byte) []byte { good(p, f); return good(p, f) }, []byte{badRecordMAC}},
		"shorter than a tag":     {plain(tls13.Data, make([]byte, 15)...), []byte{badRecordMAC, decodeError, unexpectedMessage}},
		"only a tag":             {plain(tls13.Data, make([]byte, 16)...), []byte{badRecordMAC, decodeError, unexpectedMessage}},
		"empty on the outside":   {plain(tls13.Data), []byte{badRecordMAC, decodeError, unexpectedMessage}},
		"longest length, no tag": {plain(tls13.Data, make([]byte, tls13.MaxSealed)...), []byte{badRecordMAC, recordOverflow}},
		"too long a length":      {func(P, []byte) []byte { return tls13.Header(tls13.Data, tls13.MaxSealed+1) }, []byte{recordOverflow}},
		"longest of all lengths": {func(P, []byte) []byte { return tls13.Header(tls13.Data, 0xffff) }, []byte{recordOverflow}},
		"content too long":       {seal(tls13.Data, make([]byte, tls13.MaxContent+1)), []byte{recordOverflow}},
		"padding too long":       {func(p P, f []byte) []byte { return p.tls.Seal(tls13.Data, nil, tls13.MaxContent+1) }, []byte{recordOverflow}},
		"nothing but zeros":      {seal(0, make([]byte, 100)), []byte{unexpectedMessage}},
		"unknown type inside":    {seal(99, []byte("x")), []byte{unexpectedMessage}},
		"cipher change inside":   {seal(tls13.ChangeCipherSpec, []byte{1}), []byte{unexpectedMessage}},
		"unknown type outside":   {plain(99, 1), []byte{unexpectedMessage, badRecordMAC}},
		"plaintext handshake":    {plain(tls13.Handshake, tls13.KeyUpdateMessage(false)...), []byte{unexpectedMessage, badRecordMAC}},
		"plaintext close_notify": {plain(tls13.Alert, 1, closeNotify), []byte{unexpectedMessage, badRecordMAC}},
		"wrong version":          {func(p P, f []byte) []byte { r := good(p, f); r[2] = 1; return r }, []byte{protocolVersion, badRecordMAC}},
		"empty handshake":        {seal(tls13.Handshake, nil), []byte{unexpectedMessage}},
		"a new ClientHello":      {seal(tls13.Handshake, []byte{1, 0, 0, 2, 3, 3}), []byte{unexpectedMessage, decodeError}},
		"a second Finished":      {seal(tls13.Handshake, slices.Concat([]byte{20, 0, 0, 32}, make([]byte, 32))), []byte{unexpectedMessage}},
		"a hello request":        {seal(tls13.Handshake, []byte{0, 0, 0, 0}), []byte{unexpectedMessage}},
		"KeyUpdate of 2":         {seal(tls13.Handshake, []byte{24, 0, 0, 1, 2}), []byte{unexpectedMessage, illegalParameter, decodeError}},
		"KeyUpdate too long":     {seal(tls13.Handshake, []byte{24, 0, 0, 2, 0, 0}), []byte{unexpectedMessage, decodeError}},
		"KeyUpdate too short":    {seal(tls13.Handshake, []byte{24, 0, 0, 0}), []byte{unexpectedMessage, decodeError}},
		"KeyUpdate and more":     {seal(tls13.Handshake, slices.Concat(tls13.KeyUpdateMessage(false), tls13.KeyUpdateMessage(false))), []byte{unexpectedMessage, badRecordMAC}},
		"an alert of three":      {seal(tls13.Alert, []byte{1, 0, 0}), []byte{unexpectedMessage, decodeError}},
		"an alert of one":        {seal(tls13.Alert, []byte{1}), []byte{unexpectedMessage, decodeError}},
	} {
		for _, where := range []string{"after a frame", "inside a frame"} {
			t.Run(name+"/"+where, func(t *testing.T) {
				if goPasses[name] {
					oursOnly(t, name)
				}
				t.Parallel()
				p, q := loginRecords(t, s), login(t, s)
				frame := wire.SendPacket(q.pub, []byte("must not arrive"))
				before := wire.SendPacket(q.pub, []byte("before"))
				if where == "inside a frame" {
					before = append(before, frame[:20]...)
					frame = frame[20:]
				}
				p.replay = p.tls.Seal(tls13.Data, before, 0)
				p.sendTCP(t, p.replay)
				q.mustReceive(t, p.pub, []byte("before"))
				p.sendTCP(t, c.bad(p, frame))
				p.mustAlert(t, c.alert...)
				f := q.mustRead(t, "PeerGone")
				if want := append(wire.Raw(p.pub), byte(derp.PeerGoneReasonDisconnected)); f.Type != derp.FramePeerGone || !bytes.Equal(f.Body, want) {
					t.Fatalf("the other side got %v, want PeerGone", f)
				}
				q.mustLive(t)
			})
		}
	}
}

// TestTLSCloseNotify: answered in kind, and what came before it counts.
func TestTLSCloseNotify(t *testing.T) {
	s := sharedTLS(t)
	for _, level := range []byte{1, 2} {
		t.Run(fmt.Sprint("level ", level), func(t *testing.T) {
			p, q := loginRecords(t, s), login(t, s)
			p.sendTCP(t, p.tls.Seal(tls13.Data, wire.SendPacket(q.pub, []byte("last words")), 0),
				p.tls.Seal(tls13.Alert, []byte{level, closeNotify}, 0))
			q.mustReceive(t, p.pub, []byte("last words"))
			p.mustAlert(t, closeNotify)
		})
	}
}

// TestTLSOtherAlerts: the connection is over.
func TestTLSOtherAlerts(t *testing.T) {
	s := sharedTLS(t)
	for _, alert := range []byte{10, 20, 40, 42, 80, 112, 200} {
		p := loginRecords(t, s)
		p.sendTCP(t, p.tls.Seal(tls13.Alert, []byte{2, alert}, 0))
		p.mustClose(t)
	}
}

// TestTLSCutOff: the end of TCP without close_notify is the end.
func TestTLSCutOff(t *testing.T) {
	s := sharedTLS(t)
	for name, cut := range map[string]int{"between records": 0, "inside a header": 3, "inside a record": 30} {
		t.Run(name, func(t *testing.T) {
			p, q := loginRecords(t, s), login(t, s)
			seal := func(text string) []byte {
				return p.tls.Seal(tls13.Data, wire.SendPacket(q.pub, []byte(text)), 0)
			}
			// q is told of p's end only if it got a packet before.
			p.sendTCP(t, seal("first"))
			q.mustReceive(t, p.pub, []byte("first"))
			p.sendTCP(t, seal("whole"), seal("cut off")[:cut])
			if err := p.tcp.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			p.mustClose(t)
			var gone, whole bool // not ordered
			for !gone || !whole {
				switch f := q.mustRead(t, "PeerGone and packet"); {
				case !gone && f.Type == derp.FramePeerGone:
					gone = true
				case !whole && f.Type == derp.FrameRecvPacket && string(f.Body[wire.KeyLen:]) == "whole":
					whole = true
				default:
					t.Fatalf("unexpected %v", f)
				}
			}
			q.mustLive(t)
		})
	}
}

// TestTLSEmptyRecords: sixteen without content in a row are fine, again and
// again, padded or not.
func TestTLSEmptyRecords(t *testing.T) {
	p := loginRecords(t, sharedTLS(t))
	for i := range 200 {
		var records []byte
		for j := range 16 {
			records = append(records, p.tls.Seal(tls13.Data, nil, j*i)...)
		}
		p.sendTCP(t, records, p.tls.Seal(tls13.Data, wire.SendPacket(p.pub, []byte("after")), i))
		p.mustReceive(t, p.pub, []byte("after"))
	}
	p.mustLive(t)
}

// TestTLSLargestRecords: full of content, and full of padding.
func TestTLSLargestRecords(t *testing.T) {
	p := loginRecords(t, sharedTLS(t))
	full := wire.SendPacket(p.pub, pattern(tls13.MaxContent-wire.HeaderLen-wire.KeyLen, 71))
	for range 10 {
		p.sendTCP(t, p.tls.Seal(tls13.Data, full, 0))
		p.mustReceive(t, p.pub, full[wire.HeaderLen+wire.KeyLen:])
		small := wire.SendPacket(p.pub, []byte("small"))
		p.sendTCP(t, p.tls.Seal(tls13.Data, small, tls13.MaxContent-len(small)))
		p.mustReceive(t, p.pub, []byte("small"))
	}
	p.mustLive(t)
}
