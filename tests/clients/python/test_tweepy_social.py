"""tweepy: people follow each other, like, retweet, search and listen, through tweepy's own calls,
pages and stream classes."""

import datetime
import queue
import unittest

import rebase  # noqa: F401 (must come before tweepy makes a session)
import tweepy

from system import answer_request, eventually, protect, register, token_of_app

NOBODY = 1
# Longer than a heartbeat takes to come.
LINE_S = 20


def client_of(person):
    return tweepy.Client(person.token)


def post(client, text, **options):
    """Posts as the user of an OAuth 2 token; tweepy would sign with OAuth 1.0a otherwise."""
    return int(client.create_tweet(text=text, user_auth=False, **options).data["id"])


def ids(response):
    return [found.id for found in response.data or []]


def all_ids(method, *arguments, **options):
    """Of all pages, by tweepy's own paginator."""
    return [found.id for found in tweepy.Paginator(method, *arguments, **options).flatten()]


class Suite(unittest.TestCase):
    def assert_eventually(self, expected, read):
        self.assertEqual(eventually(expected, read), expected)


class People(Suite):
    @classmethod
    def setUpClass(cls):
        cls.people = [register(f"f{number}") for number in range(4)]
        cls.ada, *cls.others = cls.people
        cls.as_ada = client_of(cls.ada)

    def test_follows_are_made_listed_counted_and_ended(self):
        for other in self.others:
            followed = client_of(other).follow_user(self.ada.id, user_auth=False)
            self.assertEqual(followed.data, {"following": True, "pending_follow": False})
        bob, *rest = self.others
        self.as_ada.follow_user(bob.id, user_auth=False)
        latest_first = [int(other.id) for other in reversed(self.others)]
        followers = self.as_ada.get_users_followers
        self.assertEqual(all_ids(followers, self.ada.id, max_results=1), latest_first)
        pages = list(tweepy.Paginator(followers, self.ada.id, max_results=2))
        self.assertEqual([page.meta["result_count"] for page in pages], [2, 1])
        read = followers(self.ada.id, user_fields=["public_metrics", "created_at"])
        shown = {user.username: user.public_metrics for user in read.data}
        self.assertEqual(shown[bob.username]["followers_count"], 1)
        self.assertEqual(shown[bob.username]["following_count"], 1)
        self.assertEqual(shown[rest[0].username]["followers_count"], 0)
        self.assertIsInstance(read.data[0].created_at, datetime.datetime)
        self.assertEqual(ids(self.as_ada.get_users_following(self.ada.id)), [int(bob.id)])
        ended = client_of(bob).unfollow_user(self.ada.id, user_auth=False)
        self.assertEqual(ended.data, {"following": False})
        self.assertEqual(ids(followers(self.ada.id)), latest_first[:2])

    def test_a_protected_account_is_asked(self):
        owner, asker = register("owner"), register("asker")
        secret = post(client_of(owner), "for followers")
        protect(owner)
        as_asker = client_of(asker)

        def ask():
            return as_asker.follow_user(owner.id, user_auth=False).data

        # Until the graph has heard that the account is protected, a follow would be one.
        self.assert_eventually(None, lambda: as_asker.get_users_tweets(owner.id).data)
        self.assertEqual(ask(), {"following": False, "pending_follow": True})
        read = as_asker.get_tweet(secret)
        self.assertIsNone(read.data)
        self.assertEqual(read.errors[0]["title"], "Authorization Error")
        answer_request(owner, asker, "accept")
        self.assertEqual(as_asker.get_tweet(secret).data.text, "for followers")
        self.assertEqual(ids(as_asker.get_users_following(asker.id)), [int(owner.id)])

    def test_mutes_and_blocks_are_made_listed_and_ended(self):
        cleo, dora, emil = (register(name) for name in ("cleo", "dora", "emil"))
        client = client_of(cleo)
        for other in (dora, emil):
            self.assertEqual(client.mute(other.id, user_auth=False).data, {"muting": True})
            # tweepy has no call for this any more.
            path = f"/2/users/{cleo.id}/blocking"
            body = {"target_user_id": other.id}
            client.request("POST", path, json=body, user_auth=False)
        expected = [int(emil.id), int(dora.id)]
        for listed in (client.get_muted, client.get_blocked):
            self.assertEqual(all_ids(listed, user_auth=False, max_results=1), expected)
        self.assertEqual(client.unmute(dora.id, user_auth=False).data, {"muting": False})
        self.assertEqual(ids(client.get_muted(user_auth=False)), [int(emil.id)])
        with self.assertRaises(tweepy.Forbidden):
            client_of(dora).follow_user(cleo.id, user_auth=False)
        self.assertEqual(client_of(dora).get_user(id=cleo.id).errors[0]["title"], "Authorization Error")

    def test_oneself_and_nobody_cannot_be_followed(self):
        for target, said in [(self.ada.id, "yourself"), (NOBODY, "not active")]:
            with self.assertRaises(tweepy.BadRequest) as refused:
                self.as_ada.follow_user(target, user_auth=False)
            self.assertIn(said, str(refused.exception))

    def test_look_ups_show_the_numbers(self):
        fred, gwen = register("fred"), register("gwen")
        as_fred, as_gwen = client_of(fred), client_of(gwen)
        tweet = post(as_fred, "one of mine")
        as_gwen.follow_user(fred.id, user_auth=False)
        as_fred.like(tweet, user_auth=False)
        expected = {
            "followers_count": 1, "following_count": 0, "tweet_count": 1,
            "listed_count": 0, "like_count": 1,
        }
        fields = {"user_fields": ["public_metrics"]}
        self.assert_eventually(
            expected, lambda: as_gwen.get_user(id=fred.id, **fields).data.public_metrics
        )
        for user in (
            as_gwen.get_user(username=fred.username, **fields).data,
            as_gwen.get_users(ids=[gwen.id, fred.id], **fields).data[1],
            as_gwen.get_users(usernames=[fred.username], **fields).data[0],
            as_fred.get_me(user_auth=False, **fields).data,
            as_gwen.get_users_following(gwen.id, **fields).data[0],
            as_gwen.get_liking_users(tweet, **fields).data[0],
        ):
            self.assertEqual(user.public_metrics, expected)


class Engagements(Suite):
    @classmethod
    def setUpClass(cls):
        cls.ada, cls.bob, cls.cleo = (register(name) for name in ("eada", "ebob", "ecleo"))
        cls.as_ada, cls.as_bob, cls.as_cleo = map(client_of, (cls.ada, cls.bob, cls.cleo))

    def metrics(self, tweet):
        return self.as_ada.get_tweet(tweet, tweet_fields=["public_metrics"]).data.public_metrics

    def test_likes(self):
        tweets = [post(self.as_ada, f"like {number}") for number in range(7)]
        for tweet in tweets:
            self.assertEqual(self.as_bob.like(tweet, user_auth=False).data, {"liked": True})
        self.as_cleo.like(tweets[0], user_auth=False)
        liked = all_ids(self.as_cleo.get_liked_tweets, self.bob.id, max_results=5)
        self.assertEqual(liked, tweets[::-1])
        read = self.as_cleo.get_liked_tweets(
            self.bob.id, expansions="author_id", tweet_fields=["public_metrics"], max_results=10
        )
        self.assertEqual([tweet.text for tweet in read.data], [f"like {n}" for n in range(6, -1, -1)])
        self.assertEqual([user.username for user in read.includes["users"]], [self.ada.username])
        self.assertEqual(read.data[6].public_metrics["like_count"], 2)
        self.assertEqual(
            all_ids(self.as_ada.get_liking_users, tweets[0], max_results=1),
            [int(self.cleo.id), int(self.bob.id)],
        )
        self.assertEqual(self.as_bob.unlike(tweets[0], user_auth=False).data, {"liked": False})
        self.assertEqual(ids(self.as_ada.get_liking_users(tweets[0])), [int(self.cleo.id)])
        self.assertEqual(self.metrics(tweets[0])["like_count"], 1)
        with self.assertRaises(tweepy.BadRequest) as refused:
            self.as_bob.like(20, user_auth=False)
        self.assertIn("cannot be found", str(refused.exception))

    def test_retweets(self):
        tweet = post(self.as_ada, "worth sharing")
        made = self.as_bob.retweet(tweet, user_auth=False).data
        self.assertIs(made["retweeted"], True)
        self.as_cleo.retweet(tweet, user_auth=False)
        by = all_ids(self.as_ada.get_retweeters, tweet, max_results=1)
        self.assertEqual(by, [int(self.cleo.id), int(self.bob.id)])
        self.assertEqual(self.metrics(tweet)["retweet_count"], 2)

        def repeated():
            read = self.as_cleo.get_users_tweets(
                self.bob.id, tweet_fields=["referenced_tweets"], max_results=100
            )
            return [
                (found.id, [(it.type, it.id) for it in found.referenced_tweets])
                for found in read.data or []
                if found.text.startswith("RT @")
            ]

        self.assert_eventually([(int(made["id"]), [("retweeted", tweet)])], repeated)
        ended = self.as_bob.unretweet(tweet, user_auth=False).data
        self.assertEqual(ended, {"retweeted": False})
        self.assertEqual(ids(self.as_ada.get_retweeters(tweet)), [int(self.cleo.id)])
        self.assert_eventually([], repeated)

    def test_bookmarks(self):
        tweets = [post(self.as_ada, f"keep {number}") for number in range(3)]
        for tweet in tweets:
            self.assertEqual(self.as_bob.bookmark(tweet).data, {"bookmarked": True})
        self.assertEqual(all_ids(self.as_bob.get_bookmarks, max_results=1), tweets[::-1])
        self.assertEqual(self.as_bob.remove_bookmark(tweets[1]).data, {"bookmarked": False})
        self.assertEqual(ids(self.as_bob.get_bookmarks()), [tweets[2], tweets[0]])
        self.assertEqual(ids(self.as_ada.get_bookmarks()), [])

    def test_replies_are_hidden_and_quotes_listed(self):
        tweet = post(self.as_ada, "say something")
        reply = post(self.as_bob, "something rude", in_reply_to_tweet_id=tweet)
        quotes = [post(self.as_bob, f"quote {n}", quote_tweet_id=tweet) for n in range(12)]
        hidden = self.as_ada.hide_reply(reply, user_auth=False).data
        self.assertEqual(hidden, {"hidden": True})
        with self.assertRaises(tweepy.Forbidden):
            post(self.as_cleo, "me, too", in_reply_to_tweet_id=reply)
        self.assertEqual(self.as_ada.unhide_reply(reply, user_auth=False).data, {"hidden": False})
        post(self.as_cleo, "me, too", in_reply_to_tweet_id=reply)
        with self.assertRaises(tweepy.Forbidden):
            self.as_cleo.hide_reply(reply, user_auth=False)
        listed = all_ids(self.as_cleo.get_quote_tweets, tweet, max_results=10)
        self.assertEqual(listed, quotes[::-1])
        metrics = self.metrics(tweet)
        self.assertEqual((metrics["quote_count"], metrics["reply_count"]), (12, 1))


class Timelines(Suite):
    @classmethod
    def setUpClass(cls):
        cls.ada, cls.bob, cls.cleo = (register(name) for name in ("tada", "tbob", "tcleo"))
        cls.as_ada, cls.as_bob, cls.as_cleo = map(client_of, (cls.ada, cls.bob, cls.cleo))
        cls.as_ada.follow_user(cls.bob.id, user_auth=False)
        cls.posted = [post(cls.as_bob, f"@{cls.ada.username} number {n}") for n in range(12)]
        strange = post(cls.as_cleo, "by a stranger")
        cls.retweet = int(cls.as_bob.retweet(strange, user_auth=False).data["id"])
        cls.latest_first = [cls.retweet, *reversed(cls.posted)]

    def test_home_is_all_of_it_each_once(self):
        home = lambda: all_ids(self.as_ada.get_home_timeline, user_auth=False, max_results=5)
        self.assert_eventually(self.latest_first, home)
        without = self.as_ada.get_home_timeline(user_auth=False, exclude=["retweets"])
        self.assertEqual(ids(without), self.latest_first[1:])
        between = self.as_ada.get_home_timeline(
            user_auth=False, since_id=self.posted[2], until_id=self.posted[10]
        )
        self.assertEqual(ids(between), self.posted[9:2:-1])
        read = self.as_ada.get_home_timeline(
            user_auth=False,
            max_results=1,
            expansions=["author_id", "referenced_tweets.id", "referenced_tweets.id.author_id"],
        )
        self.assertEqual(read.data[0].text, f"RT @{self.cleo.username}: by a stranger")
        self.assertEqual([tweet.text for tweet in read.includes["tweets"]], ["by a stranger"])
        users = {user.username for user in read.includes["users"]}
        self.assertEqual(users, {self.bob.username, self.cleo.username})

    def test_pages_of_home_lead_back(self):
        home = lambda **options: self.as_ada.get_home_timeline(
            user_auth=False, max_results=5, **options
        )
        self.assert_eventually(self.latest_first[:5], lambda: ids(home()))
        *_, last = tweepy.Paginator(self.as_ada.get_home_timeline, user_auth=False, max_results=5)
        back = home(pagination_token=last.meta["previous_token"])
        self.assertEqual(ids(back), self.latest_first[5:10])

    def test_mentions(self):
        mentions = lambda: all_ids(self.as_cleo.get_users_mentions, self.ada.id, max_results=5)
        self.assert_eventually(self.posted[::-1], mentions)
        self.assertEqual(ids(self.as_cleo.get_users_mentions(self.cleo.id)), [])
        self.assertEqual(
            self.as_cleo.get_users_mentions(NOBODY).errors[0]["resource_type"], "user"
        )


class Search(Suite):
    @classmethod
    def setUpClass(cls):
        cls.ada = register("sada")
        cls.client = client_of(cls.ada)
        cls.app = tweepy.Client(token_of_app(cls.ada))
        cls.posted = [post(cls.client, f"quince number {n} #fruit") for n in range(13)]
        cls.client.create_tweet(text="medlar", user_auth=False)

    def found(self, query, **options):
        return all_ids(self.client.search_recent_tweets, query, max_results=10, **options)

    def test_what_is_found_comes_in_pages(self):
        self.assert_eventually(self.posted[::-1], lambda: self.found("quince"))
        self.assertEqual(self.found("quince OR medlar -quince"), self.found("quince OR medlar"))
        self.assertEqual(self.found(f"#fruit from:{self.ada.username} 12"), self.posted[12:])
        self.assertEqual(self.found("quince", since_id=self.posted[9]), self.posted[:9:-1])
        self.assertEqual(self.found("quince has:links"), [])
        read = self.client.search_recent_tweets("quince", expansions="author_id")
        self.assertEqual(len(read.data), 10)
        self.assertEqual(read.meta["newest_id"], str(self.posted[12]))
        self.assertEqual([user.id for user in read.includes["users"]], [int(self.ada.id)])
        # Apps may search, too.
        self.assertEqual(ids(self.app.search_recent_tweets("quince")), self.posted[:2:-1])

    def test_what_is_found_is_counted(self):
        count = lambda: self.app.get_recent_tweets_count("quince").meta["total_tweet_count"]
        self.assert_eventually(13, count)
        read = self.app.get_recent_tweets_count("quince", granularity="day")
        self.assertEqual(sum(bucket["tweet_count"] for bucket in read.data), 13)
        self.assertEqual(read.data[-1]["tweet_count"], 13)
        for bucket in read.data:
            self.assertLess(bucket["start"], bucket["end"])

    def test_a_bad_query_says_where(self):
        for query, said in [
            ("quince (medlar", "(at position 8)"),
            ("-quince", "only what is excluded"),
            ("q" * 513, "512"),
        ]:
            with self.assertRaises(tweepy.BadRequest) as refused:
                self.client.search_recent_tweets(query)
            self.assertIn(said, str(refused.exception))


class Listener(tweepy.StreamingClient):
    """Keeps what comes, for who waits for it."""

    def __init__(self, token):
        super().__init__(token, daemon=True, max_retries=0)
        self.connected, self.received, self.wrong = (queue.Queue() for _ in range(3))

    def on_connect(self):
        self.connected.put(True)

    def on_response(self, response):
        self.received.put(response)

    def on_errors(self, errors):
        self.wrong.put(errors)

    def on_request_error(self, status_code):
        self.wrong.put(status_code)

    def on_exception(self, exception):
        self.wrong.put(exception)


class Streams(Suite):
    @classmethod
    def setUpClass(cls):
        cls.ada = register("lada")
        cls.client = client_of(cls.ada)

    def listener(self):
        listener = Listener(token_of_app(self.ada))
        self.addCleanup(listener.disconnect)
        return listener

    def test_rules_let_tweets_through(self):
        listener = self.listener()
        rules = [
            tweepy.StreamRule("damson -is:retweet", tag="fruit"),
            tweepy.StreamRule(f"from:{self.ada.username}", tag="Ada"),
        ]
        tried = listener.add_rules(rules, dry_run=True)
        self.assertEqual(tried.meta["summary"]["valid"], 2)
        self.assertEqual(listener.get_rules().meta["result_count"], 0)
        made = listener.add_rules(rules)
        self.assertEqual(made.meta["summary"]["created"], 2)
        self.assertEqual([rule.tag for rule in made.data], ["fruit", "Ada"])
        listed = {(rule.id, rule.value, rule.tag) for rule in listener.get_rules().data}
        self.assertEqual(listed, {(rule.id, rule.value, rule.tag) for rule in made.data})

        listener.filter(
            threaded=True,
            expansions=["author_id"],
            tweet_fields=["created_at", "public_metrics"],
            user_fields=["created_at"],
        )
        listener.connected.get(timeout=LINE_S)
        tweet = post(self.client, "a damson")
        heard = listener.received.get(timeout=LINE_S)
        self.assertIsInstance(heard.data, tweepy.Tweet)
        self.assertEqual((heard.data.id, heard.data.text), (tweet, "a damson"))
        self.assertEqual(heard.data.author_id, int(self.ada.id))
        self.assertIsInstance(heard.data.created_at, datetime.datetime)
        self.assertEqual(heard.data.public_metrics["like_count"], 0)
        self.assertEqual(heard.includes["users"][0].username, self.ada.username)
        self.assertEqual({rule.tag for rule in heard.matching_rules}, {"fruit", "Ada"})
        self.assertEqual(
            {rule.id for rule in heard.matching_rules}, {rule.id for rule in made.data}
        )
        other = client_of(register("lbob"))
        post(other, "nothing of interest")
        second = post(other, "DAMSON jam")
        heard = listener.received.get(timeout=LINE_S)
        self.assertEqual(heard.data.id, second)
        self.assertEqual([rule.tag for rule in heard.matching_rules], ["fruit"])

        gone = listener.delete_rules([rule.id for rule in made.data])
        self.assertEqual(gone.meta["summary"]["deleted"], 2)
        self.assertEqual(listener.get_rules().meta["result_count"], 0)
        self.assertTrue(listener.wrong.empty(), listener.wrong.queue)

    def test_a01_a_rule_without_a_tag_has_an_empty_one(self):
        listener = self.listener()
        listener.add_rules(tweepy.StreamRule("bullace"))
        listener.filter(threaded=True)
        listener.connected.get(timeout=LINE_S)
        tweet = post(self.client, "a bullace")
        heard = listener.received.get(timeout=LINE_S)
        self.assertEqual(heard.data.id, tweet)
        self.assertEqual([rule.tag for rule in heard.matching_rules], [""])
        self.assertTrue(listener.wrong.empty(), listener.wrong.queue)

    def test_a_sample_of_everything(self):
        """One of a hundred is in it."""
        listener = self.listener()
        listener.sample(threaded=True, expansions=["author_id"])
        listener.connected.get(timeout=LINE_S)
        for number in range(3_000):
            post(self.client, f"number {number}")
            if not listener.received.empty():
                break
        heard = listener.received.get(timeout=LINE_S)
        self.assertRegex(heard.data.text, r"\S")
        self.assertEqual(heard.includes["users"][0].id, heard.data.author_id)
        self.assertEqual(heard.matching_rules, [])
        self.assertTrue(listener.wrong.empty(), listener.wrong.queue)

    def test_a_stream_without_rules_is_refused(self):
        listener = self.listener()
        listener.on_request_error = lambda code: (listener.wrong.put(code), listener.disconnect())
        listener.filter()
        self.assertEqual(listener.wrong.get(timeout=LINE_S), 409)


if __name__ == "__main__":
    unittest.main()
