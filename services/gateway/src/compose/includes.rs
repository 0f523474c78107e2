//! What `expansions` ask for: users and tweets that tweets point at, each once.

use std::collections::HashSet;

use pillion_chassis::problem::{not_authorized_error, not_found_error};
use serde_json::{Map, Value};

use super::visibility::Visibility;
use super::{Gathered, strip, text};
use crate::fields::{AUTHOR, EDITS, MENTIONED, REFERENCED, REFERENCED_AUTHOR, REPLIED_TO_USER};
use crate::query::{Kind, Plan};

/// Mentioned users included with one page. A hundred tweets of nothing but handles could name
/// thousands; then the first ones are included.
const MENTIONED_MAX: usize = 300;

/// The longest handle, in characters; what looks like a longer one is nobody's.
const USERNAME_CHARS_MAX: usize = 15;

/// Things to include, each once, in the order and with the expansion that asked first.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    order: Vec<(String, &'static str)>,
    seen: HashSet<String>,
}

impl Wanted {
    fn add(&mut self, key: Option<&str>, expansion: &'static str) {
        if let Some(key) = key
            && self.seen.insert(key.to_owned())
        {
            self.order.push((key.to_owned(), expansion));
        }
    }

    /// What to look up.
    pub(crate) fn keys(&self) -> impl Iterator<Item = String> {
        self.order.iter().map(|(key, _)| key.clone())
    }
}

impl Gathered {
    /// The members of `includes` for these tweets, and errors for what is not there or hidden.
    pub(crate) fn includes(
        &self,
        plan: &Plan,
        visibility: &Visibility,
        tweets: &[Value],
    ) -> (Map<String, Value>, Vec<Value>) {
        let hides_tweet = |tweet: &Value| visibility.hides_tweet(tweet, plan.items);
        let hides_user =
            |user: &Value| text(user, "id").is_some_and(|id| visibility.hides_user(id));
        let wanted = tweets_wanted(plan, tweets);
        let (ids, names) = users_wanted(plan, tweets, |id| {
            self.tweets.get(id).filter(|tweet| !hides_tweet(tweet))
        });
        let mut errors = Vec::new();
        let mut included_tweets = Vec::new();
        for (id, expansion) in &wanted.order {
            match sorted(Kind::Tweets, self.tweets.get(id), expansion, id, hides_tweet) {
                Ok(tweet) => included_tweets.push(tweet),
                Err(error) => errors.push(error),
            }
        }
        let mut included_users = Vec::new();
        let mut seen = HashSet::new();
        for (id, expansion) in &ids.order {
            match sorted(Kind::Users, self.users.get(id), expansion, id, hides_user) {
                Ok(user) if seen.insert(id) => included_users.push(user),
                Ok(_) => {}
                Err(error) => errors.push(error),
            }
        }
        for (name, expansion) in &names.order {
            let user = self.names.get(name).and_then(|id| self.users.get_key_value(id));
            let id = user.map(|(id, _)| id);
            match sorted(Kind::Users, user.map(|(_, user)| user), expansion, name, hides_user) {
                Ok(user) if id.is_some_and(|id| seen.insert(id)) => included_users.push(user),
                Ok(_) => {}
                Err(error) => errors.push(error),
            }
        }
        let mut includes = Map::new();
        for (name, things) in [("tweets", included_tweets), ("users", included_users)] {
            if !things.is_empty() {
                includes.insert(name.to_owned(), things.into());
            }
        }
        (includes, errors)
    }
}

/// A thing as the caller sees it, or an error in its place.
fn sorted(
    kind: Kind,
    found: Option<&Value>,
    expansion: &str,
    key: &str,
    hides: impl Fn(&Value) -> bool,
) -> Result<Value, Value> {
    let thing = found.ok_or_else(|| not_found_error(kind.word(), expansion, key))?;
    if hides(thing) {
        return Err(not_authorized_error("includes", kind.word(), expansion, key));
    }
    let mut thing = thing.clone();
    strip(&mut thing);
    Ok(thing)
}

/// The one thing or the list of things.
fn items(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}

/// The tweets that these point at.
pub(crate) fn tweets_wanted(plan: &Plan, tweets: &[Value]) -> Wanted {
    let mut wanted = Wanted::default();
    for tweet in tweets {
        if plan.has_referenced() {
            for reference in items(tweet.get("referenced_tweets")) {
                wanted.add(text(reference, "id"), REFERENCED);
            }
        }
        if plan.has(EDITS) {
            for id in items(tweet.get("edit_history_tweet_ids")) {
                wanted.add(id.as_str(), EDITS);
            }
        }
    }
    wanted
}

/// The users that tweets point at, by id and by handle in lower case. `referenced` gives the
/// tweets that these point at, as far as the caller may see them.
pub(crate) fn users_wanted<'a>(
    plan: &Plan,
    tweets: &[Value],
    referenced: impl Fn(&str) -> Option<&'a Value>,
) -> (Wanted, Wanted) {
    let (mut ids, mut names) = (Wanted::default(), Wanted::default());
    for tweet in tweets {
        if plan.has(AUTHOR) {
            ids.add(text(tweet, "author_id"), AUTHOR);
        }
        if plan.has(REPLIED_TO_USER) {
            ids.add(text(tweet, "in_reply_to_user_id"), REPLIED_TO_USER);
        }
        if plan.has(MENTIONED) {
            for mention in items(tweet.get("entities").and_then(|all| all.get("mentions"))) {
                let name = text(mention, "username").map(str::to_ascii_lowercase);
                let name = name.filter(|name| name.len() <= USERNAME_CHARS_MAX);
                if names.order.len() < MENTIONED_MAX {
                    names.add(name.as_deref(), MENTIONED);
                }
            }
        }
        if plan.has(REFERENCED_AUTHOR) {
            for reference in items(tweet.get("referenced_tweets")) {
                let tweet = text(reference, "id").and_then(&referenced);
                ids.add(tweet.and_then(|tweet| text(tweet, "author_id")), REFERENCED_AUTHOR);
            }
        }
    }
    (ids, names)
}
