-- +goose Up
-- What makes a user's one-time codes (RFC 6238), sealed, and the last step of which a code was accepted.
CREATE TABLE IF NOT EXISTS gw_user_generators (
	user_id TEXT NOT NULL PRIMARY KEY REFERENCES gw_users (id) ON DELETE CASCADE,
	generator TEXT NOT NULL,
	last_step INTEGER NOT NULL,
	data BLOB NOT NULL
) STRICT;

-- Hashes of recovery codes that are left.
CREATE TABLE IF NOT EXISTS gw_user_recovery_codes (
	user_id TEXT NOT NULL REFERENCES gw_users (id) ON DELETE CASCADE,
	hash TEXT NOT NULL,
	PRIMARY KEY (user_id, hash)
) STRICT;

-- Passkeys (WebAuthn). The id is a hash of the credential's.
CREATE TABLE IF NOT EXISTS gw_user_passkeys (
	id TEXT NOT NULL PRIMARY KEY,
	user_id TEXT NOT NULL REFERENCES gw_users (id) ON DELETE CASCADE,
	created_at INTEGER NOT NULL,
	sign_count INTEGER NOT NULL,
	data BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS gw_user_passkeys_user ON gw_user_passkeys (user_id);
