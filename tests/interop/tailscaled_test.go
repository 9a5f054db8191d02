package interop

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"ringrelay.test/interop/internal/relay"
	"ringrelay.test/interop/internal/tools"
	"tailscale.com/ipn/ipnstate"
	"tailscale.com/tailcfg"
	"tailscale.com/tstest/integration/testcontrol"
)

// Real tailscaled processes with userspace networking, the reference's
// control server for tests, and a DERP map with our relay and nothing else.
// The nodes are told never to send to each other directly.

// machine is one tailscaled.
type machine struct {
	name   string
	path   string
	socket string
	ip     string // once it is up
	log    lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// fakeControl is the control server; it hands out dm.
func fakeControl(t *testing.T, dm *tailcfg.DERPMap) *testcontrol.Server {
	t.Helper()
	c := &testcontrol.Server{DERPMap: dm, AllOnline: true, PeerRelayGrants: true, Logf: func(string, ...any) {}}
	c.HTTPTestServer = httptest.NewServer(c)
	t.Cleanup(func() {
		c.HTTPTestServer.CloseClientConnections() // nodes poll for ever
		c.HTTPTestServer.Close()
	})
	return c
}

// startMachine starts tailscaled; it ends with the test.
func startMachine(t *testing.T, name string) *machine {
	t.Helper()
	path, err := tools.Tailscaled.Path(scratch)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(scratch, name) // t.TempDir() may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{name: name, path: path, socket: filepath.Join(dir, "sock")}
	cmd := exec.Command(path, "--tun=userspace-networking", "--port=0", "--state=mem:", "--statedir="+dir,
		"--socket="+m.socket, "--no-logs-no-support")
	cmd.Env = append(trustAuthority(t),
		"TS_DEBUG_NEVER_DIRECT_UDP=1",
		"TS_ASSUME_NETWORK_UP_FOR_TEST=1", // loopback is enough
		"TS_PANIC_IF_HIT_MAIN_CONTROL=1",
		"TS_DISABLE_PORTMAPPER=1",
		"TS_LOGS_DIR="+dir,
	)
	cmd.Stdout, cmd.Stderr = &m.log, &m.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, ended := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread() // Pdeathsig is about this thread
		err := cmd.Start()
		started <- err
		if err == nil {
			cmd.Wait()
		}
		close(ended)
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-ended
		if t.Failed() {
			t.Logf("log of %s:\n%s", m.name, m.log.String())
		}
	})
	return m
}

// command is the tailscale command, with a deadline.
func (m *machine) command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*wait)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, m.path, append([]string{"--socket=" + m.socket}, args...)...)
	cmd.Env = append(os.Environ(), "TS_BE_CLI=1")
	return cmd
}

func (m *machine) run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := m.command(t, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: tailscale %v: %v\n%s", m.name, args, err, out)
	}
	return string(out)
}

// join makes machines nodes of the control server's network, all at once: each
// takes three seconds.
func join(t *testing.T, control *testcontrol.Server, machines ...*machine) {
	t.Helper()
	var wg sync.WaitGroup
	for _, m := range machines {
		eventually(t, func() string {
			if _, err := os.Stat(m.socket); err != nil {
				return err.Error()
			}
			return ""
		})
		up := m.command(t, "up", "--login-server="+control.BaseURL(), "--hostname="+m.name, "--accept-dns=false")
		wg.Go(func() {
			if out, err := up.CombinedOutput(); err != nil {
				t.Errorf("%s: tailscale up: %v\n%s", m.name, err, out)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// awaitPeer waits until the node has an address, a peer, and our relay.
func (m *machine) awaitPeer(t *testing.T) {
	t.Helper()
	eventually(t, func() string {
		var st ipnstate.Status
		if err := json.Unmarshal([]byte(m.run(t, "status", "--json")), &st); err != nil {
			return err.Error()
		}
		if len(st.TailscaleIPs) == 0 || st.Self == nil || st.Self.Relay != probeRegion || len(st.Peer) == 0 {
			return fmt.Sprintf("%s has addresses %v, %d peers: %+v", m.name, st.TailscaleIPs, len(st.Peer), st.Self)
		}
		m.ip = st.TailscaleIPs[0].String()
		return ""
	})
}

var viaRelay = regexp.MustCompile(`^pong from \S+ \([0-9.]+\) via DERP\(` + probeRegion + `\) in `)

// ping requires that the answer comes by the relay.
func (m *machine) ping(t *testing.T, to *machine) {
	t.Helper()
	out := m.run(t, "ping", "--c=1", "--timeout=20s", "--until-direct=false", to.ip)
	if !viaRelay.MatchString(out) {
		t.Fatalf("%s: ping of %s: %q, want an answer via DERP(%s)", m.name, to.name, out, probeRegion)
	}
}

// pingInside requires an answer to a ping within WireGuard.
func (m *machine) pingInside(t *testing.T, to *machine) {
	t.Helper()
	out := m.run(t, "ping", "--tsmp", "--c=1", "--timeout=20s", to.ip)
	if !strings.HasPrefix(out, "pong from ") {
		t.Fatalf("%s: ping of %s: %q", m.name, to.name, out)
	}
}

// stream sends data to a TCP service behind to and requires it back.
func (m *machine) stream(t *testing.T, to *machine, data []byte) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0") // where tailscaled hands connections on
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		io.Copy(c, io.LimitReader(c, int64(len(data))))
	}()
	cmd := m.command(t, "nc", to.ip, strconv.Itoa(ln.Addr().(*net.TCPAddr).Port))
	in, err1 := cmd.StdinPipe() // stays open: nc ends when either direction does
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	go in.Write(data)
	back := make([]byte, len(data))
	n, err := io.ReadFull(out, back)
	in.Close()
	cmd.Wait()
	if err != nil || !bytes.Equal(back, data) {
		t.Fatalf("%s: %d of %d bytes came back from %s, or other ones: %v", m.name, n, len(data), to.name, err)
	}
}

// testTailscaled: two nodes for which the relay is the only way.
func testTailscaled(t *testing.T) {
	keyFile := filepath.Join(t.TempDir(), "derper.key")
	s, node := wholeRelayWith(t, 30*day, relay.Options{KeyFile: keyFile})
	control := fakeControl(t, derpMap(node))
	a, b := startMachine(t, "a"), startMachine(t, "b")
	join(t, control, a, b)
	a.awaitPeer(t)
	b.awaitPeer(t)
	awaitVarz(t, s, map[string]float64{metricConnections: 2, metricHome: 2})
	a.ping(t, b)
	b.ping(t, a)
	a.pingInside(t, b)

	before := varz(t, s)
	a.stream(t, b, pattern(200_000, 71))
	after := varz(t, s)
	if n := after["derp_bytes_sent"] - before["derp_bytes_sent"]; n < 400_000 {
		t.Errorf("the relay sent %v bytes for a stream of 200000 there and back", n)
	}
	if after[metricSTUN] < 2 {
		t.Errorf("%v STUN requests answered, want one of each node at least", after[metricSTUN])
	}
	for _, m := range []*machine{a, b} {
		if status := m.run(t, "status"); strings.Contains(status, "direct") {
			t.Errorf("%s has a direct path:\n%s", m.name, status)
		}
	}
	t.Run("restart", func(t *testing.T) {
		further(t)
		restartUnder(t, s, keyFile, node, a, b)
	})
}

// restartUnder: the relay goes and comes back with its key, and nobody tells
// the nodes.
func restartUnder(t *testing.T, s *relay.Server, keyFile string, node *tailcfg.DERPNode, a, b *machine) {
	t.Helper()
	if err := s.Stop(wait / 2); err != nil {
		t.Fatal(err)
	}
	again := privateServer(t, relay.Options{
		Addr: s.Addr, KeyFile: keyFile, TLS: s.TLS,
		Args: []string{"-stun=true", "-stun-port", strconv.Itoa(node.STUNPort)},
	})
	awaitVarz(t, again, map[string]float64{metricConnections: 2, metricHome: 2})
	a.ping(t, b)
	b.ping(t, a)
	a.stream(t, b, pattern(100_000, 72))
}
