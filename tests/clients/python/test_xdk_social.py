"""xdk, X's own library: people follow each other, like, repost, search and listen. Its names are
those of version 2.167 on every route."""

import queue
import threading
import unittest

import requests
import xdk
from xdk.posts.models import CreateRequest, HideReplyRequest
from xdk.schemas import Post, User
from xdk.stream.models import UpdateRulesRequest
from xdk.streaming import StreamConfig, StreamError
from xdk.users.models import (
    CreateBookmarkRequest,
    FollowUserRequest,
    LikePostRequest,
    MuteUserRequest,
    RepostPostRequest,
)

from system import URL, eventually, register, token_of_app

NOBODY = "1"
# Longer than a heartbeat takes to come.
LINE_S = 20


def client_of(person):
    return xdk.Client(base_url=URL, access_token=person.token)


def post(client, text, **options):
    return client.posts.create(CreateRequest(text=text, **options)).data.id


def all_ids(pages):
    return [found.id for page in pages for found in page.data or []]


class Suite(unittest.TestCase):
    def assert_eventually(self, expected, read):
        self.assertEqual(eventually(expected, read), expected)


class People(Suite):
    @classmethod
    def setUpClass(cls):
        cls.ada, cls.bob, cls.cleo = (register(name) for name in ("pada", "pbob", "pcleo"))
        cls.as_ada, cls.as_bob, cls.as_cleo = map(client_of, (cls.ada, cls.bob, cls.cleo))

    def test_follows_are_made_listed_counted_and_ended(self):
        target = FollowUserRequest(target_user_id=self.ada.id)
        for person, client in ((self.bob, self.as_bob), (self.cleo, self.as_cleo)):
            made = client.users.follow_user(person.id, target).data
            self.assertEqual((made.following, made.pending_follow), (True, False))
        followers = self.as_ada.users.get_followers
        expected = [self.cleo.id, self.bob.id]
        self.assertEqual(all_ids(followers(self.ada.id, max_results=1)), expected)
        cursor = xdk.Cursor(followers, self.ada.id, max_results=1)
        self.assertEqual([user.id for user in cursor.items(2)], expected)
        self.assertEqual(all_ids(self.as_bob.users.get_following(self.bob.id)), [self.ada.id])
        post(self.as_ada, "one of mine")
        fields = ["public_metrics"]
        read = lambda: self.as_bob.users.get_by_id(self.ada.id, user_fields=fields).data
        metrics = lambda: (lambda shown: (
            shown.followers_count, shown.following_count, shown.post_count, shown.like_count,
        ))(read().public_metrics)
        self.assert_eventually((2, 0, 1, 0), metrics)
        self.assertIsInstance(read(), User)
        (page,) = self.as_bob.users.get_following(self.bob.id, user_fields=fields)
        self.assertEqual(page.data[0].public_metrics.post_count, 1)
        ended = self.as_bob.users.unfollow_user(self.bob.id, self.ada.id).data
        self.assertIs(ended.following, False)
        self.assertEqual(all_ids(followers(self.ada.id)), [self.cleo.id])
        with self.assertRaises(requests.HTTPError) as refused:
            self.as_ada.users.follow_user(self.ada.id, target)
        self.assertIn("yourself", refused.exception.response.text)
        kind = refused.exception.response.json()["type"]
        self.assertEqual(kind, "https://api.x.com/2/problems/invalid-request")

    def test_mutes_and_blocks(self):
        target = MuteUserRequest(target_user_id=self.bob.id)
        self.assertIs(self.as_ada.users.mute_user(self.ada.id, target).data.muting, True)
        self.assertEqual(all_ids(self.as_ada.users.get_muting(self.ada.id)), [self.bob.id])
        self.assertIs(self.as_ada.users.unmute_user(self.ada.id, self.bob.id).data.muting, False)
        self.assertEqual(all_ids(self.as_ada.users.get_muting(self.ada.id)), [])
        # xdk can only list whom somebody blocks.
        dora = register("pdora")
        requests.post(
            f"{URL}/2/users/{dora.id}/blocking",
            json={"target_user_id": self.bob.id},
            headers={"authorization": f"Bearer {dora.token}"},
            timeout=10,
        ).raise_for_status()
        self.assertEqual(all_ids(client_of(dora).users.get_blocking(dora.id)), [self.bob.id])
        read = self.as_bob.users.get_by_id(dora.id)
        self.assertIsNone(read.data)
        self.assertEqual(read.errors[0].title, "Authorization Error")

    def test_people_are_found_by_name(self):
        (page,) = self.as_bob.users.search(self.cleo.username, user_fields=["public_metrics"])
        self.assertEqual([user.id for user in page.data], [self.cleo.id])
        self.assertEqual(page.data[0].public_metrics.listed_count, 0)


class Engagements(Suite):
    @classmethod
    def setUpClass(cls):
        cls.ada, cls.bob, cls.cleo = (register(name) for name in ("gada", "gbob", "gcleo"))
        cls.as_ada, cls.as_bob, cls.as_cleo = map(client_of, (cls.ada, cls.bob, cls.cleo))

    def metrics(self, post_id):
        return self.as_ada.posts.get_by_id(post_id, post_fields=["public_metrics"]).data.public_metrics

    def test_likes(self):
        posts = [post(self.as_ada, f"like {number}") for number in range(6)]
        for liked in posts:
            made = self.as_bob.users.like_post(self.bob.id, LikePostRequest(tweet_id=liked))
            self.assertIs(made.data.liked, True)
        listed = self.as_cleo.users.get_liked_posts(
            self.bob.id, max_results=5, post_fields=["public_metrics"], expansions=["author_id"]
        )
        pages = list(listed)
        self.assertEqual(all_ids(pages), posts[::-1])
        self.assertIsInstance(pages[0].data[0], Post)
        self.assertEqual(pages[0].data[0].public_metrics.like_count, 1)
        self.assertEqual(pages[0].data[0].public_metrics.repost_count, 0)
        self.assertEqual(pages[0].data[0].edit_history_post_ids, [posts[5]])
        self.assertEqual([user.username for user in pages[0].includes.users], [self.ada.username])
        liking = self.as_ada.posts.get_liking_users(posts[0])
        self.assertEqual(all_ids(liking), [self.bob.id])
        ended = self.as_bob.users.unlike_post(self.bob.id, posts[0]).data
        self.assertIs(ended.liked, False)
        self.assertEqual(self.metrics(posts[0]).like_count, 0)

    def test_reposts(self):
        shared = post(self.as_ada, "worth sharing")
        made = self.as_bob.users.repost_post(self.bob.id, RepostPostRequest(tweet_id=shared)).data
        self.assertIs(made.retweeted, True)
        self.assertRegex(made.rest_id, r"^\d+$")
        self.assertEqual(all_ids(self.as_ada.posts.get_reposted_by(shared)), [self.bob.id])
        self.assertEqual(self.metrics(shared).repost_count, 1)
        self.assert_eventually(
            [made.rest_id], lambda: all_ids(self.as_cleo.posts.get_reposts(shared))
        )
        self.assertEqual(all_ids(self.as_ada.users.get_reposts_of_me()), [made.rest_id])
        self.assertEqual(all_ids(self.as_bob.users.get_reposts_of_me()), [])

        def repeated():
            found = [
                found
                for page in self.as_cleo.users.get_posts(
                    self.bob.id, expansions=["referenced_posts"], exclude=["replies"], max_results=5
                )
                for found in page.data or []
                if found.referenced_posts and found.referenced_posts[0].type == "retweeted"
            ]
            return [(found.id, found.referenced_posts[0].id) for found in found]

        self.assert_eventually([(made.rest_id, shared)], repeated)
        ended = self.as_bob.users.unrepost_post(self.bob.id, shared).data
        self.assertIs(ended.retweeted, False)
        self.assertEqual(all_ids(self.as_ada.posts.get_reposted_by(shared)), [])
        self.assert_eventually([], repeated)

    def test_bookmarks(self):
        kept = [post(self.as_ada, f"keep {number}") for number in range(3)]
        for post_id in kept:
            made = self.as_bob.users.create_bookmark(
                self.bob.id, CreateBookmarkRequest(tweet_id=post_id)
            )
            self.assertIs(made.data.bookmarked, True)
        pages = list(self.as_bob.users.get_bookmarks(self.bob.id, max_results=2))
        self.assertEqual(all_ids(pages), kept[::-1])
        ended = self.as_bob.users.delete_bookmark(self.bob.id, kept[1]).data
        self.assertIs(ended.bookmarked, False)
        self.assertEqual(all_ids(self.as_bob.users.get_bookmarks(self.bob.id)), [kept[2], kept[0]])

    def test_replies_are_hidden_and_quotes_listed(self):
        root = post(self.as_ada, "say something")
        reply = post(self.as_bob, "something rude", reply={"in_reply_to_tweet_id": root})
        quote = post(self.as_bob, "look", quote_tweet_id=root)
        hidden = self.as_ada.posts.hide_reply(reply, HideReplyRequest(hidden=True))
        self.assertIs(hidden.data.hidden, True)
        with self.assertRaises(requests.HTTPError) as refused:
            post(self.as_cleo, "me, too", reply={"in_reply_to_tweet_id": reply})
        self.assertEqual(refused.exception.response.status_code, 403)
        pages = list(
            self.as_cleo.posts.get_quoted(
                root, post_fields=["created_at"], expansions=["referenced_posts"]
            )
        )
        self.assertEqual(all_ids(pages), [quote])
        self.assertEqual(pages[0].data[0].referenced_posts[0].id, root)
        self.assertEqual([included.id for included in pages[0].includes.posts], [root])


class Timelines(Suite):
    @classmethod
    def setUpClass(cls):
        cls.ada, cls.bob = register("hada"), register("hbob")
        cls.as_ada, cls.as_bob = client_of(cls.ada), client_of(cls.bob)
        target = FollowUserRequest(target_user_id=cls.bob.id)
        cls.as_ada.users.follow_user(cls.ada.id, target)
        cls.posted = [post(cls.as_bob, f"@{cls.ada.username} number {n}") for n in range(12)]

    def test_home_and_mentions_are_all_of_it_each_once(self):
        users = self.as_ada.users
        for pages in (users.get_timeline, users.get_mentions):
            read = lambda: all_ids(pages(self.ada.id, max_results=5))
            self.assert_eventually(self.posted[::-1], read)
            cursor = xdk.Cursor(
                pages, self.ada.id, max_results=5, post_fields=["public_metrics"]
            )
            texts = [found.text for found in cursor.items(7)]
            expected = [f"@{self.ada.username} number {n}" for n in range(11, 4, -1)]
            self.assertEqual(texts, expected)
        page = next(users.get_timeline(
            self.ada.id, max_results=1, post_fields=["entities", "public_metrics"],
            expansions=["author_id", "entities.mentions.username"],
        ))
        self.assertEqual(page.data[0].public_metrics.repost_count, 0)
        self.assertEqual(page.data[0].edit_history_post_ids, [self.posted[11]])
        found = {user.username for user in page.includes.users}
        self.assertEqual(found, {self.ada.username, self.bob.username})


class Search(Suite):
    @classmethod
    def setUpClass(cls):
        cls.ada = register("zada")
        cls.client = client_of(cls.ada)
        cls.app = xdk.Client(base_url=URL, bearer_token=token_of_app(cls.ada))
        cls.posted = [post(cls.client, f"loquat number {n}") for n in range(13)]

    def test_what_is_found_comes_in_pages(self):
        search = self.client.posts.search_recent
        read = lambda: all_ids(search("loquat", max_results=10))
        self.assert_eventually(self.posted[::-1], read)
        cursor = xdk.Cursor(search, f"loquat from:{self.ada.username}", max_results=10)
        self.assertEqual([found.id for found in cursor.items(12)], self.posted[:0:-1])
        page = next(search("loquat", post_fields=["public_metrics"], expansions=["author_id"]))
        self.assertEqual(page.data[0].public_metrics.repost_count, 0)
        self.assertEqual([user.id for user in page.includes.users], [self.ada.id])
        self.assertEqual((page.meta.result_count, page.meta.newest_id), (10, self.posted[12]))
        # What the app read for itself is counted.
        app = xdk.Client(base_url=URL, bearer_token=token_of_app(self.ada))
        # Version 2.167 has these numbers as texts.
        self.assertEqual(app.usage.get().data.project_usage, "0")
        self.assertEqual(app.posts.get_by_ids(self.posted[:3]).data[0].id, self.posted[0])
        usage = app.usage.get(days=1, usage_fields=["daily_client_app_usage", "project_usage"]).data
        self.assertEqual(usage.project_usage, "3")
        with self.assertRaises(requests.HTTPError) as refused:
            next(search("loquat ("))
        self.assertIn("(at position 8)", refused.exception.response.text)

    def test_what_is_found_is_counted(self):
        counts = self.app.posts.get_counts_recent
        total = lambda: next(counts("loquat")).meta.total_post_count
        self.assert_eventually(13, total)
        (page,) = counts("loquat", granularity="day", search_count_fields="start,end,post_count")
        self.assertEqual(sum(bucket.post_count for bucket in page.data), 13)


class Listener:
    """A stream of the library's in a thread of its own."""

    def __init__(self, stream, **options):
        self.connected, self.received, self.wrong = (queue.Queue() for _ in range(3))
        config = StreamConfig(max_retries=0, on_connect=lambda: self.connected.put(True))

        def listen():
            try:
                for heard in stream(stream_config=config, **options):
                    self.received.put(heard)
            except StreamError as error:
                self.wrong.put(error)

        threading.Thread(target=listen, daemon=True).start()


class Streams(Suite):
    @classmethod
    def setUpClass(cls):
        cls.ada, cls.bob = register("wada"), register("wbob")
        cls.as_ada, cls.as_bob = client_of(cls.ada), client_of(cls.bob)

    def app(self):
        return xdk.Client(base_url=URL, bearer_token=token_of_app(self.ada)).stream

    def test_rules_let_posts_through(self):
        stream = self.app()
        rules = UpdateRulesRequest(add=[
            {"value": "mulberry -is:retweet", "tag": "fruit"},
            {"value": f"from:{self.ada.username}", "tag": "Ada"},
        ])
        tried = stream.update_rules(rules, dry_run=True)
        self.assertEqual(tried.meta.summary["valid"], 2)
        self.assertEqual(all_ids(stream.get_rules()), [])
        made = stream.update_rules(rules)
        self.assertEqual(made.meta.summary["created"], 2)
        tags = {rule.id: rule.tag for rule in made.data}
        self.assertEqual(set(all_ids(stream.get_rules())), set(tags))
        counts = stream.get_rule_counts().data
        self.assertEqual((counts.cap_per_client_app, counts.project_rules_count), ("1000", "2"))

        listener = Listener(
            stream.posts,
            tweet_fields=["created_at", "public_metrics", "referenced_tweets"],
            expansions=["author_id", "referenced_tweets.id"],
        )
        listener.connected.get(timeout=LINE_S)
        first = post(self.as_ada, "a mulberry")
        heard = listener.received.get(timeout=LINE_S)
        self.assertIsInstance(heard.data, Post)
        self.assertEqual((heard.data.id, heard.data.text), (first, "a mulberry"))
        self.assertEqual(heard.data.edit_history_post_ids, [first])
        self.assertEqual(heard.data.public_metrics.repost_count, 0)
        self.assertEqual(heard.includes.users[0].username, self.ada.username)
        self.assertEqual({rule.id: rule.tag for rule in heard.matching_rules}, tags)
        post(self.as_bob, "nothing of interest")
        quote = post(self.as_bob, "Mulberry jam", quote_tweet_id=first)
        heard = listener.received.get(timeout=LINE_S)
        self.assertEqual(heard.data.id, quote)
        self.assertEqual(heard.data.referenced_posts[0].id, first)
        self.assertEqual([included.text for included in heard.includes.posts], ["a mulberry"])
        self.assertEqual([rule.tag for rule in heard.matching_rules], ["fruit"])
        gone = stream.update_rules(UpdateRulesRequest(delete={"ids": list(tags)}))
        self.assertEqual(gone.meta.summary["deleted"], 2)
        self.assertTrue(listener.wrong.empty(), listener.wrong.queue)

    def test_a_sample_of_everything(self):
        """One of a hundred is in it."""
        listener = Listener(self.app().posts_sample, expansions=["author_id"])
        listener.connected.get(timeout=LINE_S)
        for number in range(3_000):
            post(self.as_ada, f"number {number}")
            if not listener.received.empty():
                break
        heard = listener.received.get(timeout=LINE_S)
        self.assertEqual(heard.data.edit_history_post_ids, [heard.data.id])
        self.assertEqual(heard.includes.users[0].id, heard.data.author_id)

    def test_refusals_are_the_librarys_errors(self):
        listener = Listener(self.app().posts)
        self.assertEqual(listener.wrong.get(timeout=LINE_S).status_code, 409)
        user = xdk.Client(base_url=URL, bearer_token=self.ada.token).stream
        self.assertEqual(Listener(user.posts_sample).wrong.get(timeout=LINE_S).status_code, 403)


if __name__ == "__main__":
    unittest.main()
