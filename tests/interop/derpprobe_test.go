package interop

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"ringrelay.test/interop/internal/pki"
	"ringrelay.test/interop/internal/relay"
	"ringrelay.test/interop/internal/tools"
	"tailscale.com/tailcfg"
)

// The real derpprobe, a process of its own, against a relay as operators run
// it: TLS with a name that resolves and a certificate that an authority
// signed, STUN, both families.

const (
	// resolvedName is the one name that resolves to this machine everywhere.
	resolvedName = "localhost"

	probeRegion = "test"
	probeNode   = "1a"
	probeWait   = 90 * time.Second // derpprobe says that it may take a minute

	metricSTUN = `stun_requests{disposition="success"}`
)

// What derpprobe calls its probes of one node; the bandwidth is extra.
const (
	probeOfMap  = "derpmap-probe"
	probeOfTLS  = "derp/" + probeRegion + "/" + probeNode + "/tls"
	probeOfUDP4 = "derp/" + probeRegion + "/" + probeNode + "/udp"
	probeOfUDP6 = "derp/" + probeRegion + "/" + probeNode + "/udp6"
	probeOfPair = "derp/" + probeRegion + "/" + probeNode + "/" + probeNode + "/mesh"
	probeOfBulk = "derp/" + probeRegion + "/" + probeNode + "/" + probeNode + "/bw"
)

// wholeRelay is a relay as operators run it, and its node for the DERP map.
func wholeRelay(t *testing.T, life time.Duration) (*relay.Server, *tailcfg.DERPNode) {
	t.Helper()
	return wholeRelayWith(t, life, relay.Options{})
}

func wholeRelayWith(t *testing.T, life time.Duration, o relay.Options) (*relay.Server, *tailcfg.DERPNode) {
	t.Helper()
	dir := t.TempDir()
	leaf, err := authority(t).IssueFor(life, pki.ECDSA, resolvedName)
	if err == nil {
		err = leaf.Install(dir, resolvedName)
	}
	if err != nil {
		t.Fatal(err)
	}
	o.Host = "::" // both families
	o.TLS = &relay.TLS{CertDir: dir, Hostname: resolvedName, Roots: authority(t).Roots}
	s, stunPort := withSTUN(t, o)
	_, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	derpPort, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return s, &tailcfg.DERPNode{
		Name: probeNode, RegionID: 900, HostName: resolvedName, IPv4: "127.0.0.1", IPv6: "::1",
		DERPPort: derpPort, STUNPort: stunPort, STUNTestIP: "127.0.0.1",
	}
}

func derpMap(n *tailcfg.DERPNode) *tailcfg.DERPMap {
	return &tailcfg.DERPMap{
		OmitDefaultRegions: true,
		Regions: map[tailcfg.DERPRegionID]*tailcfg.DERPRegion{n.RegionID: {
			RegionID: n.RegionID, RegionCode: probeRegion, RegionName: "Test", Nodes: []*tailcfg.DERPNode{n},
		}},
	}
}

// trustAuthority is the environment of a program that trusts our authority
// and nobody else.
func trustAuthority(t *testing.T) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "root.pem")
	if err := os.WriteFile(file, authority(t).RootPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	return append(os.Environ(), "SSL_CERT_FILE="+file, "SSL_CERT_DIR="+t.TempDir())
}

// verdict is what derpprobe printed at its end: names of probes to the
// latency, or to the fault it found.
type verdict struct {
	good, bad map[string]string
	ok        bool // by its exit code
	log       string
}

var verdictLine = regexp.MustCompile(`(?m)^\S+ \S+ (good|bad): (\S+): (.*)$`)

// derpprobe probes one node once.
func derpprobe(t *testing.T, n *tailcfg.DERPNode, args ...string) verdict {
	t.Helper()
	path, err := tools.Derpprobe.Path(scratch)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(derpMap(n))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "derpmap.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), probeWait)
	defer cancel()
	// Spreading is a random wait before each probe.
	args = append([]string{"-once", "-spread=false", "-derp-map", "file://" + file}, args...)
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = trustAuthority(t)
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		t.Fatalf("derpprobe did not end within %v:\n%s", probeWait, out)
	}
	v := verdict{good: map[string]string{}, bad: map[string]string{}, ok: err == nil, log: string(out)}
	for _, m := range verdictLine.FindAllStringSubmatch(v.log, -1) {
		if m[1] == "good" {
			v.good[m[2]] = m[3]
		} else {
			v.bad[m[2]] = m[3]
		}
	}
	if v.ok != (len(v.bad) == 0) {
		t.Fatalf("derpprobe ended with %v, but found fault with %v:\n%s", err, v.bad, v.log)
	}
	return v
}

// mustBe requires these names and no others.
func (v verdict) mustBe(t *testing.T, good, bad []string) {
	t.Helper()
	for _, c := range []struct {
		what string
		got  map[string]string
		want []string
	}{{"good", v.good, good}, {"bad", v.bad, bad}} {
		if got := slices.Sorted(maps.Keys(c.got)); !slices.Equal(got, slices.Sorted(slices.Values(c.want))) {
			t.Errorf("derpprobe calls %v %s, want %v; its log:\n%s", got, c.what, c.want, v.log)
		}
	}
}

func bandwidth(size int) []string {
	// The time a probe may take is 0.8 of its interval.
	return []string{"-bw-interval", "30s", "-bw-probe-size-bytes", strconv.Itoa(size)}
}

// testDerpprobe is everything derpprobe asks of one node, and that the relay
// saw it do so.
func testDerpprobe(t *testing.T) {
	const size = 1_000_000 // derpprobe's default
	s, node := wholeRelay(t, 30*day)
	before := varz(t, s)
	v := derpprobe(t, node, bandwidth(size)...)
	v.mustBe(t, []string{probeOfMap, probeOfTLS, probeOfUDP4, probeOfUDP6, probeOfPair, probeOfBulk}, nil)
	t.Logf("latencies: %v", v.good)

	after := varz(t, s)
	rose := func(name string) float64 { return after[name] - before[name] }
	// Two clients for the pair, two for the bandwidth.
	if n := rose("derp_accepts"); n != 4 {
		t.Errorf("%v logins, want 4", n)
	}
	if n := rose("derp_bytes_received"); n < size {
		t.Errorf("%v bytes received, want %d at least", n, size)
	}
	if n := rose(metricSTUN); n != 2 {
		t.Errorf("%v STUN requests answered, want one of each family", n)
	}
	for _, family := range []string{"ipv4", "ipv6"} {
		if n := rose(fmt.Sprintf("stun_addrfamily{family=%q}", family)); n != 1 {
			t.Errorf("%v STUN requests by %s, want 1", n, family)
		}
	}
}

// testDerpprobeVolume is the bandwidth probe with the volume of the prober's
// own test.
func testDerpprobeVolume(t *testing.T) {
	s, node := wholeRelay(t, 30*day)
	off := []string{"-mesh-interval=0", "-stun-interval=0", "-tls-interval=0"}
	v := derpprobe(t, node, append(off, bandwidth(probeBytes())...)...)
	v.mustBe(t, []string{probeOfMap, probeOfBulk}, nil)
	t.Logf("%d MB in %s", probeBytes()/1_000_000, v.good[probeOfBulk])
	if dropped := sum(t, varz(t, s), metricDropped); dropped != 0 {
		t.Errorf("%v packets dropped", dropped)
	}
}

// testDerpprobeFaults: what it calls bad. So "good" above means something.
func testDerpprobeFaults(t *testing.T) {
	t.Run("certificate", func(t *testing.T) {
		_, node := wholeRelay(t, 6*day)
		v := derpprobe(t, node, "-stun-interval=0")
		v.mustBe(t, []string{probeOfMap, probeOfPair}, []string{probeOfTLS})
		if !strings.Contains(v.bad[probeOfTLS], "expires in") {
			t.Errorf("derpprobe on a certificate of 6 days: %s", v.bad[probeOfTLS])
		}
	})
	t.Run("STUN", func(t *testing.T) {
		_, node := wholeRelay(t, 30*day)
		silent, err := net.ListenUDP("udp", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
		node.STUNPort = silent.LocalAddr().(*net.UDPAddr).Port
		v := derpprobe(t, node, "-mesh-interval=0", "-stun-interval=1s")
		v.mustBe(t, []string{probeOfMap, probeOfTLS}, []string{probeOfUDP4, probeOfUDP6})
	})
}
