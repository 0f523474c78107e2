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

-- What can be found: tweets and retweets.
CREATE TABLE document (
    id INTEGER PRIMARY KEY NOT NULL,
    author_id BIGINT NOT NULL,
    -- What a retweet repeats, and who wrote that.
    retweeted_id BIGINT,
    retweeted_author_id BIGINT,
    -- What it can be found by, separated by spaces, in the order of the text. Empty for a retweet
    -- whose tweet has not come yet.
    terms TEXT NOT NULL
);
CREATE INDEX document_author ON document (author_id);
CREATE INDEX document_retweeted ON document (retweeted_id)
    WHERE retweeted_id IS NOT NULL;
CREATE INDEX document_retweeted_author ON document (retweeted_author_id)
    WHERE retweeted_author_id IS NOT NULL;

-- The index of the terms. They are made before they come here, so this tokenizer leaves them as
-- they are: it splits at spaces only, given the signs that terms hold.
CREATE VIRTUAL TABLE document_terms USING fts5 (
    terms,
    content = 'document',
    content_rowid = 'id',
    columnsize = 0,
    tokenize = "ascii tokenchars '#$@:_'"
);
CREATE TRIGGER document_inserted AFTER INSERT ON document BEGIN
    INSERT INTO document_terms (rowid, terms) VALUES (new.id, new.terms);
END;
CREATE TRIGGER document_deleted AFTER DELETE ON document BEGIN
    INSERT INTO document_terms (document_terms, rowid, terms)
    VALUES ('delete', old.id, old.terms);
END;
CREATE TRIGGER document_updated AFTER UPDATE OF terms ON document BEGIN
    INSERT INTO document_terms (document_terms, rowid, terms)
    VALUES ('delete', old.id, old.terms);
    INSERT INTO document_terms (rowid, terms) VALUES (new.id, new.terms);
END;

-- The rules of the filtered stream. They are what apps configured, not made of events.
CREATE TABLE stream_rule (
    id BIGINT PRIMARY KEY NOT NULL,
    client_id TEXT NOT NULL,
    value TEXT NOT NULL,
    tag TEXT,
    UNIQUE (client_id, value)
);
