// twitter-api-sdk: what is posted is read back, pages are complete, and refusals are thrown with
// their status and problem.

"use strict";

const assert = require("node:assert/strict");
const { before, describe, test } = require("node:test");
const { Client, auth } = require("twitter-api-sdk");

const { CALLBACK, URL_OF_SYSTEM, allow, logIn, register, registerApp } = require("./system");

const NOBODY = "1";
const NO_TWEET = "20";
const HERE = { base_url: URL_OF_SYSTEM };

const clientOf = (person) => new Client(person.token, HERE);
const post = async (client, body) => (await client.tweets.createTweet(body)).data.id;

// Asserts that a call fails as the library throws refusals, and returns its error.
async function refused(call, status, part) {
  let error;
  await assert.rejects(call, (raised) => {
    error = raised;
    return true;
  });
  // The library does not export the class.
  assert.equal(error.constructor.name, "TwitterResponseError", error.stack);
  assert.equal(error.status, status, JSON.stringify(error.error));
  assert.ok(JSON.stringify(error.error).includes(part), JSON.stringify(error.error));
  return error;
}

describe("tweets", () => {
  let ada, bob, asAda, asBob;
  before(async () => {
    [ada, bob] = [await register("sada", "Ada L."), await register("sbob")];
    [asAda, asBob] = [clientOf(ada), clientOf(bob)];
  });

  test("a tweet is read back as it was posted", async () => {
    const text = `Hello @${bob.username} \u2603 & <b> #pillion`;
    const id = await post(asAda, { text });
    const read = await asBob.tweets.findTweetById(id, {
      expansions: ["author_id"],
      "tweet.fields": ["created_at", "conversation_id", "entities"],
    });
    const { created_at, entities, ...data } = read.data;
    assert.deepEqual(data, {
      id,
      // X escapes `&`, `<` and `>`.
      text: text.replace("& <b>", "&amp; &lt;b&gt;"),
      edit_history_tweet_ids: [id],
      author_id: ada.id,
      conversation_id: id,
    });
    assert.ok(Math.abs(Date.now() - Date.parse(created_at)) < 60_000, created_at);
    assert.deepEqual(entities.hashtags.map(({ tag }) => tag), ["pillion"]);
    assert.deepEqual(read.includes.users, [
      { id: ada.id, name: "Ada L.", username: ada.username },
    ]);
  });

  test("replies and quotes point at their tweets", async () => {
    const first = await post(asAda, { text: "first" });
    const reply = await post(asBob, { text: "reply", reply: { in_reply_to_tweet_id: first } });
    const quote = await post(asBob, { text: "quote", quote_tweet_id: first });
    const read = await asAda.tweets.findTweetsById({
      ids: [reply, quote, NO_TWEET],
      expansions: ["referenced_tweets.id"],
    });
    assert.deepEqual(read.data.map((tweet) => [tweet.text, tweet.referenced_tweets]), [
      ["reply", [{ type: "replied_to", id: first }]],
      ["quote", [{ type: "quoted", id: first }]],
    ]);
    assert.deepEqual(read.includes.tweets.map(({ text }) => text), ["first"]);
    assert.deepEqual(read.errors.map(({ value }) => value), [NO_TWEET]);
  });

  test("a deleted tweet is gone", async () => {
    const id = await post(asAda, { text: "gone" });
    assert.deepEqual(await asAda.tweets.deleteTweetById(id), { data: { deleted: true } });
    const read = await asAda.tweets.findTweetById(id);
    assert.equal(read.data, undefined);
    assert.equal(read.errors[0].title, "Not Found Error");
  });

  test("a user's pages are all and each once", async () => {
    const cleo = await register("scleo");
    const client = clientOf(cleo);
    const posted = [];
    for (let n = 0; n < 12; n += 1) posted.push(await post(client, { text: `number ${n}` }));
    const counts = [];
    const found = [];
    for await (const page of client.tweets.usersIdTweets(cleo.id, { max_results: 5 })) {
      counts.push(page.meta.result_count);
      found.push(...page.data.map(({ id }) => id));
    }
    assert.deepEqual(counts, [5, 5, 2]);
    assert.deepEqual(found, posted.reverse());
    const first = await client.tweets.usersIdTweets(cleo.id, { max_results: 5 });
    assert.equal(first.meta.newest_id, posted[0]);
  });
});

describe("users", () => {
  test("they are found by every way", async () => {
    const [dora, emil] = [await register("sdora", "Dora \u2603"), await register("semil")];
    const { users } = clientOf(dora);
    const shown = ({ id, name, username }) => ({ id, name, username });
    assert.deepEqual((await users.findMyUser()).data, shown(dora));
    assert.deepEqual((await users.findUserById(emil.id)).data, shown(emil));
    assert.deepEqual((await users.findUserByUsername(emil.username)).data, shown(emil));
    const byIds = await users.findUsersById({ ids: [emil.id, NOBODY, dora.id] });
    assert.deepEqual(byIds.data, [shown(emil), shown(dora)]);
    assert.deepEqual(byIds.errors.map(({ value }) => value), [NOBODY]);
    const usernames = [emil.username, dora.username];
    const byNames = await users.findUsersByUsername({ usernames });
    assert.deepEqual(byNames.data, [shown(emil), shown(dora)]);
  });
});

describe("errors", () => {
  test("every refusal has its status and reason", async () => {
    const fred = await register("sfred");
    const client = clientOf(fred);
    const mine = await post(client, { text: "mine" });
    const other = clientOf(await register("sgwen"));
    const stranger = new Client("nonsense", HERE);
    const token = await logIn(fred.username, "tweet.read users.read");
    const reading = new Client(token, HERE);
    await refused(post(client, { text: "a".repeat(281) }), 400, "281");
    const wrong = { "tweet.fields": ["colour"] };
    await refused(client.tweets.findTweetById(mine, wrong), 400, "colour");
    await refused(stranger.users.findMyUser(), 401, "Unauthorized");
    await refused(other.tweets.deleteTweetById(mine), 403, "author");
    await refused(post(reading, { text: "no" }), 403, "tweet.write");
    assert.deepEqual((await client.tweets.deleteTweetById(NO_TWEET)).data, { deleted: true });
    await refused(client.tweets.hideReplyById(NO_TWEET, { hidden: true }), 404, NO_TWEET);
  });

  test("too much is refused", async () => {
    const { users } = clientOf(await register("shugo"));
    for (let n = 0; n < 75; n += 1) await users.findMyUser();
    const error = await refused(users.findMyUser(), 429, "Too Many Requests");
    assert.equal(error.headers["x-rate-limit-remaining"], "0");
  });
});

describe("authorization", () => {
  const SCOPES = ["tweet.read", "users.read", "tweet.write", "offline.access"];
  let judy, app;
  before(async () => {
    judy = await register("sjudy");
    app = await registerApp(await register("sivan"));
  });

  const user = (token) =>
    new auth.OAuth2User({
      client_id: app.clientId,
      client_secret: app.clientSecret,
      callback: CALLBACK,
      scopes: SCOPES,
      request_options: HERE,
      token,
    });

  test("a person allows an app, which acts for them until it is revoked", async () => {
    const judyInApp = user();
    const url = judyInApp.generateAuthURL({ state: "a state", code_challenge_method: "s256" });
    const back = await allow(url, judy);
    assert.equal(back.searchParams.get("state"), "a state");
    await judyInApp.requestAccessToken(back.searchParams.get("code"));
    const client = new Client(judyInApp, HERE);
    assert.equal((await client.users.findMyUser()).data.username, judy.username);
    const id = await post(client, { text: "by an app" });
    const read = await client.tweets.findTweetById(id, { expansions: ["author_id"] });
    assert.equal(read.data.author_id, judy.id);

    const { refresh_token } = judyInApp.token;
    await judyInApp.refreshAccessToken();
    assert.notEqual(judyInApp.token.refresh_token, refresh_token);
    assert.equal((await client.users.findMyUser()).data.username, judy.username);

    // The library prefers the access token to the refresh token.
    const { access_token } = judyInApp.token;
    assert.deepEqual(await judyInApp.revokeAccessToken(), { revoked: true });
    const revoked = new Client(new auth.OAuth2Bearer(access_token), HERE);
    for (let n = 0; n < 100; n += 1) {
      const answer = await revoked.users.findMyUser().catch((error) => error);
      if (answer.status === 401) break;
      assert.ok(n < 99, "the token still works");
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    judyInApp.token = { refresh_token: judyInApp.token.refresh_token };
    assert.deepEqual(await judyInApp.revokeAccessToken(), { revoked: true });
    await refused(judyInApp.refreshAccessToken(), 400, "invalid_grant");
  });

  test("i07: the method plain is refused on a page", async () => {
    const challenge = { code_challenge_method: "plain", code_challenge: "p".repeat(43) };
    const url = new URL(user().generateAuthURL({ state: "a state", ...challenge }));
    const page = await fetch(URL_OF_SYSTEM + url.pathname + url.search, { redirect: "manual" });
    assert.equal(page.status, 400);
    assert.match(await page.text(), /code_challenge_method must be S256/);
  });

  test("an app by itself reads and is nobody", async () => {
    // The library has no call for this.
    const basic = Buffer.from(`${app.clientId}:${app.clientSecret}`).toString("base64");
    const answer = await fetch(`${URL_OF_SYSTEM}/oauth2/token`, {
      method: "POST",
      headers: { authorization: `Basic ${basic}` },
      body: new URLSearchParams({ grant_type: "client_credentials" }),
    });
    const { access_token } = await answer.json();
    const client = new Client(new auth.OAuth2Bearer(access_token), HERE);
    const found = await client.users.findUserByUsername(judy.username);
    assert.equal(found.data.id, judy.id);
    await refused(client.users.findMyUser(), 403, "unsupported-authentication");
    await refused(post(client, { text: "no" }), 403, "unsupported-authentication");
  });
});
