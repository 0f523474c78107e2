// twitter-api-sdk: people follow each other, like, retweet, search and listen, through the
// library's own pages and streams.

"use strict";

const assert = require("node:assert/strict");
const { before, describe, test } = require("node:test");
const { Client, auth } = require("twitter-api-sdk");

const { URL_OF_SYSTEM, eventually, register, soon, tokenOfApp } = require("./system");

const HERE = { base_url: URL_OF_SYSTEM };

const clientOf = (person) => new Client(person.token, HERE);
const appOf = async (person) => new Client(new auth.OAuth2Bearer(await tokenOfApp(person)), HERE);
const post = async (client, text, more = {}) =>
  (await client.tweets.createTweet({ text, ...more })).data.id;

// The ids of all pages.
async function allIds(pages) {
  const found = [];
  for await (const page of pages) found.push(...(page.data ?? []).map(({ id }) => id));
  return found;
}

async function refused(call, status, part) {
  await assert.rejects(call, (error) => {
    assert.equal(error.status, status, `${error.stack} ${JSON.stringify(error.error)}`);
    assert.ok(JSON.stringify(error.error).includes(part), JSON.stringify(error.error));
    return true;
  });
}

describe("people", () => {
  let ada, bob, cleo;
  before(async () => {
    [ada, bob, cleo] = [await register("pada"), await register("pbob"), await register("pcleo")];
  });

  test("follows, blocks and mutes are made, listed and ended", async () => {
    const { users } = clientOf(ada);
    for (const follower of [bob, cleo]) {
      const made = await clientOf(follower).users.usersIdFollow(follower.id, {
        target_user_id: ada.id,
      });
      assert.deepEqual(made.data, { following: true, pending_follow: false });
    }
    const page = { max_results: 1 };
    assert.deepEqual(await allIds(users.usersIdFollowers(ada.id, page)), [cleo.id, bob.id]);
    assert.deepEqual(await allIds(users.usersIdFollowing(bob.id, page)), [ada.id]);
    const fields = { "user.fields": ["public_metrics"] };
    const shown = await users.findUserById(ada.id, fields);
    assert.equal(shown.data.public_metrics.followers_count, 2);
    const ended = await clientOf(bob).users.usersIdUnfollow(bob.id, ada.id);
    assert.deepEqual(ended.data, { following: false });

    for (const other of [bob, cleo]) {
      const target = { target_user_id: other.id };
      assert.deepEqual((await users.usersIdMute(ada.id, target)).data, { muting: true });
      assert.deepEqual((await users.usersIdBlock(ada.id, target)).data, { blocking: true });
    }
    assert.deepEqual(await allIds(users.usersIdMuting(ada.id, page)), [cleo.id, bob.id]);
    assert.deepEqual(await allIds(users.usersIdBlocking(ada.id, page)), [cleo.id, bob.id]);
    // The block has ended Cleo's follow.
    assert.deepEqual(await allIds(users.usersIdFollowers(ada.id)), []);
    assert.deepEqual((await users.usersIdUnmute(ada.id, bob.id)).data, { muting: false });
    assert.deepEqual((await users.usersIdUnblock(ada.id, bob.id)).data, { blocking: false });
    assert.deepEqual(await allIds(users.usersIdMuting(ada.id)), [cleo.id]);
    assert.deepEqual(await allIds(users.usersIdBlocking(ada.id)), [cleo.id]);
    await refused(users.usersIdFollow(ada.id, { target_user_id: ada.id }), 400, "yourself");
  });
});

describe("engagements", () => {
  let ada, bob, asAda, asBob;
  before(async () => {
    [ada, bob] = [await register("eada"), await register("ebob")];
    [asAda, asBob] = [ada, bob].map(clientOf);
  });

  const metrics = async (id) =>
    (await asAda.tweets.findTweetById(id, { "tweet.fields": ["public_metrics"] })).data
      .public_metrics;

  test("likes", async () => {
    const tweets = [];
    for (let n = 0; n < 7; n += 1) tweets.push(await post(asAda, `like ${n}`));
    for (const tweet_id of tweets) {
      const made = await asBob.tweets.usersIdLike(bob.id, { tweet_id });
      assert.deepEqual(made.data, { liked: true });
    }
    const liked = asAda.tweets.usersIdLikedTweets(bob.id, { max_results: 5 });
    assert.deepEqual(await allIds(liked), tweets.toReversed());
    assert.deepEqual(await allIds(asAda.users.tweetsIdLikingUsers(tweets[0])), [bob.id]);
    assert.equal((await metrics(tweets[0])).like_count, 1);
    const ended = await asBob.tweets.usersIdUnlike(bob.id, tweets[0]);
    assert.deepEqual(ended.data, { liked: false });
    assert.equal((await metrics(tweets[0])).like_count, 0);
  });

  test("retweets", async () => {
    const tweet_id = await post(asAda, "worth sharing");
    const made = await asBob.tweets.usersIdRetweets(bob.id, { tweet_id });
    assert.equal(made.data.retweeted, true);
    assert.deepEqual(await allIds(asAda.users.tweetsIdRetweetingUsers(tweet_id)), [bob.id]);
    assert.equal((await metrics(tweet_id)).retweet_count, 1);
    const ended = await asBob.tweets.usersIdUnretweets(bob.id, tweet_id);
    assert.deepEqual(ended.data, { retweeted: false });
    assert.deepEqual(await allIds(asAda.users.tweetsIdRetweetingUsers(tweet_id)), []);
  });

  test("bookmarks", async () => {
    const tweets = [];
    for (let n = 0; n < 3; n += 1) tweets.push(await post(asAda, `keep ${n}`));
    for (const tweet_id of tweets) {
      const made = await asBob.bookmarks.postUsersIdBookmarks(bob.id, { tweet_id });
      assert.deepEqual(made.data, { bookmarked: true });
    }
    const listed = () => allIds(asBob.bookmarks.getUsersIdBookmarks(bob.id, { max_results: 1 }));
    assert.deepEqual(await listed(), tweets.toReversed());
    const ended = await asBob.bookmarks.usersIdBookmarksDelete(bob.id, tweets[1]);
    assert.deepEqual(ended.data, { bookmarked: false });
    assert.deepEqual(await listed(), [tweets[2], tweets[0]]);
  });

  test("replies are hidden, quotes are listed", async () => {
    const id = await post(asAda, "say something");
    const reply = await post(asBob, "rude", { reply: { in_reply_to_tweet_id: id } });
    const quotes = [];
    for (let n = 0; n < 11; n += 1) {
      quotes.push(await post(asBob, `quote ${n}`, { quote_tweet_id: id }));
    }
    const hidden = await asAda.tweets.hideReplyById(reply, { hidden: true });
    assert.deepEqual(hidden.data, { hidden: true });
    const again = { reply: { in_reply_to_tweet_id: reply } };
    await refused(post(asBob, "again", again), 403, "not visible to you");
    const listed = asAda.tweets.findTweetsThatQuoteATweet(id, { max_results: 10 });
    assert.deepEqual(await allIds(listed), quotes.toReversed());
  });
});

describe("timelines and search", () => {
  let ada, bob, asAda, app, latestFirst;
  before(async () => {
    [ada, bob] = [await register("tada"), await register("tbob")];
    asAda = clientOf(ada);
    app = await appOf(ada);
    await asAda.users.usersIdFollow(ada.id, { target_user_id: bob.id });
    const posted = [];
    for (let n = 0; n < 13; n += 1) {
      posted.push(await post(clientOf(bob), `@${ada.username} quince ${n}`));
    }
    latestFirst = posted.toReversed();
  });

  test("home and mentions are all of it, each once", async () => {
    const page = { max_results: 5 };
    await eventually(latestFirst, () => allIds(asAda.tweets.usersIdTimeline(ada.id, page)));
    await eventually(latestFirst, () => allIds(asAda.tweets.usersIdMentions(ada.id, page)));
    const shown = await asAda.tweets.usersIdTimeline(ada.id, { expansions: ["author_id"] });
    assert.deepEqual(shown.includes.users.map(({ username }) => username), [bob.username]);
    assert.equal(shown.meta.result_count, 13);
  });

  test("what is found comes in pages and is counted", async () => {
    const query = "quince";
    const found = () => allIds(asAda.tweets.tweetsRecentSearch({ query, max_results: 10 }));
    await eventually(latestFirst, found);
    const counted = await app.tweets.tweetCountsRecentSearch({ query, granularity: "day" });
    assert.equal(counted.meta.total_tweet_count, 13);
    const sum = counted.data.reduce((all, { tweet_count }) => all + tweet_count, 0);
    assert.equal(sum, 13);
    const bad = asAda.tweets.tweetsRecentSearch({ query: "quince (" });
    await refused(async () => await bad, 400, "(at position 8)");
  });
});

describe("streams", () => {
  let ada, bob, asAda, asBob;
  before(async () => {
    [ada, bob] = [await register("lada"), await register("lbob")];
    [asAda, asBob] = [ada, bob].map(clientOf);
  });

  test("rules let tweets through", async () => {
    const app = await appOf(ada);
    const add = [
      { value: "damson -is:retweet", tag: "fruit" },
      { value: `from:${ada.username}`, tag: "Ada" },
    ];
    const made = await app.tweets.addOrDeleteRules({ add });
    assert.equal(made.meta.summary.created, 2);
    const ids = made.data.map(({ id }) => id);
    assert.deepEqual(new Set(await allIds(app.tweets.getRules())), new Set(ids));

    const heard = app.tweets.searchStream({ expansions: ["author_id"] });
    // The library connects when the first line is asked for. What is posted before it has
    // connected is not heard, so something is posted until a line has come.
    let line;
    const first = heard.next().then(({ value }) => (line = value));
    for (let n = 0; n < 100 && !line; n += 1) {
      await post(asBob, `damson jam ${n}`);
      await Promise.race([first, new Promise((wake) => setTimeout(wake, 50))]);
    }
    await soon(first);
    assert.match(line.data.text, /^damson jam \d+$/);
    assert.equal(line.includes.users[0].username, bob.username);
    assert.deepEqual(line.matching_rules.map(({ tag }) => tag), ["fruit"]);
    const both = await post(asAda, "a damson");
    do {
      line = (await soon(heard.next())).value;
    } while (line.data.text.startsWith("damson jam"));
    assert.deepEqual([line.data.id, line.data.text], [both, "a damson"]);
    assert.deepEqual(new Set(line.matching_rules.map(({ id }) => id)), new Set(ids));
    await heard.return();
    const gone = await app.tweets.addOrDeleteRules({ delete: { ids } });
    assert.equal(gone.meta.summary.deleted, 2);
  });

  test("a sample of everything", async () => {
    const app = await appOf(ada);
    const heard = app.tweets.sampleStream({ expansions: ["author_id"] });
    let line;
    const first = heard.next().then(({ value }) => (line = value));
    // One of a hundred is in it.
    for (let n = 0; n < 3_000 && !line; n += 1) await post(asAda, `number ${n}`);
    await soon(first);
    assert.equal(line.includes.users[0].id, line.data.author_id);
    await heard.return();
  });

  test("streams are for apps with rules", async () => {
    const app = await appOf(ada);
    await refused(app.tweets.searchStream().next(), 409, "RuleConfigurationIssue");
    await refused(asAda.tweets.sampleStream().next(), 403, "unsupported-authentication");
  });
});
