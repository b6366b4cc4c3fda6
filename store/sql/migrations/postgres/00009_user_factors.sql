-- +goose Up
-- What makes a user's one-time codes (RFC 6238), sealed, and the last step of which a code was accepted.
CREATE TABLE IF NOT EXISTS gw_user_generators (
	user_id TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES gw_users (id) ON DELETE CASCADE,
	generator TEXT COLLATE "C" NOT NULL,
	last_step BIGINT NOT NULL,
	data BYTEA NOT NULL
);

-- Hashes of recovery codes that are left.
CREATE TABLE IF NOT EXISTS gw_user_recovery_codes (
	user_id TEXT COLLATE "C" NOT NULL REFERENCES gw_users (id) ON DELETE CASCADE,
	hash TEXT COLLATE "C" NOT NULL,
	PRIMARY KEY (user_id, hash)
);

-- Passkeys (WebAuthn). The id is a hash of the credential's.
CREATE TABLE IF NOT EXISTS gw_user_passkeys (
	id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
	user_id TEXT COLLATE "C" NOT NULL REFERENCES gw_users (id) ON DELETE CASCADE,
	created_at BIGINT NOT NULL,
	sign_count BIGINT NOT NULL,
	data BYTEA NOT NULL
);
CREATE INDEX IF NOT EXISTS gw_user_passkeys_user ON gw_user_passkeys (user_id);
