package dpop

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"time"
)

// Nonces makes and checks nonces that need no memory: the time and its MAC. All nodes
// that share the system secret know each other's.
type Nonces struct {
	Keys        [][]byte // the first makes, all check
	TTL, Leeway time.Duration
}

const (
	nonceTime = 8
	nonceMAC  = 16
)

// Make returns a nonce of now.
func (n *Nonces) Make(now time.Time) string {
	at := binary.BigEndian.AppendUint64(nil, uint64(now.Unix()))
	return base64.RawURLEncoding.EncodeToString(append(at, mac(n.Keys[0], at)...))
}

// Check reports whether text is a nonce of ours that is good at now, and for how long.
func (n *Nonces) Check(text string, now time.Time) (left time.Duration, ok bool) {
	if len(text) != base64.RawURLEncoding.EncodedLen(nonceTime+nonceMAC) {
		return 0, false
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) != nonceTime+nonceMAC {
		return 0, false
	}
	for _, key := range n.Keys {
		ok = ok || hmac.Equal(mac(key, raw[:nonceTime]), raw[nonceTime:])
	}
	age := now.Sub(time.Unix(int64(binary.BigEndian.Uint64(raw)), 0))
	return n.TTL - age, ok && age <= n.TTL && age >= -n.Leeway-time.Second
}

func mac(key, at []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte("dpop nonce "))
	h.Write(at)
	return h.Sum(nil)[:nonceMAC]
}
