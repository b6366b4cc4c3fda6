-- +goose Up
-- Requests whose client polls for the answer: whose person they wait for, if that is known, when
-- the client asked last, and how much longer than usual it has to wait, in milliseconds.
CREATE TABLE IF NOT EXISTS gw_polls (
	id VARBINARY(767) NOT NULL PRIMARY KEY,
	client_id VARBINARY(767) NOT NULL,
	subject VARBINARY(767) NOT NULL,
	polled_at BIGINT NOT NULL,
	extra BIGINT NOT NULL,
	expires_at BIGINT NOT NULL,
	KEY gw_polls_subject (subject),
	KEY gw_polls_expiry (expires_at)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
