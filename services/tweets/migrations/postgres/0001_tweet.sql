-- The tweets that are public, as the event log tells them.
CREATE TABLE tweet (
    tweet_id BIGINT PRIMARY KEY NOT NULL,
    author_id BIGINT NOT NULL,
    text TEXT NOT NULL,
    -- The tweet that began the thread.
    conversation_id BIGINT NOT NULL,
    -- What it answers and what it quotes, with their authors; both may be deleted by now.
    replied_to_id BIGINT,
    replied_to_author_id BIGINT,
    quoted_id BIGINT,
    quoted_author_id BIGINT,
    reply_settings TEXT NOT NULL,
    client_id TEXT NOT NULL,
    -- Microseconds since 1970.
    created_at BIGINT NOT NULL,
    -- How many public tweets answer it, and how many quote it.
    reply_count BIGINT NOT NULL DEFAULT 0 CHECK (reply_count >= 0),
    quote_count BIGINT NOT NULL DEFAULT 0 CHECK (quote_count >= 0),
    -- How many events the tweet has had.
    version BIGINT NOT NULL
);

-- A user's tweets, latest first.
CREATE INDEX tweet_by_author ON tweet (author_id, tweet_id);
