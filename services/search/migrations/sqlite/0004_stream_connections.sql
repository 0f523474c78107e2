-- Which apps are connected to which streams: one connection of each kind, whichever process it is
-- at. Not made of events.
CREATE TABLE stream_connection (
    client_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    -- Which connection it is, and which process has it.
    id BIGINT NOT NULL,
    process BIGINT NOT NULL,
    -- Microseconds since 1970. The process says again and again that it is still there.
    lease_until BIGINT NOT NULL,
    PRIMARY KEY (client_id, kind)
);
