-- What users do with tweets, as the event log tells it. The tweet is never a retweet.
CREATE TABLE engagement (
    user_id BIGINT NOT NULL,
    tweet_id BIGINT NOT NULL,
    -- like, retweet or bookmark.
    kind TEXT NOT NULL,
    -- Who wrote the tweet.
    author_id BIGINT NOT NULL,
    -- Of the event that began it: newer ones have larger ones.
    position BIGINT NOT NULL,
    -- A retweet's own id, as a tweet.
    retweet_id BIGINT,
    PRIMARY KEY (user_id, tweet_id, kind)
);

-- The lists of one user and of one tweet, newest first.
CREATE INDEX engagement_by_user ON engagement (user_id, kind, position);
CREATE INDEX engagement_by_tweet ON engagement (tweet_id, kind, position);
-- What goes with an account that is deleted.
CREATE INDEX engagement_by_author ON engagement (author_id);
-- The source of a retweet.
CREATE UNIQUE INDEX engagement_by_retweet ON engagement (retweet_id) WHERE retweet_id IS NOT NULL;

-- How many do what with a tweet.
CREATE TABLE tweet_count (
    tweet_id BIGINT NOT NULL,
    kind TEXT NOT NULL,
    total BIGINT NOT NULL CHECK (total >= 0),
    PRIMARY KEY (tweet_id, kind)
);

-- How many tweets a user likes.
CREATE TABLE user_count (
    user_id BIGINT PRIMARY KEY NOT NULL,
    like_count BIGINT NOT NULL CHECK (like_count >= 0)
);

-- The tweets that are gone: nothing new may be done with them.
CREATE TABLE deleted_tweet (
    tweet_id BIGINT PRIMARY KEY NOT NULL
);

-- What the users service told of its accounts.
CREATE TABLE account (
    user_id BIGINT PRIMARY KEY NOT NULL,
    protected BOOLEAN NOT NULL,
    deleted BOOLEAN NOT NULL
);
