-- The users who are deactivated. What is theirs stays where it is and is left out when a timeline is
-- read, so that it is all there again when they are back.
CREATE TABLE hidden_user (
    user_id BIGINT PRIMARY KEY NOT NULL
);

-- Of a retweet: which tweet, and whose. A home shows a tweet once, however many share it.
ALTER TABLE home ADD COLUMN retweeted_id BIGINT;
ALTER TABLE home ADD COLUMN retweeted_author_id BIGINT;

UPDATE home
SET retweeted_id = (SELECT retweeted_id FROM post WHERE post.tweet_id = home.tweet_id),
    retweeted_author_id = (SELECT retweeted_author_id FROM post WHERE post.tweet_id = home.tweet_id)
WHERE retweet;

ALTER TABLE home DROP COLUMN retweet;

-- All that is asked for, or SQLite would go through the home.
CREATE INDEX home_by_retweeted
    ON home (user_id, retweeted_id, tweet_id, author_id, retweeted_author_id)
    WHERE retweeted_id IS NOT NULL;

-- Also which of them are of one author.
DROP INDEX post_by_retweeted;
CREATE INDEX post_by_retweeted ON post (retweeted_id, author_id, tweet_id)
    WHERE retweeted_id IS NOT NULL;
