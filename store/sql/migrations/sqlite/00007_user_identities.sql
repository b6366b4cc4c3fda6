-- +goose Up
-- Accounts at OpenID providers that users log in with.
CREATE TABLE IF NOT EXISTS gw_user_identities (
	issuer TEXT NOT NULL,
	subject TEXT NOT NULL,
	user_id TEXT NOT NULL REFERENCES gw_users (id) ON DELETE CASCADE,
	data BLOB NOT NULL,
	PRIMARY KEY (issuer, subject)
) STRICT;
CREATE INDEX IF NOT EXISTS gw_user_identities_user ON gw_user_identities (user_id);
