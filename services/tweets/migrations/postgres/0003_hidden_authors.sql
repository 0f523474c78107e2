-- The authors whose accounts are deactivated.
CREATE TABLE hidden_author (
    user_id BIGINT PRIMARY KEY NOT NULL
);

-- Whether it is there for others: neither its author nor, of a retweet, that of what it repeats is
-- hidden. All counts are of such tweets only.
ALTER TABLE tweet ADD COLUMN shown BOOLEAN NOT NULL DEFAULT TRUE;

-- What goes and comes back with the author of what it repeats.
CREATE INDEX tweet_by_retweeted_author ON tweet (retweeted_author_id)
    WHERE retweeted_author_id IS NOT NULL;
