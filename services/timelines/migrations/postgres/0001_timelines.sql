-- Everyone whom an event has named. A deleted account stays, so that events of other services
-- that come in late do not bring it back.
CREATE TABLE account (
    user_id BIGINT PRIMARY KEY NOT NULL,
    deleted BOOLEAN NOT NULL DEFAULT FALSE,
    -- How many others follow it.
    followers BIGINT NOT NULL DEFAULT 0 CHECK (followers >= 0),
    -- Whether it has tweets that are merged at read.
    merged BOOLEAN NOT NULL DEFAULT FALSE,
    -- How many rows of `home` are its own.
    home_ids BIGINT NOT NULL DEFAULT 0 CHECK (home_ids >= 0)
);

-- Who follows whom. Everyone follows themself: one's own tweets are at home, too.
CREATE TABLE follow (
    follower_id BIGINT NOT NULL,
    followee_id BIGINT NOT NULL,
    -- Whether the followee had so many followers already that nothing of it is put into this
    -- follower's home: all of it is merged at read.
    pulled BOOLEAN NOT NULL DEFAULT FALSE,
    -- Whether there is anything to merge: `pulled`, or the followee's `account.merged`.
    merged BOOLEAN NOT NULL DEFAULT FALSE,
    PRIMARY KEY (follower_id, followee_id)
);

CREATE INDEX follow_by_followee ON follow (followee_id, follower_id);
-- The next two hold all that a statement asks for, or SQLite would take another one.
CREATE INDEX follow_pushed ON follow (followee_id, follower_id, pulled) WHERE NOT pulled;
CREATE INDEX follow_merged ON follow (follower_id, merged, followee_id, pulled) WHERE merged;

-- The newest tweets of each author, retweets among them.
CREATE TABLE post (
    tweet_id BIGINT PRIMARY KEY NOT NULL,
    author_id BIGINT NOT NULL,
    -- Of a reply: whom it answers.
    reply_to_author_id BIGINT,
    -- Of a retweet: which tweet, and whose.
    retweeted_id BIGINT,
    retweeted_author_id BIGINT,
    -- Whether it was put into the homes of the followers who are not `pulled`; if not, it is merged
    -- at read for these, too.
    fanned_out BOOLEAN NOT NULL,
    -- Marked to be swept out of the homes and away, within one transaction.
    doomed BOOLEAN NOT NULL DEFAULT FALSE
);

CREATE INDEX post_by_author ON post (author_id, tweet_id);
CREATE INDEX post_by_replied_to ON post (reply_to_author_id, author_id)
    WHERE reply_to_author_id IS NOT NULL;
CREATE INDEX post_by_retweeted ON post (retweeted_id) WHERE retweeted_id IS NOT NULL;
CREATE INDEX post_by_retweeted_author ON post (retweeted_author_id)
    WHERE retweeted_author_id IS NOT NULL;
CREATE INDEX post_doomed ON post (tweet_id) WHERE doomed;

-- The home timelines. Every row is of a tweet in `post` that was fanned out, of an author whom the
-- user follows and is not `pulled`.
CREATE TABLE home (
    user_id BIGINT NOT NULL,
    tweet_id BIGINT NOT NULL,
    author_id BIGINT NOT NULL,
    reply_to_author_id BIGINT,
    retweet BOOLEAN NOT NULL,
    PRIMARY KEY (user_id, tweet_id)
);

-- The mentions timelines: tweets that name the user or answer one of the user's tweets.
CREATE TABLE mention (
    user_id BIGINT NOT NULL,
    tweet_id BIGINT NOT NULL,
    author_id BIGINT NOT NULL,
    PRIMARY KEY (user_id, tweet_id)
);

CREATE INDEX mention_by_tweet ON mention (tweet_id);
CREATE INDEX mention_by_author ON mention (author_id);

-- Tweets that are gone: a retweet of one may come in late.
CREATE TABLE deleted_tweet (
    tweet_id BIGINT PRIMARY KEY NOT NULL
);
