-- +goose Up
-- The clients that a login session of ours was used for: who must hear that it has ended.
CREATE TABLE IF NOT EXISTS gw_participants (
	session_id VARBINARY(767) NOT NULL,
	client_id VARBINARY(767) NOT NULL,
	created_at BIGINT NOT NULL,
	PRIMARY KEY (session_id, client_id),
	KEY gw_participants_created (created_at)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Sessions of the gateway that a provider has ended: those of a name that began up to a time.
CREATE TABLE IF NOT EXISTS gw_logouts (
	name VARBINARY(767) NOT NULL,
	ended_at BIGINT NOT NULL,
	expires_at BIGINT NOT NULL,
	PRIMARY KEY (name, ended_at),
	KEY gw_logouts_expiry (expires_at)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
