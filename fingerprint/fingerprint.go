// Package fingerprint makes the keys under which caches in memory keep what they know
// about secrets, without the secrets.
//
// A fingerprint is the GMAC (NIST SP 800-38D) of a tuple under a key of its own that is
// drawn at random and never leaves the process, nor do fingerprints. That is a universal
// hash: whatever other tuple somebody tries, and whatever came of earlier ones, the
// chance that it has a given fingerprint is at most n/2^128 for n blocks of 16 bytes. It
// takes a fraction of what SHA-256 does for tokens of usual length. The nonce is always
// the same, which GMAC forbids where tags can be seen; here nobody sees one.
package fingerprint

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"sync"
)

// Key is the fingerprint of a tuple.
type Key [16]byte

// Maker makes the Keys of one cache. It is safe for concurrent use. Makers disagree
// about the same tuple.
type Maker struct {
	aead cipher.AEAD
	pool sync.Pool // *work
}

// work is what a fingerprint is made with; it is reused because it would escape.
type work struct {
	tuple []byte
	key   Key
}

var nonce [12]byte

// NewMaker returns a Maker.
func NewMaker() *Maker {
	var key [32]byte
	_, _ = rand.Read(key[:]) // never fails
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // the key has the right size
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // the block has the right size
	}
	m := &Maker{aead: aead}
	m.pool.New = func() any { return &work{tuple: make([]byte, 0, 1<<10)} }
	return m
}

// maxKept is the size above which a buffer is not kept for the next fingerprint.
const maxKept = 32 << 10

// Of returns the Key of a tuple, which begins with who asks. Each part is preceded by
// its length, so that no two tuples are the same text.
func (m *Maker) Of(who string, parts ...string) Key {
	w := m.pool.Get().(*work)
	b := appendPart(w.tuple[:0], who)
	for _, part := range parts {
		b = appendPart(b, part)
	}
	m.aead.Seal(w.key[:0], nonce[:], nil, b)
	k := w.key
	clear(b) // tokens do not stay
	if w.tuple = b; cap(b) > maxKept {
		w.tuple = nil
	}
	m.pool.Put(w)
	return k
}

func appendPart(b []byte, part string) []byte {
	return append(binary.BigEndian.AppendUint64(b, uint64(len(part))), part...)
}
