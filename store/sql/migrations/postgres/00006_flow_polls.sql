-- +goose Up
-- When a client asked last for the answer to a request, and how much longer than usual it has to
-- wait, in milliseconds.
ALTER TABLE gw_flows ADD COLUMN IF NOT EXISTS polled_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE gw_flows ADD COLUMN IF NOT EXISTS poll_extra BIGINT NOT NULL DEFAULT 0;
-- What waits for a person.
CREATE INDEX IF NOT EXISTS gw_flows_subject ON gw_flows (subject, state);
