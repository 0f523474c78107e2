-- How many tweets each app has read on each day, counted from 1970. Not made of events.
CREATE TABLE usage (
    client_id TEXT NOT NULL,
    day BIGINT NOT NULL,
    tweets BIGINT NOT NULL,
    PRIMARY KEY (client_id, day)
);

CREATE INDEX usage_by_day ON usage (day);
