package interop

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ringrelay.test/interop/internal/pki"
	"ringrelay.test/interop/internal/relay"
	"ringrelay.test/interop/internal/wire"
)

// reloadTime is what we promise between a changed file and the new certificate.
const reloadTime = 30 * time.Second

// awaitLeaf polls until new handshakes show this leaf.
func awaitLeaf(t *testing.T, s *relay.Server, want *pki.Leaf) {
	t.Helper()
	start := time.Now()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !shows(t, s, want) {
		if time.Since(start) > reloadTime {
			t.Fatalf("handshakes do not show the new leaf within %v; log:\n%s", reloadTime, s.Log())
		}
		<-tick.C
	}
	t.Logf("picked up after %v", time.Since(start).Round(100*time.Millisecond))
}

// shows requires a handshake that is fine in every respect, and tells whether
// it showed this leaf.
func shows(t *testing.T, s *relay.Server, leaf *pki.Leaf) bool {
	t.Helper()
	c := mustHandshake(t, dialTCP(t, s), s.TLSConfig())
	defer c.Close()
	chain := c.ConnectionState().PeerCertificates
	if len(chain) != 3 {
		t.Fatalf("%d certificates, want leaf, intermediate and the server's key", len(chain))
	}
	serverKeyOf(t, c.ConnectionState())
	return chain[0].Equal(leaf.Cert)
}

// awaitLog polls until what was logged behind `from` contains text.
func awaitLog(t *testing.T, s *relay.Server, from int, text string) {
	t.Helper()
	deadline := time.Now().Add(reloadTime)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !strings.Contains(s.Log()[from:], text) {
		if time.Now().After(deadline) {
			t.Fatalf("nothing about %s in the log within %v:\n%s", text, reloadTime, s.Log()[from:])
		}
		<-tick.C
	}
}

// TestReload: new files are picked up, live connections stay, broken files
// change nothing but the log.
func TestReload(t *testing.T) {
	oursOnly(t, "reading certificates again")
	slow(t)
	tlsOptions := withCA(t, pki.ECDSA, tlsName)
	dir := tlsOptions.CertDir
	s := privateServer(t, relay.Options{TLS: tlsOptions})
	old, oldSSL := login(t, s), dialOpenSSL(t, s)
	oldSSL.fastStart(t).login(t)
	halfway := fastStart(t, s) // its login has ten seconds
	halfway.login(t)

	current := installLeaf(t, dir, pki.ECDSA, tlsName)
	awaitLeaf(t, s, current)
	current = installLeaf(t, dir, pki.RSA, tlsName) // the other kind of key
	awaitLeaf(t, s, current)

	good, err := authority(t).Issue(pki.ECDSA, tlsName)
	if err != nil {
		t.Fatal(err)
	}
	otherName, err := authority(t).Issue(pki.ECDSA, "other.example.test")
	if err != nil {
		t.Fatal(err)
	}
	for _, broken := range []struct {
		what string
		leaf *pki.Leaf
	}{
		{"no certificate in it", &pki.Leaf{ChainPEM: []byte("broken\n"), KeyPEM: good.KeyPEM}},
		{"key of another", &pki.Leaf{ChainPEM: good.ChainPEM, KeyPEM: otherName.KeyPEM}},
		{"for another name", otherName},
		{"cut off", &pki.Leaf{ChainPEM: good.ChainPEM[:len(good.ChainPEM)/3], KeyPEM: good.KeyPEM}},
	} {
		from := len(s.Log())
		if err := broken.leaf.Install(dir, tlsName); err != nil {
			t.Fatal(err)
		}
		awaitLog(t, s, from, filepath.Join(dir, tlsName)) // .crt or .key
		if !shows(t, s, current) {
			t.Fatalf("%s: the old certificate is not shown any more", broken.what)
		}
	}
	if err := good.Install(dir, tlsName); err != nil {
		t.Fatal(err)
	}
	awaitLeaf(t, s, good)

	for _, p := range []*rawPeer{old, oldSSL.rawPeer, halfway} {
		p.mustLive(t)
		data := pattern(1400, 81)
		p.mustSend(t, wire.SendPacket(old.pub, data))
		old.mustReceive(t, p.pub, data)
	}
}

// sum adds up a metric over all its labels; it must be there.
func sum(t *testing.T, values map[string]float64, name string) float64 {
	t.Helper()
	var total float64
	var found bool
	for n, v := range values {
		if n == name || strings.HasPrefix(n, name+"{") {
			total += v
			found = true
		}
	}
	if !found {
		t.Fatalf("no metric %s", name)
	}
	return total
}

// TestRecordMetrics: a frame that is alone in its record, and its record alone
// in its segment, is decrypted into place and never copied.
func TestRecordMetrics(t *testing.T) {
	oursOnly(t, "metrics about records")
	s := privateServer(t, relay.Options{TLS: withCA(t, pki.ECDSA, tlsName)})
	p, q := login(t, s), login(t, s)
	p.mustLive(t)
	q.mustLive(t)
	before := varz(t, s)
	const n = 1000
	for i := range n {
		data := pattern(1+i, 91)
		p.mustSend(t, wire.SendPacket(q.pub, data))
		q.mustReceive(t, p.pub, data)
	}
	after := varz(t, s)
	grown := func(name string) float64 { return sum(t, after, name) - sum(t, before, name) }
	if got := sum(t, after, "ringrelay_frames_copied"); got != 0 {
		t.Errorf("ringrelay_frames_copied is %v, want 0", got)
	}
	for _, name := range []string{"ringrelay_records_opened", "ringrelay_records_sealed"} {
		// Reading the metrics takes records too.
		if got := grown(name); got < n || got > n+20 {
			t.Errorf("%s grew by %v for %d packets", name, got, n)
		}
	}
}
