package interop

import (
	"strconv"
	"strings"
	"testing"

	"ringrelay.test/interop/internal/relay"
)

// Names that need no name server; what one answers is in tests/unit/test_resolver.c.
const someLocalhost = "{\n\t\"localhost\": [\n\t\t\""

func bootstrapDNS(t *testing.T, s *relay.Server, query string) string {
	t.Helper()
	resp, body := ask(t, s, head("GET", "/bootstrap-dns"+query))
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("%s, %s", resp.Status, resp.Header.Get("Content-Type"))
	}
	if !resp.Close {
		t.Error("the connection is kept")
	}
	checkBrowserHeaders(t, resp, policy)
	return body
}

func countBootstrap(t *testing.T, s *relay.Server) map[string]float64 {
	t.Helper()
	counts := map[string]float64{}
	for name, v := range varz(t, s) {
		if short, ok := strings.CutPrefix(name, "bootstrap_dns_"); ok && v != 0 {
			counts[short] = v
		}
	}
	return counts
}

func checkCounts(t *testing.T, s *relay.Server, want map[string]float64) {
	t.Helper()
	got := countBootstrap(t, s)
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s is %v, want 0", name, got[name])
		}
	}
	for name, v := range want {
		if got[name] != v {
			t.Errorf("%s is %v, want %v", name, got[name], v)
		}
	}
}

func TestBootstrapDNSNothing(t *testing.T) {
	s := privateServer(t, relay.Options{})
	for _, query := range []string{"", "?q=", "?q=example.com", "?q=example.com&q=other", "?q=example.org", "?x=1"} {
		if body := bootstrapDNS(t, s, query); body != "" {
			t.Errorf("%s: body %q", query, body)
		}
	}
	checkCounts(t, s, map[string]float64{"requests": 6, "queried_domains": 2, "unpublished_misses": 3})
}

func TestBootstrapDNSPublished(t *testing.T) {
	s := privateServer(t, relay.Options{Args: []string{"-bootstrap-dns-names", "localhost"}})
	eventually(t, func() string {
		if body := bootstrapDNS(t, s, ""); !strings.HasPrefix(body, someLocalhost) || !strings.HasSuffix(body, "\"\n\t]\n}") {
			return body
		}
		return ""
	})
	requests := countBootstrap(t, s)["requests"]
	for _, query := range []string{"?q=localhost", "?q=example.com", "?q=local%68ost"} {
		if body := bootstrapDNS(t, s, query); !strings.HasPrefix(body, someLocalhost) {
			t.Errorf("%s: body %q", query, body)
		}
	}
	checkCounts(t, s, map[string]float64{"requests": requests + 3, "queried_domains": 2, "published_hits": 2, "unpublished_misses": 1})
}

func TestBootstrapDNSUnpublished(t *testing.T) {
	s := privateServer(t, relay.Options{Args: []string{"-unpublished-bootstrap-dns-names", "localhost"}})
	eventually(t, func() string {
		if body := bootstrapDNS(t, s, "?q=localhost"); !strings.HasPrefix(body, someLocalhost) {
			return body
		}
		return ""
	})
	if body := bootstrapDNS(t, s, ""); body != "" {
		t.Errorf("told to who does not ask: %q", body)
	}
	if body := bootstrapDNS(t, s, "?q=LOCALHOST"); body != "" {
		t.Errorf("told to who asks for another: %q", body)
	}
	got := countBootstrap(t, s)
	if got["unpublished_hits"] != 1 || got["unpublished_percent_misses"] != 0 || got["queried_domains"] != 2 {
		t.Errorf("counted %v", got)
	}
}

func TestBootstrapDNSForgetsQueries(t *testing.T) {
	s := privateServer(t, relay.Options{})
	for i := range 502 {
		bootstrapDNS(t, s, "?q=host-"+strconv.Itoa(i))
	}
	if got := varz(t, s)["bootstrap_dns_queried_domains"]; got != 1 {
		t.Errorf("%v domains after 502, want 1", got)
	}
}
