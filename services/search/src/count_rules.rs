//! How many rules an app has, and may have.

use axum::extract::State;
use pillion_chassis::{Answer, Parameters};
use serde::Serialize;

use crate::Search;
use crate::app_caller::AppCaller;
use crate::error::Error;
use crate::store::RULES_PER_APP_MAX;

/// `rules_count.fields`, in X's order. X gives all of them to who asks for none.
const FIELDS: [&str; 5] = [
    "all_project_client_apps",
    "cap_per_client_app",
    "cap_per_project",
    "client_app_rules_count",
    "project_rules_count",
];

/// The rules of one app.
#[derive(Debug, Clone, Serialize)]
struct AppRules {
    client_app_id: String,
    rule_count: usize,
}

/// X counts by projects, which have apps. Every app is a project of its own here.
#[derive(Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "X's names")]
pub(crate) struct RulesCount {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    all_project_client_apps: Vec<AppRules>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cap_per_client_app: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cap_per_project: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_app_rules_count: Option<AppRules>,
    #[serde(skip_serializing_if = "Option::is_none")]
    project_rules_count: Option<usize>,
}

/// `GET /2/tweets/search/stream/rules/counts`
pub(crate) async fn count_rules(
    State(search): State<Search>,
    app: AppCaller,
    mut parameters: Parameters,
) -> Result<Answer<RulesCount>, Error> {
    let asked = parameters.fields("rules_count.fields", &FIELDS);
    parameters.finish()?;
    let asked_any = FIELDS.iter().any(|field| asked.has(field));
    let has = |field: &str| !asked_any || asked.has(field);
    let rule_count = search.store.count_rules(&app.client_id).await?;
    let of_app = AppRules { client_app_id: app.client_id, rule_count };
    Ok(Answer::found(RulesCount {
        all_project_client_apps: if has("all_project_client_apps") {
            vec![of_app.clone()]
        } else {
            Vec::new()
        },
        cap_per_client_app: has("cap_per_client_app").then_some(RULES_PER_APP_MAX),
        cap_per_project: has("cap_per_project").then_some(RULES_PER_APP_MAX),
        client_app_rules_count: has("client_app_rules_count").then_some(of_app),
        project_rules_count: has("project_rules_count").then_some(rule_count),
    }))
}
