"""xdk, X's own library: what is posted is read back as its models, and errors are raised. It
speaks version 2.167 of the API, which says "post" for "tweet"."""

import html
import unittest

import requests
import xdk
from xdk.posts.models import CreateRequest, HideReplyRequest
from xdk.schemas import Post, ResourceNotFoundProblem, User

from system import CALLBACK, URL, allow, log_in, register, register_app

NOBODY = "1"
NO_POST = "20"


def client_of(person):
    return xdk.Client(base_url=URL, access_token=person.token)


def post(client, text, **options):
    return client.posts.create(CreateRequest(text=text, **options)).data.id


class Posts(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.ada, cls.bob = register("xada", "Ada L."), register("xbob")
        cls.as_ada, cls.as_bob = client_of(cls.ada), client_of(cls.bob)

    def test_a_post_is_read_back_as_it_was_posted(self):
        text = f"Hello @{self.bob.username} \N{SNOWMAN} & <b> #pillion"
        posted = self.as_ada.posts.create(CreateRequest(text=text)).data
        self.assertEqual(html.unescape(posted.text), text)
        self.assertEqual(posted.edit_history_post_ids, [posted.id])
        read = self.as_bob.posts.get_by_id(
            posted.id,
            post_fields=["created_at", "conversation_id", "entities", "public_metrics"],
            expansions=["author_id", "entities.mentions.username"],
            user_fields=["created_at"],
        )
        self.assertIsInstance(read.data, Post)
        self.assertEqual((read.data.id, read.data.text), (posted.id, posted.text))
        self.assertEqual(read.data.author_id, self.ada.id)
        self.assertEqual(read.data.conversation_id, posted.id)
        self.assertEqual(read.data.edit_history_post_ids, [posted.id])
        self.assertEqual(read.data.public_metrics.repost_count, 0)
        self.assertEqual([tag.tag for tag in read.data.entities.hashtags], ["pillion"])
        self.assertEqual([at.username for at in read.data.entities.mentions], [self.bob.username])
        self.assertTrue(read.data.created_at.endswith("Z"))
        self.assertIsNone(read.errors)
        users = {user.username: (user.id, user.name) for user in read.includes.users}
        expected = {person.username: (person.id, person.name) for person in (self.ada, self.bob)}
        self.assertEqual(users, expected)

    def test_replies_and_quotes_point_at_their_posts(self):
        first = post(self.as_ada, "first")
        reply = post(self.as_bob, "reply", reply={"in_reply_to_tweet_id": first})
        quote = post(self.as_bob, "quote", quote_tweet_id=first)
        read = self.as_ada.posts.get_by_ids(
            [reply, quote],
            post_fields=["public_metrics"],
            expansions=["author_id", "in_reply_to_user_id", "referenced_posts"],
        )
        self.assertEqual([found.text for found in read.data], ["reply", "quote"])
        references = [[(it.type, it.id) for it in found.referenced_posts] for found in read.data]
        self.assertEqual(references, [[("replied_to", first)], [("quoted", first)]])
        self.assertEqual(read.data[0].in_reply_to_user_id, self.ada.id)
        (included,) = read.includes.posts
        self.assertEqual((included.id, included.text), (first, "first"))
        metrics = included.public_metrics
        self.assertEqual((metrics.reply_count, metrics.quote_count), (1, 1))

    def test_a_deleted_post_is_gone_and_what_is_there_comes_beside_it(self):
        gone, here = post(self.as_ada, "soon gone"), post(self.as_ada, "here")
        self.assertIs(self.as_ada.posts.delete(gone).data.deleted, True)
        read = self.as_ada.posts.get_by_id(gone)
        self.assertIsNone(read.data)
        (problem,) = read.errors
        self.assertIsInstance(problem, ResourceNotFoundProblem)
        self.assertEqual((problem.title, problem.resource_id), ("Not Found Error", gone))
        read = self.as_ada.posts.get_by_ids([gone, here])
        self.assertEqual([found.id for found in read.data], [here])
        self.assertEqual([problem.value for problem in read.errors], [gone])


class Timeline(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cleo = register("xcleo")
        cls.client = client_of(cls.cleo)
        cls.posted = [post(cls.client, f"number {number}") for number in range(17)]
        cls.reply = post(cls.client, "reply", reply={"in_reply_to_tweet_id": cls.posted[0]})
        cls.latest_first = [cls.reply, *reversed(cls.posted)]

    def pages(self, **options):
        return self.client.users.get_posts(self.cleo.id, max_results=5, **options)

    def ids(self, **options):
        return [found.id for page in self.pages(**options) for found in page.data or []]

    def test_the_pages_are_all_and_each_once(self):
        self.assertEqual(self.ids(), self.latest_first)
        counts = [page.meta.result_count for page in self.pages()]
        self.assertEqual(counts, [5, 5, 5, 3])
        cursor = xdk.Cursor(self.client.users.get_posts, self.cleo.id, max_results=5)
        texts = [found.text for found in cursor.items(7)]
        self.assertEqual(texts, ["reply", *(f"number {number}" for number in range(16, 10, -1))])

    def test_bounds_hold_over_all_pages(self):
        posted = self.posted
        self.assertEqual(self.ids(since_id=posted[2], until_id=posted[10]), posted[9:2:-1])
        self.assertEqual(self.ids(exclude=["replies"]), posted[::-1])
        self.assertEqual(self.ids(end_time="2020-01-01T00:00:00Z"), [])


class Users(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dora, cls.emil = register("xdora", "Dora \N{SNOWMAN}"), register("xemil")
        cls.users = client_of(cls.dora).users

    def assert_is(self, user, person):
        self.assertIsInstance(user, User)
        expected = (person.id, person.username, person.name)
        self.assertEqual((user.id, user.username, user.name), expected)

    def test_users_are_found_by_every_way(self):
        self.assert_is(self.users.get_me().data, self.dora)
        # What version 2.166 calls `affiliation.user_id`.
        expansions = ["affiliation", "pinned_post_id", "most_recent_post_id"]
        self.assert_is(self.users.get_me(expansions=expansions).data, self.dora)
        self.assert_is(self.users.get_by_id(self.emil.id).data, self.emil)
        self.assert_is(self.users.get_by_username(self.emil.username).data, self.emil)
        people = [self.emil, self.dora]
        by_ids = self.users.get_by_ids([person.id for person in people])
        by_names = self.users.get_by_usernames([person.username for person in people])
        for found in (by_ids, by_names):
            self.assertEqual(len(found.data), 2)
            for user, person in zip(found.data, people):
                self.assert_is(user, person)

    def test_fields_are_typed(self):
        fields = ["created_at", "protected", "subscribes_to_you"]
        user = self.users.get_by_id(self.dora.id, user_fields=fields).data
        self.assertTrue(user.created_at.endswith("Z"))
        self.assertIs(user.protected, False)

    def test_who_is_not_there_is_a_problem_beside_the_answer(self):
        read = self.users.get_by_ids([NOBODY, self.emil.id])
        self.assertEqual([user.id for user in read.data], [self.emil.id])
        (problem,) = read.errors
        self.assertIsInstance(problem, ResourceNotFoundProblem)
        self.assertEqual((problem.resource_type, problem.value), ("user", NOBODY))


class Errors(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.fred, cls.gwen = register("xfred"), register("xgwen")
        cls.client = client_of(cls.fred)

    def assert_refused(self, status, part, call):
        """xdk has one class for all refusals, that of the HTTP library."""
        with self.assertRaises(requests.HTTPError) as refused:
            call()
        answer = refused.exception.response
        self.assertEqual(answer.status_code, status, answer.text)
        self.assertIn(part, answer.text)
        return answer

    def test_every_refusal_has_its_status_and_reason(self):
        mine = post(self.client, "mine")
        other = client_of(self.gwen)
        stranger = xdk.Client(base_url=URL, access_token="nonsense")
        reading = log_in(self.fred.username, "tweet.read users.read")
        reading = xdk.Client(base_url=URL, access_token=reading)
        for status, part, call in [
            (400, "281", lambda: post(self.client, "a" * 281)),
            (400, "poll", lambda: post(self.client, "a", poll={"options": ["a", "b"], "duration_minutes": 5})),
            (400, "post.fields", lambda: self.client.posts.get_by_id(mine, post_fields=["colour"])),
            (401, "Unauthorized", lambda: stranger.users.get_me()),
            (403, "author", lambda: other.posts.delete(mine)),
            (403, "tweet.write", lambda: post(reading, "no")),
            (404, NO_POST, lambda: self.client.posts.hide_reply(NO_POST, HideReplyRequest(hidden=True))),
        ]:
            with self.subTest(status=status, part=part):
                self.assert_refused(status, part, call)

    def test_too_much_is_refused(self):
        client = client_of(register("xhugo"))
        for _ in range(75):
            client.users.get_me()
        answer = self.assert_refused(429, "Too Many Requests", lambda: client.users.get_me())
        self.assertEqual(answer.headers["x-rate-limit-remaining"], "0")


class Authorization(unittest.TestCase):
    SCOPE = ["tweet.read", "users.read", "tweet.write", "offline.access"]

    @classmethod
    def setUpClass(cls):
        cls.ivan, cls.judy = register("xivan"), register("xjudy")
        cls.app = register_app(cls.ivan)

    def client(self, secret):
        return xdk.Client(
            base_url=URL,
            authorization_base_url=URL + "/i",
            client_id=self.app.client_id,
            client_secret=secret,
            redirect_uri=CALLBACK,
            scope=self.SCOPE,
        )

    def test_a_person_allows_an_app_which_acts_for_them(self):
        client = self.client(self.app.client_secret)
        back = allow(client.get_authorization_url(state="a state"), self.judy)
        self.assertIn("state=a+state", back)
        token = client.fetch_token(back)
        self.assertEqual(set(token["scope"].split()), set(self.SCOPE))
        self.assertEqual(client.users.get_me().data.username, self.judy.username)
        tweet = post(client, "by an app")
        found = client.posts.get_by_id(tweet, expansions=["author_id"]).data
        self.assertEqual(found.author_id, self.judy.id)
        renewed = client.refresh_token()
        self.assertNotEqual(renewed["refresh_token"], token["refresh_token"])
        # A fresh client with nothing but the renewed tokens.
        client = xdk.Client(base_url=URL, access_token=renewed["access_token"])
        self.assertEqual(client.users.get_me().data.username, self.judy.username)

    def test_a_wrong_secret_gets_no_token(self):
        client = self.client("wrong")
        back = allow(client.get_authorization_url(), self.judy)
        with self.assertRaisesRegex(ValueError, "invalid_client"):
            client.fetch_token(back)

    def test_an_app_by_itself_reads_and_is_nobody(self):
        answer = requests.post(
            URL + "/oauth2/token",
            data={"grant_type": "client_credentials"},
            auth=(self.app.client_id, self.app.client_secret),
            timeout=10,
        )
        client = xdk.Client(base_url=URL, bearer_token=answer.json()["access_token"])
        found = client.users.get_by_username(self.judy.username).data
        self.assertEqual(found.id, self.judy.id)
        client = xdk.Client(base_url=URL, access_token=answer.json()["access_token"])
        with self.assertRaises(requests.HTTPError) as refused:
            post(client, "no")
        self.assertIn("unsupported-authentication", refused.exception.response.text)


if __name__ == "__main__":
    unittest.main()
