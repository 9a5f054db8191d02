// Package tls13 is the record layer of TLS 1.3 after the handshake, in the
// open: crypto/tls does the handshake and tells the secrets through its key
// log; from then on the caller decides what every record looks like.
package tls13

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strings"
)

// Types of records.
const (
	ChangeCipherSpec = 20
	Alert            = 21
	Handshake        = 22
	Data             = 23
)

const (
	HeaderLen  = 5
	MaxContent = 16384            // of one record
	MaxSealed  = MaxContent + 256 // what the length of a record may say
	Overhead   = HeaderLen + 1 + 16

	nonceLen = 12
)

// Labels of the secrets in a key log.
const (
	ClientSecret = "CLIENT_TRAFFIC_SECRET_0"
	ServerSecret = "SERVER_TRAFFIC_SECRET_0"
)

// Half is one direction of a connection.
type Half struct {
	newHash func() hash.Hash
	keyLen  int
	secret  []byte
	aead    cipher.AEAD
	iv      []byte
	seq     uint64
}

// NewHalf starts a direction from its traffic secret.
func NewHalf(suite uint16, secret []byte) (*Half, error) {
	h := &Half{secret: secret}
	switch suite {
	case tls.TLS_AES_128_GCM_SHA256:
		h.newHash, h.keyLen = sha256.New, 16
	case tls.TLS_AES_256_GCM_SHA384:
		h.newHash, h.keyLen = sha512.New384, 32
	default:
		return nil, fmt.Errorf("tls13: suite %s is not implemented", tls.CipherSuiteName(suite))
	}
	return h, h.derive()
}

func (h *Half) derive() error {
	key, err := h.expand("key", h.keyLen)
	if err != nil {
		return err
	}
	if h.iv, err = h.expand("iv", nonceLen); err != nil {
		return err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return err
	}
	h.aead, err = cipher.NewGCM(block)
	h.seq = 0
	return err
}

// expand is HKDF-Expand-Label with an empty context.
func (h *Half) expand(label string, n int) ([]byte, error) {
	label = "tls13 " + label
	info := string([]byte{byte(n >> 8), byte(n), byte(len(label))}) + label + "\x00"
	return hkdf.Expand(h.newHash, h.secret, info, n)
}

// Update goes on to the next key.
func (h *Half) Update() error {
	next, err := h.expand("traffic upd", len(h.secret))
	if err != nil {
		return err
	}
	h.secret = next
	return h.derive()
}

func (h *Half) nonce() []byte {
	n := bytes.Clone(h.iv)
	var seq [8]byte
	binary.BigEndian.PutUint64(seq[:], h.seq)
	for i, b := range seq {
		n[nonceLen-8+i] ^= b
	}
	return n
}

// Seal makes the next record, with so many zeros behind the content.
func (h *Half) Seal(kind byte, content []byte, padding int) []byte {
	inner := append(bytes.Clone(content), kind)
	inner = append(inner, make([]byte, padding)...)
	record := Header(Data, len(inner)+h.aead.Overhead())
	record = h.aead.Seal(record, h.nonce(), inner, record)
	h.seq++
	return record
}

// Header is that of a record that may lie about what follows.
func Header(kind byte, n int) []byte { return []byte{kind, 3, 3, byte(n >> 8), byte(n)} }

// ErrTag says that a record was not sealed with this key and number.
var ErrTag = errors.New("tls13: record does not open")

// Open opens the next record; a failure leaves the number where it is.
func (h *Half) Open(record []byte) (kind byte, content []byte, err error) {
	if record[0] != Data {
		return 0, nil, fmt.Errorf("tls13: record of type %d where all are encrypted", record[0])
	}
	inner, err := h.aead.Open(nil, h.nonce(), record[HeaderLen:], record[:HeaderLen])
	if err != nil {
		return 0, nil, ErrTag
	}
	h.seq++
	inner = bytes.TrimRight(inner, "\x00")
	if len(inner) == 0 {
		return 0, nil, errors.New("tls13: record without a type")
	}
	return inner[len(inner)-1], inner[:len(inner)-1], nil
}

// SecretFromLog finds a secret in what a Config.KeyLogWriter was given.
func SecretFromLog(log []byte, label string) ([]byte, error) {
	for line := range strings.Lines(string(log)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == label {
			return hex.DecodeString(f[2])
		}
	}
	return nil, fmt.Errorf("tls13: no %s in the key log (TLS 1.2?)", label)
}

// Content returns the application data in one direction of a recorded
// connection without KeyUpdates. Records of the handshake do not open with
// the secret and are passed over.
func Content(stream []byte, suite uint16, secret []byte) ([]byte, error) {
	h, err := NewHalf(suite, secret)
	if err != nil {
		return nil, err
	}
	var content []byte
	for len(stream) >= HeaderLen {
		n := HeaderLen + int(binary.BigEndian.Uint16(stream[3:]))
		if n > len(stream) {
			break // the recording ends inside a record
		}
		if stream[0] == Data {
			kind, part, err := h.Open(stream[:n])
			if err != nil && h.seq > 0 {
				return content, err
			}
			if err == nil && kind == Data {
				content = append(content, part...)
			}
		}
		stream = stream[n:]
	}
	return content, nil
}
