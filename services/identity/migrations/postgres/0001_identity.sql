-- Accounts, apps, sessions and signing keys. Times are microseconds since 1970.

CREATE TABLE account (
    id BIGINT PRIMARY KEY NOT NULL,
    -- The handle in lower case; unique without regard to case.
    username_folded TEXT NOT NULL UNIQUE,
    -- What the users service is told, the handle as its owner writes it included: a JSON object.
    profile TEXT NOT NULL,
    -- A PHC string: algorithm, parameters, salt and hash.
    password_hash TEXT NOT NULL,
    -- pending: the profile may not exist yet. deleting: it may exist still.
    state TEXT NOT NULL CHECK (state IN ('pending', 'active', 'deleting')),
    state_since BIGINT NOT NULL
);

CREATE INDEX account_unfinished ON account (state_since) WHERE state <> 'active';

CREATE TABLE app (
    client_id TEXT PRIMARY KEY NOT NULL,
    owner_id BIGINT NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    -- SHA-256 of the secret; null for an app that cannot keep one.
    secret_hash BYTEA,
    -- A JSON array of the addresses that a consent may return to.
    redirect_uris TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE INDEX app_owner ON app (owner_id);

-- A user's consent for a client: what a login or an authorisation began. Its refresh tokens
-- replace each other.
CREATE TABLE session (
    id BIGINT PRIMARY KEY NOT NULL,
    account_id BIGINT NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    client_id TEXT NOT NULL,
    scope TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    revoked_at BIGINT
);

CREATE INDEX session_account ON session (account_id);

CREATE TABLE refresh_token (
    -- SHA-256 of the token.
    hash BYTEA PRIMARY KEY NOT NULL,
    session_id BIGINT NOT NULL REFERENCES session (id) ON DELETE CASCADE,
    expires_at BIGINT NOT NULL,
    -- When it was replaced; being presented again after that means that it was stolen.
    used_at BIGINT
);

CREATE INDEX refresh_token_session ON refresh_token (session_id);
CREATE INDEX refresh_token_expires ON refresh_token (expires_at);

-- What a user has just allowed an app, until the app turns it into a session.
CREATE TABLE authorization_code (
    -- SHA-256 of the code.
    hash BYTEA PRIMARY KEY NOT NULL,
    client_id TEXT NOT NULL REFERENCES app (client_id) ON DELETE CASCADE,
    account_id BIGINT NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    redirect_uri TEXT NOT NULL,
    scope TEXT NOT NULL,
    -- SHA-256 of the verifier that the app must show, in base64url.
    challenge TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    -- The session that it became; being presented again after that means that it was stolen.
    session_id BIGINT
);

CREATE INDEX authorization_code_client ON authorization_code (client_id);
CREATE INDEX authorization_code_account ON authorization_code (account_id);
CREATE INDEX authorization_code_expires ON authorization_code (expires_at);

-- The keys that sign access tokens: Ed25519 seeds.
CREATE TABLE signing_key (
    kid TEXT PRIMARY KEY NOT NULL,
    seed BYTEA NOT NULL,
    -- From when on it signs; it is published before.
    signs_from BIGINT NOT NULL
);
