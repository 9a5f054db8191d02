package interop

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"ringrelay.test/interop/internal/pki"
	"ringrelay.test/interop/internal/relay"
	"tailscale.com/derp/derphttp"
	"tailscale.com/net/netmon"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
)

const day = 24 * time.Hour

// checkMeta requires the certificate that carries the server's key to be what
// clients and probers of every age expect.
func checkMeta(t *testing.T, s *relay.Server, meta *x509.Certificate) {
	t.Helper()
	name := "derpkey" + fastStart(t, s).server.UntypedHexString()
	rdn := pkix.RDNSequence{{{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: name}}}
	want, err := asn1.Marshal(rdn)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(meta.RawSubject, want) || !bytes.Equal(meta.RawIssuer, want) {
		t.Errorf("subject %v, issuer %v, want both to be CN=%s", meta.Subject, meta.Issuer, name)
	}
	if meta.Version != 3 || meta.SerialNumber.Int64() != 2 {
		t.Errorf("version %d, serial %v, want 3 and 2, the protocol version", meta.Version, meta.SerialNumber)
	}
	if pub, ok := meta.PublicKey.(ed25519.PublicKey); !ok || meta.SignatureAlgorithm != x509.PureEd25519 {
		t.Errorf("key %T, signature %v, want Ed25519", meta.PublicKey, meta.SignatureAlgorithm)
	} else if !ed25519.Verify(pub, meta.RawTBSCertificate, meta.Signature) {
		t.Error("not signed by itself")
	}
	if len(meta.Extensions) != 1 {
		t.Fatalf("%d extensions, want only BasicConstraints", len(meta.Extensions))
	}
	e := meta.Extensions[0]
	if !e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 19}) || !e.Critical || !bytes.Equal(e.Value, []byte{0x30, 0}) {
		t.Errorf("extension %+v, want BasicConstraints, critical, empty", e)
	}
	now := time.Now()
	if past := now.Sub(meta.NotBefore); past < 30*day-time.Hour || past > 31*day {
		t.Errorf("valid since %v, want 30 days ago", meta.NotBefore)
	}
	if left := meta.NotAfter.Sub(now); left < 29*day || left > 30*day+time.Hour {
		t.Errorf("valid until %v, want 30 days from the start", meta.NotAfter)
	}
	if len(meta.Raw) != 359 {
		t.Errorf("%d bytes, want 359", len(meta.Raw))
	}
}

// TestTLSChain: leaf, intermediate, and the server's key last, every time.
func TestTLSChain(t *testing.T) {
	s := privateServer(t, relay.Options{TLS: withCA(t, pki.ECDSA, tlsName)})
	var first []*x509.Certificate
	for i := range 20 {
		c := mustHandshake(t, dialTCP(t, s), s.TLSConfig())
		chain := c.ConnectionState().PeerCertificates
		c.Close()
		if len(chain) != 3 {
			t.Fatalf("handshake %d: %d certificates, want leaf, intermediate and the server's key", i, len(chain))
		}
		if i == 0 {
			first = chain
		}
		for j := range chain {
			if !chain[j].Equal(first[j]) {
				t.Fatalf("handshake %d: certificate %d differs from the first handshake's", i, j)
			}
		}
	}
	if err := first[0].VerifyHostname(tlsName); err != nil {
		t.Error(err)
	}
	if !first[1].Equal(authority(t).Intermediate) {
		t.Errorf("second certificate is %v, want the intermediate", first[1].Subject)
	}
	checkMeta(t, s, first[2])
}

// selfSigned starts a server that makes its own certificate for an address.
func selfSigned(t *testing.T, hostname, keyFile string) *relay.Server {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "not", "there", "yet")
	return privateServer(t, relay.Options{KeyFile: keyFile, TLS: &relay.TLS{CertDir: dir, Hostname: hostname}})
}

func region(t *testing.T, s *relay.Server, certName string) *tailcfg.DERPRegion {
	t.Helper()
	_, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return &tailcfg.DERPRegion{RegionID: 900, RegionCode: "test", Nodes: []*tailcfg.DERPNode{{
		Name: "1a", RegionID: 900, HostName: s.TLS.Hostname, IPv4: "127.0.0.1", IPv6: "none", DERPPort: n, CertName: certName,
	}}}
}

func regionClient(t *testing.T, priv key.NodePrivate, r *tailcfg.DERPRegion) *derphttp.Client {
	return derphttp.NewRegionClient(priv, t.Logf, netmon.NewStatic(), func() *tailcfg.DERPRegion { return r })
}

var nodeInLog = regexp.MustCompile(`\{.*"CertName":"sha256-raw:.*\}`)

// pinFromLog returns the CertName that the server tells its operator.
func pinFromLog(t *testing.T, s *relay.Server) string {
	t.Helper()
	var node tailcfg.DERPNode
	eventually(t, func() string { // the log may lag behind the server
		if err := json.Unmarshal([]byte(nodeInLog.FindString(s.Log())), &node); err != nil {
			return fmt.Sprintf("no DERPNode with a CertName in the log: %v\n%s", err, s.Log())
		}
		return ""
	})
	if node.HostName != s.TLS.Hostname || node.RegionID == 0 || node.Name == "" {
		t.Errorf("the logged DERPNode is %+v", node)
	}
	return node.CertName
}

// TestTLSPinnedSelfSigned is TestPinnedCertRawIP of the reference, and then a
// conversation.
func TestTLSPinnedSelfSigned(t *testing.T) {
	t.Parallel()
	s := selfSigned(t, "127.0.0.1", "")
	pin := pinFromLog(t, s)
	r := region(t, s, pin)
	c, closer, node, err := derphttp.NewNetcheckClient(t.Logf, netmon.NewStatic()).DialRegionTLS(t.Context(), r)
	if err != nil {
		t.Fatalf("DialRegionTLS: %v", err)
	}
	defer closer.Close()
	if node != r.Nodes[0] {
		t.Errorf("connected to %v", node)
	}
	chain := c.ConnectionState().PeerCertificates
	if len(chain) != 2 {
		t.Fatalf("%d certificates, want the leaf and the server's key and nothing else", len(chain))
	}
	if sum := sha256.Sum256(chain[0].Raw); pin != "sha256-raw:"+hex.EncodeToString(sum[:]) {
		t.Errorf("logged pin %s is not that of the leaf", pin)
	}
	checkMeta(t, s, chain[1])
	checkSelfSigned(t, chain[0])

	a, b := connectPinned(t, r), connectPinned(t, r)
	data := pattern(1400, 33)
	a.mustSend(t, b.pub, data)
	b.mustReceive(t, a.pub, data)
}

func connectPinned(t *testing.T, r *tailcfg.DERPRegion) *client {
	t.Helper()
	priv := key.NewNode()
	return attach(t, regionClient(t, priv, r), priv)
}

func checkSelfSigned(t *testing.T, leaf *x509.Certificate) {
	t.Helper()
	pub, ok := leaf.PublicKey.(*ecdsa.PublicKey)
	if !ok || pub.Curve != elliptic.P256() {
		t.Errorf("key is %T, want ECDSA P-256", leaf.PublicKey)
	}
	if err := leaf.CheckSignature(leaf.SignatureAlgorithm, leaf.RawTBSCertificate, leaf.Signature); err != nil {
		t.Errorf("not signed by itself: %v", err)
	}
	if err := leaf.VerifyHostname("127.0.0.1"); err != nil {
		t.Error(err)
	}
	if leaf.Subject.CommonName != "127.0.0.1" || leaf.IsCA || !leaf.BasicConstraintsValid ||
		leaf.KeyUsage != x509.KeyUsageDigitalSignature|x509.KeyUsageKeyEncipherment ||
		len(leaf.ExtKeyUsage) != 1 || leaf.ExtKeyUsage[0] != x509.ExtKeyUsageServerAuth {
		t.Errorf("CN %q, CA %v, usage %v %v: differs from derper's", leaf.Subject.CommonName, leaf.IsCA, leaf.KeyUsage, leaf.ExtKeyUsage)
	}
	if life := leaf.NotAfter.Sub(leaf.NotBefore); life < 364*day || life > 367*day {
		t.Errorf("valid for %v, want a year", life)
	}
	if time.Now().Before(leaf.NotBefore) {
		t.Errorf("not valid before %v", leaf.NotBefore)
	}
}

func TestTLSWrongPin(t *testing.T) {
	t.Parallel()
	s := selfSigned(t, "127.0.0.1", "")
	r := region(t, s, "sha256-raw:"+strings.Repeat("0", 64))
	dc := regionClient(t, key.NewNode(), r)
	defer dc.Close()
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	if err := dc.Connect(ctx); err == nil || !strings.Contains(err.Error(), "hash") {
		t.Fatalf("connect with a wrong pin: %v, want an error about the hash", err)
	}
	connectPinned(t, region(t, s, pinFromLog(t, s))) // the server is none the worse
}

// TestTLSSelfSignedFiles: the certificate is kept in files like derper's and
// served again after a restart.
func TestTLSSelfSignedFiles(t *testing.T) {
	t.Parallel()
	for _, hostname := range []string{"127.0.0.1", "::1", "192.0.2.7"} {
		first := selfSigned(t, hostname, "")
		pin := pinFromLog(t, first)
		if err := first.Stop(wait / 2); err != nil {
			t.Fatal(err)
		}
		base := filepath.Join(first.TLS.CertDir, strings.ReplaceAll(hostname, ":", ""))
		for name, mode := range map[string]os.FileMode{base + ".crt": 0o644, base + ".key": 0o600} {
			if st, err := os.Stat(name); err != nil {
				t.Error(err)
			} else if st.Mode().Perm() != mode {
				t.Errorf("%s: mode %v, want %v", name, st.Mode().Perm(), mode)
			}
		}
		if _, err := tls.LoadX509KeyPair(base+".crt", base+".key"); err != nil {
			t.Errorf("derper could not read the files: %v", err)
		}
		if text, err := os.ReadFile(base + ".key"); err != nil || !strings.HasPrefix(string(text), "-----BEGIN EC PRIVATE KEY") {
			t.Errorf("key file has another form than derper's (%v)", err)
		}
		again := privateServer(t, relay.Options{TLS: first.TLS})
		if now := pinFromLog(t, again); now != pin {
			t.Errorf("%s: pin after restart is %s, want %s", hostname, now, pin)
		}
	}
}
