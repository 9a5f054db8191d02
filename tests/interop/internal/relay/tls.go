package relay

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"time"
)

// TLS makes a server serve TLS with -certmode=manual.
type TLS struct {
	CertDir  string
	Hostname string
	Roots    *x509.CertPool // what to trust; nil: the harness verifies nothing
}

// TLSConfig is a client's for this server: its own copy.
func (s *Server) TLSConfig() *tls.Config {
	return &tls.Config{
		ServerName:         s.TLS.Hostname, // not sent when it is an IP address
		RootCAs:            s.TLS.Roots,
		InsecureSkipVerify: s.TLS.Roots == nil,
	}
}

// HTTPClient returns a client for pages of this server, one connection each.
func (s *Server) HTTPClient() *http.Client {
	tr := &http.Transport{DisableKeepAlives: true}
	if s.TLS != nil {
		tr.TLSClientConfig = s.TLSConfig()
	}
	return &http.Client{Timeout: 10 * time.Second, Transport: tr}
}

func tlsArguments(t *TLS) []string {
	return []string{"-certmode", "manual", "-certdir", t.CertDir, "-hostname", t.Hostname, "-http-port", "-1"}
}
