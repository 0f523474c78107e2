-- Whether the account is deactivated.
ALTER TABLE account ADD COLUMN hidden BOOLEAN NOT NULL DEFAULT FALSE;

-- Whether it is there for others: neither who did it nor who wrote the tweet is hidden. All counts
-- are of such engagements only.
ALTER TABLE engagement ADD COLUMN shown BOOLEAN NOT NULL DEFAULT TRUE;
