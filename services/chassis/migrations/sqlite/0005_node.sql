-- The numbers that tell the ids of the service's processes apart, each held by one at a time.
CREATE TABLE node (
    slot BIGINT PRIMARY KEY NOT NULL,
    -- Ids of its holder tell times before this, in milliseconds since 1970. Whoever takes the
    -- number over begins behind it.
    ends_at BIGINT NOT NULL,
    -- How often it was taken.
    epoch BIGINT NOT NULL
);
