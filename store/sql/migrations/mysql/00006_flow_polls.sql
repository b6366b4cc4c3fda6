-- +goose Up
-- When a client asked last for the answer to a request, and how much longer than usual it has to
-- wait, in milliseconds; and an index of what waits for a person. One statement, because MySQL has
-- no transactions for these.
ALTER TABLE gw_flows
	ADD COLUMN polled_at BIGINT NOT NULL DEFAULT 0,
	ADD COLUMN poll_extra BIGINT NOT NULL DEFAULT 0,
	ADD KEY gw_flows_subject (subject, state);
