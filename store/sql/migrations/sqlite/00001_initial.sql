-- +goose Up
-- Keys are TEXT under the BINARY collation; times are milliseconds since 1970 UTC, 0 for none.

-- What the database was sealed with, and the like.
CREATE TABLE IF NOT EXISTS gw_meta (
	name TEXT NOT NULL PRIMARY KEY,
	value BLOB NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS gw_rules (
	id TEXT NOT NULL PRIMARY KEY,
	doc BLOB NOT NULL,
	etag TEXT NOT NULL,
	created_at INTEGER NOT NULL,
	updated_at INTEGER NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS gw_policies (
	id TEXT NOT NULL PRIMARY KEY,
	doc BLOB NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS gw_groups (
	id TEXT NOT NULL PRIMARY KEY
) STRICT;

CREATE TABLE IF NOT EXISTS gw_group_members (
	group_id TEXT NOT NULL REFERENCES gw_groups (id) ON DELETE CASCADE,
	member TEXT NOT NULL,
	PRIMARY KEY (group_id, member)
) STRICT;
CREATE INDEX IF NOT EXISTS gw_group_members_member ON gw_group_members (member);

-- Whoever writes keys of a set writes the set's row first, so that writers of one set come one by one.
CREATE TABLE IF NOT EXISTS gw_key_sets (
	id TEXT NOT NULL PRIMARY KEY
) STRICT;

CREATE TABLE IF NOT EXISTS gw_keys (
	set_id TEXT NOT NULL,
	id TEXT NOT NULL,
	jwk BLOB NOT NULL,
	created_at INTEGER NOT NULL,
	not_before INTEGER NOT NULL,
	expires_at INTEGER NOT NULL,
	PRIMARY KEY (set_id, id)
) STRICT;

CREATE TABLE IF NOT EXISTS gw_clients (
	id TEXT NOT NULL PRIMARY KEY,
	name TEXT NOT NULL,
	owner TEXT NOT NULL,
	secret_hash TEXT NOT NULL,
	auth_method_set INTEGER NOT NULL,
	etag TEXT NOT NULL,
	doc BLOB NOT NULL
) STRICT;

-- Codes (c), access tokens (a) and refresh tokens (r).
CREATE TABLE IF NOT EXISTS gw_tokens (
	kind TEXT NOT NULL,
	signature TEXT NOT NULL,
	request_id TEXT NOT NULL,
	client_id TEXT NOT NULL,
	subject TEXT NOT NULL,
	consent_id TEXT NOT NULL,
	session_id TEXT NOT NULL,
	access_signature TEXT NOT NULL,
	expires_at INTEGER NOT NULL,
	spent_at INTEGER NOT NULL,
	data BLOB NOT NULL,
	PRIMARY KEY (kind, signature)
) STRICT;
CREATE INDEX IF NOT EXISTS gw_tokens_request ON gw_tokens (request_id, kind);
CREATE INDEX IF NOT EXISTS gw_tokens_client ON gw_tokens (client_id);
CREATE INDEX IF NOT EXISTS gw_tokens_consent ON gw_tokens (consent_id) WHERE consent_id <> '';
CREATE INDEX IF NOT EXISTS gw_tokens_expiry ON gw_tokens (expires_at) WHERE expires_at > 0;

CREATE TABLE IF NOT EXISTS gw_flows (
	id TEXT NOT NULL PRIMARY KEY,
	state INTEGER NOT NULL,
	login_challenge TEXT UNIQUE,
	login_verifier TEXT UNIQUE,
	consent_challenge TEXT UNIQUE,
	consent_verifier TEXT UNIQUE,
	client_id TEXT NOT NULL,
	subject TEXT NOT NULL,
	session_id TEXT NOT NULL,
	expires_at INTEGER NOT NULL,
	data BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS gw_flows_expiry ON gw_flows (expires_at);

CREATE TABLE IF NOT EXISTS gw_login_sessions (
	id TEXT NOT NULL PRIMARY KEY,
	subject TEXT NOT NULL,
	expires_at INTEGER NOT NULL,
	data BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS gw_login_sessions_subject ON gw_login_sessions (subject);
CREATE INDEX IF NOT EXISTS gw_login_sessions_expiry ON gw_login_sessions (expires_at);

CREATE TABLE IF NOT EXISTS gw_consents (
	id TEXT NOT NULL PRIMARY KEY,
	subject TEXT NOT NULL,
	client_id TEXT NOT NULL,
	login_session_id TEXT NOT NULL,
	remember INTEGER NOT NULL,
	expires_at INTEGER NOT NULL,
	handled_at INTEGER NOT NULL,
	data BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS gw_consents_subject ON gw_consents (subject, client_id);
CREATE INDEX IF NOT EXISTS gw_consents_client ON gw_consents (client_id);
CREATE INDEX IF NOT EXISTS gw_consents_handled ON gw_consents (handled_at);

CREATE TABLE IF NOT EXISTS gw_replays (
	id TEXT NOT NULL PRIMARY KEY,
	expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS gw_replays_expiry ON gw_replays (expires_at);

CREATE TABLE IF NOT EXISTS gw_revisions (
	id INTEGER PRIMARY KEY AUTOINCREMENT,
	topic TEXT NOT NULL,
	item TEXT NOT NULL,
	created_at INTEGER NOT NULL
) STRICT;

-- One row: the highest revision that was swept away, and what writers and readers of the log lock.
CREATE TABLE IF NOT EXISTS gw_revision_log (
	id INTEGER NOT NULL PRIMARY KEY,
	trimmed INTEGER NOT NULL
) STRICT;
INSERT INTO gw_revision_log (id, trimmed) VALUES (1, 0) ON CONFLICT DO NOTHING;
