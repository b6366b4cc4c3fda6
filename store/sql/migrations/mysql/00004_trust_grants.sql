-- +goose Up
-- Whose assertions buy tokens (RFC 7523 section 2.1). The identity is a hash of issuer, subject and key id.
CREATE TABLE IF NOT EXISTS gw_trust_grants (
	id VARBINARY(767) NOT NULL PRIMARY KEY,
	issuer VARBINARY(767) NOT NULL,
	identity VARBINARY(64) NOT NULL UNIQUE,
	doc MEDIUMBLOB NOT NULL,
	INDEX gw_trust_grants_issuer (issuer)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
