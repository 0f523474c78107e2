-- Whether the account is on no list and in no count until its owner comes back.
ALTER TABLE account ADD COLUMN hidden BOOLEAN NOT NULL DEFAULT FALSE;

-- The requests of accounts that are gone are ended one by one.
CREATE INDEX account_deleted ON account (user_id) WHERE deleted;
