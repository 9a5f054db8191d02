// Package pki makes certificates for tests: a root, an intermediate below it,
// and leaves below that, written the way operators write them for derper.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Form is the kind of key of a leaf and how its file spells it.
type Form int

const (
	ECDSA    Form = iota // P-256, PKCS#8
	ECDSASec             // P-256, SEC 1
	RSA                  // 2048 bits, PKCS#1
	RSAPKCS8             // 2048 bits, PKCS#8
)

// Monitoring of certificates finds fault with less than a week.
const usualLife = 30 * 24 * time.Hour

// Authority is a root and an intermediate.
type Authority struct {
	Roots        *x509.CertPool
	Root         *x509.Certificate
	Intermediate *x509.Certificate
	key          crypto.Signer // the intermediate's
}

// Leaf is a server certificate with its chain, leaf first, root left out.
type Leaf struct {
	Cert     *x509.Certificate
	ChainPEM []byte
	KeyPEM   []byte
}

// New makes an authority.
func New() (*Authority, error) {
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	a := &Authority{Roots: x509.NewCertPool()}
	if a.Root, err = sign(authority("Test Root"), nil, rootKey.Public(), rootKey); err != nil {
		return nil, err
	}
	a.Roots.AddCert(a.Root)
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	a.Intermediate, err = sign(authority("Test Intermediate"), a.Root, a.key.Public(), rootKey)
	return a, err
}

// RootPEM is for programs that want a file.
func (a *Authority) RootPEM() []byte { return certPEM(a.Root) }

// Issue makes a leaf for these DNS names and IP addresses.
func (a *Authority) Issue(form Form, names ...string) (*Leaf, error) {
	return a.IssueFor(usualLife, form, names...)
}

// IssueFor makes a leaf that expires after life.
func (a *Authority) IssueFor(life time.Duration, form Form, names ...string) (*Leaf, error) {
	key, block, err := newKey(form)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "test leaf"},
		NotAfter:    time.Now().Add(life),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, n)
		}
	}
	cert, err := sign(template, a.Intermediate, key.Public(), a.key)
	if err != nil {
		return nil, err
	}
	chain := append(certPEM(cert), certPEM(a.Intermediate)...)
	return &Leaf{cert, chain, pem.EncodeToMemory(block)}, nil
}

// Install writes HOSTNAME.crt and HOSTNAME.key into dir, each in one step.
func (l *Leaf) Install(dir, hostname string) error {
	if err := Replace(filepath.Join(dir, hostname+".key"), l.KeyPEM); err != nil {
		return err
	}
	return Replace(filepath.Join(dir, hostname+".crt"), l.ChainPEM)
}

// Replace gives path a new content by renaming, as certificate tools do.
func Replace(path string, content []byte) error {
	next := path + ".next"
	if err := os.WriteFile(next, content, 0o600); err != nil {
		return err
	}
	return os.Rename(next, path)
}

func newKey(form Form) (crypto.Signer, *pem.Block, error) {
	switch form {
	case ECDSA, ECDSASec:
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, nil, err
		}
		if form == ECDSASec {
			der, err := x509.MarshalECPrivateKey(k)
			return k, &pem.Block{Type: "EC PRIVATE KEY", Bytes: der}, err
		}
		der, err := x509.MarshalPKCS8PrivateKey(k)
		return k, &pem.Block{Type: "PRIVATE KEY", Bytes: der}, err
	case RSA, RSAPKCS8:
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			return nil, nil, err
		}
		if form == RSA {
			return k, &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(k)}, nil
		}
		der, err := x509.MarshalPKCS8PrivateKey(k)
		return k, &pem.Block{Type: "PRIVATE KEY", Bytes: der}, err
	}
	return nil, nil, fmt.Errorf("no such form of key: %d", form)
}

func authority(name string) *x509.Certificate {
	return &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		NotAfter:              time.Now().Add(usualLife),
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
}

// sign completes the template; without a parent the result is self-signed.
func sign(template, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	template.NotBefore = time.Now().Add(-time.Hour)
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func certPEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}
