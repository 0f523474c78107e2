-- What is between accounts, as the event log tells it.
CREATE TABLE relation (
    -- Who follows, asks, blocks or mutes, and whom.
    source_id BIGINT NOT NULL,
    target_id BIGINT NOT NULL,
    -- follow, request, block or mute.
    kind TEXT NOT NULL,
    -- Of the event that began it: newer relations have larger ones.
    position BIGINT NOT NULL,
    PRIMARY KEY (source_id, target_id, kind)
);

-- The lists of one account, newest first: whom it follows, blocks, mutes; who follows or asks it.
CREATE INDEX relation_by_source ON relation (source_id, kind, position);
CREATE INDEX relation_by_target ON relation (target_id, kind, position);

-- How many follow an account, and how many it follows.
CREATE TABLE follow_count (
    user_id BIGINT PRIMARY KEY NOT NULL,
    followers_count BIGINT NOT NULL CHECK (followers_count >= 0),
    following_count BIGINT NOT NULL CHECK (following_count >= 0)
);

-- What the users service told of its accounts.
CREATE TABLE account (
    user_id BIGINT PRIMARY KEY NOT NULL,
    protected BOOLEAN NOT NULL,
    -- Nothing new may begin with an account that is gone.
    deleted BOOLEAN NOT NULL
);
