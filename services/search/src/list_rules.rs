//! The rules of an app's filtered stream.

use axum::extract::State;
use pillion_chassis::page::{Cursor, Direction};
use pillion_chassis::{Answer, Parameters, Timestamp, TweetId};
use serde::Serialize;

use crate::Search;
use crate::app_caller::AppCaller;
use crate::error::Error;
use crate::store::{RULES_PER_APP_MAX, Rule};

#[expect(clippy::cast_possible_truncation, reason = "a constant that fits")]
const PAGE_RULES_MAX: u32 = RULES_PER_APP_MAX as u32;

/// A rule as the API shows it.
#[derive(Debug, Serialize)]
pub(crate) struct RuleBody {
    id: String,
    value: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
}

impl From<Rule> for RuleBody {
    fn from(Rule { id, value, tag }: Rule) -> Self {
        Self { id: id.to_string(), value, tag }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct Meta {
    sent: Timestamp,
    result_count: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

/// `GET /2/tweets/search/stream/rules`
pub(crate) async fn list_rules(
    State(search): State<Search>,
    app: AppCaller,
    mut parameters: Parameters,
) -> Result<Answer<Vec<RuleBody>, Meta>, Error> {
    let ids = read_ids(&mut parameters);
    let count_max = parameters.number("max_results", 1..=PAGE_RULES_MAX, PAGE_RULES_MAX);
    let token = parameters.text("pagination_token");
    parameters.finish()?;

    let scope = format!("GET /2/tweets/search/stream/rules {} {ids:?}", app.client_id);
    let above_id = match token {
        Some(token) => {
            let cursor = search.pages.open(&scope, "pagination_token", &token)?;
            TweetId::generated(cursor.id).as_i64()
        }
        None => -1,
    };
    // One more than fits on the page tells whether there is another page.
    let mut rules =
        search.store.rules(&app.client_id, ids.as_deref(), above_id, count_max + 1).await?;
    let more = rules.len() > count_max as usize;
    rules.truncate(count_max as usize);
    let next_token = rules.last().filter(|_| more).map(|last| {
        let id = last.id.cast_unsigned();
        search.pages.issue(&scope, Cursor { direction: Direction::Next, id })
    });
    let meta = Meta { sent: search.clock.now(), result_count: rules.len(), next_token };
    let bodies = rules.into_iter().map(RuleBody::from).collect();
    Ok(Answer::page(bodies, meta))
}

/// The ids that are asked for; `None` for all.
fn read_ids(parameters: &mut Parameters) -> Option<Vec<i64>> {
    let text = parameters.text("ids")?;
    let mut ids = Vec::new();
    for text in text.split(',') {
        match text.parse::<TweetId>() {
            Ok(id) => ids.push(id.as_i64()),
            Err(error) => {
                let message =
                    format!("The `ids` query parameter value [{text}] is not valid: {error}");
                parameters.refuse("ids", vec![text.to_owned()], message);
            }
        }
    }
    Some(ids)
}
