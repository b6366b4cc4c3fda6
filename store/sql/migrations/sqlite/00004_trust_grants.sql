-- +goose Up
-- Whose assertions buy tokens (RFC 7523 section 2.1). The identity is a hash of issuer, subject and key id.
CREATE TABLE IF NOT EXISTS gw_trust_grants (
	id TEXT NOT NULL PRIMARY KEY,
	issuer TEXT NOT NULL,
	identity TEXT NOT NULL UNIQUE,
	doc BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS gw_trust_grants_issuer ON gw_trust_grants (issuer);
