-- Accounts, for `from:` and for what must not be found.
CREATE TABLE account (
    user_id BIGINT PRIMARY KEY NOT NULL,
    -- In lower case; null once the account is gone, for the handle may come to somebody else.
    username TEXT,
    -- Only approved followers see the tweets.
    protected BOOLEAN NOT NULL,
    -- Kept when it is gone: tweets of it may still be on their way here.
    deleted BOOLEAN NOT NULL
);
CREATE INDEX account_username ON account (username);

-- The terms of a document as a vector with their positions. They are made before they come here,
-- so they are taken as they are, not parsed; none holds a space, a quote or a backslash.
CREATE FUNCTION terms_vector(terms TEXT) RETURNS TSVECTOR
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$
        SELECT CAST(coalesce(string_agg('''' || term || ''':' || place, ' '), '') AS TSVECTOR)
        FROM string_to_table(terms, ' ') WITH ORDINALITY AS listed (term, place)
    $$;

-- What can be found: tweets and retweets.
CREATE TABLE document (
    id BIGINT PRIMARY KEY NOT NULL,
    author_id BIGINT NOT NULL,
    -- What a retweet repeats, and who wrote that.
    retweeted_id BIGINT,
    retweeted_author_id BIGINT,
    -- What it can be found by, separated by spaces, in the order of the text. Empty for a retweet
    -- whose tweet has not come yet.
    terms TEXT NOT NULL,
    vector TSVECTOR NOT NULL GENERATED ALWAYS AS (terms_vector(terms)) STORED
);
CREATE INDEX document_author ON document (author_id);
CREATE INDEX document_retweeted ON document (retweeted_id)
    WHERE retweeted_id IS NOT NULL;
CREATE INDEX document_retweeted_author ON document (retweeted_author_id)
    WHERE retweeted_author_id IS NOT NULL;
-- Without a list of pending entries, which every search would have to read.
CREATE INDEX document_vector ON document USING gin (vector) WITH (fastupdate = off);

-- The rules of the filtered stream. They are what apps configured, not made of events.
CREATE TABLE stream_rule (
    id BIGINT PRIMARY KEY NOT NULL,
    client_id TEXT NOT NULL,
    value TEXT NOT NULL,
    tag TEXT,
    UNIQUE (client_id, value)
);
