package interop

import (
	"bufio"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"ringrelay.test/interop/internal/pki"
	"ringrelay.test/interop/internal/relay"
	"ringrelay.test/interop/internal/wire"
	"tailscale.com/derp"
	"tailscale.com/types/key"
)

// adminServer starts a relay with two workers that share clients evenly; nil: plain HTTP.
func adminServer(t *testing.T, o *relay.TLS) (*relay.Server, string) {
	t.Helper()
	if program.Kind == relay.Derper {
		t.Skip("derper has no admin socket")
	}
	path := filepath.Join(t.TempDir(), "admin.sock")
	return privateServer(t, relay.Options{TLS: o, Args: []string{"-admin-socket", path, "-workers", "2",
		"-placement", "spread"}}), path
}

type adminConn struct {
	net.Conn
	br *bufio.Reader
}

func dialAdmin(path string) (*adminConn, error) {
	c, err := net.DialTimeout("unix", path, wait)
	if err != nil {
		return nil, err
	}
	return &adminConn{c, bufio.NewReader(c)}, nil
}

// ask sends one line and parses the answer into into.
func (c *adminConn) ask(request string, into any) error {
	c.SetDeadline(time.Now().Add(wait))
	if _, err := fmt.Fprintln(c, request); err != nil {
		return err
	}
	line, err := c.br.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("after %d bytes of an answer: %w", len(line), err)
	}
	var head struct {
		V     int
		OK    bool
		Error string
	}
	if err := json.Unmarshal(line, &head); err != nil {
		return fmt.Errorf("%.200q: %w", line, err)
	}
	if head.V != 1 || !head.OK {
		return fmt.Errorf("answer of version %d: %q", head.V, head.Error)
	}
	return json.Unmarshal(line, into)
}

type adminClient struct {
	Key             string `json:"key"`
	Address         string `json:"address"`
	Worker          int    `json:"worker"`
	PacketsReceived int    `json:"packets_received"`
	PacketsSent     int    `json:"packets_sent"`
	BytesReceived   int    `json:"bytes_received"`
	BytesSent       int    `json:"bytes_sent"`
	Home            bool   `json:"home"`
	Active          bool   `json:"active"`
}

type adminList struct {
	Connections int           `json:"connections"`
	Matching    int           `json:"matching"`
	Complete    bool          `json:"complete"`
	Clients     []adminClient `json:"clients"`
}

// listed asks for all clients by key; every key must be there once.
func listed(c *adminConn, more string) (map[string]adminClient, error) {
	var list adminList
	if err := c.ask(`{"v":1,"cmd":"clients"`+more+`}`, &list); err != nil {
		return nil, err
	}
	if !list.Complete || list.Matching != len(list.Clients) {
		return nil, fmt.Errorf("%d of %d, complete: %v", len(list.Clients), list.Matching, list.Complete)
	}
	byKey := make(map[string]adminClient)
	for _, client := range list.Clients {
		if _, twice := byKey[client.Key]; twice {
			return nil, fmt.Errorf("%s is listed twice", client.Key)
		}
		byKey[client.Key] = client
	}
	return byKey, nil
}

// babble keeps two clients busy with each other until the test is over.
func babble(t *testing.T, s *relay.Server) {
	a, b := login(t, s), login(t, s)
	data := pattern(1000, 1)
	var running sync.WaitGroup
	for _, pair := range [][2]*rawPeer{{a, b}, {b, a}} {
		running.Add(1)
		go func() {
			defer running.Done()
			packet := wire.SendPacket(pair[1].pub, data)
			for pair[0].Send(packet) == nil {
				if f, err := pair[0].ReadFrame(); err != nil || f.Type != derp.FrameRecvPacket {
					return
				}
			}
		}()
	}
	t.Cleanup(func() { a.Close(); b.Close(); running.Wait() })
}

// harass does on the admin socket what broken programs might, until stop.
func harass(path string, stop <-chan struct{}) {
	garbage := []string{"{\"v\":1,", strings.Repeat("x", 1<<20), strings.Repeat("[", 4000) + "\n",
		"\n\n\n\n", "{\"v\":1,\"cmd\":\"clients\"}\n", "\x00\xff\n"}
	for round := 0; ; round++ {
		var conns []net.Conn
		for i := range 100 {
			c, err := net.DialTimeout("unix", path, wait)
			if err != nil {
				break
			}
			conns = append(conns, c)
			c.SetDeadline(time.Now().Add(100 * time.Millisecond))
			c.Write([]byte(garbage[(i+round)%len(garbage)]))
		}
		for _, c := range conns {
			c.Close()
		}
		select {
		case <-stop:
			return
		default:
		}
	}
}

func TestAdminList(t *testing.T) {
	t.Parallel()
	const count = 1000
	s, path := adminServer(t, nil)
	peers := make([]*rawPeer, count)
	for i := range peers {
		peers[i] = login(t, s)
	}
	babble(t, s)
	c, err := dialAdmin(path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	// Peer i sends i%5+1 packets of i%1400 bytes to the next one.
	packets := func(i int) int { return i%5 + 1 }
	size := func(i int) int { return i % 1400 }
	var sending sync.WaitGroup
	sending.Add(1)
	go func() {
		defer sending.Done()
		for i, p := range peers {
			data := pattern(size(i), uint64(i))
			for range packets(i) {
				p.trySend(wire.SendPacket(peers[(i+1)%count].pub, data))
			}
		}
	}()
	check := func() string {
		byKey, err := listed(c, "")
		if err != nil {
			return err.Error()
		}
		if len(byKey) != count+2 {
			return fmt.Sprintf("%d clients, not %d", len(byKey), count+2)
		}
		var onWorker [2]int
		for i, p := range peers {
			before := (i + count - 1) % count
			got := byKey[p.pub.String()]
			want := adminClient{Key: p.pub.String(), Address: p.LocalAddr().String(), Worker: got.Worker, Active: true,
				PacketsReceived: packets(i), BytesReceived: packets(i) * size(i),
				PacketsSent: packets(before), BytesSent: packets(before) * size(before)}
			if got != want {
				return fmt.Sprintf("peer %d is listed as\n%+v, not\n%+v", i, got, want)
			}
			onWorker[got.Worker]++
		}
		if onWorker[0] < count/3 || onWorker[1] < count/3 {
			return fmt.Sprintf("workers have %v", onWorker)
		}
		return ""
	}
	eventually(t, check)
	sending.Wait()
	p := peers[321]
	for _, filter := range []string{`,"key":"` + p.pub.String() + `"`, `,"address":"` + p.LocalAddr().String() + `"`} {
		byKey, err := listed(c, filter)
		if err != nil || len(byKey) != 1 || byKey[p.pub.String()].Key == "" {
			t.Errorf("with %s: %d clients, error %v", filter, len(byKey), err)
		}
	}
	var status struct {
		Connections int `json:"connections"`
		Workers     []struct {
			Connections int `json:"connections"`
		} `json:"workers"`
	}
	if err := c.ask(`{"v":1,"cmd":"status"}`, &status); err != nil {
		t.Fatal(err)
	}
	if sum := status.Workers[0].Connections + status.Workers[1].Connections; status.Connections != count+2 || sum != count+2 {
		t.Errorf("status counts %d connections, and %d by worker", status.Connections, sum)
	}
}

// Every list is whole while clients come and go around those that stay.
func TestAdminListWhileClientsComeAndGo(t *testing.T) {
	t.Parallel()
	s, path := adminServer(t, nil)
	stay := make([]*rawPeer, 200)
	for i := range stay {
		stay[i] = login(t, s)
	}
	stop := make(chan struct{})
	var coming sync.WaitGroup
	coming.Add(1)
	go func() {
		defer coming.Done()
		for {
			select {
			case <-stop:
				return
			default:
			}
			p, err := wire.Dial(s.Addr, wait, 0)
			if err != nil {
				return
			}
			priv := key.NewNode()
			raw := &rawPeer{Conn: p, priv: priv, pub: priv.Public()}
			raw.Send(wire.Request(s.Addr, "DERP", wire.FastStart))
			if raw.server, err = raw.ReadServerKey(); err == nil {
				raw.Send(raw.clientInfo(wire.DefaultInfo))
				raw.ReadFrame()
			}
			raw.Close()
		}
	}()
	defer coming.Wait()
	defer close(stop)
	c, err := dialAdmin(path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 100 {
		byKey, err := listed(c, `,"sort":"address"`)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range stay {
			if _, ok := byKey[p.pub.String()]; !ok {
				t.Fatalf("%s is connected and not listed", p.pub)
			}
		}
	}
}

// What programs do on the admin socket is nobody else's trouble: packets go
// on, and who asks properly gets an answer sooner or later.
func TestAdminHarassed(t *testing.T) {
	t.Parallel()
	s, path := adminServer(t, nil)
	a, b := login(t, s), login(t, s)
	half, err := dialAdmin(path) // half a line for ever
	if err != nil {
		t.Fatal(err)
	}
	defer half.Close()
	fmt.Fprint(half, `{"v":1`)
	stop := make(chan struct{})
	var harassing sync.WaitGroup
	for range 4 {
		harassing.Add(1)
		go func() { defer harassing.Done(); harass(path, stop) }()
	}
	data := pattern(1200, 7)
	answered := 0
	for i := range 300 {
		a.mustSend(t, wire.SendPacket(b.pub, data))
		b.mustReceive(t, a.pub, data)
		if i%10 != 0 {
			continue
		}
		if c, err := dialAdmin(path); err == nil {
			if _, err := listed(c, ""); err == nil {
				answered++
			}
			c.Close()
		}
	}
	close(stop)
	harassing.Wait()
	t.Logf("%d of 30 answered in the crowd", answered)
	eventually(t, func() string {
		c, err := dialAdmin(path)
		if err != nil {
			return err.Error()
		}
		defer c.Close()
		byKey, err := listed(c, "")
		if err != nil {
			return err.Error()
		}
		if len(byKey) != 2 {
			return fmt.Sprintf("%d clients, not 2", len(byKey))
		}
		return ""
	})
}

// What status says of the certificate is what clients are shown.
func TestAdminStatusTLS(t *testing.T) {
	t.Parallel()
	s, path := adminServer(t, withCA(t, pki.ECDSA, tlsName))
	p := login(t, s)
	c, err := dialAdmin(path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var status struct {
		TLS struct {
			Hostname string `json:"hostname"`
			NotAfter int64  `json:"not_after"`
			Pin      string `json:"pin"`
		} `json:"tls"`
		Listening []string `json:"listening"`
		STUN      *string  `json:"stun"`
		PublicKey string   `json:"public_key"`
	}
	if err := c.ask(`{"v":1,"cmd":"status"}`, &status); err != nil {
		t.Fatal(err)
	}
	nc, err := tls.Dial("tcp", s.Addr, s.TLSConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	leaf := nc.ConnectionState().PeerCertificates[0]
	if status.TLS.Hostname != tlsName || status.TLS.NotAfter != leaf.NotAfter.Unix() ||
		status.TLS.Pin != fmt.Sprintf("%x", sha256.Sum256(leaf.Raw)) {
		t.Errorf("status says %+v", status.TLS)
	}
	if status.PublicKey != p.server.String() || len(status.Listening) != 1 || status.Listening[0] != s.Addr {
		t.Errorf("status says %+v of %s at %s", status, p.server, s.Addr)
	}
	byKey, err := listed(c, "")
	if got := byKey[p.pub.String()]; err != nil || len(byKey) != 1 || got.Address != p.LocalAddr().String() {
		t.Errorf("listed: %v, %v", byKey, err)
	}
}
