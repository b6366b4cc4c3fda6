-- +goose Up
-- The clients that a login session of ours was used for: who must hear that it has ended.
CREATE TABLE IF NOT EXISTS gw_participants (
	session_id TEXT COLLATE "C" NOT NULL,
	client_id TEXT COLLATE "C" NOT NULL,
	created_at BIGINT NOT NULL,
	PRIMARY KEY (session_id, client_id)
);
CREATE INDEX IF NOT EXISTS gw_participants_created ON gw_participants (created_at);

-- Sessions of the gateway that a provider has ended: those of a name that began up to a time.
CREATE TABLE IF NOT EXISTS gw_logouts (
	name TEXT COLLATE "C" NOT NULL,
	ended_at BIGINT NOT NULL,
	expires_at BIGINT NOT NULL,
	PRIMARY KEY (name, ended_at)
);
CREATE INDEX IF NOT EXISTS gw_logouts_expiry ON gw_logouts (expires_at);
