-- +goose Up
-- The clients that a login session of ours was used for: who must hear that it has ended.
CREATE TABLE IF NOT EXISTS gw_participants (
	session_id TEXT NOT NULL,
	client_id TEXT NOT NULL,
	created_at INTEGER NOT NULL,
	PRIMARY KEY (session_id, client_id)
) STRICT;
CREATE INDEX IF NOT EXISTS gw_participants_created ON gw_participants (created_at);

-- Sessions of the gateway that a provider has ended: those of a name that began up to a time.
CREATE TABLE IF NOT EXISTS gw_logouts (
	name TEXT NOT NULL,
	ended_at INTEGER NOT NULL,
	expires_at INTEGER NOT NULL,
	PRIMARY KEY (name, ended_at)
) STRICT;
CREATE INDEX IF NOT EXISTS gw_logouts_expiry ON gw_logouts (expires_at);
