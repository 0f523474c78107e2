//! An app adds and deletes the rules of its filtered stream.
//!
//! What can be done is done: rules that cannot be read, that the app has already or that are too
//! many are told in `errors`, beside those that were made.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use pillion_chassis::{Answer, Json, Parameters, Problem, Timestamp, TweetId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Search;
use crate::app_caller::AppCaller;
use crate::error::{Error, duplicate_rule, invalid_rule, no_such_rule, rule_cap};
use crate::list_rules::RuleBody;
use crate::query::{self, RULE_CHARS_MAX};
use crate::store::{AddedRule, RULES_PER_APP_MAX};

/// The longest tag, in characters; the client gets it back with every tweet.
const TAG_CHARS_MAX: usize = 256;

/// What a client sends: one of the two, or nothing with `delete_all`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Body {
    add: Option<Vec<NewRule>>,
    delete: Option<Delete>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewRule {
    value: String,
    tag: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Delete {
    #[serde(default)]
    ids: Vec<TweetId>,
    #[serde(default)]
    values: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Meta {
    sent: Timestamp,
    summary: Summary,
}

/// What came of it, in numbers.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Summary {
    Added { created: usize, not_created: usize, valid: usize, invalid: usize },
    Deleted { deleted: usize, not_deleted: usize },
}

/// What is to be done.
enum Change {
    Add(Vec<NewRule>),
    Delete(Delete),
    DeleteAll,
}

/// `POST /2/tweets/search/stream/rules`: 201 when there are new rules.
pub(crate) async fn change_rules(
    State(search): State<Search>,
    app: AppCaller,
    mut parameters: Parameters,
    Json(body): Json<Body>,
) -> Result<Response, Error> {
    let try_only = read_flag(&mut parameters, "dry_run");
    let delete_all = read_flag(&mut parameters, "delete_all");
    parameters.finish()?;
    let answer = match decide(body, delete_all)? {
        Change::Add(rules) => add(&search, &app.client_id, rules, try_only).await?,
        Change::Delete(delete) => self::delete(&search, &app.client_id, delete, try_only).await?,
        Change::DeleteAll => {
            let count = search.store.delete_all_rules(&app.client_id, try_only).await?;
            let deleted = usize::try_from(count).unwrap_or(usize::MAX);
            answer(&search, Vec::new(), Vec::new(), Summary::Deleted { deleted, not_deleted: 0 })
        }
    };
    if !try_only {
        search.live.rules_changed();
    }
    let created = answer.data.is_some() && !try_only;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, answer).into_response())
}

type RulesAnswer = Answer<Vec<RuleBody>, Meta>;

fn answer(
    search: &Search,
    rules: Vec<RuleBody>,
    errors: Vec<Value>,
    summary: Summary,
) -> RulesAnswer {
    let meta = Meta { sent: search.clock.now(), summary };
    Answer { meta: Some(meta), ..Answer::list(rules, errors) }
}

/// Python's clients write their own `True`.
fn read_flag(parameters: &mut Parameters, name: &'static str) -> bool {
    match parameters.text(name) {
        None => false,
        Some(text) if text.eq_ignore_ascii_case("false") => false,
        Some(text) if text.eq_ignore_ascii_case("true") => true,
        Some(other) => {
            let message =
                format!("The `{name}` query parameter value [{other}] is not one of [true,false]");
            parameters.refuse(name, vec![other], message);
            false
        }
    }
}

fn decide(body: Body, delete_all: bool) -> Result<Change, Problem> {
    let refused = |message: &str| Err(Problem::invalid("body", None, message));
    match body {
        Body { add: None, delete: None } if delete_all => Ok(Change::DeleteAll),
        _ if delete_all => refused("`delete_all` deletes every rule; send the body {} with it"),
        Body { add: Some(rules), delete: None } if !rules.is_empty() => Ok(Change::Add(rules)),
        Body { add: None, delete: Some(delete) }
            if !(delete.ids.is_empty() && delete.values.is_empty()) =>
        {
            Ok(Change::Delete(delete))
        }
        Body { add: Some(_), delete: Some(_) } => {
            refused("the body has `add` and `delete`; send one of them at a time")
        }
        Body { add: Some(_), .. } => refused("$.add: it is empty; name at least one rule"),
        Body { delete: Some(_), .. } => {
            refused("$.delete: it is empty; name at least one rule in `ids` or `values`")
        }
        _ => refused("the body has neither `add` nor `delete`; send one of them"),
    }
}

async fn add(
    search: &Search,
    client_id: &str,
    rules: Vec<NewRule>,
    try_only: bool,
) -> Result<RulesAnswer, Error> {
    check_tags(&rules)?;
    let sent = rules.len();
    let (mut good, mut errors) = (Vec::new(), Vec::new());
    for NewRule { value, tag } in rules {
        match query::parse(&value, RULE_CHARS_MAX) {
            Ok(_) => good.push((value, tag)),
            Err(error) => errors.push(invalid_rule(&value, &error)),
        }
    }
    let added = search.store.add_rules(client_id, &good, &search.ids, try_only).await?;
    let (mut created, mut valid) = (Vec::new(), 0);
    for ((value, _), added) in good.iter().zip(added) {
        match added {
            AddedRule::Created(rule) => {
                valid += 1;
                created.push(RuleBody::from(rule));
            }
            // X takes one that is there already for invalid.
            AddedRule::Duplicate(id) => errors.push(duplicate_rule(value, &id.to_string())),
            AddedRule::TooMany => {
                valid += 1;
                errors.push(rule_cap(value, RULES_PER_APP_MAX));
            }
        }
    }
    let summary = Summary::Added {
        created: created.len(),
        not_created: sent - created.len(),
        valid,
        invalid: sent - valid,
    };
    Ok(answer(search, created, errors, summary))
}

fn check_tags(rules: &[NewRule]) -> Result<(), Problem> {
    let is_long = |tag: &String| tag.chars().count() > TAG_CHARS_MAX;
    match rules.iter().position(|rule| rule.tag.as_ref().is_some_and(is_long)) {
        None => Ok(()),
        Some(index) => Err(Problem::invalid(
            &format!("add[{index}].tag"),
            None,
            format!("$.add[{index}].tag: it is longer than {TAG_CHARS_MAX} characters"),
        )),
    }
}

async fn delete(
    search: &Search,
    client_id: &str,
    Delete { ids, values }: Delete,
    try_only: bool,
) -> Result<RulesAnswer, Error> {
    let ids: Vec<i64> = ids.into_iter().map(TweetId::as_i64).collect();
    let there = search.store.delete_rules(client_id, &ids, &values, try_only).await?;
    let unknown_ids = ids.iter().filter(|id| there.iter().all(|rule| rule.id != **id));
    let unknown_values =
        values.iter().filter(|value| there.iter().all(|rule| rule.value != **value));
    let errors: Vec<Value> = unknown_ids
        .map(|id| no_such_rule("ids", &id.to_string()))
        .chain(unknown_values.map(|value| no_such_rule("values", value)))
        .collect();
    let summary = Summary::Deleted { deleted: there.len(), not_deleted: errors.len() };
    Ok(answer(search, Vec::new(), errors, summary))
}
