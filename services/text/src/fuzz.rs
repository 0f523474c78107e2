//! Any text has entities in their order, within it, and a weight.

use crate::{entities, is_invisible, unsafe_display_char, weigh};

#[test]
fn fuzz_entities() {
    pillion_fuzz::run("entities", |input| {
        let text = String::from_utf8_lossy(input);
        let chars: Vec<char> = text.chars().collect();
        let found = entities(&text);
        let at = |start: u32, end: u32| -> String {
            assert!(start < end && usize::try_from(end).unwrap() <= chars.len(), "{start}..{end}");
            chars[usize::try_from(start).unwrap()..usize::try_from(end).unwrap()].iter().collect()
        };
        let mut ranges = Vec::new();
        for tag in found.hashtags.iter().chain(&found.cashtags) {
            assert!(at(tag.start, tag.end).ends_with(&tag.tag) && !tag.tag.is_empty());
            ranges.push((tag.start, tag.end));
        }
        for mention in &found.mentions {
            assert!(at(mention.start, mention.end).ends_with(&mention.username));
            ranges.push((mention.start, mention.end));
        }
        for url in &found.urls {
            assert_eq!(at(url.start, url.end), url.url);
            assert!(url.expanded_url.to_ascii_lowercase().starts_with("http"), "{url:?}");
            ranges.push((url.start, url.end));
        }
        ranges.sort_unstable();
        assert!(ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{ranges:?}");
        let weighed = weigh(&text);
        assert!(usize::try_from(weighed.weighted_length).unwrap() <= 25 * chars.len());
        assert!(unsafe_display_char(&text).is_none_or(is_invisible));
    });
}
