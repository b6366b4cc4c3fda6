-- +goose Up
-- Clients that registered themselves (RFC 7591): the hash of what they manage themselves with, and when they last held a token.
CREATE TABLE IF NOT EXISTS gw_registrations (
	client_id VARBINARY(767) NOT NULL PRIMARY KEY,
	token_hash VARBINARY(255) NOT NULL,
	used_at BIGINT NOT NULL,
	INDEX gw_registrations_used (used_at)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
