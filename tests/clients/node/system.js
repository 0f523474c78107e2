// The system under test, and what X's client libraries have no calls for: accounts, apps, and the
// person who says yes on the consent page.

"use strict";

const assert = require("node:assert/strict");
const { isDeepStrictEqual } = require("node:util");

const URL_OF_SYSTEM = process.env.PILLION_URL;
const PASSWORD = "correct horse battery";
const CALLBACK = "http://localhost/back";
// How long and how often `eventually` looks: rate limits count.
const PATIENCE_MS = 10_000;
const PAUSE_MS = 100;
// Longer than a heartbeat takes to come.
const LINE_MS = 20_000;

let number = 0;

// Makes an account, whose username begins with `stem`, and logs it in.
async function register(stem, name = "A Name") {
  number += 1;
  const username = `${stem}_${number}`;
  const made = await post("/pillion/v1/accounts", { username, name, password: PASSWORD });
  return { id: made.data.id, username, name, token: await logIn(username) };
}

// A token for everything, or for the scopes that are named.
async function logIn(username, scope) {
  const login = { username, password: PASSWORD };
  return (await post("/pillion/v1/login", scope ? { ...login, scope } : login)).access_token;
}

// Makes an app that may send people back to `CALLBACK`.
async function registerApp(owner) {
  const app = { name: "A client library", redirect_uris: [CALLBACK] };
  const made = (await post("/pillion/v1/apps", app, owner.token)).data;
  return { clientId: made.client_id, clientSecret: made.client_secret };
}

// The token of a new app by itself.
async function tokenOfApp(owner) {
  const app = await registerApp(owner);
  const basic = Buffer.from(`${app.clientId}:${app.clientSecret}`).toString("base64");
  const answer = await fetch(`${URL_OF_SYSTEM}/oauth2/token`, {
    method: "POST",
    headers: { authorization: `Basic ${basic}` },
    body: new URLSearchParams({ grant_type: "client_credentials" }),
  });
  return (await answer.json()).access_token;
}

// Waits until `read` gives what is expected: services hear of each other's events a little later.
async function eventually(expected, read) {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    const found = await read();
    if (isDeepStrictEqual(found, expected)) return;
    if (Date.now() > end) assert.deepEqual(found, expected);
    await new Promise((wake) => setTimeout(wake, PAUSE_MS));
  }
}

// What a promise gives, which must not take for ever.
async function soon(promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`nothing came for ${LINE_MS} ms`)), LINE_MS);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

// Goes where an app sends a browser, says yes there, and returns where that leads. Libraries name
// X's own host in the address; everything after it is for the system.
async function allow(authorizationUrl, person) {
  const asked = new URL(authorizationUrl);
  const page = await fetch(URL_OF_SYSTEM + asked.pathname + asked.search);
  const html = await page.text();
  assert.equal(page.status, 200, html);
  const [, action] = /<form method="post" action="([^"]+)"/.exec(html);
  const hidden = html.matchAll(/<input type="hidden" name="([^"]+)" value="([^"]*)"/g);
  const kept = [...hidden].map(([, name, value]) => [name, unescaped(value)]);
  const answers = { username: person.username, password: PASSWORD, decision: "allow" };
  const decided = await fetch(new URL(action, URL_OF_SYSTEM), {
    method: "POST",
    body: new URLSearchParams([...kept, ...Object.entries(answers)]),
    redirect: "manual",
  });
  assert.equal(decided.status, 303, await decided.text());
  return new URL(decided.headers.get("location"));
}

function unescaped(text) {
  const names = { amp: "&", lt: "<", gt: ">", quot: '"' };
  return text.replace(/&(amp|lt|gt|quot);/g, (_, name) => names[name]);
}

async function post(path, body, token) {
  const headers = { "content-type": "application/json" };
  if (token) headers.authorization = `Bearer ${token}`;
  const answer = await fetch(URL_OF_SYSTEM + path, {
    method: "POST",
    headers,
    body: JSON.stringify(body),
  });
  const text = await answer.text();
  assert.ok(answer.ok, text);
  return JSON.parse(text);
}

module.exports = {
  URL_OF_SYSTEM,
  CALLBACK,
  allow,
  eventually,
  logIn,
  register,
  registerApp,
  soon,
  tokenOfApp,
};
