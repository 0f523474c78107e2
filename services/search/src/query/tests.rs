//! The parser: what it makes of queries, where it says that they are wrong, and that it always
//! says something.

use pillion_chassis::{TweetId, UserId};
use proptest::prelude::*;

use super::parse::parse_any;
use super::*;
use crate::document::Document;

fn parsed(text: &str) -> Query {
    parse(text, SEARCH_CHARS_MAX).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The query with every bracket that the grammar reads into it.
fn shown(text: &str) -> String {
    parsed(text).to_string()
}

fn error(text: &str) -> (usize, String) {
    let error = parse(text, SEARCH_CHARS_MAX).expect_err(text);
    (error.position, error.message)
}

#[test]
fn and_binds_stronger_than_or() {
    let word = |word: &str| Query::Term(Term::Words(vec![word.to_owned()]));
    assert_eq!(
        parsed("apple OR iphone ipad"),
        Query::Any(vec![word("apple"), Query::All(vec![word("iphone"), word("ipad")])])
    );
    assert_eq!(
        parsed("ipad iphone OR android"),
        Query::Any(vec![Query::All(vec![word("ipad"), word("iphone")]), word("android")])
    );
    assert_eq!(
        parsed(" ( apple OR iphone )  ipad "),
        Query::All(vec![Query::Any(vec![word("apple"), word("iphone")]), word("ipad")])
    );
    assert_eq!(parsed("((a))"), word("a"));
}

#[test]
fn every_operator_is_read() {
    for (text, expected) in [
        ("Snow day", r#""snow" "day""#),
        ("coca-cola", r#""coca cola""#),
        (r#"a"b c"d"#, r#""a" "b c" "d""#),
        ("10:30 Uhr", r#""10 30" "uhr""#),
        ("#NoSchool -#été", "#noschool -#été"),
        ("$TWTR $brk.a", "$twtr $brk.a"),
        ("$5 off", r#""5" "off""#),
        ("@XDevelopers from:Ann to:42", "@xdevelopers from:ann to:42"),
        ("retweets_of:ann conversation_id:133", "retweets_of:ann conversation_id:133"),
        ("url:example.com", r#"url:"example com""#),
        (r#"url:"https://dev.to/a(b)" x"#, r#"url:"https dev to a b" "x""#),
        ("x is:retweet -is:reply IS:Quote", r#""x" is:retweet -is:reply is:quote"#),
        (
            "x has:hashtags has:cashtags has:mentions has:links has:media",
            r#""x" has:hashtags has:cashtags has:mentions has:links has:media"#,
        ),
        ("cat -(dog OR bird)", r#""cat" -("dog" OR "bird")"#),
        ("cat (dog)(bird)", r#""cat" "dog" "bird""#),
        (
            r#""X data" has:mentions (has:media OR has:links)"#,
            r#""x data" has:mentions (has:media OR has:links)"#,
        ),
        (r#"this "or" that"#, r#""this" "or" "that""#),
        ("😃 OR 😡", r#""😃" OR "😡""#),
    ] {
        assert_eq!(shown(text), expected, "{text}");
    }
}

#[test]
fn errors_point_at_the_place() {
    for (text, position, says) in [
        ("", 1, "the query is empty"),
        ("   ", 4, "the query is empty"),
        ("cat )", 5, "closes no bracket"),
        ("(cat OR dog", 1, "never closed"),
        ("cat (dog (bird)", 5, "never closed"),
        ("cat (", 5, "never closed"),
        ("cat ( )", 5, "nothing in these brackets"),
        ("OR cat", 1, "nothing on its left"),
        ("cat OR", 7, "nothing on its right: expected a word or an operator, found the end"),
        ("(cat OR ) dog", 9, "found `)`"),
        ("cat OR OR dog", 8, "nothing on its left"),
        ("cat or dog", 5, "`or` may be meant as a word or to join"),
        ("cat AND dog", 5, "`AND` may be meant"),
        ("cat -", 6, "right before what it excludes, found the end"),
        ("cat - dog", 6, "found a space"),
        ("cat --dog", 6, "expected a word, an operator or `(` after `-`"),
        ("cat -OR dog", 6, "after `-`"),
        (r#"cat "dog"#, 5, "this quote is never closed"),
        (r#"cat """#, 5, "nothing to look for in ``"),
        ("cat !!!", 5, "nothing to look for in `!!!`"),
        ("cat foo:bar", 5, "there is no operator `foo:`; there are from, to, retweets_of"),
        ("http://example.com", 1, "for a link, url:"),
        ("cat lang:en", 5, "the operator `lang:` is not available: the language of tweets is not"),
        ("cat min_likes:5", 5, "is not available: the index does not follow counts"),
        ("cat from:", 10, "`from:` needs a value right after the colon, found the end"),
        ("cat from: ann", 10, "found a space"),
        ("cat from:@ann", 10, "needs a handle without `@`"),
        ("from:a-b", 6, "found `a-b`"),
        ("@", 1, "`@` needs a handle"),
        ("conversation_id:12a", 17, "needs a tweet's id, 1 to 19 digits, found `12a`"),
        ("cat is:verified", 8, "`is:` needs retweet, reply or quote, found `verified`"),
        ("cat has:geo", 9, "needs hashtags, cashtags, mentions, links or media, found `geo`"),
        ("#", 1, "is no hashtag"),
        ("#a-b", 1, "`#a-b` is no hashtag"),
        ("has:media", 1, "`has:media` cannot stand alone"),
        ("has:links OR is:retweet", 1, "cannot stand alone"),
        ("has:links is:retweet", 1, "cannot stand alone"),
        ("cat OR has:links", 8, "`has:links` cannot stand alone"),
        ("-cat", 1, "only what is excluded is given"),
        ("-cat -dog", 1, "only what is excluded is given"),
        ("cat OR -dog", 8, "only what is excluded is given"),
        ("-(cat dog)", 1, "only what is excluded is given"),
        ("-is:retweet has:links", 1, "only what is excluded is given"),
    ] {
        let (at, message) = error(text);
        assert!(message.contains(says), "{text}: {message}");
        assert_eq!(at, position, "{text}: {message}");
    }
    let error = parse("cat )", SEARCH_CHARS_MAX).unwrap_err();
    assert!(error.to_string().ends_with(" (at position 5)"), "{error}");
}

#[test]
fn queries_are_bounded() {
    assert!(parse(&"é".repeat(512), SEARCH_CHARS_MAX).is_ok());
    let (position, message) = error(&"é".repeat(1_003));
    assert_eq!(
        (position, message.as_str()),
        (513, "the query has 1003 characters and may have 512")
    );
    assert!(parse(&"é".repeat(1_024), RULE_CHARS_MAX).is_ok());
    assert!(parse(&"é".repeat(1_025), RULE_CHARS_MAX).is_err());

    let nested = |depth: usize| format!("{}a{}", "(".repeat(depth), ")".repeat(depth));
    assert!(parse(&nested(DEPTH_MAX), SEARCH_CHARS_MAX).is_ok());
    let (position, message) = error(&nested(DEPTH_MAX + 1));
    assert_eq!(position, DEPTH_MAX + 1, "{message}");

    assert!(parse(&"a ".repeat(TERMS_MAX), SEARCH_CHARS_MAX).is_ok());
    let (position, message) = error(&"a ".repeat(TERMS_MAX + 1));
    assert_eq!(position, 2 * TERMS_MAX + 1, "{message}");
    let (position, _) = error(&format!("\"{}\"", "a ".repeat(TERMS_MAX + 1)));
    assert_eq!(position, 1);
}

#[test]
fn a_handle_that_nobody_has_leads_to_nothing() {
    let document = Document::new(TweetId::new(1).unwrap(), "hi is:tweet from:12 @13");
    let accounts = Accounts::from([(Handle("ann".to_owned()), UserId::new(12).unwrap())]);
    let matches = |text: &str| parsed(text).pattern(&accounts).matches(&document);
    assert!(matches("from:Ann") && !matches("from:bob") && matches("hi -from:bob"));
    assert!(!matches("hi has:media"));
}

/// Queries of every form, whether or not they may stand alone.
pub(crate) fn queries() -> impl Strategy<Value = Query> {
    let words =
        || prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "é", "😀"]), 1..4);
    let owned = |words: Vec<&str>| words.into_iter().map(str::to_owned).collect::<Vec<_>>();
    let handle =
        || prop::sample::select(vec!["ann", "bob", "42", "or"]).prop_map(|h| Handle(h.to_owned()));
    let term = prop_oneof![
        4 => words().prop_map(move |words| Term::Words(owned(words))),
        1 => prop::sample::select(vec!["a", "é", "a_b"]).prop_map(|t| Term::Hashtag(t.to_owned())),
        1 => prop::sample::select(vec!["twtr", "brk.a"]).prop_map(|t| Term::Cashtag(t.to_owned())),
        1 => handle().prop_map(Term::Mention),
        1 => handle().prop_map(Term::From),
        1 => handle().prop_map(Term::To),
        1 => handle().prop_map(Term::RetweetsOf),
        1 => (0..4_u64).prop_map(|id| Term::Conversation(TweetId::new(id).unwrap())),
        1 => words().prop_map(move |words| Term::Url(owned(words))),
        1 => prop::sample::select(Kind::ALL.to_vec()).prop_map(Term::Is),
        1 => prop::sample::select(Part::ALL.to_vec()).prop_map(Term::Has),
    ];
    term.prop_map(Query::Term).prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(Query::All),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Query::Any),
            inner.prop_map(|query| Query::Not(Box::new(query))),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_printed_is_read_again(query in queries()) {
        let text = query.to_string();
        let again = parse_any(&text).map_err(|error| TestCaseError::fail(format!("{text}: {error}")))?;
        prop_assert_eq!(again.query, query, "{}", text);
    }

    #[test]
    fn no_text_is_too_much_for_the_parser(
        text in "[ab \\-()\"#@$:]{0,60}|(from:|is:|has:|OR |-|\\(|\\)|a |\"){0,30}|\\PC{0,80}"
    ) {
        match parse(&text, SEARCH_CHARS_MAX) {
            Ok(query) => {
                let shown = query.to_string();
                prop_assert_eq!(parse(&shown, usize::MAX), Ok(query), "{}", shown);
            }
            Err(error) => {
                prop_assert!(error.position <= text.chars().count() + 1);
                prop_assert!(!error.message.is_empty());
            }
        }
    }
}
