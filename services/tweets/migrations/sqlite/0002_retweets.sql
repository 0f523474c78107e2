-- Those whom the text names, as a JSON list of {"user_id", "username"}.
ALTER TABLE tweet ADD COLUMN mentions TEXT NOT NULL DEFAULT '[]';

-- Whether who began the conversation hid it.
ALTER TABLE tweet ADD COLUMN hidden BOOLEAN NOT NULL DEFAULT FALSE;

-- What it is a retweet of. A retweet has no text of its own, and goes with what it repeats.
ALTER TABLE tweet ADD COLUMN retweeted_id BIGINT;
ALTER TABLE tweet ADD COLUMN retweeted_author_id BIGINT;

-- The event log knows how many events a tweet has had.
ALTER TABLE tweet DROP COLUMN version;

-- The quotes of a tweet, latest first, and its retweets.
CREATE INDEX tweet_by_quoted ON tweet (quoted_id, tweet_id) WHERE quoted_id IS NOT NULL;
CREATE INDEX tweet_by_retweeted ON tweet (retweeted_id) WHERE retweeted_id IS NOT NULL;

-- How many tweets a user has, retweets included. Who has none has no row.
CREATE TABLE author (
    user_id BIGINT PRIMARY KEY NOT NULL,
    tweet_count BIGINT NOT NULL CHECK (tweet_count >= 0)
);

INSERT INTO author (user_id, tweet_count)
SELECT author_id, count(*) FROM tweet GROUP BY author_id;

-- The accounts that the users service told of.
CREATE TABLE account (
    user_id BIGINT PRIMARY KEY NOT NULL,
    -- The handle, as its owner writes it; null once the account is deleted.
    username TEXT
);
