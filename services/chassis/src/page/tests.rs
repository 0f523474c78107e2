//! Lists read page by page.

use serde_json::Value;

use super::*;
use crate::caller::Scopes;

fn ann() -> Caller {
    caller(Some(11), "web")
}

fn caller(user: Option<u64>, client_id: &str) -> Caller {
    let user_id = user.map(|id| pillion_events::UserId::new(id).unwrap());
    Caller { user_id, client_id: client_id.to_owned(), scopes: Scopes::default() }
}

/// The rows of a list in a window, as a store reads them.
fn read(numbers: impl Iterator<Item = i64>, window: Window) -> Vec<(i64, i64)> {
    let is_in = |number: &i64| *number > window.above && *number < window.below;
    let mut rows: Vec<i64> = numbers.filter(is_in).collect();
    rows.sort_unstable();
    if window.newest_first {
        rows.reverse();
    }
    rows.truncate(window.count_max as usize);
    rows.into_iter().map(|number| (number, number)).collect()
}

/// A page of three of the list; the numbers on it and its two tokens.
fn page(
    tokens: &PageTokens,
    numbers: impl Iterator<Item = i64>,
    token: Option<&str>,
) -> (Vec<i64>, Option<String>, Option<String>) {
    let token = token.map(|token| format!("&pagination_token={token}")).unwrap_or_default();
    let mut query = Parameters::parse(&format!("max_results=3{token}"));
    let page = PageQuery::take(&mut query, 1..=10, 5);
    query.finish().unwrap();
    let page = page.open(tokens, &ann(), "list").unwrap();
    let answer = serde_json::to_value(page.list(read(numbers, page.window()))).unwrap();
    let data = answer["data"].as_array().cloned().unwrap_or_default();
    assert_eq!(answer["meta"]["result_count"], data.len());
    let token = |name: &str| answer["meta"][name].as_str().map(str::to_owned);
    let ids = data.iter().map(|item| item["id"].as_i64().unwrap()).collect();
    (ids, token("next_token"), token("previous_token"))
}

#[test]
fn pages_lead_on_and_back_over_every_row_once() {
    let tokens = PageTokens::new(b"key");
    let (ids, next, previous) = page(&tokens, 0..8, None);
    assert_eq!((ids, previous), (vec![7, 6, 5], None));
    let (ids, next, _) = page(&tokens, 0..8, next.as_deref());
    assert_eq!(ids, [4, 3, 2]);
    let (ids, next, previous) = page(&tokens, 0..8, next.as_deref());
    assert_eq!((ids, next), (vec![1, 0], None));
    let (ids, _, previous) = page(&tokens, 0..8, previous.as_deref());
    assert_eq!(ids, [4, 3, 2]);
    // What is new is before the first page, which it does not shift.
    let (ids, next, previous) = page(&tokens, 0..9, previous.as_deref());
    assert_eq!(ids, [7, 6, 5]);
    assert_eq!(page(&tokens, 0..9, previous.as_deref()).0, [8]);
    assert_eq!(page(&tokens, 0..9, next.as_deref()).0, [4, 3, 2]);
}

#[test]
fn a_page_whose_rows_are_gone_still_leads_back() {
    let tokens = PageTokens::new(b"key");
    let (_, next, _) = page(&tokens, 0..8, None);
    let (ids, none, previous) = page(&tokens, 5..8, next.as_deref());
    assert_eq!((ids, none), (Vec::new(), None));
    let (ids, _, previous) = page(&tokens, 5..8, previous.as_deref());
    assert_eq!((ids, previous), (vec![7, 6, 5], None));
}

#[test]
fn a_token_that_has_another_name_is_refused_by_it() {
    let mut query = Parameters::parse("next_token=x");
    let page = PageQuery::take_named(&mut query, "next_token", 1..=10, 5);
    query.finish().unwrap();
    let problem = page.open(&PageTokens::new(b"key"), &ann(), "list").unwrap_err();
    assert_eq!(problem.document()["errors"][0]["parameters"]["next_token"][0], "x");
}

#[test]
fn a_list_of_tweets_names_its_ends_and_keeps_to_its_range() {
    let tokens = PageTokens::new(b"key");
    let mut query = Parameters::parse("since_id=20&start_time=2030-01-01T00:00:00Z&until_id=30");
    let page = PageQuery::take(&mut query, 1..=10, 5);
    let range = IdRange::take(&mut query);
    query.finish().unwrap();
    assert_eq!(range, IdRange { above: 20, below: 30 });
    let page = page.open(&tokens, &ann(), &format!("{range:?}")).unwrap();
    let window = page.window_in(range);
    assert_eq!((window.above, window.below, window.count_max), (20, 30, 6));
    let ids = (22..28).rev().map(|id| TweetId::new(id).unwrap()).collect();
    let answer: Value = serde_json::to_value(page.list_tweets(ids)).unwrap();
    let meta = &answer["meta"];
    assert_eq!((&meta["newest_id"], &meta["oldest_id"]), (&"27".into(), &"23".into()));
    assert_eq!((&answer["data"][0]["id"], &meta["result_count"]), (&"27".into(), &5.into()));
    let next = meta["next_token"].as_str().unwrap();
    let mut query = Parameters::parse(&format!("pagination_token={next}"));
    let page = PageQuery::take(&mut query, 1..=10, 5)
        .open(&tokens, &ann(), &format!("{range:?}"))
        .unwrap();
    assert_eq!((page.window_in(range).above, page.window_in(range).below), (20, 23));
}

#[test]
fn times_bound_a_range_as_ids_do() {
    let mut query =
        Parameters::parse("start_time=2026-07-01T10:00:03Z&end_time=2026-07-01T10:00:05Z");
    let range = IdRange::take(&mut query);
    query.finish().unwrap();
    let time = |id: i64| crate::ids::time_of(id.cast_unsigned()).to_string();
    assert_eq!(time(range.above), "2026-07-01T10:00:02.999Z");
    assert_eq!(time(range.above + 1), "2026-07-01T10:00:03.000Z");
    assert_eq!(time(range.below), "2026-07-01T10:00:05.000Z");
    let mut query =
        Parameters::parse("start_time=2026-07-01T10:00:05Z&end_time=2026-07-01T10:00:05Z");
    IdRange::take(&mut query);
    let problem = query.finish().unwrap_err();
    assert!(problem.document()["errors"][0]["parameters"].get("start_time").is_some());
}

#[test]
fn d08_a_token_is_good_for_the_caller_that_it_was_given_to() {
    let tokens = PageTokens::new(b"key");
    let open = |token: Option<&str>, caller: &Caller| {
        let token = token.map(|token| format!("pagination_token={token}")).unwrap_or_default();
        let mut query = Parameters::parse(&token);
        PageQuery::take(&mut query, 1..=10, 5).open(&tokens, caller, "list").map(|page| {
            let mut rows: Vec<(i64, i64)> = (0..9).map(|number| (number, number)).rev().collect();
            page.cut(&mut rows, |(_, number)| *number).next_token
        })
    };
    let of_user = open(None, &ann()).unwrap().unwrap();
    let of_app = open(None, &caller(None, "web")).unwrap().unwrap();
    // A user reads on with another app.
    open(Some(&of_user), &caller(Some(11), "phone")).unwrap();
    open(Some(&of_app), &caller(None, "web")).unwrap();
    for (token, other) in [
        (&of_user, caller(Some(12), "web")),
        (&of_user, caller(None, "web")),
        (&of_app, caller(None, "other")),
        (&of_app, ann()),
    ] {
        assert_eq!(open(Some(token), &other).unwrap_err().status(), 400);
    }
}
