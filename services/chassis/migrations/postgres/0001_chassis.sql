-- What every service's database has.

-- The service's events, in the order in which they happened.
CREATE TABLE event_log (
    -- Where it stands among all events. Never used twice, never out of order.
    position BIGINT PRIMARY KEY NOT NULL,
    -- What it happened to, and which of that thing's events it is, from 1.
    stream_id TEXT NOT NULL,
    version BIGINT NOT NULL CHECK (version > 0),
    -- Its name, the version of its wire form, and that form: a JSON object.
    name TEXT NOT NULL,
    wire_version BIGINT NOT NULL CHECK (wire_version > 0),
    data TEXT NOT NULL,
    -- Microseconds since 1970.
    recorded_at BIGINT NOT NULL,
    UNIQUE (stream_id, version)
);

-- Keys that never leave the service.
CREATE TABLE secret (
    name TEXT PRIMARY KEY NOT NULL,
    value BYTEA NOT NULL
);

-- The items of a JSON list as rows, by the name that SQLite has for it.
CREATE FUNCTION json_each(list TEXT) RETURNS TABLE (value TEXT)
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE ROWS 100
    AS 'SELECT json_array_elements_text(list::json)';
