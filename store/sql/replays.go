package sql

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"time"
)

// minReplay is how long a one-time value is remembered at least: the leeway that a
// verifier may grant to an expired one.
const minReplay = time.Minute

// UseJTI records (namespace, jti) until expires, for a minute at least, or returns
// ErrSpent.
func (s *Store) UseJTI(ctx context.Context, namespace, jti string, expires time.Time) error {
	now := s.now()
	if earliest := now.Add(minReplay); expires.Before(earliest) {
		expires = earliest
	}
	id, until := replayID(namespace, jti), millis(expires)+1
	_, err := s.exec(ctx, "INSERT INTO gw_replays (id, expires_at) VALUES (?, ?)", id, until)
	if !errors.Is(err, errDuplicate) {
		return err
	}
	// Used before; a record that has expired and waits for the sweep may be taken.
	rows, err := s.exec(ctx, "UPDATE gw_replays SET expires_at = ? WHERE id = ? AND expires_at <= ?", until, id, millis(now))
	return spent(rows, err)
}

// replayID is a hash of fixed length, whatever a client sends as jti. The length
// before the namespace keeps ("a", "bc") and ("ab", "c") apart.
func replayID(namespace, jti string) string {
	h := sha256.New()
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(namespace))))
	h.Write([]byte(namespace))
	h.Write([]byte(jti))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}
