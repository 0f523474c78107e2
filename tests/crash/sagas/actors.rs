//! Who does what until the process ends under them, and what they were told.

use std::collections::BTreeMap;

use pillion_tests::client::{Answer, Client};
use pillion_tests::system::System;
use serde_json::{Value, json};

use super::{Account, text};

const PASSWORD: &str = "correct horse battery";

/// Who plays in a run: alone, so that the crash goes through the steps of one saga, or together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scene {
    Everybody,
    Registrar,
    Follower,
    Leaver,
    Renamer,
}

impl Scene {
    pub(super) const ALL: [Self; 5] =
        [Self::Leaver, Self::Registrar, Self::Follower, Self::Renamer, Self::Everybody];
}

/// Who takes part in a run.
pub(super) struct Cast {
    pub(super) client: Client,
    pub(super) olga: Account,
    pub(super) frank: Account,
    pub(super) rena: Account,
    /// Of the run.
    pub(super) serial: u32,
    pub(super) rounds: u32,
    pub(super) scene: Scene,
}

/// What was acknowledged, and what nobody knows.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// Registered and never told to end: the id by the handle.
    pub(super) registered: BTreeMap<String, String>,
    /// Refused: there is no such account.
    pub(super) refused: Vec<String>,
    /// Deactivated, and left alone: gone by now.
    pub(super) left: Vec<String>,
    /// Who changes handles: the id, the handle that was acknowledged last, and those that may have
    /// come after it.
    pub(super) renamed: String,
    pub(super) handle: String,
    pub(super) handles_perhaps: Vec<String>,
}

impl Done {
    pub(super) fn new(renamed: &str, handle: &str) -> Self {
        let (renamed, handle) = (renamed.to_owned(), handle.to_owned());
        Self { renamed, handle, ..Self::default() }
    }

    /// The handle by which the renamed one logs in, of those that it may have.
    pub(super) async fn handle_of(&self, system: &System) -> String {
        for handle in std::iter::once(&self.handle).chain(&self.handles_perhaps) {
            let login = json!({ "username": handle, "password": PASSWORD });
            let answer = system.client.post("/pillion/v1/login").json(&login).send().await;
            if answer.status.is_success() {
                return handle.clone();
            }
        }
        panic!("no handle of {self:?} logs in");
    }
}

/// Everybody plays a part at the same time, until an answer stays away.
pub(super) async fn play(cast: Cast, done: &mut Done) {
    let Cast { client, olga, frank, rena, serial, rounds, scene } = cast;
    let rounds = |part: Scene| {
        if scene == part || scene == Scene::Everybody { rounds } else { 0 }
    };
    let (registrar, leaver) = (client.clone(), client.clone());
    let (registered, (), left, renamed) = tokio::join!(
        register(&registrar, serial, rounds(Scene::Registrar)),
        follow(&client, &olga, &frank, rounds(Scene::Follower)),
        leave(&leaver, serial, rounds(Scene::Leaver)),
        rename(&client, &rena, serial, rounds(Scene::Renamer)),
    );
    done.registered.extend(registered.registered);
    done.refused.extend(registered.refused);
    done.registered.extend(left.registered);
    done.left.extend(left.left);
    if let Some(handle) = renamed.0 {
        done.handle = handle;
        done.handles_perhaps.clear();
    }
    done.handles_perhaps.extend(renamed.1);
}

/// What a call came to.
enum Told {
    Yes(Value),
    No(u16),
    /// The process has ended, or gave up waiting.
    Nothing,
}

async fn tell(call: pillion_tests::client::Call<'_>) -> Told {
    let answer: anyhow::Result<Answer> = call.try_send().await;
    match answer {
        Ok(answer) if answer.status.is_success() => Told::Yes(answer.json()),
        Ok(answer) if answer.status.is_server_error() => Told::Nothing,
        Ok(answer) => Told::No(answer.status.as_u16()),
        Err(_) => Told::Nothing,
    }
}

async fn sign_up(client: &Client, handle: &str, description: &str) -> Told {
    let account = json!({
        "username": handle, "name": handle, "password": PASSWORD, "description": description,
    });
    tell(client.post("/pillion/v1/accounts").json(&account)).await
}

/// Accounts begin; every third is refused by a service in the middle of its saga.
async fn register(client: &Client, serial: u32, rounds: u32) -> Done {
    let mut done = Done::default();
    for round in 0..rounds {
        let handle = format!("reg{serial}_{round}");
        let too_long = "x".repeat(2_000);
        let is_good = round % 3 != 1;
        let description = if is_good { "Good." } else { &too_long };
        match sign_up(client, &handle, description).await {
            Told::Yes(answer) => {
                assert!(is_good, "{answer}");
                done.registered.insert(handle, text(&answer["data"]["id"]));
            }
            Told::No(status) => {
                assert!(!is_good && status == 400, "{handle}: {status}");
                done.refused.push(handle);
            }
            Told::Nothing => break,
        }
    }
    done
}

/// Frank asks, and Olga accepts, denies, or leaves it.
async fn follow(client: &Client, olga: &Account, frank: &Account, rounds: u32) {
    let following = format!("/2/users/{}/following", frank.id);
    let target = json!({ "target_user_id": olga.id });
    for round in 0..rounds {
        let Told::Yes(answer) =
            tell(client.post(&following).bearer(&frank.token).json(&target)).await
        else {
            return;
        };
        // He may follow since an earlier run.
        if answer["data"]["pending_follow"] == json!(true) {
            let verb = if round % 2 == 0 { "accept" } else { "deny" };
            let answer = format!("/pillion/v1/follow-requests/{}/{verb}", frank.id);
            let told = tell(client.post(&answer).bearer(&olga.token).json(&json!({}))).await;
            let Told::Yes(_) = told else { return };
            let followers = format!("/2/users/{}/followers", olga.id);
            let Told::Yes(list) = tell(client.get(&followers).bearer(&olga.token)).await else {
                return;
            };
            // What was answered is seen at once.
            let is_follower = list["data"][0]["id"] == json!(frank.id);
            assert_eq!(is_follower, verb == "accept", "{verb}: {list}");
        }
        let path = format!("{following}/{}", olga.id);
        let Told::Yes(_) = tell(client.delete(&path).bearer(&frank.token)).await else { return };
    }
}

/// Accounts end; every second comes back at once.
async fn leave(client: &Client, serial: u32, rounds: u32) -> Done {
    let mut done = Done::default();
    for round in 0..rounds {
        let handle = format!("leav{serial}_{round}");
        let Told::Yes(answer) = sign_up(client, &handle, "For a while.").await else { break };
        let id = text(&answer["data"]["id"]);
        let credentials = json!({ "username": handle, "password": PASSWORD });
        let login = || client.post("/pillion/v1/login").json(&credentials);
        let Told::Yes(answer) = tell(login()).await else { break };
        let token = text(&answer["access_token"]);
        let tweet = json!({ "text": "still here" });
        let Told::Yes(posted) = tell(client.post("/2/tweets").bearer(&token).json(&tweet)).await
        else {
            break;
        };
        let password = json!({ "password": PASSWORD });
        let end = client.delete("/pillion/v1/accounts/me").bearer(&token).json(&password);
        let Told::Yes(_) = tell(end).await else { break };
        if round % 2 == 1 {
            done.left.push(handle);
            continue;
        }
        let token = match tell(login()).await {
            Told::Yes(answer) => text(&answer["access_token"]),
            // The time was over.
            Told::No(401) => continue,
            Told::No(status) => panic!("{handle}: {status}"),
            Told::Nothing => break,
        };
        // Everything is back.
        let path = format!("/2/tweets/{}", text(&posted["data"]["id"]));
        match tell(client.get(&path).bearer(&token)).await {
            Told::Yes(tweet) => assert_eq!(tweet["data"]["text"], "still here", "{tweet}"),
            Told::No(status) => panic!("{handle}: {status}"),
            Told::Nothing => break,
        }
        done.registered.insert(handle, id);
    }
    done
}

/// Rena takes one handle after the other: the one acknowledged last, and those of which she was
/// told nothing.
async fn rename(
    client: &Client,
    rena: &Account,
    serial: u32,
    rounds: u32,
) -> (Option<String>, Vec<String>) {
    let mut last = None;
    for round in 0..rounds {
        let handle = format!("rena{serial}_{round}");
        let body = json!({ "username": handle });
        let call = client.post("/pillion/v1/account/username").bearer(&rena.token).json(&body);
        match tell(call).await {
            Told::Yes(answer) => {
                assert_eq!(answer["data"]["username"], json!(handle), "{answer}");
                last = Some(handle);
            }
            // The one before is not over: it was begun by a run that ended.
            Told::No(409) => {}
            Told::No(status) => panic!("{handle}: {status}"),
            Told::Nothing => return (last, vec![handle]),
        }
    }
    (last, Vec::new())
}
