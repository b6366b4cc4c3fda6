-- +goose Up
-- When a client asked last for the answer to a request, and how much longer than usual it has to
-- wait, in milliseconds.
ALTER TABLE gw_flows ADD COLUMN polled_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE gw_flows ADD COLUMN poll_extra INTEGER NOT NULL DEFAULT 0;
-- What waits for a person.
CREATE INDEX IF NOT EXISTS gw_flows_subject ON gw_flows (subject, state);
