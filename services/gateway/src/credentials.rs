//! The caller in the form of X's API 1.1: `account/verify_credentials`, which libraries for both
//! versions ask whose token it is. Nothing else of that version is here.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use pillion_chassis::peers::body_of;
use pillion_chassis::{Json, Onward, Problem, Timestamp};
use serde_json::{Map, Value, json};

use crate::Gateway;
use crate::compose::compose;
use crate::fetch::{Fetch, bad_answer};
use crate::forward::no_answer;
use crate::query::{Items, Query};

const USERS: &str = "users";
const ME: &str = "/2/users/me";
const FIELDS: &str =
    "user.fields=created_at,description,location,protected,public_metrics,url,verified";

/// Answers with the caller, put together as `GET /2/users/me` is.
pub(crate) async fn verify(gateway: &Gateway, onward: &Onward) -> Result<Response, Problem> {
    let checked = Query::Users(Items::Me, &[]).check(FIELDS)?;
    let path = format!("{ME}?{}", checked.upstream);
    let ask = onward.request(http::Method::GET, &path).body(axum::body::Body::empty());
    let ask = ask.map_err(|error| Problem::internal(&error))?;
    let response = gateway.peers.call(USERS, ask).await.map_err(no_answer)?;
    let Some(plan) = checked.plan.filter(|_| response.status() == StatusCode::OK) else {
        return Ok(response);
    };
    let bytes = body_of(USERS, response.into_body()).await.map_err(no_answer)?;
    let page: Map<String, Value> =
        serde_json::from_slice(&bytes).map_err(|error| bad_answer(USERS, &error))?;
    let fetch = Fetch { peers: &*gateway.peers, onward };
    let mut answer = compose(fetch, &plan, None, page).await?;
    let user = answer.remove("data").unwrap_or_default();
    let old = in_old_form(&user).ok_or_else(|| bad_answer(USERS, &"it is not a user"))?;
    Ok(Json(old).into_response())
}

/// A user with the names of version 1.1.
fn in_old_form(user: &Value) -> Option<Value> {
    let id = user.get("id")?.as_str()?;
    let metric = |name: &str| user.pointer(&format!("/public_metrics/{name}")).cloned();
    let url = user.get("url").filter(|url| *url != "");
    Some(json!({
        "id": id.parse::<u64>().ok()?,
        "id_str": id,
        "name": user.get("name")?,
        "screen_name": user.get("username")?,
        "location": user.get("location").and_then(Value::as_str).unwrap_or_default(),
        "description": user.get("description")?,
        "url": url,
        "protected": user.get("protected")?,
        "verified": user.get("verified")?,
        "followers_count": metric("followers_count")?,
        "friends_count": metric("following_count")?,
        "listed_count": metric("listed_count")?,
        "favourites_count": metric("like_count")?,
        "statuses_count": metric("tweet_count")?,
        "created_at": old_time(user.get("created_at")?.as_str()?.parse().ok()?),
    }))
}

/// `Wed Jul 01 10:00:01 +0000 2026`
fn old_time(at: Timestamp) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    const DAY_MS: u64 = 86_400_000;
    // 1970 began with a Thursday.
    let day = usize::try_from(at.as_millis() / DAY_MS % 7).ok().and_then(|day| DAYS.get(day));
    let text = at.to_string();
    let part = |range: std::ops::Range<usize>| text.get(range).unwrap_or_default();
    let month = part(5..7).parse::<usize>().ok().and_then(|month| MONTHS.get(month - 1));
    let (day, month) = (day.copied().unwrap_or_default(), month.copied().unwrap_or_default());
    format!("{day} {month} {} {} +0000 {}", part(8..10), part(11..19), part(0..4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a13_times_are_those_of_version_1_1() {
        for (at, old) in [
            ("2026-07-01T10:00:01.000Z", "Wed Jul 01 10:00:01 +0000 2026"),
            ("1970-01-01T00:00:00.000Z", "Thu Jan 01 00:00:00 +0000 1970"),
            ("2024-02-29T23:59:59.999Z", "Thu Feb 29 23:59:59 +0000 2024"),
        ] {
            assert_eq!(old_time(at.parse().unwrap()), old);
        }
    }
}
