//! Any text is a query or says where it is not, and a query means the same in every language that
//! it is put into.

use super::*;

#[test]
fn fuzz_query() {
    pillion_fuzz::run("query", |input| {
        let text = String::from_utf8_lossy(input);
        let query = match parse(&text, SEARCH_CHARS_MAX) {
            Ok(query) => query,
            Err(error) => {
                // The place of the error is one in the text, or right behind it.
                assert!(error.position > 0 && !error.message.is_empty());
                assert!(error.position <= text.chars().count().max(SEARCH_CHARS_MAX) + 1);
                return;
            }
        };
        // What it shows of itself is a query, and from then on the same one: a word that was written
        // with marks behind invisible characters is composed by the first reading of what is shown.
        let again = parse(&query.to_string(), usize::MAX).expect("it shows a query");
        assert_eq!(parse(&again.to_string(), usize::MAX).as_ref(), Ok(&again), "{again}");
        let pattern = query.pattern(&Accounts::new());
        for written in [pattern.fts5(), pattern.tsquery()] {
            assert!(!written.contains('\0'));
            let brackets = |bracket| written.matches(bracket).count();
            assert_eq!(brackets('('), brackets(')'), "{written}");
        }
    });
}
