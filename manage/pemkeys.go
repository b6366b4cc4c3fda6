package manage

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatewarden/gatewarden/keys"
)

// IsPEM reports whether a file is PEM (RFC 7468) rather than JSON.
func IsPEM(data []byte) bool { return bytes.Contains(data, []byte("-----BEGIN ")) }

// ParsePEM reads the keys of a PEM file for signatures: PRIVATE KEY (PKCS #8), RSA PRIVATE
// KEY (PKCS #1), EC PRIVATE KEY (RFC 5915), PUBLIC KEY. PEM has no alg: an empty one
// stands for the usual one of the key (RS256, ES256 to ES512, EdDSA). The id of a key is
// its thumbprint (RFC 7638). Refused are RSA keys under 2048 bits, other curves, other
// blocks and encrypted keys; an error names the block.
func ParsePEM(data []byte, alg string) ([]jose.JSONWebKey, error) {
	var all []jose.JSONWebKey
	for n := 1; ; n++ {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type == "EC PARAMETERS" {
			continue // openssl writes the curve before the key, which names it too
		}
		k, err := pemKey(block, alg)
		if err != nil {
			return nil, fmt.Errorf("block %d (%s): %w", n, block.Type, err)
		}
		all = append(all, k)
	}
	if len(all) == 0 {
		return nil, errors.New("has no key in PEM")
	}
	return all, nil
}

func pemKey(block *pem.Block, alg string) (k jose.JSONWebKey, err error) {
	switch block.Type {
	case "PRIVATE KEY":
		k.Key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		if block.Headers["DEK-Info"] != "" {
			return k, errEncrypted
		}
		k.Key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		if block.Headers["DEK-Info"] != "" {
			return k, errEncrypted
		}
		k.Key, err = x509.ParseECPrivateKey(block.Bytes)
	case "PUBLIC KEY":
		k.Key, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "ENCRYPTED PRIVATE KEY":
		return k, errEncrypted
	default:
		return k, errors.New("is not a key")
	}
	if err != nil {
		return k, errors.New("cannot be read") // the reason may quote the key
	}
	k.Algorithm, k.Use = alg, "sig"
	text, err := k.MarshalJSON()
	if err != nil {
		return k, errors.New("is not an RSA key, an elliptic curve key or an Ed25519 key for signatures")
	}
	if k, err = keys.ParseKey(text); err != nil {
		return k, err
	}
	if k.Algorithm == "" {
		return k, errors.New("has no usual algorithm; name one")
	}
	sum, err := k.Thumbprint(crypto.SHA256)
	if err != nil {
		return k, err
	}
	k.KeyID = base64.RawURLEncoding.EncodeToString(sum)
	return k, nil
}

var errEncrypted = errors.New("is encrypted; decrypt it first, for example with: openssl pkey -in FILE")
