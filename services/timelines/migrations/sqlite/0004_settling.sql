-- The deleted accounts of which something is left. It goes some at a time; until then they are in
-- `hidden_user`, too, and nobody sees it.
CREATE TABLE settling (
    user_id BIGINT PRIMARY KEY NOT NULL
) WITHOUT ROWID;

-- In the order in which it goes.
DROP INDEX mention_by_author;
CREATE INDEX mention_by_author ON mention (author_id, user_id, tweet_id);
DROP INDEX post_by_retweeted_author;
CREATE INDEX post_by_retweeted_author ON post (retweeted_author_id, tweet_id)
    WHERE retweeted_author_id IS NOT NULL;
