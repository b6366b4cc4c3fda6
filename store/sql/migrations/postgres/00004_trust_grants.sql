-- +goose Up
-- Whose assertions buy tokens (RFC 7523 section 2.1). The identity is a hash of issuer, subject and key id.
CREATE TABLE IF NOT EXISTS gw_trust_grants (
	id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
	issuer TEXT COLLATE "C" NOT NULL,
	identity TEXT COLLATE "C" NOT NULL UNIQUE,
	doc BYTEA NOT NULL
);
CREATE INDEX IF NOT EXISTS gw_trust_grants_issuer ON gw_trust_grants (issuer);
