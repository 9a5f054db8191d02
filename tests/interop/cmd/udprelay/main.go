// udprelay is Tailscale's UDP relay, tailscale.com/net/udprelay, as a program
// of its own: in tailscaled it belongs to a node. Endpoints are asked for by
// POST /v0/relay/endpoint, as ringrelayd takes it; nobody is turned away, so
// it listens where only this machine can reach it.
//
//	udprelay -a unix:/run/x/udprelay.sock -relay-port 40000
//	udprelay -a 127.0.0.1:8080 -relay-static-endpoints 127.0.0.1:40000,[::1]:40000
//
// What it prints, on standard error:
//
//	2026/01/02 03:04:05 relaying on 127.0.0.1:40000
//	2026/01/02 03:04:05 listening on http://127.0.0.1:8080
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"tailscale.com/net/udprelay"
	"tailscale.com/types/logger"
	"tailscale.com/types/views"
	"tailscale.com/util/usermetric"
)

const (
	path        = "/v0/relay/endpoint"
	requestSize = 512
)

func main() {
	address := flag.String("a", "127.0.0.1:0", "where requests are taken: host:port, or unix:PATH")
	port := flag.Int("relay-port", 0, "the relay's UDP port; 0: a free one")
	static := flag.String("relay-static-endpoints", "", "its addresses, ip:port and commas; 127.0.0.1 and the port")
	verbose := flag.Bool("verbose", false, "print what the relay logs")
	version := flag.Bool("version", false, "print the release of tailscale.com")
	flag.Parse()
	if *version {
		fmt.Println(releaseOfModule())
		return
	}
	if err := run(*address, *port, *static, *verbose); err != nil {
		log.Fatal(err)
	}
}

func run(address string, port int, static string, verbose bool) error {
	logf := logger.Discard
	if verbose {
		logf = log.Printf
	}
	if port < 0 || port > 65535 {
		return fmt.Errorf("-relay-port %d: it is no port", port)
	}
	if port == 0 {
		var err error
		if port, err = freePort(); err != nil {
			return err
		}
	}
	if static == "" {
		static = fmt.Sprintf("127.0.0.1:%d", port)
	}
	addresses, err := parseAddresses(static)
	if err != nil {
		return err
	}
	relay, err := udprelay.NewServer(logf, uint16(port), true, new(usermetric.Registry), nil)
	if err != nil {
		return err
	}
	defer relay.Close()
	relay.SetStaticAddrPorts(views.SliceOf(addresses))
	log.Printf("relaying on %s, GOMAXPROCS %d", static, runtime.GOMAXPROCS(0))
	return serve(address, relay)
}

// serve answers requests until the process is told to end.
func serve(address string, relay *udprelay.Server) error {
	network, url := "tcp", ""
	if socket, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address, url = "unix", socket, "unix:"+socket
		if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	listener, err := net.Listen(network, address)
	if err != nil {
		return err
	}
	if url == "" {
		url = "http://" + listener.Addr().String()
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) { allocate(relay, w, r) })
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	go func() {
		<-ctx.Done()
		server.Close()
	}()
	log.Printf("listening on %s", url)
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func parseAddresses(text string) ([]netip.AddrPort, error) {
	var addresses []netip.AddrPort
	for _, word := range strings.Split(text, ",") {
		address, err := netip.ParseAddrPort(word)
		if err != nil {
			return nil, err
		}
		addresses = append(addresses, address)
	}
	return addresses, nil
}

// freePort is a port that was free a moment ago: the relay does not tell which
// one it has taken.
func freePort() (int, error) {
	c, err := net.ListenUDP("udp4", nil)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).Port, nil
}

// releaseOfModule is that of tailscale.com in this program.
func releaseOfModule() string {
	info, _ := debug.ReadBuildInfo()
	for _, module := range info.Deps {
		if module.Path == "tailscale.com" {
			return strings.TrimPrefix(module.Version, "v")
		}
	}
	return "unknown"
}
