-- +goose Up
-- Requests whose client polls for the answer: whose person they wait for, if that is known, when
-- the client asked last, and how much longer than usual it has to wait, in milliseconds.
CREATE TABLE IF NOT EXISTS gw_polls (
	id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
	client_id TEXT COLLATE "C" NOT NULL,
	subject TEXT COLLATE "C" NOT NULL,
	polled_at BIGINT NOT NULL,
	extra BIGINT NOT NULL,
	expires_at BIGINT NOT NULL
);
CREATE INDEX IF NOT EXISTS gw_polls_subject ON gw_polls (subject);
CREATE INDEX IF NOT EXISTS gw_polls_expiry ON gw_polls (expires_at);
