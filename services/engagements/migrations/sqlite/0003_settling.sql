-- The accounts of which what they did, and what was done with their tweets, is being brought, some at
-- a time, to where the account's going or return wants it.
CREATE TABLE settling (
    user_id BIGINT PRIMARY KEY NOT NULL,
    -- Up to this position it is done.
    after_position BIGINT NOT NULL
);

-- Readers go by `account`, and see one go and come back at once. `shown` says from now on whether the
-- engagement is counted, which follows.
DROP INDEX engagement_by_author;
CREATE INDEX engagement_by_author ON engagement (author_id, kind, position);
