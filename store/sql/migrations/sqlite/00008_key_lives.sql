-- +goose Up
-- The longest life of anything that a key has signed, in milliseconds: so long it stays published after its successor took over.
CREATE TABLE IF NOT EXISTS gw_key_lives (
	set_id TEXT NOT NULL,
	key_id TEXT NOT NULL,
	longest INTEGER NOT NULL,
	PRIMARY KEY (set_id, key_id)
) STRICT;
