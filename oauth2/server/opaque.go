package server

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

const (
	randomBytes = 32
	encodedLen  = 43 // of 32 bytes in base64url without padding
)

// opaque makes and checks values that only this server can make: the prefix, 256
// random bits, a dot, and an HMAC-SHA-256 over the random part, as Hydra writes
// its tokens. The HMAC is the signature that the store knows a token by. Every
// kind of value has keys of its own, derived from the system secrets with HKDF
// (RFC 5869), so that a refresh token can never pass for an access token.
type opaque struct {
	prefix string
	keys   [][]byte
}

func newOpaque(prefix string, secrets [][]byte) opaque {
	o := opaque{prefix: prefix}
	for _, s := range secrets {
		key, err := hkdf.Key(sha256.New, s, nil, "gatewarden oauth2 "+prefix, 32)
		if err != nil { // only a length beyond 255 hashes is an error
			panic(err)
		}
		o.keys = append(o.keys, key)
	}
	return o
}

// generate returns a new value and its signature.
func (o opaque) generate() (value, signature string) {
	random := randomString()
	signature = o.sign(o.keys[0], random)
	return o.prefix + random + "." + signature, signature
}

// signature returns the signature of a value that this server made; ok is false
// for any other string. It does not say that the value is still good.
func (o opaque) signature(value string) (signature string, ok bool) {
	rest, ok := strings.CutPrefix(value, o.prefix)
	if !ok || len(rest) != 2*encodedLen+1 || rest[encodedLen] != '.' {
		return "", false
	}
	random, signature := rest[:encodedLen], rest[encodedLen+1:]
	for _, key := range o.keys {
		if hmac.Equal([]byte(o.sign(key, random)), []byte(signature)) {
			return signature, true
		}
	}
	return "", false
}

// seal returns id with a signature of it.
func (o opaque) seal(id string) string { return id + "." + o.sign(o.keys[0], id) }

// open returns the id of a sealed value.
func (o opaque) open(sealed string) (id string, ok bool) {
	i := strings.LastIndexByte(sealed, '.')
	if i <= 0 {
		return "", false
	}
	for _, key := range o.keys {
		if hmac.Equal([]byte(o.sign(key, sealed[:i])), []byte(sealed[i+1:])) {
			return sealed[:i], true
		}
	}
	return "", false
}

func (o opaque) sign(key []byte, text string) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// randomString returns 256 random bits in base64url.
func randomString() string {
	var b [randomBytes]byte
	_, _ = rand.Read(b[:]) // never fails; crypto/rand ends the program instead
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// hashed is what the store keeps of a challenge, verifier or cookie. The purpose
// is part of the hash, so that a value made for one is unknown to the others.
func hashed(purpose, value string) string {
	sum := sha256.Sum256([]byte(purpose + "\x00" + value))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
