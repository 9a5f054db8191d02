package live

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
)

// Content makes and verifies numbered payloads: every byte depends on who
// sends (ID), the number, and the size.
type Content struct{ ID uint32 }

// Smallest is the least size of a payload: number, ID, size.
const Smallest = 16

const noiseStarts = 1 << 16

var noise = func() []byte {
	b := make([]byte, noiseStarts+1<<16)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}()

func (c Content) noise(n uint64, size int) []byte {
	at := int((n*31 + uint64(c.ID)*7919) % noiseStarts)
	return noise[at : at+size-Smallest]
}

// Fill makes all of payload that of packet n.
func (c Content) Fill(payload []byte, n uint64) {
	binary.BigEndian.PutUint64(payload, n)
	binary.BigEndian.PutUint32(payload[8:], c.ID)
	binary.BigEndian.PutUint32(payload[12:], uint32(len(payload)))
	copy(payload[Smallest:], c.noise(n, len(payload)))
}

// Verify returns the number of a payload; the error says what is wrong with it.
func (c Content) Verify(payload []byte) (uint64, error) {
	if len(payload) < Smallest {
		return 0, fmt.Errorf("a packet of %d bytes", len(payload))
	}
	n := binary.BigEndian.Uint64(payload)
	id, size := binary.BigEndian.Uint32(payload[8:]), binary.BigEndian.Uint32(payload[12:])
	switch {
	case id != c.ID:
		return n, fmt.Errorf("packet %d of sender %d, want one of %d", n, id, c.ID)
	case int(size) != len(payload):
		return n, fmt.Errorf("packet %d has %d bytes, was sent with %d", n, len(payload), size)
	case !bytes.Equal(payload[Smallest:], c.noise(n, len(payload))):
		return n, fmt.Errorf("packet %d of %d bytes is damaged", n, len(payload))
	}
	return n, nil
}

// commonSizes are what tunnels carry most.
var commonSizes = []int{16, 62, 96, 148, 600, 1280, 1400, 1452}

// MixedSize is the size of packet n: what tunnels carry, and now and then a
// great one, up to the largest there is.
func MixedSize(n uint64) int {
	r := n * 0x9e3779b97f4a7c15 >> 40
	switch r % 64 {
	case 0:
		return 65536
	case 1:
		return Smallest + int(r>>6%(65536-Smallest))
	default:
		return commonSizes[r>>6%uint64(len(commonSizes))]
	}
}
