//! New tweets as they come, a random share of all.

use axum::extract::State;
use axum::response::Response;
use pillion_chassis::Parameters;

use crate::Search;
use crate::app_caller::AppCaller;
use crate::error::Error;
use crate::lease::Lease;
use crate::live::StreamKind;
use crate::stream::{self, Filter};

/// `GET /2/tweets/sample/stream`
pub(crate) async fn sample_stream(
    State(search): State<Search>,
    app: AppCaller,
    parameters: Parameters,
) -> Result<Response, Error> {
    parameters.finish()?;
    let listener = search.live.listen(StreamKind::Sampled, &app.client_id)?;
    let filter = Filter::Sample(search.settings.sample_per_10_000);
    let lease = Lease::take(&search, StreamKind::Sampled, &app.client_id).await?;
    Ok(stream::respond(listener, lease, filter, search.settings.heartbeat))
}
