-- The keys that personal data in events is sealed with. To erase somebody's data is to overwrite
-- their keys: what was sealed stays where it is, in logs, brokers and backups, and nobody can
-- read it any more. No row is ever deleted: SQLite would move others then, and leave copies.
CREATE TABLE personal_key (
    -- Whose data it is.
    user_id BIGINT NOT NULL,
    -- The service in whose log it is; empty for the mark that the user was erased here.
    source TEXT NOT NULL,
    -- 32 bytes; all of them zero once it is gone for good.
    key BYTEA NOT NULL,
    PRIMARY KEY (user_id, source)
);
