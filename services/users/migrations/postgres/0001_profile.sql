-- The accounts, as the event log tells them.
CREATE TABLE profile (
    user_id BIGINT PRIMARY KEY NOT NULL,
    -- The handle as its owner writes it, and in lower case, by which it is unique. A deleted
    -- account keeps its handle, so that nobody else can pose as its owner.
    username TEXT NOT NULL,
    username_key TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    description TEXT,
    location TEXT,
    url TEXT,
    -- Microseconds since 1970. A deleted account keeps nothing else about its owner.
    created_at BIGINT NOT NULL,
    deleted_at BIGINT,
    -- How many events the account has had.
    version BIGINT NOT NULL
);
