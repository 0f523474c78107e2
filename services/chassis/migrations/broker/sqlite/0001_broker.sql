-- Copies of the services' event logs, on their way to other services. Each can be made again
-- from the log in the service's own database.
CREATE TABLE broker_log (
    -- The service whose log it is, and where in that log: 1, 2, 3, without gaps.
    source TEXT NOT NULL,
    position BIGINT NOT NULL CHECK (position > 0),
    -- The event with all that the log says of it, a JSON object.
    event TEXT NOT NULL,
    PRIMARY KEY (source, position)
) WITHOUT ROWID;
