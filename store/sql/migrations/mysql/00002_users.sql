-- +goose Up
-- Local users. The document is sealed, the password's hash in it too.
CREATE TABLE IF NOT EXISTS gw_users (
	id VARBINARY(767) NOT NULL PRIMARY KEY,
	etag VARBINARY(255) NOT NULL,
	data MEDIUMBLOB NOT NULL
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- What people type to log in, folded: user names and email addresses.
CREATE TABLE IF NOT EXISTS gw_user_logins (
	login VARBINARY(255) NOT NULL PRIMARY KEY,
	user_id VARBINARY(767) NOT NULL,
	KEY gw_user_logins_user (user_id),
	CONSTRAINT gw_user_logins_of FOREIGN KEY (user_id) REFERENCES gw_users (id) ON DELETE CASCADE
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Attempts to log in: when the bucket of a key would be full again (generic cell rate algorithm).
CREATE TABLE IF NOT EXISTS gw_attempts (
	id VARBINARY(255) NOT NULL PRIMARY KEY,
	arrival BIGINT NOT NULL,
	KEY gw_attempts_arrival (arrival)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
