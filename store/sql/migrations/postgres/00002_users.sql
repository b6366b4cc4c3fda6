-- +goose Up
-- Local users. The document is sealed, the password's hash in it too.
CREATE TABLE IF NOT EXISTS gw_users (
	id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
	etag TEXT COLLATE "C" NOT NULL,
	data BYTEA NOT NULL
);

-- What people type to log in, folded: user names and email addresses.
CREATE TABLE IF NOT EXISTS gw_user_logins (
	login TEXT COLLATE "C" NOT NULL PRIMARY KEY,
	user_id TEXT COLLATE "C" NOT NULL REFERENCES gw_users (id) ON DELETE CASCADE
);
CREATE INDEX IF NOT EXISTS gw_user_logins_user ON gw_user_logins (user_id);

-- Attempts to log in: when the bucket of a key would be full again (generic cell rate algorithm).
CREATE TABLE IF NOT EXISTS gw_attempts (
	id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
	arrival BIGINT NOT NULL
);
CREATE INDEX IF NOT EXISTS gw_attempts_arrival ON gw_attempts (arrival);
