//! Completes what an owner answers: from ids, or whole items, to what the caller sees.
//!
//! 1. *Bodies.* Ids become tweets or users; what is gone by now is left out.
//! 2. *Visibility.* What the caller may not see goes: tweets and retweets of protected accounts
//!    that they do not follow and of accounts that block them; in a feed also of those that they
//!    block or mute. Profiles of protected accounts can be seen, or nobody could ask to follow.
//!    A list that belongs to such an account, or is about its tweet, is refused whole.
//! 3. *Includes.* What `expansions` ask for, under the same rules.
//! 4. *Metrics.* How often things were liked, followed and so on, if that was asked for.
//!
//! Each step asks for all that the page needs at once. So the number of calls depends on the
//! size of the page and not on what is on it. At most, with *n* for the items of the page (100
//! tweets, 1,000 users) and rounding up; a test counts them for every list:
//!
//! | step | when | service | calls |
//! |---|---|---|---|
//! | page | not for tweets that are asked for | the owner | 1 |
//! | bodies | there are ids only | tweets or users | *n* / 100 |
//! | subject | the list is about a tweet | tweets | 1 |
//! | referenced tweets | an expansion | tweets | 2 *n* / 100 |
//! | visibility | not for lists that the caller made | graph | *n* / 300 for users; for tweets 2 *n* / 300, or 6 *n* / 300 with referenced ones |
//! | included users | an expansion | users | 4 *n* / 100 by id, 300 / 100 by handle |
//! | their visibility | an expansion | graph | (*n* + 300) / 300 |
//! | metrics of tweets | asked for | engagements | *n* / 100, or 3 *n* / 100 with referenced ones |
//! | metrics of users | asked for | graph, tweets, engagements | 1 / 100 of the users, each |
//! | connections of users | asked for | graph | 1 / 100 of the users |
//!
//! That makes 3 calls for a plain page of 100 tweets from a list of ids, 4 with their authors or
//! their metrics, and 40 for one with everything that there is but connections.

mod includes;
mod metrics;
pub(crate) mod visibility;

use std::collections::HashMap;

use futures_util::future::{try_join, try_join3};
use pillion_chassis::Problem;
use pillion_chassis::problem::{not_authorized_error, not_found_error};
use serde_json::{Map, Value};

use self::includes::{tweets_wanted, users_wanted};
use self::metrics::Metrics;
use self::visibility::Visibility;
use crate::fetch::{Fetch, NAMES, TWEETS, USERS};
use crate::query::{Items, Kind, Plan};

/// Whose list it is, or which tweet it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subject {
    User(String),
    Tweet(String),
}

/// An answer of the owner.
struct Page {
    /// All but `data`.
    members: Map<String, Value>,
    items: Vec<Value>,
    is_list: bool,
}

impl Page {
    fn of(mut members: Map<String, Value>) -> Self {
        let (items, is_list) = match members.remove(DATA) {
            Some(Value::Array(items)) => (items, true),
            Some(item @ Value::Object(_)) => (vec![item], false),
            _ => (Vec::new(), true),
        };
        Self { members, items, is_list }
    }

    fn add_errors(&mut self, errors: Vec<Value>) {
        if errors.is_empty() {
            return;
        }
        let all = self.members.entry("errors").or_insert_with(|| Value::Array(Vec::new()));
        if let Some(all) = all.as_array_mut() {
            all.extend(errors);
        }
    }

    /// Puts what was found in the place of ids. Of what is gone only a caller who asked for it
    /// gets to know.
    fn fill(&mut self, plan: &Plan, ids: &[String], found: Vec<Value>) {
        let mut found = by_id(found);
        let mut errors = Vec::new();
        self.items.clear();
        for id in ids {
            match (found.remove(id), plan.items) {
                (Some(item), _) => self.items.push(item),
                (None, Items::Asked(parameter)) => {
                    errors.push(not_found_error(plan.kind.word(), parameter, id));
                }
                (None, _) => {}
            }
        }
        self.add_errors(errors);
    }

    /// Errors for items that the caller named and may not see; of others not a word.
    fn add_hidden(&mut self, plan: &Plan, hidden: &[Value]) {
        let (Items::Asked(parameter) | Items::Named(parameter)) = plan.items else {
            return;
        };
        let key = if parameter.starts_with(USERNAME) { USERNAME } else { "id" };
        let errors = hidden
            .iter()
            .filter_map(|item| {
                Some(not_authorized_error(DATA, plan.kind.word(), parameter, text(item, key)?))
            })
            .collect();
        self.add_errors(errors);
    }

    /// The answer, with a `meta` that tells of the items that are left.
    fn finish(mut self) -> Map<String, Value> {
        self.items.iter_mut().for_each(strip);
        if let Some(Value::Object(meta)) = self.members.get_mut("meta") {
            meta.insert("result_count".to_owned(), self.items.len().into());
            let ids = || self.items.iter().filter_map(|item| text(item, "id")?.parse::<u64>().ok());
            for (name, id) in [("newest_id", ids().max()), ("oldest_id", ids().min())] {
                // Lists in an order other than that of ids have neither.
                if meta.remove(name).is_some()
                    && let Some(id) = id
                {
                    meta.insert(name.to_owned(), id.to_string().into());
                }
            }
        }
        let data = if self.is_list {
            (!self.items.is_empty()).then_some(Value::Array(self.items))
        } else {
            self.items.pop()
        };
        if let Some(data) = data {
            self.members.insert(DATA.to_owned(), data);
        }
        self.members
    }
}

/// Completes an answer of the owner.
pub(crate) async fn compose(
    fetch: Fetch<'_>,
    plan: &Plan,
    subject: Option<Subject>,
    page: Map<String, Value>,
) -> Result<Map<String, Value>, Problem> {
    let page = Page::of(page);
    // Whose the subject is.
    let owners = match &subject {
        Some(Subject::User(id)) => vec![id.clone()],
        Some(Subject::Tweet(id)) => {
            let found = fetch.list(&TWEETS, std::slice::from_ref(id), "").await?;
            found.iter().flat_map(authors).collect()
        }
        None => Vec::new(),
    };
    let mut visibility = Visibility::default();
    let mut page = match plan.kind {
        Kind::Tweets => tweets(fetch, plan, page, &owners, &mut visibility).await?,
        Kind::Users => users(fetch, plan, page, &owners, &mut visibility).await?,
    };
    if let Some(subject) = subject
        && owners.iter().any(|owner| visibility.hides_writing(owner, plan.items))
    {
        let (kind, id) = match subject {
            Subject::User(id) => (Kind::Users, id),
            Subject::Tweet(id) => (Kind::Tweets, id),
        };
        page = Page::of(Map::new());
        page.add_errors(vec![not_authorized_error(DATA, kind.word(), "id", &id)]);
    }
    Ok(page.finish())
}

async fn tweets(
    fetch: Fetch<'_>,
    plan: &Plan,
    mut page: Page,
    owners: &[String],
    visibility: &mut Visibility,
) -> Result<Page, Problem> {
    if !plan.items.are_whole() {
        let ids = ids(&page.items);
        page.fill(plan, &ids, fetch.list(&TWEETS, &ids, &plan.tweet_fields).await?);
    }
    let (gathered, hidden) = gather(fetch, plan, &mut page.items, owners, visibility).await?;
    page.add_hidden(plan, &hidden);
    let (includes, errors) = gathered.includes(plan, visibility, &page.items);
    page.add_errors(errors);
    if !includes.is_empty() {
        page.members.insert("includes".to_owned(), includes.into());
    }
    Ok(page)
}

async fn users(
    fetch: Fetch<'_>,
    plan: &Plan,
    mut page: Page,
    owners: &[String],
    visibility: &mut Visibility,
) -> Result<Page, Problem> {
    let ids = ids(&page.items);
    let found = async {
        if plan.items.are_whole() {
            return Ok(Vec::new());
        }
        fetch.list(&USERS, &ids, &plan.user_fields).await
    };
    let seen = async {
        if matches!(plan.items, Items::Me | Items::Mine) {
            return Ok(());
        }
        visibility.learn(fetch, ids.iter().chain(owners).cloned()).await
    };
    let (found, ()) = try_join(found, seen).await?;
    if !plan.items.are_whole() {
        page.fill(plan, &ids, found);
    }
    let is_hidden = |user: &mut Value| text(user, "id").is_some_and(|id| visibility.hides_user(id));
    let hidden: Vec<Value> = page.items.extract_if(.., is_hidden).collect();
    page.add_hidden(plan, &hidden);
    let metrics = Metrics::of_users(fetch, plan, &self::ids(&page.items)).await?;
    page.items.iter_mut().for_each(|user| metrics.show_in_user(user));
    Ok(page)
}

/// What tweets point at, by id.
pub(crate) struct Gathered {
    tweets: HashMap<String, Value>,
    users: HashMap<String, Value>,
    /// The ids of those users that were looked up by their handle, in lower case.
    names: HashMap<String, String>,
}

/// Takes hidden tweets out of `tweets`, which it returns, completes the others, and gathers what
/// they point at. Learns whether `owners` are hidden on the way.
pub(crate) async fn gather(
    fetch: Fetch<'_>,
    plan: &Plan,
    tweets: &mut Vec<Value>,
    owners: &[String],
    visibility: &mut Visibility,
) -> Result<(Gathered, Vec<Value>), Problem> {
    let mut referenced = referenced(fetch, plan, tweets).await?;
    let writers = tweets.iter().chain(referenced.values()).flat_map(authors);
    visibility.learn(fetch, writers.chain(owners.iter().cloned())).await?;
    let hides = |tweet: &mut Value| visibility.hides_tweet(tweet, plan.items);
    let hidden = tweets.extract_if(.., hides).collect();

    let (by_ids, by_names) = users_wanted(plan, tweets, |id| {
        referenced.get(id).filter(|tweet| !visibility.hides_tweet(tweet, plan.items))
    });
    let (by_ids, by_names): (Vec<_>, Vec<_>) = (by_ids.keys().collect(), by_names.keys().collect());
    let mut all = ids(tweets);
    all.extend(referenced.keys().cloned());
    all.sort_unstable();
    all.dedup();
    let (found, mentioned, metrics) = try_join3(
        fetch.list(&USERS, &by_ids, &plan.user_fields),
        fetch.list(&NAMES, &by_names, &plan.user_fields),
        Metrics::of_tweets(fetch, plan, &all),
    )
    .await?;
    for tweet in tweets.iter_mut().chain(referenced.values_mut()) {
        metrics.show_in_tweet(tweet);
    }
    let key = |user: &Value| {
        Some((text(user, USERNAME)?.to_ascii_lowercase(), text(user, "id")?.to_owned()))
    };
    let names = mentioned.iter().filter_map(key).collect();
    let mut users = by_id(found.into_iter().chain(mentioned));

    let all: Vec<String> = users.keys().cloned().collect();
    let (metrics, ()) = try_join(
        Metrics::of_users(fetch, plan, &all),
        visibility.learn(fetch, all.iter().cloned()),
    )
    .await?;
    for user in users.values_mut() {
        metrics.show_in_user(user);
    }
    Ok((Gathered { tweets: referenced, users, names }, hidden))
}

/// The tweets that tweets point at, by id. Those on a page point at each other often.
async fn referenced(
    fetch: Fetch<'_>,
    plan: &Plan,
    tweets: &[Value],
) -> Result<HashMap<String, Value>, Problem> {
    let page: HashMap<&str, &Value> =
        tweets.iter().filter_map(|tweet| Some((text(tweet, "id")?, tweet))).collect();
    let (known, wanted): (Vec<String>, Vec<String>) =
        tweets_wanted(plan, tweets).keys().partition(|id| page.contains_key(id.as_str()));
    let mut referenced = by_id(fetch.list(&TWEETS, &wanted, &plan.tweet_fields).await?);
    for id in known {
        if let Some(tweet) = page.get(id.as_str()) {
            referenced.insert(id, (*tweet).clone());
        }
    }
    Ok(referenced)
}

/// The member of an answer that has the items.
const DATA: &str = "data";
/// The member that is a user's handle.
const USERNAME: &str = "username";
/// The member that names whoever wrote a tweet or, for a retweet, also what is retweeted.
const AUTHORS: &str = "_authors";
/// The member of an answer that somebody has hidden in their conversation.
const HIDDEN: &str = "_hidden";

/// Removes what services tell each other only.
pub(crate) fn strip(item: &mut Value) {
    if let Some(item) = item.as_object_mut() {
        item.remove(AUTHORS);
        item.remove(HIDDEN);
    }
}

fn authors(tweet: &Value) -> impl Iterator<Item = String> {
    let authors = tweet.get(AUTHORS).and_then(Value::as_array).into_iter().flatten();
    authors.filter_map(Value::as_str).map(str::to_owned)
}

pub(crate) fn text<'a>(item: &'a Value, name: &str) -> Option<&'a str> {
    item.get(name)?.as_str()
}

fn ids(items: &[Value]) -> Vec<String> {
    items.iter().filter_map(|item| text(item, "id")).map(str::to_owned).collect()
}

pub(crate) fn by_id(items: impl IntoIterator<Item = Value>) -> HashMap<String, Value> {
    items.into_iter().filter_map(|item| Some((text(&item, "id")?.to_owned(), item))).collect()
}
