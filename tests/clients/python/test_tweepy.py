"""tweepy: what is posted is read back as tweepy's own objects, and errors are its own classes."""

import datetime
import html
import unittest

import rebase  # noqa: F401 (must come before tweepy makes a session)
import requests
import tweepy

from system import CALLBACK, URL, allow, log_in, register, register_app

TOKEN_URL = "https://api.twitter.com/2/oauth2/token"
REVOKE_URL = "https://api.twitter.com/2/oauth2/revoke"
NOBODY = 1
NO_TWEET = 20


def client_of(person):
    return tweepy.Client(person.token)


def post(client, text, **options):
    """Posts as the user of an OAuth 2 token; tweepy would sign with OAuth 1.0a otherwise."""
    return client.create_tweet(text=text, user_auth=False, **options).data["id"]


def delete(client, tweet_id):
    return client.delete_tweet(tweet_id, user_auth=False)


class Tweets(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.ada, cls.bob = register("ada", "Ada L."), register("bob")
        cls.as_ada, cls.as_bob = client_of(cls.ada), client_of(cls.bob)

    def test_a_tweet_is_read_back_as_it_was_posted(self):
        text = f"Hello @{self.bob.username} \N{SNOWMAN} & <b> #pillion https://example.com/a?b=c"
        before = datetime.datetime.now(datetime.timezone.utc)
        posted = self.as_ada.create_tweet(text=text, user_auth=False).data
        # X escapes `&`, `<` and `>`, and its users unescape them.
        self.assertEqual(html.unescape(posted["text"]), text)
        self.assertIn("&amp; &lt;b&gt;", posted["text"])

        read = self.as_bob.get_tweet(
            posted["id"],
            expansions=["author_id", "entities.mentions.username"],
            tweet_fields=["created_at", "conversation_id", "entities", "public_metrics"],
            user_fields=["created_at"],
        )
        tweet = read.data
        self.assertIsInstance(tweet, tweepy.Tweet)
        self.assertEqual(tweet.id, int(posted["id"]))
        self.assertEqual(tweet.text, posted["text"])
        self.assertEqual(tweet.author_id, int(self.ada.id))
        self.assertEqual(tweet.conversation_id, tweet.id)
        self.assertEqual(tweet.edit_history_tweet_ids, [tweet.id])
        self.assertEqual(tweet.public_metrics["reply_count"], 0)
        minute = datetime.timedelta(minutes=1)
        self.assertLess(abs(tweet.created_at - before), minute)
        entities = tweet.entities
        self.assertEqual([tag["tag"] for tag in entities["hashtags"]], ["pillion"])
        self.assertEqual([at["username"] for at in entities["mentions"]], [self.bob.username])
        for kind in ("hashtags", "mentions", "urls"):
            (entity,) = entities[kind]
            part = tweet.text[entity["start"] : entity["end"]]
            self.assertIn(part[0], "#@h", kind)
        self.assertEqual(read.errors, [])
        users = {user.username: user for user in read.includes["users"]}
        self.assertEqual(set(users), {self.ada.username, self.bob.username})
        self.assertEqual(users[self.ada.username].name, "Ada L.")
        self.assertLess(users[self.bob.username].created_at, tweet.created_at)

    def test_replies_and_quotes_point_at_their_tweets(self):
        first = post(self.as_ada, "first")
        reply = post(self.as_bob, "reply", in_reply_to_tweet_id=first)
        quote = post(self.as_bob, "quote", quote_tweet_id=first)
        read = self.as_ada.get_tweets(
            [reply, quote],
            expansions=["author_id", "referenced_tweets.id.author_id", "in_reply_to_user_id"],
            tweet_fields=["referenced_tweets", "conversation_id", "public_metrics"],
        )
        self.assertEqual([tweet.text for tweet in read.data], ["reply", "quote"])
        references = [[(it.type, it.id) for it in tweet.referenced_tweets] for tweet in read.data]
        self.assertEqual(references, [[("replied_to", int(first))], [("quoted", int(first))]])
        self.assertEqual(read.data[0].in_reply_to_user_id, int(self.ada.id))
        self.assertEqual(read.data[0].conversation_id, int(first))
        self.assertEqual(read.data[1].conversation_id, int(quote))
        (included,) = read.includes["tweets"]
        self.assertEqual((included.id, included.text), (int(first), "first"))
        self.assertEqual(included.public_metrics["reply_count"], 1)
        self.assertEqual(included.public_metrics["quote_count"], 1)
        authors = {user.id for user in read.includes["users"]}
        self.assertEqual(authors, {int(self.ada.id), int(self.bob.id)})

    def test_only_mentioned_people_may_reply_when_the_author_says_so(self):
        closed = post(self.as_ada, "closed", reply_settings="mentionedUsers")
        with self.assertRaises(tweepy.Forbidden) as refused:
            post(self.as_bob, "but", in_reply_to_tweet_id=closed)
        self.assertIn("limited who may reply", str(refused.exception))

    def test_a_deleted_tweet_is_gone(self):
        tweet = post(self.as_ada, "soon gone")
        for _ in range(2):
            self.assertEqual(delete(self.as_ada, tweet).data, {"deleted": True})
        read = self.as_ada.get_tweet(tweet)
        self.assertIsNone(read.data)
        (error,) = read.errors
        self.assertEqual(error["title"], "Not Found Error")
        self.assertEqual(error["resource_id"], tweet)

    def test_a04_fields_that_x_always_has(self):
        tweet = post(self.as_ada, "fields")
        fields = ["edit_controls", "display_text_range", "possibly_sensitive", "lang"]
        read = self.as_bob.get_tweet(tweet, tweet_fields=fields).data
        self.assertEqual(read.edit_controls["edits_remaining"], 0)
        self.assertIsInstance(read.edit_controls["editable_until"], datetime.datetime)
        self.assertEqual((read.possibly_sensitive, read.lang), (False, "und"))
        self.assertEqual(read.data["display_text_range"], [0, 6])
        fields = ["description", "url", "entities", "connection_status"]
        user = self.as_bob.get_user(id=self.ada.id, user_fields=fields).data
        self.assertEqual((user.description, user.url, user.entities), ("", "", None))
        self.assertEqual(user.data["connection_status"], [])

    def test_what_is_there_comes_beside_what_is_not(self):
        tweet = post(self.as_ada, "here")
        read = self.as_ada.get_tweets([NO_TWEET, tweet])
        self.assertEqual([found.id for found in read.data], [int(tweet)])
        self.assertEqual([error["value"] for error in read.errors], [str(NO_TWEET)])


class Timeline(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cleo = register("cleo")
        cls.client = client_of(cls.cleo)
        cls.posted = [int(post(cls.client, f"number {number}")) for number in range(17)]
        cls.reply = int(post(cls.client, "reply", in_reply_to_tweet_id=cls.posted[0]))
        cls.latest_first = [cls.reply, *reversed(cls.posted)]

    def pages(self, **options):
        return tweepy.Paginator(
            self.client.get_users_tweets, self.cleo.id, max_results=5, **options
        )

    def ids(self, **options):
        return [tweet.id for tweet in self.pages(**options).flatten()]

    def test_the_pages_are_all_and_each_once(self):
        self.assertEqual(self.ids(), self.latest_first)
        pages = list(self.pages())
        self.assertEqual([page.meta["result_count"] for page in pages], [5, 5, 5, 3])
        self.assertEqual(pages[0].meta["newest_id"], str(self.reply))
        self.assertEqual(pages[3].meta["oldest_id"], str(self.posted[0]))
        self.assertNotIn("next_token", pages[3].meta)

    def test_pages_lead_back(self):
        *_, last = self.pages()
        back = self.client.get_users_tweets(
            self.cleo.id, max_results=5, pagination_token=last.meta["previous_token"]
        )
        self.assertEqual([tweet.id for tweet in back.data], self.latest_first[10:15])

    def test_bounds_hold_over_all_pages(self):
        posted = self.posted
        between = self.ids(since_id=posted[2], until_id=posted[10])
        self.assertEqual(between, posted[9:2:-1])
        self.assertEqual(self.ids(exclude=["replies"]), posted[::-1])
        hour = datetime.timedelta(hours=1)
        now = datetime.datetime.now(datetime.timezone.utc)
        self.assertEqual(self.ids(start_time=now - hour), self.latest_first)
        self.assertEqual(self.ids(end_time=now - hour), [])

    def test_nobody_has_no_tweets(self):
        read = self.client.get_users_tweets(NOBODY)
        self.assertIsNone(read.data)
        self.assertEqual(read.errors[0]["resource_type"], "user")


class Users(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dora, cls.emil = register("dora", "Dora \N{SNOWMAN}"), register("emil")
        cls.client = client_of(cls.dora)

    def assert_is(self, user, person):
        self.assertIsInstance(user, tweepy.User)
        expected = (int(person.id), person.username, person.name)
        self.assertEqual((user.id, user.username, user.name), expected)

    def test_users_are_found_by_every_way(self):
        self.assert_is(self.client.get_me(user_auth=False).data, self.dora)
        self.assert_is(self.client.get_user(id=self.emil.id).data, self.emil)
        self.assert_is(self.client.get_user(username=self.emil.username.upper()).data, self.emil)
        people = [self.emil, self.dora]
        by_ids = self.client.get_users(ids=[person.id for person in people])
        by_names = self.client.get_users(usernames=[person.username for person in people])
        for found in (by_ids, by_names):
            self.assertEqual(len(found.data), 2)
            for user, person in zip(found.data, people):
                self.assert_is(user, person)

    def test_fields_are_typed(self):
        fields = ["created_at", "protected"]
        user = self.client.get_user(id=self.dora.id, user_fields=fields).data
        self.assertIsInstance(user.created_at, datetime.datetime)
        self.assertIs(user.protected, False)

    def test_who_is_not_there_is_an_error_beside_the_answer(self):
        read = self.client.get_user(id=NOBODY)
        self.assertIsNone(read.data)
        self.assertEqual(read.errors[0]["title"], "Not Found Error")
        read = self.client.get_users(usernames=[self.emil.username, "nobody_at_all"])
        self.assertEqual([user.username for user in read.data], [self.emil.username])
        self.assertEqual([error["value"] for error in read.errors], ["nobody_at_all"])


class Errors(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.fred, cls.gwen = register("fred"), register("gwen")
        cls.client = client_of(cls.fred)

    def test_what_is_wrong_is_a_bad_request(self):
        for call, part in [
            (lambda: post(self.client, "a" * 281), "281"),
            (lambda: post(self.client, " "), "empty"),
            (lambda: post(self.client, "a", poll_options=["a", "b"], poll_duration_minutes=5), "poll"),
            (lambda: self.client.get_tweet(NO_TWEET, tweet_fields=["colour"]), "colour"),
            (lambda: self.client.get_user(id="fred"), "fred"),
            (lambda: self.client.get_users_tweets(self.fred.id, max_results=4), "max_results"),
            (lambda: self.client.get_users_tweets(self.fred.id, pagination_token="x"), "pagination_token"),
        ]:
            with self.subTest(part), self.assertRaises(tweepy.BadRequest) as refused:
                call()
            self.assertIn(part, " ".join(refused.exception.api_messages))

    def test_a_tweet_that_is_not_there_cannot_be_answered_or_quoted(self):
        for options, verb in [
            ({"in_reply_to_tweet_id": NO_TWEET}, "reply to"),
            ({"quote_tweet_id": NO_TWEET}, "quote"),
        ]:
            with self.assertRaises(tweepy.Forbidden) as refused:
                post(self.client, "a", **options)
            said = f"You attempted to {verb} a Tweet that is deleted or not visible to you."
            self.assertIn(said, str(refused.exception))

    def test_a07_a_tweet_that_is_not_there_is_deleted_and_cannot_be_hidden(self):
        self.assertEqual(delete(self.client, NO_TWEET).data, {"deleted": True})
        with self.assertRaises(tweepy.NotFound) as refused:
            self.client.hide_reply(NO_TWEET, user_auth=False)
        self.assertIn(str(NO_TWEET), str(refused.exception))

    def test_without_a_good_token_nobody_is_let_in(self):
        # Another character in the middle of the signature: its last ones may be what one puts there.
        token = self.fred.token
        forged = token[:-40] + ("B" if token[-40] == "A" else "A") + token[-39:]
        for client in (tweepy.Client("nonsense"), tweepy.Client(forged)):
            with self.assertRaises(tweepy.Unauthorized):
                client.get_me(user_auth=False)
        signed = tweepy.Client(None, "key", "secret", f"{self.fred.id}-token", "secret")
        with self.assertRaises(tweepy.Unauthorized) as refused:
            signed.get_me()
        self.assertIn("Bearer", str(refused.exception))

    def test_what_others_own_is_forbidden(self):
        tweet = post(self.client, "mine")
        with self.assertRaises(tweepy.Forbidden):
            delete(client_of(self.gwen), tweet)
        self.assertEqual(self.client.get_tweet(tweet).data.text, "mine")

    def test_what_a_token_is_not_for_is_forbidden(self):
        reading = tweepy.Client(log_in(self.fred.username, "tweet.read users.read"))
        self.assertEqual(reading.get_me(user_auth=False).data.username, self.fred.username)
        with self.assertRaises(tweepy.Forbidden) as refused:
            post(reading, "no")
        self.assertIn("tweet.write", str(refused.exception))

    def test_too_much_is_refused_until_a_time(self):
        client = client_of(register("hugo"))
        for _ in range(75):
            client.get_me(user_auth=False)
        with self.assertRaises(tweepy.TooManyRequests) as refused:
            client.get_me(user_auth=False)
        left = refused.exception.reset_time - datetime.datetime.now().timestamp()
        self.assertTrue(0 < left <= 901, left)


class Authorization(unittest.TestCase):
    SCOPE = ["tweet.read", "users.read", "tweet.write", "offline.access"]

    @classmethod
    def setUpClass(cls):
        cls.ivan, cls.judy = register("ivan"), register("judy")
        cls.app = register_app(cls.ivan)

    def handler(self, secret):
        return tweepy.OAuth2UserHandler(
            client_id=self.app.client_id,
            redirect_uri=CALLBACK,
            scope=self.SCOPE,
            client_secret=secret,
        )

    def test_a_person_allows_an_app_which_acts_for_them_until_it_is_revoked(self):
        handler = self.handler(self.app.client_secret)
        back = allow(handler.get_authorization_url(), self.judy)
        self.assertTrue(back.startswith(CALLBACK + "?"), back)
        token = handler.fetch_token(back)
        self.assertEqual(set(token["scope"]), set(self.SCOPE))
        client = tweepy.Client(token["access_token"])
        self.assertEqual(client.get_me(user_auth=False).data.username, self.judy.username)
        tweet = client.get_tweet(post(client, "by an app"), expansions="author_id").data
        self.assertEqual(tweet.author_id, int(self.judy.id))

        renewed = handler.refresh_token(TOKEN_URL, auth=handler.auth)
        self.assertNotEqual(renewed["refresh_token"], token["refresh_token"])
        client = tweepy.Client(renewed["access_token"])
        self.assertEqual(client.get_me(user_auth=False).data.username, self.judy.username)

        # tweepy has no call for this.
        revoked = requests.post(
            REVOKE_URL, data={"token": renewed["refresh_token"]}, auth=handler.auth, timeout=10
        )
        self.assertEqual(revoked.json(), {"revoked": True})
        with self.assertRaisesRegex(Exception, "invalid_grant"):
            handler.refresh_token(TOKEN_URL, auth=handler.auth)

    def test_a_wrong_secret_gets_no_token(self):
        handler = self.handler("wrong")
        back = allow(handler.get_authorization_url(), self.judy)
        with self.assertRaisesRegex(Exception, "invalid_client"):
            handler.fetch_token(back)

    def test_a_code_works_once(self):
        handler = self.handler(self.app.client_secret)
        back = allow(handler.get_authorization_url(), self.judy)
        handler.fetch_token(back)
        with self.assertRaisesRegex(Exception, "invalid_grant"):
            handler.fetch_token(back)

    def test_an_app_by_itself_reads_and_is_nobody(self):
        handler = tweepy.OAuth2AppHandler(self.app.client_id, self.app.client_secret)
        client = tweepy.Client(handler._bearer_token)
        found = client.get_user(username=self.judy.username).data
        self.assertEqual(found.id, int(self.judy.id))
        for refused in (lambda: client.get_me(user_auth=False), lambda: post(client, "no")):
            with self.assertRaises(tweepy.Forbidden) as error:
                refused()
            kind = error.exception.response.json()["type"]
            self.assertTrue(kind.endswith("/problems/unsupported-authentication"), kind)


class Host(unittest.TestCase):
    def test_requests_went_to_the_system_under_test(self):
        answer = requests.get("https://api.twitter.com/openapi.json", timeout=10)
        self.assertTrue(answer.url.startswith(URL), answer.url)
        self.assertEqual(answer.json()["info"]["title"], "Pillion")


if __name__ == "__main__":
    unittest.main()
