-- The accounts whose tweets are being brought, some at a time, to where their author's going or
-- return wants them.
CREATE TABLE settling (
    user_id BIGINT PRIMARY KEY NOT NULL,
    -- Up to this tweet it is done.
    after_id BIGINT NOT NULL
);

-- Readers go by `hidden_author`, and see an author go and come back at once. `shown` says from now
-- on whether the tweet is counted, which follows.
DROP INDEX tweet_by_retweeted_author;
CREATE INDEX tweet_by_retweeted_author ON tweet (retweeted_author_id, tweet_id)
    WHERE retweeted_author_id IS NOT NULL;
