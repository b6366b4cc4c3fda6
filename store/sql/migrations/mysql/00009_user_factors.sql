-- +goose Up
-- What makes a user's one-time codes (RFC 6238), sealed, and the last step of which a code was accepted.
CREATE TABLE IF NOT EXISTS gw_user_generators (
	user_id VARBINARY(767) NOT NULL PRIMARY KEY,
	generator VARBINARY(255) NOT NULL,
	last_step BIGINT NOT NULL,
	data MEDIUMBLOB NOT NULL,
	CONSTRAINT gw_user_generators_of FOREIGN KEY (user_id) REFERENCES gw_users (id) ON DELETE CASCADE
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Hashes of recovery codes that are left.
CREATE TABLE IF NOT EXISTS gw_user_recovery_codes (
	user_id VARBINARY(767) NOT NULL,
	hash VARBINARY(64) NOT NULL,
	PRIMARY KEY (user_id, hash),
	CONSTRAINT gw_user_recovery_codes_of FOREIGN KEY (user_id) REFERENCES gw_users (id) ON DELETE CASCADE
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Passkeys (WebAuthn). The id is a hash of the credential's.
CREATE TABLE IF NOT EXISTS gw_user_passkeys (
	id VARBINARY(64) NOT NULL PRIMARY KEY,
	user_id VARBINARY(767) NOT NULL,
	created_at BIGINT NOT NULL,
	sign_count BIGINT NOT NULL,
	data MEDIUMBLOB NOT NULL,
	KEY gw_user_passkeys_user (user_id),
	CONSTRAINT gw_user_passkeys_of FOREIGN KEY (user_id) REFERENCES gw_users (id) ON DELETE CASCADE
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
