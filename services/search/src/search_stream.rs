//! New tweets as they come, those that one of the app's rules matches.

use axum::extract::State;
use axum::response::Response;
use pillion_chassis::Parameters;

use crate::Search;
use crate::app_caller::AppCaller;
use crate::error::Error;
use crate::lease::Lease;
use crate::live::StreamKind;
use crate::stream::{self, Filter, Rules};

/// `GET /2/tweets/search/stream`. A retweet that came before its tweet is not on it.
pub(crate) async fn search_stream(
    State(search): State<Search>,
    app: AppCaller,
    parameters: Parameters,
) -> Result<Response, Error> {
    parameters.finish()?;
    let listener = search.live.listen(StreamKind::Filtered, &app.client_id)?;
    let rules = Rules::load(search.store.clone(), &app.client_id).await?;
    if rules.is_empty() {
        return Err(Error::NoRules);
    }
    let lease = Lease::take(&search, StreamKind::Filtered, &app.client_id).await?;
    Ok(stream::respond(listener, lease, Filter::Rules(rules), search.settings.heartbeat))
}
