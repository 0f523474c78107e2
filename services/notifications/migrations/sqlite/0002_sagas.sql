-- A deed that was taken back and may be done again: then it is not news.
ALTER TABLE notification ADD COLUMN withdrawn BOOLEAN NOT NULL DEFAULT FALSE;

-- Of a request to follow, where it stands in the graph service's log; none of those that were told
-- of by that log itself.
ALTER TABLE notification ADD COLUMN request_position BIGINT;

-- An account whose owner may come back: until then nobody hears of its deeds.
ALTER TABLE account ADD COLUMN deactivated BOOLEAN NOT NULL DEFAULT FALSE;
