-- Lifetimes and revocation of access tokens.

-- Tokens of an account carry this number: to raise it revokes all of them.
ALTER TABLE account ADD COLUMN token_epoch BIGINT NOT NULL DEFAULT 0;

-- An app's own tokens carry this number.
ALTER TABLE app ADD COLUMN token_generation BIGINT NOT NULL DEFAULT 0;

-- Until when access tokens of the session may work.
ALTER TABLE session ADD COLUMN access_until BIGINT NOT NULL DEFAULT 0;

-- Ids of access tokens that were revoked, until the last token that carries them has expired.
CREATE TABLE revocation (
    -- Positions without gaps or repeats. The row with the last one is never deleted.
    seq BIGINT PRIMARY KEY NOT NULL,
    -- The `jti` of one token; or `sSESSION`, `uUSER.EPOCH`, `CLIENT`, `CLIENT.GENERATION`.
    id TEXT NOT NULL UNIQUE,
    -- Whose entries are counted together: `uUSER` or a client id.
    owner TEXT NOT NULL,
    -- Whether an entry for everything of the owner takes its place.
    narrow BOOLEAN NOT NULL,
    expires_at BIGINT NOT NULL
);

CREATE INDEX revocation_owner ON revocation (owner);
CREATE INDEX revocation_expires ON revocation (expires_at);

-- The keys that sign access tokens, Ed25519. Earlier ones had their seeds in clear, so they go.
DROP TABLE signing_key;
CREATE TABLE signing_key (
    kid TEXT PRIMARY KEY NOT NULL,
    public_key BLOB NOT NULL,
    -- Encrypted; null when the key signs no more and only verifies.
    seed BLOB,
    -- From when on it signs; it is published before.
    signs_from BIGINT NOT NULL
);
