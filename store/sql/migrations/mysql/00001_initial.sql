-- +goose Up
-- Keys are VARBINARY: the text collations fold case or ignore trailing blanks, so that two
-- signatures could be equal. Every statement can run again, because DDL commits by itself.
-- Times are milliseconds since 1970 UTC, 0 for none.

-- What the database was sealed with, and the like.
CREATE TABLE IF NOT EXISTS gw_meta (
	name VARBINARY(255) NOT NULL PRIMARY KEY,
	value MEDIUMBLOB NOT NULL
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS gw_rules (
	id VARBINARY(767) NOT NULL PRIMARY KEY,
	doc MEDIUMBLOB NOT NULL,
	etag VARBINARY(255) NOT NULL,
	created_at BIGINT NOT NULL,
	updated_at BIGINT NOT NULL
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS gw_policies (
	id VARBINARY(767) NOT NULL PRIMARY KEY,
	doc MEDIUMBLOB NOT NULL
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS gw_groups (
	id VARBINARY(767) NOT NULL PRIMARY KEY
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS gw_group_members (
	group_id VARBINARY(767) NOT NULL,
	member VARBINARY(767) NOT NULL,
	PRIMARY KEY (group_id, member),
	FOREIGN KEY (group_id) REFERENCES gw_groups (id) ON DELETE CASCADE,
	KEY gw_group_members_member (member)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Whoever writes keys of a set writes the set's row first, so that writers of one set come one by one.
CREATE TABLE IF NOT EXISTS gw_key_sets (
	id VARBINARY(767) NOT NULL PRIMARY KEY
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS gw_keys (
	set_id VARBINARY(767) NOT NULL,
	id VARBINARY(767) NOT NULL,
	jwk MEDIUMBLOB NOT NULL,
	created_at BIGINT NOT NULL,
	not_before BIGINT NOT NULL,
	expires_at BIGINT NOT NULL,
	PRIMARY KEY (set_id, id)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS gw_clients (
	id VARBINARY(767) NOT NULL PRIMARY KEY,
	name VARBINARY(767) NOT NULL,
	owner VARBINARY(767) NOT NULL,
	secret_hash BLOB NOT NULL,
	auth_method_set SMALLINT NOT NULL,
	etag VARBINARY(26) NOT NULL,
	doc MEDIUMBLOB NOT NULL
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Codes (c), access tokens (a) and refresh tokens (r).
CREATE TABLE IF NOT EXISTS gw_tokens (
	kind BINARY(1) NOT NULL,
	signature VARBINARY(767) NOT NULL,
	request_id VARBINARY(767) NOT NULL,
	client_id VARBINARY(767) NOT NULL,
	subject VARBINARY(767) NOT NULL,
	consent_id VARBINARY(767) NOT NULL,
	session_id VARBINARY(767) NOT NULL,
	access_signature VARBINARY(767) NOT NULL,
	expires_at BIGINT NOT NULL,
	spent_at BIGINT NOT NULL,
	data MEDIUMBLOB NOT NULL,
	PRIMARY KEY (kind, signature),
	KEY gw_tokens_request (request_id, kind),
	KEY gw_tokens_client (client_id),
	KEY gw_tokens_consent (consent_id),
	KEY gw_tokens_expiry (expires_at)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS gw_flows (
	id VARBINARY(767) NOT NULL PRIMARY KEY,
	state SMALLINT NOT NULL,
	login_challenge VARBINARY(767) UNIQUE,
	login_verifier VARBINARY(767) UNIQUE,
	consent_challenge VARBINARY(767) UNIQUE,
	consent_verifier VARBINARY(767) UNIQUE,
	client_id VARBINARY(767) NOT NULL,
	subject VARBINARY(767) NOT NULL,
	session_id VARBINARY(767) NOT NULL,
	expires_at BIGINT NOT NULL,
	data MEDIUMBLOB NOT NULL,
	KEY gw_flows_expiry (expires_at)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS gw_login_sessions (
	id VARBINARY(767) NOT NULL PRIMARY KEY,
	subject VARBINARY(767) NOT NULL,
	expires_at BIGINT NOT NULL,
	data MEDIUMBLOB NOT NULL,
	KEY gw_login_sessions_subject (subject),
	KEY gw_login_sessions_expiry (expires_at)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS gw_consents (
	id VARBINARY(767) NOT NULL PRIMARY KEY,
	subject VARBINARY(767) NOT NULL,
	client_id VARBINARY(767) NOT NULL,
	login_session_id VARBINARY(767) NOT NULL,
	remember SMALLINT NOT NULL,
	expires_at BIGINT NOT NULL,
	handled_at BIGINT NOT NULL,
	data MEDIUMBLOB NOT NULL,
	KEY gw_consents_subject (subject, client_id),
	KEY gw_consents_client (client_id),
	KEY gw_consents_handled (handled_at)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS gw_replays (
	id VARBINARY(255) NOT NULL PRIMARY KEY,
	expires_at BIGINT NOT NULL,
	KEY gw_replays_expiry (expires_at)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS gw_revisions (
	id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
	topic VARBINARY(255) NOT NULL,
	item BLOB NOT NULL,
	created_at BIGINT NOT NULL
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- One row: the highest revision that was swept away, and what writers and readers of the log lock.
CREATE TABLE IF NOT EXISTS gw_revision_log (
	id SMALLINT NOT NULL PRIMARY KEY,
	trimmed BIGINT NOT NULL
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
INSERT IGNORE INTO gw_revision_log (id, trimmed) VALUES (1, 0);
