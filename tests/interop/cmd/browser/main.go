// browser drives a real browser's WebSocket against ringrelayd: login,
// packets of many sizes to and from an ordinary client, and the ways a
// connection ends, over plain HTTP and over TLS. See tests/browser/run.
//
//	browser -server build/release/ringrelayd -browser chromium -page tests/browser/page.html
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"ringrelay.test/interop/internal/pki"
	"ringrelay.test/interop/internal/relay"
)

const (
	startWait = 60 * time.Second // a browser's first start on a busy machine
	wait      = 15 * time.Second
)

func main() {
	server := flag.String("server", "", "path of ringrelayd")
	browser := flag.String("browser", "chromium", "path or name of a Chromium")
	page := flag.String("page", "", "path of page.html")
	flag.Parse()
	if err := run(*server, *browser, *page); err != nil {
		fmt.Fprintln(os.Stderr, "browser:", err)
		os.Exit(1)
	}
}

func run(server, browser, pagePath string) error {
	scratch, err := os.MkdirTemp("", "browser")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	html, err := os.ReadFile(pagePath)
	if err != nil {
		return err
	}
	p, err := newPage(html)
	if err != nil {
		return err
	}
	defer p.listener.Close()
	stop, err := startBrowser(browser, filepath.Join(scratch, "profile"), p.url())
	if err != nil {
		return err
	}
	defer stop()
	if err := p.awaitLoaded(); err != nil {
		return err
	}
	for _, withTLS := range []bool{false, true} {
		if err := against(p, server, scratch, withTLS); err != nil {
			return fmt.Errorf("TLS=%v: %w", withTLS, err)
		}
	}
	return p.order("end", nil)
}

// against runs every test against a server of its own.
func against(p *page, path, scratch string, withTLS bool) error {
	o := relay.Options{KeyFile: filepath.Join(scratch, "derper.key")}
	if withTLS {
		dir := filepath.Join(scratch, "certs")
		ca, err := pki.New()
		if err == nil {
			err = os.Mkdir(dir, 0o700)
		}
		if err != nil {
			return err
		}
		// A browser sends no name for an address, and trusts us because it
		// is told to.
		leaf, err := ca.Issue(pki.ECDSA, "127.0.0.1")
		if err == nil {
			err = leaf.Install(dir, "127.0.0.1")
		}
		if err != nil {
			return err
		}
		o.TLS = &relay.TLS{CertDir: dir, Hostname: "127.0.0.1"}
	}
	s, err := relay.Start(relay.Program{Kind: relay.Ringrelay, Path: path}, o)
	if err != nil {
		return err
	}
	for _, test := range tests {
		if err = test.run(p, s); err != nil {
			err = fmt.Errorf("%s: %w", test.name, err)
			break
		}
		fmt.Printf("--- PASS: %s, TLS=%v\n", test.name, withTLS)
	}
	if stopErr := s.Stop(5 * time.Second); err == nil {
		err = stopErr
	}
	if err != nil {
		err = fmt.Errorf("%w; log:\n%s", err, s.Log())
	}
	return err
}

// startBrowser opens the page; the result ends the browser and its children.
func startBrowser(path, profile, url string) (func(), error) {
	cmd := exec.Command(path, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
		"--ignore-certificate-errors", "--remote-debugging-port=0", "--user-data-dir="+profile, url)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = time.Second // children may hold its output open
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		cmd.Wait()
		if os.Getenv("RINGRELAY_BROWSER_LOG") != "" {
			fmt.Fprintf(os.Stderr, "log of the browser:\n%s\n", log.String())
		}
	}, nil
}

// page is our end of page.html.
type page struct {
	listener net.Listener
	html     []byte
	orders   chan order
	events   chan event
	loaded   chan struct{}
}

type order struct {
	text string
	body []byte
}

type event struct {
	text string
	body []byte
}

func newPage(html []byte) (*page, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &page{listener: ln, html: html, orders: make(chan order), events: make(chan event, 1024),
		loaded: make(chan struct{}, 16)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", p.serveHTML)
	mux.HandleFunc("GET /next", p.serveNext)
	mux.HandleFunc("POST /event", p.serveEvent)
	go http.Serve(ln, mux)
	return p, nil
}

func (p *page) url() string { return "http://" + p.listener.Addr().String() + "/" }

func (p *page) serveHTML(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Write(p.html)
	p.loaded <- struct{}{}
}

func (p *page) serveNext(w http.ResponseWriter, r *http.Request) {
	select {
	case o := <-p.orders:
		w.Header().Set("X-Order", o.text)
		w.Header().Set("Cache-Control", "no-store")
		w.Write(o.body)
	case <-r.Context().Done():
	}
}

func (p *page) serveEvent(w http.ResponseWriter, r *http.Request) {
	var body bytes.Buffer
	if _, err := body.ReadFrom(r.Body); err == nil {
		p.events <- event{r.Header.Get("X-Event"), body.Bytes()}
	}
}

func (p *page) awaitLoaded() error {
	select {
	case <-p.loaded:
		return nil
	case <-time.After(startWait):
		return fmt.Errorf("the browser did not fetch the page within %v", startWait)
	}
}

// order tells the page what to do.
func (p *page) order(text string, body []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	select {
	case p.orders <- order{text, body}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the page does not take the order %q", text)
	}
}

// next is what the page tells.
func (p *page) next(waitingFor string) (event, error) {
	select {
	case e := <-p.events:
		return e, nil
	case <-time.After(wait):
		return event{}, fmt.Errorf("no %s within %v", waitingFor, wait)
	}
}
