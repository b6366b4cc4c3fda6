package sql

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"

	"github.com/gatewarden/gatewarden/fault"
	"github.com/gatewarden/gatewarden/oauth2"
	"github.com/gatewarden/gatewarden/store"
)

// The kinds of rows of gw_tokens.
const (
	kindCode    = "c"
	kindAccess  = "a"
	kindRefresh = "r"
)

// keepSpent is how long a spent token without an expiry is kept, so that its reuse
// is noticed.
const keepSpent = 30 * 24 * time.Hour

const (
	insertToken = "INSERT INTO gw_tokens (kind, signature, request_id, client_id, subject, consent_id, session_id, access_signature, expires_at, spent_at, data) VALUES "
	tokenValues = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"

	// spend is what makes codes and refresh tokens good for one use. A token without
	// expiry gets one, or spent ones would stay for ever.
	spend = "UPDATE gw_tokens SET spent_at = ?, expires_at = CASE WHEN expires_at = 0 THEN ? ELSE expires_at END" +
		" WHERE kind = ? AND signature = ? AND spent_at = 0 AND (expires_at = 0 OR expires_at > ?)"
)

// CreateCode returns fault.Conflict when the signature exists.
func (s *Store) CreateCode(ctx context.Context, code oauth2.Token) error {
	args, err := s.tokenRow(kindCode, &code)
	if err != nil {
		return err
	}
	_, err = s.exec(ctx, insertToken+tokenValues, args...)
	return conflict(err, "token")
}

// Code returns fault.NotFound, or the code, which may be expired, with Spent set
// when it was redeemed.
func (s *Store) Code(ctx context.Context, signature string) (oauth2.Token, error) {
	return s.token(ctx, kindCode, signature)
}

// AccessToken returns fault.NotFound. The token may be expired.
func (s *Store) AccessToken(ctx context.Context, signature string) (oauth2.Token, error) {
	return s.token(ctx, kindAccess, signature)
}

// RefreshToken returns fault.NotFound, or the token, which may be expired, with
// Spent set when it was rotated.
func (s *Store) RefreshToken(ctx context.Context, signature string) (oauth2.Token, error) {
	return s.token(ctx, kindRefresh, signature)
}

// IssueTokens stores tokens that no code or refresh token is spent for.
func (s *Store) IssueTokens(ctx context.Context, buy oauth2.Issue) error {
	query, args, err := s.issue(buy)
	if err != nil || query == "" {
		return err
	}
	_, err = s.exec(ctx, query, args...)
	return conflict(err, "token")
}

// RedeemCode spends the code and stores what it buys. A code that is unknown,
// spent or expired is ErrSpent, and nothing is stored.
func (s *Store) RedeemCode(ctx context.Context, signature string, buy oauth2.Issue) error {
	query, args, err := s.issue(buy)
	if err != nil {
		return err
	}
	if !isKey(signature) {
		return oauth2.ErrSpent
	}
	return conflict(s.write(ctx, func(t *tx) error {
		rows, err := t.exec(spend, t.now, t.now+keepSpent.Milliseconds(), kindCode, signature, t.now)
		if err := spent(rows, err); err != nil {
			return err
		}
		return t.issue(query, args)
	}), "token")
}

// RotateRefresh spends the refresh token, deletes the access tokens of its family
// and stores the successors. A refresh token that is unknown, spent or expired is
// ErrSpent, and nothing changes.
func (s *Store) RotateRefresh(ctx context.Context, signature string, buy oauth2.Issue) error {
	query, args, err := s.issue(buy)
	if err != nil {
		return err
	}
	if !isKey(signature) {
		return oauth2.ErrSpent
	}
	return conflict(s.write(ctx, func(t *tx) error {
		requestID, err := t.spendRefresh(signature)
		if err != nil {
			return err
		}
		rows, err := t.exec("DELETE FROM gw_tokens WHERE request_id = ? AND kind = ?", requestID, kindAccess)
		if err != nil {
			return err
		}
		if rows > 0 {
			t.changed(store.Tokens, requestID)
		}
		return t.issue(query, args)
	}), "token")
}

// ReuseRefresh stores what a refresh token buys that was rotated at since or later and is
// still there. The row is written, so that a revocation comes before or after it and
// leaves nothing in either case.
func (s *Store) ReuseRefresh(ctx context.Context, signature string, since time.Time, buy oauth2.Issue) error {
	query, args, err := s.issue(buy)
	if err != nil {
		return err
	}
	if !isKey(signature) {
		return oauth2.ErrSpent
	}
	return conflict(s.write(ctx, func(t *tx) error {
		rows, err := t.exec("UPDATE gw_tokens SET spent_at = spent_at WHERE kind = ? AND signature = ? AND spent_at > 0 AND spent_at >= ? AND (expires_at = 0 OR expires_at > ?)",
			kindRefresh, signature, millis(since), t.now)
		if err := spent(rows, err); err != nil {
			return err
		}
		return t.issue(query, args)
	}), "token")
}

// spendRefresh returns the family's request id.
func (t *tx) spendRefresh(signature string) (requestID string, err error) {
	args := []any{t.now, t.now + keepSpent.Milliseconds(), kindRefresh, signature, t.now}
	if t.run.dialect.returning {
		err := t.one(spend+" RETURNING request_id", args, &requestID)
		if errors.Is(err, sql.ErrNoRows) {
			err = oauth2.ErrSpent
		}
		return requestID, err
	}
	rows, err := t.exec(spend, args...)
	if err := spent(rows, err); err != nil {
		return "", err
	}
	return requestID, t.one("SELECT request_id FROM gw_tokens WHERE kind = ? AND signature = ?", []any{kindRefresh, signature}, &requestID)
}

// DeleteAccessToken is idempotent.
func (s *Store) DeleteAccessToken(ctx context.Context, signature string) error {
	if !isKey(signature) {
		return nil
	}
	return s.write(ctx, func(t *tx) error {
		rows, err := t.exec("DELETE FROM gw_tokens WHERE kind = ? AND signature = ?", kindAccess, signature)
		if rows > 0 {
			t.changed(store.Tokens, "access:"+signature)
		}
		return err
	})
}

// RevokeFamily deletes every code, access and refresh token of the request id. It
// is idempotent.
func (s *Store) RevokeFamily(ctx context.Context, requestID string) error {
	if !isKey(requestID) || requestID == "" {
		return nil
	}
	return s.write(ctx, func(t *tx) error {
		rows, err := t.deleteTokens("request_id = ?", requestID)
		if rows > 0 {
			t.changed(store.Tokens, requestID)
		}
		return err
	})
}

// RevokeClientTokens deletes every access and refresh token of the client. It is
// idempotent.
func (s *Store) RevokeClientTokens(ctx context.Context, clientID string) error {
	if !isKey(clientID) || clientID == "" {
		return nil
	}
	return s.write(ctx, func(t *tx) error {
		rows, err := t.deleteTokens("client_id = ? AND kind IN ('"+kindAccess+"', '"+kindRefresh+"')", clientID)
		if rows > 0 {
			t.changed(store.Tokens, "client:"+clientID)
		}
		return err
	})
}

// deleteTokens repeats until a pass finds nothing: a pass that waited for a
// redemption or rotation does not see what that has stored, the next one does.
func (t *tx) deleteTokens(condition string, args ...any) (total int64, err error) {
	for {
		rows, err := t.exec("DELETE FROM gw_tokens WHERE "+condition, args...)
		if total += rows; err != nil || rows == 0 {
			return total, err
		}
	}
}

func (s *Store) token(ctx context.Context, kind, signature string) (t oauth2.Token, err error) {
	if !isKey(signature) {
		return t, notFound(sql.ErrNoRows, "token")
	}
	var expires, spent int64
	var sealed []byte
	err = s.one(ctx, "SELECT access_signature, expires_at, spent_at, data FROM gw_tokens WHERE kind = ? AND signature = ?",
		[]any{kind, signature}, &t.AccessSignature, &expires, &spent, &sealed)
	if err != nil {
		return oauth2.Token{}, notFound(s.fail(ctx, err), "token")
	}
	t.Signature, t.ExpiresAt, t.Spent = signature, fromMillis(expires), fromMillis(spent)
	data, err := s.ring.open(sealTokens, kind+signature, sealed)
	if err == nil {
		err = decode("token", data, &t.Grant)
	}
	if err != nil {
		return oauth2.Token{}, err
	}
	return t, nil
}

// tokenRow returns the values of tokenValues.
func (s *Store) tokenRow(kind string, t *oauth2.Token) ([]any, error) {
	if t.Signature == "" || t.Grant.RequestID == "" {
		return nil, fault.New(fault.Invalid, "invalid_token", "a token needs a signature and a request id")
	}
	g := &t.Grant
	if err := checkKeys("token", t.Signature, g.RequestID, g.ClientID, g.Subject, g.ConsentID, g.SessionID, t.AccessSignature); err != nil {
		return nil, err
	}
	data, err := encode("grant", g)
	if err != nil {
		return nil, err
	}
	return []any{kind, t.Signature, g.RequestID, g.ClientID, g.Subject, g.ConsentID, g.SessionID, t.AccessSignature,
		millis(t.ExpiresAt), millis(t.Spent), s.ring.seal(sealTokens, kind+t.Signature, data)}, nil
}

// issue returns one statement for what is bought; empty for nothing.
func (s *Store) issue(buy oauth2.Issue) (query string, args []any, err error) {
	var values []string
	for _, token := range []struct {
		kind string
		*oauth2.Token
	}{{kindAccess, buy.Access}, {kindRefresh, buy.Refresh}} {
		if token.Token == nil {
			continue
		}
		row, err := s.tokenRow(token.kind, token.Token)
		if err != nil {
			return "", nil, err
		}
		values, args = append(values, tokenValues), append(args, row...)
	}
	if len(values) == 0 {
		return "", nil, nil
	}
	return insertToken + strings.Join(values, ", "), args, nil
}

func (t *tx) issue(query string, args []any) error {
	if query == "" {
		return nil
	}
	_, err := t.exec(query, args...)
	return err
}
