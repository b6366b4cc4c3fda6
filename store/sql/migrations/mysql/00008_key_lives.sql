-- +goose Up
-- The longest life of anything that a key has signed, in milliseconds: so long it stays published after its successor took over.
CREATE TABLE IF NOT EXISTS gw_key_lives (
	set_id VARBINARY(767) NOT NULL,
	key_id VARBINARY(767) NOT NULL,
	longest BIGINT NOT NULL,
	PRIMARY KEY (set_id, key_id)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
