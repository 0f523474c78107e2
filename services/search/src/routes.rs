//! The service's URLs.

use pillion_chassis::Routes;

use crate::Search;
use crate::{
    change_rules, count_recent, count_rules, list_rules, sample_stream, search_recent,
    search_stream,
};

/// All of them.
pub(crate) fn routes() -> Routes<Search> {
    Routes::new()
        .get("/2/tweets/search/recent", search_recent::search_recent)
        .get("/2/tweets/counts/recent", count_recent::count_recent)
        .get("/2/tweets/search/stream", search_stream::search_stream)
        .get("/2/tweets/search/stream/rules", list_rules::list_rules)
        .post("/2/tweets/search/stream/rules", change_rules::change_rules)
        .get("/2/tweets/search/stream/rules/counts", count_rules::count_rules)
        .get("/2/tweets/sample/stream", sample_stream::sample_stream)
}
