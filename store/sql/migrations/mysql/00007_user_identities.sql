-- +goose Up
-- Accounts at OpenID providers that users log in with.
CREATE TABLE IF NOT EXISTS gw_user_identities (
	issuer VARBINARY(512) NOT NULL,
	subject VARBINARY(255) NOT NULL,
	user_id VARBINARY(767) NOT NULL,
	data MEDIUMBLOB NOT NULL,
	PRIMARY KEY (issuer, subject),
	KEY gw_user_identities_user (user_id),
	CONSTRAINT gw_user_identities_of FOREIGN KEY (user_id) REFERENCES gw_users (id) ON DELETE CASCADE
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
