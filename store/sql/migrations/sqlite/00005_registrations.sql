-- +goose Up
-- Clients that registered themselves (RFC 7591): the hash of what they manage themselves with, and when they last held a token.
CREATE TABLE IF NOT EXISTS gw_registrations (
	client_id TEXT NOT NULL PRIMARY KEY,
	token_hash TEXT NOT NULL,
	used_at INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS gw_registrations_used ON gw_registrations (used_at);
