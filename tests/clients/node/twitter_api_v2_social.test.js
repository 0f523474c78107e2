// twitter-api-v2: people follow each other, like, retweet, search and listen, through the library's
// own paginators and streams.

"use strict";

const assert = require("node:assert/strict");
const { before, describe, test } = require("node:test");
const { ApiResponseError, ETwitterStreamEvent, TwitterApi } = require("twitter-api-v2");

const { settings } = require("./rebase");
const { URL_OF_SYSTEM, eventually, register, soon, tokenOfApp } = require("./system");

const NO_TWEET = "20";
const SETTINGS = settings(URL_OF_SYSTEM);

const clientOf = (person) => new TwitterApi(person.token, SETTINGS).v2;
const idOf = async (posted) => (await posted).data.id;
const idsOf = (items) => (items ?? []).map(({ id }) => id);

// The ids of all pages, by the library's own paginator.
async function allIds(pages) {
  const found = [];
  for await (const item of await pages) found.push(item.id);
  return found;
}

async function refused(call, code, part) {
  await assert.rejects(call, (error) => {
    assert.ok(error instanceof ApiResponseError, `${error.stack}`);
    assert.equal(error.code, code, JSON.stringify(error.data));
    assert.ok(JSON.stringify(error.data).includes(part), JSON.stringify(error.data));
    return true;
  });
}

describe("people", () => {
  let ada, bob, cleo, asAda, asBob, asCleo;
  before(async () => {
    [ada, bob, cleo] = [await register("pada"), await register("pbob"), await register("pcleo")];
    [asAda, asBob, asCleo] = [ada, bob, cleo].map(clientOf);
  });

  test("follows are made, listed, counted and ended", async () => {
    for (const [person, client] of [[bob, asBob], [cleo, asCleo]]) {
      const made = await client.follow(person.id, ada.id);
      assert.deepEqual(made.data, { following: true, pending_follow: false });
    }
    const options = { asPaginator: true, max_results: 1 };
    assert.deepEqual(await allIds(asAda.followers(ada.id, options)), [cleo.id, bob.id]);
    assert.deepEqual(await allIds(asAda.following(bob.id, options)), [ada.id]);
    await asAda.tweet("one of mine");
    const shown = { "user.fields": ["public_metrics"] };
    const expected = {
      followers_count: 2,
      following_count: 0,
      tweet_count: 1,
      listed_count: 0,
      like_count: 0,
    };
    const read = async () => (await asBob.user(ada.id, shown)).data.public_metrics;
    await eventually(expected, read);
    const byName = await asBob.userByUsername(ada.username, shown);
    assert.deepEqual(byName.data.public_metrics, expected);
    const listed = await asBob.following(bob.id, shown);
    assert.deepEqual(listed.data[0].public_metrics, expected);
    assert.deepEqual((await asBob.unfollow(bob.id, ada.id)).data, { following: false });
    assert.deepEqual(idsOf((await asAda.followers(ada.id)).data), [cleo.id]);
    await refused(asAda.follow(ada.id, ada.id), 400, "yourself");
    await refused(asAda.follow(bob.id, cleo.id), 400, "must be the same");
  });

  test("blocks and mutes are made, listed and ended", async () => {
    const dora = await register("pdora");
    const asDora = clientOf(dora);
    for (const other of [bob, cleo]) {
      assert.deepEqual((await asDora.block(dora.id, other.id)).data, { blocking: true });
      assert.deepEqual((await asDora.mute(dora.id, other.id)).data, { muting: true });
    }
    const page = { max_results: 1 };
    const expected = [cleo.id, bob.id];
    assert.deepEqual(await allIds(asDora.userBlockingUsers(dora.id, page)), expected);
    assert.deepEqual(await allIds(asDora.userMutingUsers(dora.id, page)), expected);
    await refused(asBob.follow(bob.id, dora.id), 403, "about:blank");
    const hidden = await asBob.user(dora.id);
    assert.equal(hidden.data, undefined);
    assert.equal(hidden.errors[0].title, "Authorization Error");
    assert.deepEqual((await asDora.unblock(dora.id, bob.id)).data, { blocking: false });
    assert.deepEqual((await asDora.unmute(dora.id, bob.id)).data, { muting: false });
    assert.deepEqual(await allIds(asDora.userBlockingUsers(dora.id)), [cleo.id]);
    assert.equal((await asBob.user(dora.id)).data.username, dora.username);
  });
});

describe("engagements", () => {
  let ada, bob, asAda, asBob;
  before(async () => {
    [ada, bob] = [await register("eada"), await register("ebob")];
    [asAda, asBob] = [ada, bob].map(clientOf);
  });

  const metrics = async (id) =>
    (await asAda.singleTweet(id, { "tweet.fields": ["public_metrics"] })).data.public_metrics;

  test("likes", async () => {
    const tweets = [];
    for (let n = 0; n < 7; n += 1) tweets.push(await idOf(asAda.tweet(`like ${n}`)));
    for (const id of tweets) {
      assert.deepEqual((await asBob.like(bob.id, id)).data, { liked: true });
    }
    const options = { max_results: 5, expansions: ["author_id"] };
    const liked = await asAda.userLikedTweets(bob.id, options);
    await liked.fetchLast(100);
    assert.deepEqual(idsOf(liked.tweets), tweets.toReversed());
    assert.equal(liked.includes.author(liked.tweets[6]).username, ada.username);
    const liking = await asAda.tweetLikedBy(tweets[0], { asPaginator: true, max_results: 1 });
    assert.deepEqual(idsOf(liking.users), [bob.id]);
    assert.equal((await metrics(tweets[0])).like_count, 1);
    assert.deepEqual((await asBob.unlike(bob.id, tweets[0])).data, { liked: false });
    assert.equal((await asAda.tweetLikedBy(tweets[0])).data, undefined);
    assert.equal((await metrics(tweets[0])).like_count, 0);
    await refused(asBob.like(bob.id, NO_TWEET), 400, "cannot be found");
  });

  test("retweets", async () => {
    const id = await idOf(asAda.tweet("worth sharing"));
    const { data } = await asBob.retweet(bob.id, id);
    assert.equal(data.retweeted, true);
    assert.deepEqual(idsOf((await asAda.tweetRetweetedBy(id)).data), [bob.id]);
    assert.equal((await metrics(id)).retweet_count, 1);
    const repeated = async () => {
      const pages = await asAda.userTimeline(bob.id, { "tweet.fields": ["referenced_tweets"] });
      const retweets = pages.tweets.filter((tweet) => tweet.text.startsWith("RT @"));
      return retweets.map((tweet) => [tweet.id, tweet.referenced_tweets]);
    };
    await eventually([[data.id, [{ type: "retweeted", id }]]], repeated);
    const shown = await asAda.userTimeline(bob.id, { expansions: ["referenced_tweets.id"] });
    const retweet = shown.tweets.find((tweet) => tweet.id === data.id);
    assert.equal(shown.includes.retweet(retweet).text, "worth sharing");
    assert.deepEqual((await asBob.unretweet(bob.id, id)).data, { retweeted: false });
    assert.equal((await asAda.tweetRetweetedBy(id)).data, undefined);
    await eventually([], repeated);
  });

  test("bookmarks", async () => {
    const tweets = [];
    for (let n = 0; n < 3; n += 1) tweets.push(await idOf(asAda.tweet(`keep ${n}`)));
    for (const id of tweets) {
      assert.deepEqual((await asBob.bookmark(id)).data, { bookmarked: true });
    }
    assert.deepEqual(await allIds(asBob.bookmarks({ max_results: 1 })), tweets.toReversed());
    assert.deepEqual((await asBob.deleteBookmark(tweets[1])).data, { bookmarked: false });
    assert.deepEqual(await allIds(asBob.bookmarks()), [tweets[2], tweets[0]]);
    assert.deepEqual(await allIds(asAda.bookmarks()), []);
  });

  test("replies are hidden, quotes are listed", async () => {
    const id = await idOf(asAda.tweet("say something"));
    const reply = await idOf(asBob.reply("something rude", id));
    const quotes = [];
    for (let n = 0; n < 11; n += 1) quotes.push(await idOf(asBob.quote(`quote ${n}`, id)));
    assert.deepEqual((await asAda.hideReply(reply, true)).data, { hidden: true });
    await refused(asBob.reply("and again", reply), 403, "not visible to you");
    assert.deepEqual((await asAda.hideReply(reply, false)).data, { hidden: false });
    await refused(asBob.hideReply(reply, true), 403, "Forbidden");
    assert.deepEqual(await allIds(asAda.quotes(id, { max_results: 10 })), quotes.toReversed());
    const { quote_count, reply_count } = await metrics(id);
    assert.deepEqual([quote_count, reply_count], [11, 1]);
  });
});

describe("timelines", () => {
  let ada, bob, cleo, asAda, latestFirst;
  before(async () => {
    [ada, bob, cleo] = [await register("tada"), await register("tbob"), await register("tcleo")];
    asAda = clientOf(ada);
    const asBob = clientOf(bob);
    await asAda.follow(ada.id, bob.id);
    const posted = [];
    for (let n = 0; n < 12; n += 1) {
      posted.push(await idOf(asBob.tweet(`@${ada.username} number ${n}`)));
    }
    const strange = await idOf(clientOf(cleo).tweet("by a stranger"));
    posted.push(await idOf(asBob.retweet(bob.id, strange)));
    latestFirst = posted.toReversed();
  });

  test("home is all of it, each once", async () => {
    await eventually(latestFirst, () => allIds(asAda.homeTimeline({ max_results: 5 })));
    const first = await asAda.homeTimeline({
      max_results: 5,
      expansions: ["author_id", "referenced_tweets.id"],
    });
    assert.equal(first.includes.author(first.tweets[0]).username, bob.username);
    assert.equal(first.includes.retweet(first.tweets[0]).text, "by a stranger");
    const second = await first.next();
    assert.deepEqual(idsOf(second.tweets), latestFirst.slice(5, 10));
    assert.deepEqual(idsOf((await second.previous()).tweets), latestFirst.slice(0, 5));
    const without = await asAda.homeTimeline({ exclude: ["retweets"] });
    assert.deepEqual(idsOf(without.tweets), latestFirst.slice(1));
  });

  test("mentions are all of them, each once", async () => {
    const read = () => allIds(asAda.userMentionTimeline(ada.id, { max_results: 5 }));
    await eventually(latestFirst.slice(1), read);
  });
});

describe("search", () => {
  let ada, client, app, latestFirst;
  before(async () => {
    ada = await register("sada");
    client = clientOf(ada);
    app = new TwitterApi(await tokenOfApp(ada), SETTINGS).v2;
    const posted = [];
    for (let n = 0; n < 13; n += 1) posted.push(await idOf(client.tweet(`quince number ${n}`)));
    latestFirst = posted.toReversed();
  });

  test("what is found comes in pages", async () => {
    await eventually(latestFirst, () => allIds(client.search("quince", { max_results: 10 })));
    const pages = await client.search("quince", { max_results: 10, expansions: ["author_id"] });
    assert.equal(pages.meta.newest_id, latestFirst[0]);
    await pages.fetchNext();
    assert.deepEqual(idsOf(pages.tweets), latestFirst);
    assert.equal(pages.done, true);
    assert.equal(pages.includes.author(pages.tweets[12]).username, ada.username);
    const query = `quince from:${ada.username} 12 -is:reply`;
    assert.deepEqual(await allIds(app.search(query)), latestFirst.slice(0, 1));
    await refused(client.search("quince (medlar"), 400, "(at position 8)");
  });

  test("what is found is counted", async () => {
    const total = async () => (await app.tweetCountRecent("quince")).meta.total_tweet_count;
    await eventually(13, total);
    const { data } = await app.tweetCountRecent("quince", { granularity: "day" });
    assert.equal(data.reduce((sum, { tweet_count }) => sum + tweet_count, 0), 13);
    await refused(client.tweetCountRecent("quince"), 403, "unsupported-authentication");
  });
});

describe("streams", () => {
  let ada, bob, asAda, asBob;
  before(async () => {
    [ada, bob] = [await register("lada"), await register("lbob")];
    [asAda, asBob] = [ada, bob].map(clientOf);
  });

  test("rules let tweets through", async () => {
    const app = new TwitterApi(await tokenOfApp(ada), SETTINGS).v2;
    const add = [
      { value: "damson -is:retweet", tag: "fruit" },
      { value: `from:${ada.username}`, tag: "Ada" },
    ];
    const tried = await app.updateStreamRules({ add }, { dry_run: true });
    assert.equal(tried.meta.summary.valid, 2);
    assert.equal((await app.streamRules()).data, undefined);
    await refused(app.searchStream(), 409, "RuleConfigurationIssue");
    const made = await app.updateStreamRules({ add });
    assert.equal(made.meta.summary.created, 2);
    assert.deepEqual(new Set(idsOf((await app.streamRules()).data)), new Set(idsOf(made.data)));

    const stream = await soon(
      app.searchStream({ expansions: ["author_id"], "tweet.fields": ["public_metrics"] }),
    );
    try {
      const heard = stream[Symbol.asyncIterator]();
      const first = await idOf(asAda.tweet("a damson"));
      const { value } = await soon(heard.next());
      assert.deepEqual([value.data.id, value.data.text], [first, "a damson"]);
      assert.equal(value.data.public_metrics.like_count, 0);
      assert.equal(value.includes.users[0].username, ada.username);
      const byId = (a, b) => a.id.localeCompare(b.id);
      const expected = made.data.map(({ id, tag }) => ({ id, tag })).sort(byId);
      assert.deepEqual(value.matching_rules.sort(byId), expected);
      await asBob.tweet("nothing of interest");
      const second = await idOf(asBob.tweet("DAMSON jam"));
      const next = (await soon(heard.next())).value;
      assert.equal(next.data.id, second);
      assert.deepEqual(next.matching_rules.map(({ tag }) => tag), ["fruit"]);
    } finally {
      stream.destroy();
    }
    const gone = await app.updateStreamRules({ delete: { ids: idsOf(made.data) } });
    assert.equal(gone.meta.summary.deleted, 2);
  });

  test("a sample of everything", async () => {
    const app = new TwitterApi(await tokenOfApp(ada), SETTINGS).v2;
    const stream = await soon(app.sampleStream({ expansions: ["author_id"] }));
    try {
      let heard;
      const first = new Promise((resolve) => {
        stream.once(ETwitterStreamEvent.Data, (line) => {
          heard = line;
          resolve();
        });
      });
      // One of a hundred is in it.
      for (let n = 0; n < 3_000 && !heard; n += 1) await asAda.tweet(`number ${n}`);
      await soon(first);
      assert.equal(heard.includes.users[0].id, heard.data.author_id);
      assert.equal(heard.data.edit_history_tweet_ids[0], heard.data.id);
    } finally {
      stream.destroy();
    }
  });

  test("streams are for apps", async () => {
    await refused(asAda.sampleStream(), 403, "unsupported-authentication");
    await refused(asAda.streamRules(), 403, "unsupported-authentication");
  });
});
