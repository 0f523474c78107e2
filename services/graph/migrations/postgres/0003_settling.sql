-- The accounts whose relations are being brought, some at a time, to where the account's going or
-- return wants them.
CREATE TABLE settling (
    user_id BIGINT PRIMARY KEY NOT NULL,
    -- Follows, by the account or of it, that began up to this position do not count for the other
    -- end; later ones do.
    uncounted_to BIGINT NOT NULL
);

-- A deleted account is settled once its last request is over.
INSERT INTO settling (user_id, uncounted_to)
SELECT a.user_id, 0 FROM account AS a
WHERE a.deleted
  AND (EXISTS (SELECT 1 FROM relation WHERE source_id = a.user_id AND kind = 'request')
       OR EXISTS (SELECT 1 FROM relation WHERE target_id = a.user_id AND kind = 'request'));

DROP INDEX account_deleted;
