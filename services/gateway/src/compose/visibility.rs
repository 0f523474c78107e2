//! What of a page the caller may see.

use std::collections::HashMap;

use pillion_chassis::Problem;
use serde_json::Value;

use super::{HIDDEN, authors, text};
use crate::fetch::{Fetch, VISIBILITY};
use crate::query::Items;

/// Why an account, or what it writes, is not for the caller's eyes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    /// It is protected and the caller does not follow it.
    Protected,
    /// It blocks the caller.
    BlockedBy,
    /// The caller does not want to see it: they block or mute it.
    Unwanted,
}

/// What is known about accounts from the caller's view.
#[derive(Debug, Default)]
pub(crate) struct Visibility(HashMap<String, Option<Reason>>);

impl Visibility {
    /// Asks about those accounts that it has not asked about before, each once.
    pub(crate) async fn learn(
        &mut self,
        fetch: Fetch<'_>,
        users: impl Iterator<Item = String> + Send,
    ) -> Result<(), Problem> {
        let mut unknown = Vec::new();
        for user in users {
            if !self.0.contains_key(&user) {
                self.0.insert(user.clone(), None);
                unknown.push(user);
            }
        }
        for found in fetch.list(&VISIBILITY, &unknown, "").await? {
            let reason = match text(&found, "reason") {
                Some("protected") => Reason::Protected,
                Some("blocking" | "muting") => Reason::Unwanted,
                // And what is not known yet here: rather too little is shown than too much.
                _ => Reason::BlockedBy,
            };
            if let Some(user) = text(&found, "id") {
                self.0.insert(user.to_owned(), Some(reason));
            }
        }
        Ok(())
    }

    fn reason(&self, user: &str) -> Option<Reason> {
        self.0.get(user).copied().flatten()
    }

    /// Whether the caller is not to see what an account writes and does.
    pub(crate) fn hides_writing(&self, user: &str, items: Items) -> bool {
        match self.reason(user) {
            None => false,
            Some(Reason::Protected | Reason::BlockedBy) => true,
            Some(Reason::Unwanted) => items == Items::Feed,
        }
    }

    /// Whether the caller is not to see a profile.
    pub(crate) fn hides_user(&self, user: &str) -> bool {
        self.reason(user) == Some(Reason::BlockedBy)
    }

    /// Whether the caller is not to see a tweet, or a retweet of one.
    pub(crate) fn hides_tweet(&self, tweet: &Value, items: Items) -> bool {
        let is_hidden_answer = tweet.get(HIDDEN).is_some_and(|hidden| hidden == true);
        (is_hidden_answer && items == Items::Feed)
            || authors(tweet).any(|author| self.hides_writing(&author, items))
    }
}
