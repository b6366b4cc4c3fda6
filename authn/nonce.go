package authn

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"time"
)

// nonces makes and checks nonces that need no memory: the time and its MAC. All nodes
// that share the system secret know each other's.
type nonces struct {
	keys        [][]byte // the first makes, all check
	ttl, leeway time.Duration
}

const (
	nonceTime = 8
	nonceMAC  = 16
)

// make returns a nonce of now.
func (n *nonces) make(now time.Time) string {
	at := binary.BigEndian.AppendUint64(nil, uint64(now.Unix()))
	return base64.RawURLEncoding.EncodeToString(append(at, mac(n.keys[0], at)...))
}

// check reports whether text is a nonce of ours that is good at now, and for how long.
func (n *nonces) check(text string, now time.Time) (left time.Duration, ok bool) {
	if len(text) != base64.RawURLEncoding.EncodedLen(nonceTime+nonceMAC) {
		return 0, false
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) != nonceTime+nonceMAC {
		return 0, false
	}
	for _, key := range n.keys {
		ok = ok || hmac.Equal(mac(key, raw[:nonceTime]), raw[nonceTime:])
	}
	age := now.Sub(time.Unix(int64(binary.BigEndian.Uint64(raw)), 0))
	return n.ttl - age, ok && age <= n.ttl && age >= -n.leeway-time.Second
}

func mac(key, at []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte("dpop nonce "))
	h.Write(at)
	return h.Sum(nil)[:nonceMAC]
}
