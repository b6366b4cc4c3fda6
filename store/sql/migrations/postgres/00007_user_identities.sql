-- +goose Up
-- Accounts at OpenID providers that users log in with.
CREATE TABLE IF NOT EXISTS gw_user_identities (
	issuer TEXT COLLATE "C" NOT NULL,
	subject TEXT COLLATE "C" NOT NULL,
	user_id TEXT COLLATE "C" NOT NULL REFERENCES gw_users (id) ON DELETE CASCADE,
	data BYTEA NOT NULL,
	PRIMARY KEY (issuer, subject)
);
CREATE INDEX IF NOT EXISTS gw_user_identities_user ON gw_user_identities (user_id);
