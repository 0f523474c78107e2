//! A few lively accounts for a first start, made through the public API like anybody's.

mod stories;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use axum::Router;
use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, StatusCode};
use pillion_chassis::random::{Random as _, SystemRandom};
use pillion_chassis::{Scopes, UserId};
use pillion_identity::{Handle, USER_SCOPES};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::data::{DataDir, write_secret};
use crate::process::Process;
use crate::storage::database_name;
use stories::{ACCOUNTS, STORIES, Story};

/// What the demo's user needs for a day of trying out; ordinary tokens live minutes.
pub(crate) const TOKEN_LIFETIME: Duration = Duration::from_hours(24);

/// The file in the data folder.
const FILE: &str = "demo.json";

/// An answer to ourselves: at most a page of 100 tweets.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Who somebody may try the API as.
#[derive(Debug, Serialize)]
pub(crate) struct Demo {
    pub(crate) user_id: String,
    pub(crate) username: String,
    pub(crate) bearer_token: String,
}

/// `demo.json`: written before the first account is made, so that a start that was interrupted
/// goes on with the same passwords.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    /// Whether every account and tweet is there.
    complete: bool,
    /// Passwords by user name.
    accounts: BTreeMap<String, String>,
}

/// Makes the record when nothing has ever been stored in this data folder. To be called before
/// the databases are made: a start that is interrupted after this is taken on by the next one.
pub(crate) fn plan(data: &DataDir) -> Result<()> {
    if data.join(FILE).exists() || data.join(database_name("identity")).exists() {
        return Ok(());
    }
    let accounts = ACCOUNTS
        .iter()
        .map(|(username, _)| Ok(((*username).to_owned(), password()?)))
        .collect::<Result<_>>()?;
    let record = Record { complete: false, accounts };
    save(data, &record)
}

/// Makes what is planned and not yet there; gives the demo's user with a new token. `None` when
/// this data was never to be seeded.
pub(crate) async fn seed(process: &Process, handle: &Handle) -> Result<Option<Demo>> {
    let Some(mut record) = read(&process.data)? else {
        return Ok(None);
    };
    let Some((demo, _)) = ACCOUNTS.first() else {
        return Ok(None);
    };
    let api = Api { router: process.front.clone(), handle: handle.clone() };
    if !record.complete {
        api.tell_stories(&record)
            .await
            .context("cannot make the demonstration's data; `--no-seed` starts without")?;
        record.complete = true;
        save(&process.data, &record)?;
    }
    let Some(user_id) = api.find(demo).await? else {
        // Its owner has deleted it; that is their right.
        return Ok(None);
    };
    Ok(Some(Demo {
        user_id: user_id.to_string(),
        username: (*demo).to_owned(),
        bearer_token: api.token(user_id, TOKEN_LIFETIME),
    }))
}

fn read(data: &DataDir) -> Result<Option<Record>> {
    let path = data.join(FILE);
    match std::fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text)
            .map(Some)
            .with_context(|| format!("{} is damaged; remove it to go on without", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn save(data: &DataDir, record: &Record) -> Result<()> {
    write_secret(&data.join(FILE), &serde_json::to_string_pretty(record)?)
}

fn password() -> Result<String> {
    let mut bytes = [0; 12];
    SystemRandom.fill(&mut bytes)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// The public API, without a socket.
struct Api {
    router: Router,
    handle: Handle,
}

impl Api {
    /// Every step first looks whether it was done before.
    async fn tell_stories(&self, record: &Record) -> Result<()> {
        /// Longer than seeding takes by far.
        const LIFETIME: Duration = Duration::from_mins(5);
        let mut authors = BTreeMap::new();
        let mut ids_of_users = Vec::new();
        for (username, name) in ACCOUNTS {
            let password = record.accounts.get(username).context("demo.json lacks an account")?;
            let user_id = match self.find(username).await? {
                Some(user_id) => user_id,
                None => self.register(username, name, password).await?,
            };
            let token = self.token(user_id, LIFETIME);
            let told = self.told(user_id, &token).await?;
            authors.insert(username, (token, told));
            ids_of_users.push((username, user_id));
        }
        // Everybody follows everybody, so that there is something to read at home.
        for (username, user_id) in &ids_of_users {
            let (token, _) = authors.get(username).context("an account without a token")?;
            let path = format!("/2/users/{user_id}/following");
            for (_, target) in ids_of_users.iter().filter(|(_, target)| target != user_id) {
                let target = json!({ "target_user_id": target.to_string() });
                let (status, answer) =
                    self.ask(Method::POST, &path, Some(token), Some(target)).await?;
                ensure!(status == StatusCode::OK, "a follow was refused: {answer}");
            }
        }
        let mut ids: Vec<String> = Vec::with_capacity(STORIES.len());
        for Story { author, text, reply_to, quotes } in STORIES {
            let (token, told) = authors.get(author).context("a story without an author")?;
            if let Some(id) = told.get(text) {
                ids.push(id.clone());
                continue;
            }
            let earlier = |at: usize| ids.get(at).cloned().context("a story too early");
            let tweet = match (reply_to, quotes) {
                (Some(at), _) => {
                    json!({ "text": text, "reply": { "in_reply_to_tweet_id": earlier(at)? } })
                }
                (None, Some(at)) => json!({ "text": text, "quote_tweet_id": earlier(at)? }),
                (None, None) => json!({ "text": text }),
            };
            let (status, answer) =
                self.ask(Method::POST, "/2/tweets", Some(token), Some(tweet)).await?;
            ensure!(status == StatusCode::CREATED, "a tweet was refused: {answer}");
            ids.push(text_at(&answer, "/data/id")?);
        }
        // Who tells the next story likes the one before.
        for (story, id) in STORIES.iter().skip(1).zip(ids.iter()) {
            let liked_by = ids_of_users.iter().find(|(username, _)| *username == story.author);
            let (username, user_id) = liked_by.context("a story without an author")?;
            let (token, _) = authors.get(username).context("an account without a token")?;
            let path = format!("/2/users/{user_id}/likes");
            let tweet = json!({ "tweet_id": id });
            let (status, answer) = self.ask(Method::POST, &path, Some(token), Some(tweet)).await?;
            ensure!(status == StatusCode::OK, "a like was refused: {answer}");
        }
        Ok(())
    }

    /// The user of that name.
    async fn find(&self, username: &str) -> Result<Option<UserId>> {
        // Anybody may look; this token is nobody's.
        let nobody = UserId::new(1).context("1 is no id")?;
        let token = self.token(nobody, Duration::from_mins(1));
        let path = format!("/2/users/by/username/{username}");
        let (status, answer) = self.ask(Method::GET, &path, Some(&token), None).await?;
        ensure!(status == StatusCode::OK, "looking for @{username} failed: {answer}");
        match answer.pointer("/data/id").and_then(Value::as_str) {
            Some(id) => Ok(Some(id.parse()?)),
            None => Ok(None),
        }
    }

    async fn register(&self, username: &str, name: &str, password: &str) -> Result<UserId> {
        let account = json!({ "username": username, "name": name, "password": password });
        let (status, answer) =
            self.ask(Method::POST, "/pillion/v1/accounts", None, Some(account)).await?;
        ensure!(status == StatusCode::CREATED, "@{username} could not be registered: {answer}");
        Ok(text_at(&answer, "/data/id")?.parse()?)
    }

    /// The ids of the user's tweets by their texts.
    async fn told(&self, user_id: UserId, token: &str) -> Result<BTreeMap<String, String>> {
        let path = format!("/2/users/{user_id}/tweets?max_results=100");
        let (status, answer) = self.ask(Method::GET, &path, Some(token), None).await?;
        ensure!(status == StatusCode::OK, "reading what {user_id} wrote failed: {answer}");
        let tweets = answer.get("data").and_then(Value::as_array).into_iter().flatten();
        tweets.map(|tweet| Ok((text_at(tweet, "/text")?, text_at(tweet, "/id")?))).collect()
    }

    fn token(&self, user_id: UserId, lifetime: Duration) -> String {
        let scopes = Scopes::parse(&USER_SCOPES.join(" "));
        self.handle.issue_user_token(user_id, "pillion", &scopes, lifetime)
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
    ) -> Result<(StatusCode, Value)> {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let body = match body {
            Some(body) => {
                request = request.header(CONTENT_TYPE, "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        let response = match self.router.clone().oneshot(request.body(body)?).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), ANSWER_BYTES_MAX).await?;
        match serde_json::from_slice(&bytes) {
            Ok(answer) => Ok((status, answer)),
            Err(_) => bail!("{path} answered {status} with something that is not JSON"),
        }
    }
}

fn text_at(answer: &Value, pointer: &str) -> Result<String> {
    let text = answer.pointer(pointer).and_then(Value::as_str);
    text.map(str::to_owned).with_context(|| format!("an answer without {pointer}: {answer}"))
}
