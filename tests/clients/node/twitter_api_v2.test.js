// twitter-api-v2: what is posted is read back by every way, pages are complete, and errors are the
// library's own class.

"use strict";

const assert = require("node:assert/strict");
const { before, describe, test } = require("node:test");
const { ApiResponseError, TwitterApi } = require("twitter-api-v2");

const { settings } = require("./rebase");
const { CALLBACK, URL_OF_SYSTEM, allow, logIn, register, registerApp } = require("./system");

const NOBODY = "1";
const NO_TWEET = "20";
const SETTINGS = settings(URL_OF_SYSTEM);

const clientOf = (person) => new TwitterApi(person.token, SETTINGS).v2;

// Asserts that a call fails as the library says refusals do, and returns its error.
async function refused(call, code, part) {
  let error;
  await assert.rejects(call, (raised) => {
    error = raised;
    return true;
  });
  assert.ok(error instanceof ApiResponseError, `${error.stack}`);
  assert.equal(error.code, code, JSON.stringify(error.data));
  assert.ok(JSON.stringify(error.data).includes(part), JSON.stringify(error.data));
  return error;
}

describe("tweets", () => {
  let ada, bob, asAda, asBob;
  before(async () => {
    [ada, bob] = [await register("nada", "Ada L."), await register("nbob")];
    [asAda, asBob] = [clientOf(ada), clientOf(bob)];
  });

  test("a tweet is read back as it was posted", async () => {
    const text = `Hello @${bob.username} \u2603 & <b> #pillion https://example.com/a?b=c`;
    const { data: posted } = await asAda.tweet(text);
    // X escapes `&`, `<` and `>`.
    const delivered = text.replace("& <b>", "&amp; &lt;b&gt;");
    assert.deepEqual(posted, {
      id: posted.id,
      text: delivered,
      edit_history_tweet_ids: [posted.id],
    });
    const read = await asBob.singleTweet(posted.id, {
      expansions: ["author_id", "entities.mentions.username"],
      "tweet.fields": ["created_at", "conversation_id", "entities", "public_metrics"],
      "user.fields": ["created_at"],
    });
    const { data } = read;
    assert.deepEqual([data.id, data.text], [posted.id, delivered]);
    assert.deepEqual([data.author_id, data.conversation_id], [ada.id, posted.id]);
    assert.equal(data.public_metrics.reply_count, 0);
    assert.ok(Math.abs(Date.now() - Date.parse(data.created_at)) < 60_000, data.created_at);
    assert.deepEqual(data.entities.hashtags.map(({ tag }) => tag), ["pillion"]);
    assert.deepEqual(data.entities.mentions.map(({ username }) => username), [bob.username]);
    const users = new Map(read.includes.users.map((user) => [user.username, user.name]));
    assert.deepEqual(users, new Map([[ada.username, "Ada L."], [bob.username, bob.name]]));
  });

  test("replies, quotes and threads point at their tweets", async () => {
    const first = (await asAda.tweet("first")).data.id;
    const reply = (await asBob.reply("reply", first)).data.id;
    const quote = (await asBob.quote("quote", first)).data.id;
    const read = await asAda.tweets([reply, quote], {
      expansions: ["author_id", "referenced_tweets.id", "referenced_tweets.id.author_id"],
      "tweet.fields": ["referenced_tweets", "conversation_id", "in_reply_to_user_id"],
    });
    assert.deepEqual(read.data.map(({ text }) => text), ["reply", "quote"]);
    assert.deepEqual(read.data.map((tweet) => tweet.referenced_tweets), [
      [{ type: "replied_to", id: first }],
      [{ type: "quoted", id: first }],
    ]);
    assert.equal(read.data[0].in_reply_to_user_id, ada.id);
    assert.deepEqual(read.includes.tweets.map(({ id }) => id), [first]);
    const authors = read.includes.users.map(({ id }) => id).sort();
    assert.deepEqual(authors, [ada.id, bob.id].sort());

    const thread = await asAda.tweetThread(["one", "two", "three"]);
    const ids = thread.map((tweet) => tweet.data.id);
    const { data } = await asAda.tweets(ids, { "tweet.fields": ["conversation_id"] });
    assert.deepEqual(data.map((tweet) => [tweet.text, tweet.conversation_id]), [
      ["one", ids[0]],
      ["two", ids[0]],
      ["three", ids[0]],
    ]);
  });

  test("a deleted tweet is gone, and what is there comes beside it", async () => {
    const [gone, here] = [(await asAda.tweet("gone")).data.id, (await asAda.tweet("here")).data.id];
    assert.deepEqual(await asAda.deleteTweet(gone), { data: { deleted: true } });
    const read = await asAda.singleTweet(gone);
    assert.equal(read.data, undefined);
    assert.equal(read.errors[0].title, "Not Found Error");
    assert.equal(read.errors[0].resource_id, gone);
    const both = await asAda.tweets([gone, here]);
    assert.deepEqual(both.data.map(({ id }) => id), [here]);
    assert.deepEqual(both.errors.map(({ value }) => value), [gone]);
  });
});

describe("a user's tweets", () => {
  let cleo, client, latestFirst;
  before(async () => {
    cleo = await register("ncleo");
    client = clientOf(cleo);
    const posted = [];
    for (let n = 0; n < 17; n += 1) posted.push((await client.tweet(`number ${n}`)).data.id);
    posted.push((await client.reply("reply", posted[0])).data.id);
    latestFirst = posted.reverse();
  });

  async function ids(options) {
    const found = [];
    const pages = await client.userTimeline(cleo.id, { max_results: 5, ...options });
    for await (const tweet of pages) found.push(tweet.id);
    return found;
  }

  test("the pages are all and each once", async () => {
    assert.deepEqual(await ids({}), latestFirst);
    assert.deepEqual(await ids({ exclude: "replies" }), latestFirst.slice(1));
    const bounds = { since_id: latestFirst[15], until_id: latestFirst[7] };
    assert.deepEqual(await ids(bounds), latestFirst.slice(8, 15));
  });

  test("pages lead on and back", async () => {
    const first = await client.userTimeline(cleo.id, { max_results: 5 });
    assert.equal(first.meta.result_count, 5);
    const second = await first.next();
    assert.deepEqual(second.tweets.map(({ id }) => id), latestFirst.slice(5, 10));
    const back = await second.previous();
    assert.deepEqual(back.tweets.map(({ id }) => id), latestFirst.slice(0, 5));
    await first.fetchLast(100);
    assert.deepEqual(first.tweets.map(({ id }) => id), latestFirst);
    assert.equal(first.done, true);
  });

  test("includes of all pages are collected", async () => {
    const pages = await client.userTimeline(cleo.id, {
      max_results: 5,
      expansions: ["author_id", "referenced_tweets.id"],
    });
    await pages.fetchLast(100);
    const reply = pages.tweets.find(({ id }) => id === latestFirst[0]);
    assert.equal(pages.includes.author(reply).username, cleo.username);
    assert.equal(pages.includes.repliedTo(reply).text, "number 0");
  });
});

describe("users", () => {
  let dora, emil, client;
  before(async () => {
    [dora, emil] = [await register("ndora", "Dora \u2603"), await register("nemil")];
    client = clientOf(dora);
  });

  test("they are found by every way", async () => {
    const shown = ({ id, name, username }) => ({ id, name, username });
    assert.deepEqual((await client.me()).data, shown(dora));
    // By version 1.1, which the library asks in `currentUser`.
    const current = await new TwitterApi(dora.token, SETTINGS).currentUser();
    assert.deepEqual(
      [current.id_str, current.screen_name, current.name, current.statuses_count],
      [dora.id, dora.username, dora.name, 0],
    );
    assert.deepEqual((await client.user(emil.id)).data, shown(emil));
    assert.deepEqual((await client.userByUsername(emil.username)).data, shown(emil));
    const people = [shown(emil), shown(dora)];
    assert.deepEqual((await client.users([emil.id, dora.id])).data, people);
    const names = [emil.username, dora.username];
    assert.deepEqual((await client.usersByUsernames(names)).data, people);
    const { data } = await client.me({ "user.fields": ["created_at", "protected"] });
    assert.equal(data.protected, false);
    assert.ok(Date.parse(data.created_at) <= Date.now());
  });

  test("who is not there is an error beside the answer", async () => {
    const read = await client.users([NOBODY, emil.id]);
    assert.deepEqual(read.data.map(({ id }) => id), [emil.id]);
    assert.deepEqual(read.errors.map(({ value }) => value), [NOBODY]);
    assert.equal((await client.userByUsername("nobody_at_all")).data, undefined);
  });
});

describe("errors", () => {
  let fred, client;
  before(async () => {
    fred = await register("nfred");
    client = clientOf(fred);
  });

  test("every refusal has its status and reason", async () => {
    const mine = (await client.tweet("mine")).data.id;
    const other = clientOf(await register("ngwen"));
    const stranger = new TwitterApi("nonsense", SETTINGS).v2;
    const token = await logIn(fred.username, "tweet.read users.read");
    const reading = new TwitterApi(token, SETTINGS).v2;
    await refused(client.tweet("a".repeat(281)), 400, "281");
    await refused(client.reply("a", NO_TWEET), 403, "deleted or not visible to you");
    await refused(client.quote("a", NO_TWEET), 403, NO_TWEET);
    await refused(client.tweet("a", { media: { media_ids: ["1"] } }), 400, "media");
    await refused(client.singleTweet(mine, { "tweet.fields": ["colour"] }), 400, "colour");
    await refused(client.userTimeline(fred.id, { max_results: 4 }), 400, "max_results");
    assert.equal((await refused(stranger.me(), 401, "Unauthorized")).isAuthError, true);
    await refused(other.deleteTweet(mine), 403, "author");
    await refused(reading.tweet("no"), 403, "tweet.write");
    assert.deepEqual((await client.deleteTweet(NO_TWEET)).data, { deleted: true });
    await refused(client.hideReply(NO_TWEET, true), 404, NO_TWEET);
    assert.equal((await client.singleTweet(mine)).data.text, "mine");
  });

  test("too much is refused until a time", async () => {
    const busy = clientOf(await register("nhugo"));
    for (let n = 0; n < 75; n += 1) await busy.me();
    const error = await refused(busy.me(), 429, "Too Many Requests");
    assert.equal(error.rateLimitError, true);
    assert.deepEqual([error.rateLimit.limit, error.rateLimit.remaining], [75, 0]);
    const left = error.rateLimit.reset - Date.now() / 1000;
    assert.ok(left > 0 && left <= 901, `${left}`);
  });
});

describe("authorization", () => {
  const SCOPE = ["tweet.read", "users.read", "tweet.write", "offline.access"];
  let judy, app;
  before(async () => {
    judy = await register("njudy");
    app = await registerApp(await register("nivan"));
  });

  async function logInWith(client) {
    const link = client.generateOAuth2AuthLink(CALLBACK, { scope: SCOPE });
    const back = await allow(link.url, judy);
    assert.equal(back.searchParams.get("state"), link.state);
    const code = back.searchParams.get("code");
    return { code, codeVerifier: link.codeVerifier, redirectUri: CALLBACK };
  }

  test("a person allows an app, which acts for them until it is revoked", async () => {
    const client = new TwitterApi(app, SETTINGS);
    const answer = await logInWith(client);
    const granted = await client.loginWithOAuth2(answer);
    assert.deepEqual([...granted.scope].sort(), [...SCOPE].sort());
    assert.equal(granted.expiresIn > 0, true);
    assert.equal((await granted.client.currentUserV2()).data.username, judy.username);
    const tweet = (await granted.client.v2.tweet("by an app")).data.id;
    const { data } = await granted.client.v2.singleTweet(tweet, { expansions: ["author_id"] });
    assert.equal(data.author_id, judy.id);

    const renewed = await client.refreshOAuth2Token(granted.refreshToken);
    assert.notEqual(renewed.refreshToken, granted.refreshToken);
    assert.equal((await renewed.client.v2.me()).data.username, judy.username);
    const revoked = await client.revokeOAuth2Token(renewed.refreshToken, "refresh_token");
    assert.equal(revoked.revoked, true);
    await refused(client.refreshOAuth2Token(renewed.refreshToken), 400, "invalid_grant");
    await refused(client.loginWithOAuth2(answer), 400, "invalid_grant");
  });

  test("a wrong secret gets no token", async () => {
    const client = new TwitterApi({ ...app, clientSecret: "wrong" }, SETTINGS);
    await refused(client.loginWithOAuth2(await logInWith(client)), 401, "invalid_client");
  });

  test("an app by itself reads and is nobody", async () => {
    const keys = { appKey: app.clientId, appSecret: app.clientSecret };
    const client = await new TwitterApi(keys, SETTINGS).appLogin();
    assert.equal((await client.v2.userByUsername(judy.username)).data.id, judy.id);
    await refused(client.v2.me(), 403, "unsupported-authentication");
    await refused(client.v2.tweet("no"), 403, "unsupported-authentication");
  });
});
