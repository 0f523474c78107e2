//! P14: every public route against every kind of token, with exactly the expected answer. The
//! routes come from the document that the system serves, and what each needs from the
//! configuration: a route that is in one and not in the other fails.

use std::collections::{BTreeMap, BTreeSet};

use http::Method;
use pillion_tests::client::Answer;
use pillion_tests::system::System;
use pillion_tests::token::{claims, header, now, sign, sign_with, with};
use serde_json::{Value, json};

/// What a route needs, as the auth plugin's configuration says it.
#[derive(Debug, Clone)]
enum Rule {
    Public,
    Scopes { scopes: Vec<String>, app: bool },
}

#[derive(Debug, Clone)]
struct Route {
    method: Method,
    template: String,
    rule: Rule,
}

/// Private to the account in the path, beside everything that writes there.
const PRIVATE_LISTS: [&str; 4] = [
    "/2/users/{id}/blocking",
    "/2/users/{id}/bookmarks",
    "/2/users/{id}/muting",
    "/2/users/{id}/timelines/reverse_chronological",
];

/// Change a tweet, which only its author (or the author of its conversation) may.
const OF_THE_AUTHOR: [(&str, &str); 2] =
    [("DELETE", "/2/tweets/{id}"), ("PUT", "/2/tweets/{id}/hidden")];

/// Act on the caller's own behalf; the account in the path is the other side.
const OF_THE_CALLER: &str = "/pillion/v1/follow-requests/";

/// Pages and routes that check passwords.
const PASSWORDS: [&str; 3] = ["/i/apps", "/i/oauth2/authorize", "/pillion/v1/login"];

/// Connections that stay open: what a good token gets there is the suite `streams`' business.
const STREAMS: [&str; 3] =
    ["/2/tweets/search/stream", "/2/tweets/sample/stream", "/pillion/v1/notifications/stream"];

fn rules() -> BTreeMap<String, Rule> {
    let text = std::fs::read_to_string(pillion_tests::build::root().join("pillion.toml"));
    let text = text.expect("the project's configuration");
    let config: toml::Table = text.parse().expect("TOML");
    let routes = config["plugins"]["auth"]["config"]["routes"].as_table().expect("routes");
    let rule = |rule: &toml::Value| {
        let is = |key: &str| rule.get(key).and_then(toml::Value::as_bool).unwrap_or(false);
        if is("public") {
            return Rule::Public;
        }
        let scopes = rule["scopes"].as_array().expect("scopes").iter();
        let scopes = scopes.map(|scope| scope.as_str().expect("a scope").to_owned()).collect();
        Rule::Scopes { scopes, app: is("app") }
    };
    routes.iter().map(|(route, found)| (route.clone(), rule(found))).collect()
}

/// Every route of the document, with its rule. Internal routes have rules and are not in the
/// document.
async fn routes(system: &System) -> Vec<Route> {
    let document = system.client.get("/openapi.json").send().await.expect(200).json();
    let mut rules = rules();
    rules.retain(|route, _| !route.contains(" /internal/"));
    let mut routes = Vec::new();
    for (template, operations) in document["paths"].as_object().expect("paths") {
        for method in ["get", "post", "put", "delete", "patch"] {
            if operations.get(method).is_none() {
                continue;
            }
            let method: Method = method.to_uppercase().parse().expect("a method");
            let rule = rules.remove(&format!("{method} {template}"));
            let rule = rule.unwrap_or_else(|| panic!("{method} {template} has no rule"));
            routes.push(Route { method, template: template.clone(), rule });
        }
    }
    assert!(rules.is_empty(), "rules of routes that are not in the document: {rules:?}");
    assert!(routes.len() > 50, "{}", routes.len());
    routes
}

/// The account whose tokens are tried, and another one with a tweet.
struct World {
    system: System,
    mallory: String,
    alice: String,
    tweet: String,
    every_scope: String,
}

impl World {
    async fn start() -> (Self, Vec<Route>) {
        // Thousands of refusals of one address are not what its limit is for.
        let system = System::start_with(|config| {
            config.replace(
                "plugins = [\"logging\", \"ratelimit-address\", \"auth\", \"ratelimit\"]",
                "plugins = [\"logging\", \"auth\"]",
            )
        });
        let (alice, token) = system.register("alice").await;
        let (mallory, _) = system.register("mallory").await;
        let post = system.client.post("/2/tweets").bearer(&token).json(&json!({ "text": "mine" }));
        let tweet = post.send().await.expect(201).json();
        let tweet = tweet["data"]["id"].as_str().expect("an id").to_owned();
        let routes = routes(&system).await;
        let scopes = routes.iter().flat_map(|route| match &route.rule {
            Rule::Public => Vec::new(),
            Rule::Scopes { scopes, .. } => scopes.clone(),
        });
        let scopes: BTreeSet<String> = scopes.collect();
        let every_scope = scopes.into_iter().collect::<Vec<_>>().join(" ");
        (Self { system, mallory, alice, tweet, every_scope }, routes)
    }

    /// Claims of mallory's with every scope.
    fn good(&self) -> Value {
        with(claims(&self.mallory), "scope", json!(self.every_scope))
    }

    /// Asks `route` about alice's account and tweet, with a body that its shape would allow.
    async fn ask(&self, route: &Route, token: Option<&str>) -> Answer {
        let tweet_in_id = route.template.starts_with("/2/tweets/{id}");
        let path = route
            .template
            .replace("{id}", if tweet_in_id { &self.tweet } else { &self.alice })
            .replace("{target_user_id}", &self.alice)
            .replace("{user_id}", &self.alice)
            .replace("{tweet_id}", &self.tweet)
            .replace("{source_tweet_id}", &self.tweet)
            .replace("{username}", "alice")
            .replace("{client_id}", "1");
        assert!(!path.contains('{'), "a parameter that this test does not know: {path}");
        let mut call = self.system.client.call(route.method.clone(), &path);
        if let Some(token) = token {
            call = call.bearer(token);
        }
        if matches!(route.method, Method::POST | Method::PUT) {
            let body = match &*route.template {
                path if path.contains("oauth2") => return call.send().await,
                path if path.ends_with("/hidden") => json!({ "hidden": true }),
                path if path.starts_with("/2/users/{id}/") && path.ends_with("ing") => {
                    json!({ "target_user_id": self.alice })
                }
                path if path.starts_with("/2/users/{id}/") => json!({ "tweet_id": self.tweet }),
                _ => json!({}),
            };
            call = call.json(&body);
        }
        call.send().await
    }
}

/// A 401 with RFC 6750's challenge, whose description has the reason.
fn assert_unauthorized(answer: &Answer, reason: &str, what: &str) {
    let what = format!("{what}: {} {}", answer.status, answer.text());
    assert_eq!(answer.status, 401, "{what}");
    let body = answer.json();
    assert_eq!(body["title"], json!("Unauthorized"), "{what}");
    assert_eq!(body["status"], json!(401), "{what}");
    assert!(body["detail"].as_str().is_some_and(|detail| detail.contains(reason)), "{what}");
    let challenge = answer.header("www-authenticate");
    assert!(challenge.starts_with("Bearer realm="), "{what}: {challenge}");
    assert_eq!(
        challenge.contains("error=\"invalid_token\""),
        reason != NO_TOKEN,
        "RFC 6750 3.1: {what}: {challenge}"
    );
}

const NO_TOKEN: &str = "needs an access token";

/// Tokens that no route accepts, each with its kind and the reason that the answer must name.
async fn bad_tokens(world: &World) -> Vec<(&'static str, String, &'static str)> {
    let good = world.good();
    let jwks = world.system.client.get("/.well-known/jwks.json").send().await.expect(200).json();
    let (kid, x) = (jwks["keys"][0]["kid"].clone(), jwks["keys"][0]["x"].as_str().expect("a key"));
    let confused = with(header(), "kid", kid);
    let claim = |name: &str, value: Value| sign(&header(), &with(good.clone(), name, value));
    let head = |name: &str, value: Value| sign(&with(header(), name, value), &good);

    let login = json!({ "username": "mallory", "password": "correct horse battery" });
    let session = world.system.client.post("/pillion/v1/login").json(&login).send().await;
    let session = session.expect(200).json();
    let refresh = session["refresh_token"].as_str().expect("a refresh token").to_owned();
    let revoked = world.system.login("mallory", "").await;
    let revocation = world.system.client.post("/2/oauth2/revoke").text(
        "application/x-www-form-urlencoded",
        &format!("client_id=pillion&token={revoked}&token_type_hint=access_token"),
    );
    revocation.send().await.expect(200);

    vec![
        ("malformed", "a.b".to_owned(), "three parts"),
        ("refresh as access", refresh, "three parts"),
        ("alg none", head("alg", json!("none")), "signed with none"),
        ("key confusion", sign_with(x.as_bytes(), &confused, &good), "another algorithm"),
        ("unknown kid", head("kid", json!("unknown")), "unknown key"),
        (
            "forged",
            sign_with(b"not the secret, but just as long as it", &header(), &good),
            "signature",
        ),
        ("expired", claim("exp", json!(now() - 3600)), "expired at"),
        ("not yet valid", claim("nbf", json!(now() + 3600)), "not valid before"),
        ("wrong aud", claim("aud", json!("another-api")), "another audience"),
        ("wrong iss", claim("iss", json!("https://evil.example")), "issued by"),
        ("wrong typ", head("typ", json!("JWT")), "type (typ)"),
        ("revoked", revoked, "revoked"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn p14_no_route_accepts_a_token_that_is_not_good() {
    let (world, routes) = World::start().await;
    let bad = bad_tokens(&world).await;
    for route in &routes {
        let what = |kind: &str| format!("{} {}, {kind}", route.method, route.template);
        let without = world.ask(route, None).await;
        match route.rule {
            Rule::Scopes { .. } => assert_unauthorized(&without, NO_TOKEN, &what("no token")),
            // What they answer without credentials is theirs; it is no challenge for a bearer.
            Rule::Public => assert!(
                !without.header("www-authenticate").starts_with("Bearer"),
                "{}",
                what("no token")
            ),
        }
        for (kind, token, reason) in &bad {
            let answer = world.ask(route, Some(token)).await;
            match route.rule {
                Rule::Scopes { .. } => assert_unauthorized(&answer, reason, &what(kind)),
                // Public routes ignore a token that they do not need.
                Rule::Public => {
                    // Where passwords are checked, many empty ones in a row are throttled.
                    let is_throttled = PASSWORDS.contains(&&*route.template)
                        && route.method == Method::POST
                        && answer.status == 429;
                    let same = answer.status == without.status;
                    assert!(same || is_throttled, "{}: {}", what(kind), answer.text());
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p14_every_scope_of_every_route_counts() {
    let (world, routes) = World::start().await;
    for route in &routes {
        let Rule::Scopes { scopes, app } = &route.rule else { continue };
        let what = format!("{} {}", route.method, route.template);
        for missing in scopes {
            let rest = world.every_scope.split(' ').filter(|scope| scope != missing);
            let rest = rest.collect::<Vec<_>>().join(" ");
            let token = sign(&header(), &with(world.good(), "scope", json!(rest)));
            let answer = world.ask(route, Some(&token)).await;
            assert_eq!(answer.status, 403, "{what} without {missing}: {}", answer.text());
            let challenge = answer.header("www-authenticate");
            assert!(challenge.contains("insufficient_scope"), "{what}: {challenge}");
            assert!(challenge.contains(missing.as_str()), "{what}: {challenge}");
        }
        if !app {
            let claims = with(with(world.good(), "sub", json!("app")), "client_id", json!("app"));
            let token = sign(&header(), &with(claims, "scope", Value::Null));
            let answer = world.ask(route, Some(&token)).await;
            assert_eq!(answer.status, 403, "{what} as an app: {}", answer.text());
            let title = answer.json()["title"].clone();
            assert_eq!(title, json!("Unsupported Authentication"), "{what} as an app");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p14_nothing_is_done_on_behalf_of_another_account() {
    let (world, routes) = World::start().await;
    let token = sign(&header(), &world.good());
    let mut refused = 0;
    for route in &routes {
        let Rule::Scopes { .. } = route.rule else { continue };
        if STREAMS.contains(&&*route.template) {
            continue;
        }
        let what = format!("{} {}", route.method, route.template);
        let answer = world.ask(route, Some(&token)).await;
        let text = answer.text();
        // The token itself is good everywhere.
        assert_ne!(answer.status, 401, "{what}: {text}");
        assert!(!answer.header("www-authenticate").contains("scope"), "{what}: {text}");
        let of_the_account = route.template.starts_with("/2/users/{id}/")
            && (route.method != Method::GET || PRIVATE_LISTS.contains(&&*route.template));
        let of_the_author = OF_THE_AUTHOR.contains(&(route.method.as_str(), &*route.template));
        if of_the_account {
            // As X answers it.
            assert_eq!(answer.status, 400, "{what}: {text}");
            assert!(text.contains("must be the same as the authenticating user"), "{what}: {text}");
            refused += 1;
        } else if of_the_author {
            assert_eq!(answer.status, 403, "{what}: {text}");
            refused += 1;
        } else if route.template.starts_with(OF_THE_CALLER) && route.template.contains('{') {
            // Alice never asked to follow mallory.
            assert_eq!(answer.status, 404, "{what}: {text}");
        } else {
            assert!(answer.status.as_u16() < 500, "{what}: {text}");
        }
    }
    assert!(refused >= 16, "{refused} routes refuse to act for another account");
    // Nothing of it was done.
    let get = format!("/2/tweets/{}", world.tweet);
    world.system.client.get(&get).bearer(&token).send().await.expect(200);
    world.system.client.get("/2/users/me").bearer(&token).send().await.expect(200);
}
