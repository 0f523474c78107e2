-- What the service took in: its own events and those of the services that it follows, in the
-- order in which its tables took them up. A rebuild takes them up in the same order again.
CREATE TABLE inbox (
    ordinal BIGINT PRIMARY KEY NOT NULL,
    -- The service whose event it is, and its position in that service's log.
    source TEXT NOT NULL,
    position BIGINT NOT NULL,
    UNIQUE (source, position)
);

-- How far the service has come with the events of each service that it follows.
CREATE TABLE cursor (
    source TEXT PRIMARY KEY NOT NULL,
    -- The last event that was taken up or parked.
    position BIGINT NOT NULL,
    -- How often the next one was tried in vain, and why it failed.
    attempts BIGINT NOT NULL DEFAULT 0,
    error TEXT
);

-- Events that could not be taken up, and those of the same streams that wait behind them.
CREATE TABLE parked (
    source TEXT NOT NULL,
    position BIGINT NOT NULL,
    stream_id TEXT NOT NULL,
    version BIGINT NOT NULL,
    name TEXT NOT NULL,
    wire_version BIGINT NOT NULL,
    data TEXT NOT NULL,
    recorded_at BIGINT NOT NULL,
    -- Why; null for one that only waits.
    error TEXT,
    PRIMARY KEY (source, position)
);
