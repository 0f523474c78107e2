-- What of accounts decides who is notified. A deleted account stays, so that events of other
-- services that come in late do not bring it back.
CREATE TABLE account (
    user_id BIGINT PRIMARY KEY NOT NULL,
    protected BOOLEAN NOT NULL DEFAULT FALSE,
    deleted BOOLEAN NOT NULL DEFAULT FALSE
);

-- Who follows whom: who may see what a protected account does.
CREATE TABLE follow (
    follower_id BIGINT NOT NULL,
    followee_id BIGINT NOT NULL,
    PRIMARY KEY (follower_id, followee_id)
);

CREATE INDEX follow_by_followee ON follow (followee_id);

-- Of whom a user does not want to hear.
CREATE TABLE silence (
    user_id BIGINT NOT NULL,
    target_id BIGINT NOT NULL,
    -- `block` or `mute`.
    reason TEXT NOT NULL,
    PRIMARY KEY (user_id, target_id, reason)
);

CREATE INDEX silence_by_target ON silence (target_id);

-- Everyone who was ever notified.
CREATE TABLE mailbox (
    user_id BIGINT PRIMARY KEY NOT NULL,
    -- The largest id that a notification ever had; the next one's is larger.
    last_id BIGINT NOT NULL,
    -- The newest that was read, and so was all before it.
    read_up_to BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE notification (
    -- Who is notified.
    user_id BIGINT NOT NULL,
    id BIGINT NOT NULL,
    kind TEXT NOT NULL,
    -- Who did it.
    actor_id BIGINT NOT NULL,
    tweet_id BIGINT,
    -- Microseconds since 1970.
    created_at BIGINT NOT NULL,
    PRIMARY KEY (user_id, id)
);

CREATE INDEX notification_by_actor ON notification (actor_id, user_id);
CREATE INDEX notification_by_tweet ON notification (tweet_id, actor_id)
    WHERE tweet_id IS NOT NULL;

-- Tweets that are gone: a like of one may come in late.
CREATE TABLE deleted_tweet (
    tweet_id BIGINT PRIMARY KEY NOT NULL
);
