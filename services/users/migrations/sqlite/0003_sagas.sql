-- Since when the account is as if it did not exist; null for those that can be seen, and for those
-- that are gone for good.
ALTER TABLE profile ADD COLUMN deactivated_at BIGINT;

-- Handles that a registration or a change of handle holds until it ends, so that nobody else gets
-- them meanwhile. Not told by the event log: what is reserved has not happened.
CREATE TABLE handle_reservation (
    -- In lower case.
    username_key TEXT PRIMARY KEY NOT NULL,
    user_id BIGINT NOT NULL
);

-- What the profile of an account will say whose registration has not ended. Not told by the event
-- log either.
CREATE TABLE profile_draft (
    user_id BIGINT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL,
    description TEXT,
    location TEXT,
    url TEXT
);
