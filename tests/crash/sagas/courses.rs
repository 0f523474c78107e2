//! The ways that the sagas can go, and what clients do on them.

use std::time::Instant;

use pillion_chassis::{Clock as _, SystemClock, Timestamp};
use pillion_tests::client::{Answer, Call, Client};
use serde_json::{Value, json};

use super::text;

const PASSWORD: &str = "correct horse battery";
/// Handles that begin so are refused by the users service as it is to give them.
pub(super) const REFUSED: &str = "nay";
/// Handles that begin so are refused by a plugin before the users service.
pub(super) const VETOED: &str = "veto";

/// A way for a saga to go, from its beginning to one of its ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Course {
    Register,
    /// By the pivot: everything is taken back.
    RegisterRefused,
    /// By a plugin before the users service.
    RegisterVetoed,
    /// The handle is that of an account that is gone.
    RegisterTaken,
    Rename,
    /// By the pivot.
    RenameRefused,
    Follow,
    FollowDenied,
    FollowBlocked,
    FollowTimedOut,
    Leave,
    /// Somebody logs in before the time is over.
    LeaveRegretted,
    /// By the pivot, when the time is over.
    LeaveRefused,
}

impl Course {
    pub(super) const ALL: [Self; 13] = [
        Self::Register,
        Self::RegisterRefused,
        Self::RegisterVetoed,
        Self::Rename,
        Self::RenameRefused,
        Self::Follow,
        Self::FollowDenied,
        Self::FollowBlocked,
        Self::FollowTimedOut,
        // It leaves the handle that is taken then.
        Self::Leave,
        Self::LeaveRegretted,
        Self::LeaveRefused,
        Self::RegisterTaken,
    ];

    pub(super) const fn saga(self) -> &'static str {
        match self {
            Self::Register | Self::RegisterRefused | Self::RegisterVetoed | Self::RegisterTaken => {
                "register_account"
            }
            Self::Rename | Self::RenameRefused => "change_handle",
            Self::Follow | Self::FollowDenied | Self::FollowBlocked | Self::FollowTimedOut => {
                "follow_protected"
            }
            Self::Leave | Self::LeaveRegretted | Self::LeaveRefused => "deactivate_account",
        }
    }

    /// The service that conducts it.
    pub(super) const fn service(self) -> &'static str {
        match self {
            Self::Rename | Self::RenameRefused => "users",
            Self::Follow | Self::FollowDenied | Self::FollowBlocked | Self::FollowTimedOut => {
                "graph"
            }
            _ => "identity",
        }
    }

    /// How the saga ends.
    pub(super) const fn end(self) -> &'static str {
        match self {
            Self::Register | Self::Rename | Self::Follow | Self::Leave => "completed",
            _ => "compensated",
        }
    }
}

/// An account of the suite. Its handle may have changed since.
#[derive(Debug, Clone)]
pub(super) struct Account {
    pub(super) id: String,
    pub(super) handle: String,
    pub(super) token: String,
}

/// A saga on its course, and what its clients were told.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) course: Course,
    /// Who takes part, and nobody else meanwhile.
    pub(super) cast: Vec<Account>,
    /// The handle that is asked for, or that leaves.
    pub(super) handle: String,
    /// How the saga's key begins; empty when it could not begin.
    pub(super) key: String,
    /// The answer of what began it, when there was one.
    pub(super) told: Option<Answer>,
    /// The saga's number, when it was seen.
    pub(super) id: Option<String>,
    /// When it began, in whole milliseconds: earlier sagas of the key are another run's.
    since: Timestamp,
    /// When the process was started again after it was ended in the middle of this.
    pub(super) restarted: Option<Instant>,
}

impl Run {
    pub(super) fn new(course: Course, cast: Vec<Account>, handle: String) -> Self {
        let (key, told, id, restarted) = (String::new(), None, None, None);
        let since = SystemClock.now().floor_to_millis();
        Self { course, cast, handle, key, told, id, since, restarted }
    }

    /// Whether it is this saga, as the admin API lists it.
    pub(super) fn is(&self, saga: &Value) -> bool {
        saga["saga"] == self.course.saga()
            && !self.key.is_empty()
            && text(&saga["started_at"]).parse::<Timestamp>().expect("a moment") >= self.since
            && text(&saga["key"])
                .strip_prefix(&self.key)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Begins it, as far as the process lives.
    pub(super) async fn begin(&mut self, client: &Client) -> anyhow::Result<()> {
        for account in &mut self.cast {
            account.log_in(client).await?;
        }
        let told = match (self.course.saga(), self.cast.as_slice()) {
            ("register_account", _) => {
                self.key.clone_from(&self.handle);
                sign_up(client, &self.handle).await?
            }
            ("change_handle", [owner]) => {
                self.key.clone_from(&owner.id);
                let body = json!({ "username": self.handle });
                let call = client.post("/pillion/v1/account/username");
                call.bearer(&owner.token).json(&body).try_send().await?
            }
            ("follow_protected", [follower, target]) => {
                // What earlier runs have left.
                let following = format!("/2/users/{}/following", follower.id);
                sent(client.delete(&format!("{following}/{}", target.id)), follower).await?;
                let blocking = format!("/2/users/{}/blocking/{}", target.id, follower.id);
                sent(client.delete(&blocking), target).await?;
                self.key = format!("{}/{}", follower.id, target.id);
                let body = json!({ "target_user_id": target.id });
                sent(client.post(&following).json(&body), follower).await?
            }
            ("deactivate_account", []) => {
                let made = sign_up(client, &self.handle).await?;
                anyhow::ensure!(made.status.is_success(), "{}", made.text());
                let id = text(&made.json()["data"]["id"]).to_owned();
                let mut owner = Account { id, handle: self.handle.clone(), token: String::new() };
                owner.log_in(client).await?;
                let tweet = json!({ "text": "still here" });
                sent(client.post("/2/tweets").json(&tweet), &owner).await?;
                self.key.clone_from(&owner.id);
                leave(client, &owner).await?
            }
            ("deactivate_account", [owner]) => {
                self.key.clone_from(&owner.id);
                leave(client, owner).await?
            }
            (saga, cast) => panic!("{saga} with {cast:?}"),
        };
        self.told = Some(told);
        Ok(())
    }

    /// Ends the saga's wait, if that is a client's to do.
    pub(super) async fn answer(&self, client: &Client) -> anyhow::Result<()> {
        match (self.course, self.cast.as_slice()) {
            (Course::Follow | Course::FollowDenied, [follower, target]) => {
                let verb = if self.course == Course::Follow { "accept" } else { "deny" };
                let path = format!("/pillion/v1/follow-requests/{}/{verb}", follower.id);
                sent(client.post(&path).json(&json!({})), target).await?;
            }
            (Course::FollowBlocked, [follower, target]) => {
                let body = json!({ "target_user_id": follower.id });
                let path = format!("/2/users/{}/blocking", target.id);
                sent(client.post(&path).json(&body), target).await?;
            }
            (Course::LeaveRegretted, [owner]) => owner.clone().log_in(client).await?,
            _ => {}
        }
        Ok(())
    }

    /// Whether its wait ends by time.
    pub(super) fn waits_for_time(&self) -> bool {
        matches!(self.course, Course::FollowTimedOut | Course::Leave | Course::LeaveRefused)
    }
}

impl Account {
    pub(super) async fn log_in(&mut self, client: &Client) -> anyhow::Result<()> {
        let login = json!({ "username": self.handle, "password": PASSWORD });
        let answer = client.post("/pillion/v1/login").json(&login).try_send().await?;
        anyhow::ensure!(!answer.status.is_server_error(), "{}", answer.text());
        assert!(answer.status.is_success(), "{} {}", self.handle, answer.text());
        answer.json()["access_token"].as_str().expect("a token").clone_into(&mut self.token);
        Ok(())
    }
}

pub(super) async fn sign_up(client: &Client, handle: &str) -> anyhow::Result<Answer> {
    let account = json!({ "username": handle, "name": handle, "password": PASSWORD });
    client.post("/pillion/v1/accounts").json(&account).try_send().await
}

async fn sent(call: Call<'_>, by: &Account) -> anyhow::Result<Answer> {
    call.bearer(&by.token).try_send().await
}

async fn leave(client: &Client, owner: &Account) -> anyhow::Result<Answer> {
    let password = json!({ "password": PASSWORD });
    sent(client.delete("/pillion/v1/accounts/me").json(&password), owner).await
}
