-- The sagas that this service conducts.
CREATE TABLE saga (
    id BIGINT PRIMARY KEY NOT NULL,
    -- Which saga it is, and what it is about: one unfinished saga of a name for each key.
    name TEXT NOT NULL,
    key TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('running', 'waiting', 'compensating', 'parked',
                                         'completed', 'compensated', 'abandoned')),
    -- The state that a parked one goes back to.
    resumes TEXT CHECK (resumes IN ('running', 'compensating')),
    -- The step that is being done or taken back, and since when it is its turn.
    position BIGINT NOT NULL,
    step TEXT NOT NULL,
    step_since BIGINT NOT NULL,
    -- What the steps need to know: a JSON object, emptied at the end.
    data TEXT NOT NULL,
    -- Why it is taken back, as JSON.
    reason TEXT,
    -- Somebody said to go on before the step that waits for it had its turn.
    proceeds BOOLEAN NOT NULL,
    -- How often the step was tried in vain, how many of these times its service itself failed,
    -- and why the last time.
    attempts BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    error TEXT,
    -- Microseconds since 1970. Null when nothing is to be done any more, or until somebody helps.
    due_at BIGINT,
    started_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL,
    -- Who works on it until when. Every new owner has a new epoch, and an old one's writes fail.
    owner TEXT,
    epoch BIGINT NOT NULL,
    lease_until BIGINT NOT NULL
);
CREATE UNIQUE INDEX saga_by_key ON saga (name, key)
    WHERE state IN ('running', 'waiting', 'compensating', 'parked');
CREATE INDEX saga_by_due_at ON saga (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX saga_by_end ON saga (changed_at)
    WHERE state IN ('completed', 'compensated', 'abandoned');

-- What became of each step, and when.
CREATE TABLE saga_journal (
    saga_id BIGINT NOT NULL,
    ordinal BIGINT NOT NULL,
    at BIGINT NOT NULL,
    step TEXT NOT NULL,
    what TEXT NOT NULL,
    detail TEXT,
    PRIMARY KEY (saga_id, ordinal)
);

-- The steps of anybody's sagas that this service did, refused or took back. What was taken back
-- before it came is here, too, so that it is refused when it comes late.
CREATE TABLE saga_step (
    saga TEXT NOT NULL,
    saga_id BIGINT NOT NULL,
    step TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('done', 'refused', 'undone')),
    -- What it answered, or the problem with which it refused, as JSON.
    answer TEXT,
    -- When it was done first, in microseconds since 1970.
    at BIGINT NOT NULL,
    PRIMARY KEY (saga_id, saga, step)
);
CREATE INDEX saga_step_by_at ON saga_step (at);
