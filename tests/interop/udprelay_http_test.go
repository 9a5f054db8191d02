package interop

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ringrelay.test/interop/internal/pki"
	"ringrelay.test/interop/internal/relay"
	"tailscale.com/net/udprelay/endpoint"
	"tailscale.com/types/key"
)

// Endpoints by HTTP: on the admin socket, and with a bearer token from elsewhere. Ours alone; Tailscale's nodes had it,
// with these statuses, for two months of 2025.

const goodToken = "interop-0123456789abcdef"

// door is one of the two ways in.
type door struct {
	name   string
	client *http.Client
	url    string
	token  string // empty: none is needed
	dial   func() (net.Conn, error)
}

// startWithDoors is a relay with TLS, tokens and an admin socket.
func startWithDoors(t *testing.T, args []string, hosts ...string) (*udpRelay, []door) {
	t.Helper()
	if program.Kind == relay.Derper {
		t.Skip("Tailscale's relay is asked over DERP alone")
	}
	tokens := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(tokens, []byte("# who may ask\n"+goodToken+" a note\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	u := startUDPRelayOn(t, hosts, func(relayArgs ...string) *relay.Server {
		return privateServer(t, relay.Options{Host: "::", TLS: withCA(t, pki.ECDSA, tlsName),
			Args: slices.Concat(relayArgs, []string{"-relay-token-file", tokens}, args)})
	})
	socket := u.udpRelayKind.(*ourRelay).socket
	return u, []door{
		{"admin socket", overAdmin(socket), "http://admin", "", func() (net.Conn, error) { return net.Dial("unix", socket) }},
		{"HTTPS", u.derp.HTTPClient(), u.derp.URL(""), goodToken,
			func() (net.Conn, error) { return tls.Dial("tcp", u.derp.Addr, u.derp.TLSConfig()) }},
	}
}

// do sends one request; headers are "Name: value".
func (d door) do(t *testing.T, method, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, d.url+endpointPath, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if d.token != "" {
		req.Header.Set("Authorization", "Bearer "+d.token)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if req.Header.Del(name); value != "" {
			req.Header.Set(name, value)
		}
	}
	resp, err := d.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(text)
}

func TestUDPRelayHTTP(t *testing.T) {
	t.Parallel()
	u, doors := startWithDoors(t, nil, "127.0.0.1", "::1")
	fresh := func() key.DiscoPublic { return key.NewDisco().Public() }
	pair := func() string { return string(endpointRequest(fresh(), fresh())) }
	k, l := fresh().String(), fresh().String()
	ofSize := func(size int) string {
		body := fmt.Sprintf(`{"DiscoKeys":[%q,%q]}`, k, l)
		return body + strings.Repeat(" ", size-len(body))
	}
	bodies := map[string]struct {
		status int
		body   string
	}{
		"a pair":                 {200, pair()},
		"names in any case":      {200, fmt.Sprintf(`{"discokeys":[%q,%q]}`, k, l)},
		"other members":          {200, fmt.Sprintf(`{"x":[1,{}],"DiscoKeys":[%q,%q],"y":null}`, k, l)},
		"white space":            {200, fmt.Sprintf(" {\n\"DiscoKeys\" :\t[%q , %q ]} \r\n", k, l)},
		"hex in upper case":      {200, fmt.Sprintf(`{"DiscoKeys":["discokey:%s",%q]}`, strings.ToUpper(k[9:]), l)},
		"512 bytes":              {200, ofSize(512)},
		"nothing":                {400, ""},
		"not JSON":               {400, "DiscoKeys"},
		"half of it":             {400, pair()[:80]},
		"two objects":            {400, pair() + "{}"},
		"an array":               {400, fmt.Sprintf(`[%q,%q]`, k, l)},
		"null":                   {400, "null"},
		"no members":             {400, "{}"},
		"no keys":                {400, `{"DiscoKeys":[]}`},
		"keys null":              {400, `{"DiscoKeys":null}`},
		"one key":                {400, fmt.Sprintf(`{"DiscoKeys":[%q]}`, k)},
		"three keys":             {400, fmt.Sprintf(`{"DiscoKeys":[%q,%q,%q]}`, k, l, fresh())},
		"text instead of keys":   {400, fmt.Sprintf(`{"DiscoKeys":%q}`, k)},
		"numbers instead":        {400, `{"DiscoKeys":[1,2]}`},
		"objects instead":        {400, fmt.Sprintf(`{"DiscoKeys":{"0":%q,"1":%q}}`, k, l)},
		"a node key":             {400, fmt.Sprintf(`{"DiscoKeys":[%q,%q]}`, key.NewNode().Public(), l)},
		"no prefix":              {400, fmt.Sprintf(`{"DiscoKeys":[%q,%q]}`, k[9:], l)},
		"a digit too few":        {400, fmt.Sprintf(`{"DiscoKeys":[%q,%q]}`, k[:72], l)},
		"a digit too many":       {400, fmt.Sprintf(`{"DiscoKeys":["%s0",%q]}`, k, l)},
		"no hex":                 {400, fmt.Sprintf(`{"DiscoKeys":["%sg",%q]}`, k[:72], l)},
		"empty texts":            {400, `{"DiscoKeys":["",""]}`},
		"513 bytes":              {400, ofSize(513)},
		"2000 bytes":             {400, ofSize(2000)},
		"deep":                   {400, strings.Repeat("[", 500)},
		"a zero key":             {400, string(endpointRequest(fresh(), key.DiscoPublic{}))},
		"the same key twice":     {400, fmt.Sprintf(`{"DiscoKeys":[%q,%q]}`, k, k)},
		"the relay's key":        {400, string(endpointRequest(u.mustAllocate(t, fresh(), fresh()).ServerDisco, fresh()))},
		"no UTF-8 among members": {400, fmt.Sprintf("{\"x\":\"\xff\",\"DiscoKeys\":[%q]}", k)},
	}
	for _, d := range doors {
		t.Run(d.name, func(t *testing.T) {
			for name, c := range bodies {
				t.Run(name, func(t *testing.T) {
					resp, text := d.do(t, "POST", c.body)
					if resp.StatusCode != c.status {
						t.Fatalf("%d, %q, want %d", resp.StatusCode, text, c.status)
					}
					if c.status == 200 {
						mustBeEndpoint(t, u, resp, text)
					} else {
						mustBeSentence(t, resp, text)
					}
				})
			}
			t.Run("one endpoint by both doors", func(t *testing.T) {
				body := pair()
				_, one := d.do(t, "POST", body)
				for _, other := range doors {
					if _, again := other.do(t, "POST", body); again != one {
						t.Errorf("%s: got %s, want %s", other.name, again, one)
					}
				}
			})
			for _, method := range []string{"GET", "PUT", "DELETE", "OPTIONS"} {
				t.Run(method, func(t *testing.T) {
					resp, _ := d.do(t, method, "")
					if resp.StatusCode != 405 || resp.Header.Get("Allow") != "POST" {
						t.Errorf("%s, Allow %q", resp.Status, resp.Header.Get("Allow"))
					}
				})
			}
			t.Run("in chunks", func(t *testing.T) { // no client of the protocol does it
				body := pair()
				resp, text := d.raw(t, "Transfer-Encoding: chunked", fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body), 0)
				if resp.StatusCode < 400 || resp.StatusCode > 499 {
					t.Errorf("%s", resp.Status)
				}
				mustBeSentence(t, resp, text)
			})
			t.Run("byte by byte", func(t *testing.T) {
				body := pair()
				resp, text := d.raw(t, fmt.Sprint("Content-Length: ", len(body)), body, 1)
				if resp.StatusCode != 200 {
					t.Fatalf("%s: %s", resp.Status, text)
				}
				mustBeEndpoint(t, u, resp, text)
			})
		})
	}
	t.Run("tokens", func(t *testing.T) {
		d := doors[1]
		for name, c := range map[string]struct {
			status int
			header string
		}{
			"none":             {401, "Authorization: "},
			"wrong":            {403, "Authorization: Bearer interop-0123456789abcdeF"},
			"longer":           {403, "Authorization: Bearer " + goodToken + "0"},
			"shorter":          {403, "Authorization: Bearer " + goodToken[:len(goodToken)-1]},
			"the note":         {403, "Authorization: Bearer a note"},
			"a comment":        {403, "Authorization: Bearer #"},
			"empty":            {401, "Authorization: Bearer "},
			"of another kind":  {401, "Authorization: Basic " + goodToken},
			"scheme in caps":   {200, "Authorization: BEARER " + goodToken},
			"more white space": {200, "Authorization: Bearer   " + goodToken},
		} {
			t.Run(name, func(t *testing.T) {
				resp, text := d.do(t, "POST", pair(), c.header)
				if resp.StatusCode != c.status {
					t.Fatalf("%d, %q, want %d", resp.StatusCode, text, c.status)
				}
				if strings.Contains(text, goodToken) {
					t.Errorf("the answer gives the token away: %q", text)
				}
				if challenge := resp.Header.Get("WWW-Authenticate"); (c.status == 401) != strings.HasPrefix(challenge, "Bearer") {
					t.Errorf("WWW-Authenticate %q", challenge)
				}
			})
		}
		if strings.Contains(u.derp.Log(), goodToken) {
			t.Error("the log gives the token away")
		}
	})
	t.Run("many at once", func(t *testing.T) {
		var running sync.WaitGroup
		for i := range 20 { // the admin socket takes 16
			running.Go(func() {
				req, _ := http.NewRequest("POST", doors[i%2].url+endpointPath, strings.NewReader(pair()))
				req.Header.Set("Authorization", "Bearer "+goodToken)
				resp, err := doors[i%2].client.Do(req)
				if err != nil {
					t.Error(err)
					return
				}
				defer resp.Body.Close()
				if _, err := parseEndpoint(resp); err != nil {
					if _, later := err.(notReady); !later { // a token has so many per second
						t.Error(err)
					}
				}
			})
		}
		running.Wait()
	})
}

// mustBeEndpoint: names and kinds of an answer are those that Tailscale's type writes, and no others.
func mustBeEndpoint(t *testing.T, u *udpRelay, resp *http.Response, text string) {
	t.Helper()
	if kind := resp.Header.Get("Content-Type"); kind != "application/json" {
		t.Errorf("Content-Type %q", kind)
	}
	var e endpoint.ServerEndpoint
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	want, err := json.Marshal(&e)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, bytes.TrimSpace([]byte(text))) {
		t.Errorf("got  %s\nwant %s", text, want)
	}
	if len(e.AddrPorts) != 2 || e.AddrPorts[0] != u.at("127.0.0.1") || e.AddrPorts[1] != u.at("::1") ||
		e.VNI == 0 || e.LamportID == 0 || e.ServerDisco.IsZero() || e.ClientDisco[0].Compare(e.ClientDisco[1]) >= 0 {
		t.Errorf("got %+v", e)
	}
}

func mustBeSentence(t *testing.T, resp *http.Response, text string) {
	t.Helper()
	kind := resp.Header.Get("Content-Type")
	if !strings.HasPrefix(kind, "text/plain") || len(strings.TrimSpace(text)) < 10 {
		t.Errorf("%s: a %q of %q", resp.Status, kind, text)
	}
}

// raw sends a request in pieces of that size; 0: in one.
func (d door) raw(t *testing.T, header, body string, piece int) (*http.Response, string) {
	t.Helper()
	c, err := d.dial()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	request := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\n%s\r\n", endpointPath, header)
	if d.token != "" {
		request += "Authorization: Bearer " + d.token + "\r\n"
	}
	request += "\r\n" + body
	for rest := []byte(request); len(rest) > 0; {
		n := len(rest)
		if piece > 0 {
			n = min(n, piece)
		}
		if _, err := c.Write(rest[:n]); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	c.SetReadDeadline(time.Now().Add(wait))
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(text)
}

// TestUDPRelayHTTPOff: without the flag there is no UDP relay, and the page says so.
func TestUDPRelayHTTPOff(t *testing.T) {
	t.Parallel()
	if program.Kind == relay.Derper {
		t.Skip("ours alone")
	}
	resp, err := shared.HTTPClient().Post(shared.URL(endpointPath), "application/json",
		bytes.NewReader(endpointRequest(key.NewDisco().Public(), key.NewDisco().Public())))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNotFound {
		t.Errorf("%s", resp.Status)
	}
}

// TestUDPRelayHTTPLimits: what a table and a requester may hold, and how fast; what is refused comes back later.
func TestUDPRelayHTTPLimits(t *testing.T) {
	t.Parallel()
	u, doors := startWithDoors(t, []string{"-relay-endpoints-max", "64", "-relay-unbound-max", "64",
		"-relay-requester-max", "8"}, "127.0.0.1", "::1")
	ask := func(d door) bool {
		resp, text := d.do(t, "POST", string(endpointRequest(key.NewDisco().Public(), key.NewDisco().Public())))
		if resp.StatusCode != http.StatusOK {
			mustBeSentence(t, resp, text)
			if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") != "3" {
				t.Fatalf("%s, Retry-After %q: %s", resp.Status, resp.Header.Get("Retry-After"), text)
			}
		}
		return resp.StatusCode == http.StatusOK
	}
	granted := 0
	for range 20 {
		if ask(doors[1]) {
			granted++
		}
	}
	if granted != 8 {
		t.Errorf("%d endpoints for one token, want 8", granted)
	}
	a, b := boundPair(t, u, "127.0.0.1", "127.0.0.1")
	for ask(doors[0]) { // who is trusted may fill the table
		if granted++; granted > 64 {
			t.Fatalf("%d endpoints, want at most 64", granted)
		}
	}
	if granted != 64-1 {
		t.Errorf("%d endpoints beside a pair that is bound, want 63", granted)
	}
	a.mustPass(t, b, "a full table is nobody's trouble who is bound")
	u.mustAllocate(t, a.private.Public(), b.private.Public())
	a.settle(t)
}
