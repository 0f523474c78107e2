-- Whether only followers whom the owner approved see the tweets.
ALTER TABLE profile ADD COLUMN protected BOOLEAN NOT NULL DEFAULT FALSE;

-- The event log knows how many events an account has had.
ALTER TABLE profile DROP COLUMN version;

-- What an account is found by: the handle and its parts, and the words of the name, in lower
-- case. A deleted account has none.
CREATE TABLE profile_word (
    word TEXT NOT NULL,
    user_id BIGINT NOT NULL,
    PRIMARY KEY (word, user_id)
);

-- An account's words, to take them back.
CREATE INDEX profile_word_by_user ON profile_word (user_id);
