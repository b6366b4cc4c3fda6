package login

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
)

// A ticket is what this server has to know again when a browser comes back, which the
// browser carries: sealed, for a short time, for this browser, one purpose and one thing
// that it is about (mostly a challenge), and good once.
type ticket struct {
	ID    string          `json:"jti"`
	Until time.Time       `json:"exp"`
	Value json.RawMessage `json:"val"`
}

// maxTicket is the longest ticket that is looked at, in bytes.
const maxTicket = 8 << 10

var errTicket = fault.New(fault.Forbidden, "bad_ticket", "the step is too old, of another browser, or was done before")

// sealing seals what browsers carry: the first key seals, all open.
type sealing struct{ keys []cipher.AEAD }

func newSealing(secrets [][]byte) (s sealing, err error) {
	for _, secret := range secrets {
		key, err := hkdf.Key(sha256.New, secret, nil, "gatewarden login tickets", 32)
		if err != nil {
			return s, err
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return s, err
		}
		aead, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return s, err
		}
		s.keys = append(s.keys, aead)
	}
	return s, nil
}

// issueTicket seals a value for this browser until a time from now.
func (x *exchange) issueTicket(purpose, about string, value any, life time.Duration) (string, error) {
	inner, err := json.Marshal(value)
	if err != nil {
		return "", err
	}
	plain, err := json.Marshal(ticket{ID: rand.Text(), Until: x.p.o.Now().Add(life), Value: inner})
	if err != nil {
		return "", err
	}
	sealed := x.p.sealing.keys[0].Seal(nil, nil, plain, lengthed("ticket", purpose, about, x.browser()))
	text := base64.RawURLEncoding.EncodeToString(sealed)
	if len(text) > maxTicket {
		return "", fmt.Errorf("a ticket for %s has %d bytes", purpose, len(text))
	}
	return text, nil
}

// readTicket opens a ticket and reads its value. It is not spent by that: what may fail
// on the way of a step comes first, useTicket last. The error is errTicket.
func (x *exchange) readTicket(purpose, about, text string, into any) (ticket, error) {
	secret := x.cookie(csrfCookie)
	sealed, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || secret == "" || len(text) > maxTicket {
		return ticket{}, errTicket
	}
	for _, key := range x.p.sealing.keys {
		plain, err := key.Open(nil, nil, sealed, lengthed("ticket", purpose, about, secret))
		if err != nil {
			continue
		}
		var t ticket
		if json.Unmarshal(plain, &t) != nil || !x.p.o.Now().Before(t.Until) || json.Unmarshal(t.Value, into) != nil {
			return ticket{}, errTicket
		}
		return t, nil
	}
	return ticket{}, errTicket
}

// useTicket spends a ticket on all nodes; of several uses the first one wins, the others
// get errTicket. A ticket that was never read is no ticket.
func (x *exchange) useTicket(t ticket) error {
	if t.ID == "" {
		return errTicket
	}
	err := x.p.o.Replays.UseJTI(x.ctx, "login ticket", t.ID, t.Until)
	if errors.Is(err, oauth2.ErrSpent) {
		return errTicket
	}
	return err
}
