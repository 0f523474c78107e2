-- What registrations and deletions of a build before the sagas left half done, and what was to be
-- told of them: sagas are begun for them at the next start.
CREATE TABLE account_left (
    account_id BIGINT PRIMARY KEY NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    profile TEXT NOT NULL
);
INSERT INTO account_left (account_id, profile)
    SELECT id, profile FROM account WHERE state <> 'active';

-- The handle, as its owner writes it. The rest of the profile is the users service's business.
ALTER TABLE account ADD COLUMN username TEXT NOT NULL DEFAULT '';
UPDATE account SET username = json_extract(profile, '$.username');
ALTER TABLE account DROP COLUMN profile;

-- pending: its registration has not ended. deactivated: its owner wants it gone, and it is when the
-- time to change one's mind is over.
DROP INDEX account_unfinished;
ALTER TABLE account ADD COLUMN condition TEXT NOT NULL DEFAULT 'active'
    CHECK (condition IN ('pending', 'active', 'deactivated'));
UPDATE account SET condition = CASE state WHEN 'deleting' THEN 'deactivated' ELSE state END;
ALTER TABLE account DROP COLUMN state;
ALTER TABLE account RENAME COLUMN condition TO state;
