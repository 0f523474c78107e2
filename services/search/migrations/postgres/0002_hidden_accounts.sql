-- Whether the account is deactivated: then nothing of it is found.
ALTER TABLE account ADD COLUMN hidden BOOLEAN NOT NULL DEFAULT FALSE;
