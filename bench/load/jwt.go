package main

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"time"
)

// issuer signs tokens as an identity provider would.
type issuer struct {
	key *rsa.PrivateKey
	jwk []byte // set of the public key
}

const keyID = "load"

func newIssuer() (issuer, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return issuer{}, err
	}
	text := base64.RawURLEncoding.EncodeToString
	set := fmt.Sprintf(`{"keys":[{"kty":"RSA","kid":%q,"use":"sig","alg":"RS256","n":%q,"e":%q}]}`,
		keyID, text(key.N.Bytes()), text(big.NewInt(int64(key.E)).Bytes()))
	return issuer{key, []byte(set)}, nil
}

// token returns an access token that is valid for some hours.
func (i issuer) token(subject string) (string, error) {
	now := time.Now()
	claims, err := json.Marshal(map[string]any{"sub": subject, "iss": "https://issuer.example", "aud": "orders-api", "scope": "orders",
		"iat": now.Unix(), "exp": now.Add(6 * time.Hour).Unix(), "jti": rand.Text()})
	if err != nil {
		return "", err
	}
	text := base64.RawURLEncoding.EncodeToString
	signed := text(fmt.Appendf(nil, `{"alg":"RS256","kid":%q,"typ":"at+jwt"}`, keyID)) + "." + text(claims)
	sum := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(nil, i.key, crypto.SHA256, sum[:])
	return signed + "." + text(signature), err
}
