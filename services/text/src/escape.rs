//! Text as X's API delivers it: with `&`, `<` and `>` as HTML entities, so that a page that shows it
//! as it is shows no markup of its author's. Clients unescape it.

use super::{Entities, entities, index};

/// The HTML entity for a character that is delivered as one.
fn escaped(c: char) -> Option<&'static str> {
    match c {
        '&' => Some("&amp;"),
        '<' => Some("&lt;"),
        '>' => Some("&gt;"),
        _ => None,
    }
}

/// The text with `&`, `<` and `>` as `&amp;`, `&lt;` and `&gt;`.
///
/// ```
/// assert_eq!(pillion_text::escape("a & b <c>"), "a &amp; b &lt;c&gt;");
/// ```
pub fn escape(text: &str) -> String {
    let mut delivered = String::with_capacity(text.len());
    for c in text.chars() {
        match escaped(c) {
            Some(entity) => delivered.push_str(entity),
            None => delivered.push(c),
        }
    }
    delivered
}

/// The entities of a text, where they are in [`escape`] of it. A link's `url` is as it stands there;
/// its other forms are links and not escaped.
pub fn delivered_entities(text: &str) -> Entities {
    let mut found = entities(text);
    if !text.contains(['&', '<', '>']) {
        return found;
    }
    // Where each character is, and after the last one the end.
    let mut positions = Vec::with_capacity(text.len() + 1);
    let mut at = 0;
    for c in text.chars() {
        positions.push(index(at));
        at += escaped(c).map_or(1, str::len);
    }
    positions.push(index(at));
    let moved = |position: u32| positions.get(position as usize).copied().unwrap_or(position);
    let Entities { hashtags, mentions, cashtags, urls } = &mut found;
    let tags = hashtags.iter_mut().chain(cashtags).map(|tag| (&mut tag.start, &mut tag.end));
    let mentions = mentions.iter_mut().map(|mention| (&mut mention.start, &mut mention.end));
    for (start, end) in tags.chain(mentions) {
        (*start, *end) = (moved(*start), moved(*end));
    }
    for link in urls {
        (link.start, link.end) = (moved(link.start), moved(link.end));
        link.url = escape(&link.url);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a05_entities_are_where_the_delivered_text_has_them() {
        let text = "<b> & #tag \u{1f600} > @ann: http://a.com/?b=1&c=2 & $TWTR";
        let delivered: Vec<char> = escape(text).chars().collect();
        let at = |start: u32, end: u32| -> String {
            delivered[start as usize..end as usize].iter().collect()
        };
        let found = delivered_entities(text);
        let (tag, ticker) = (&found.hashtags[0], &found.cashtags[0]);
        assert_eq!(at(tag.start, tag.end), "#tag");
        assert_eq!(at(ticker.start, ticker.end), "$TWTR");
        let mention = &found.mentions[0];
        assert_eq!(at(mention.start, mention.end), "@ann");
        let link = &found.urls[0];
        assert_eq!(at(link.start, link.end), link.url);
        assert_eq!(link.url, "http://a.com/?b=1&amp;c=2");
        assert_eq!(link.expanded_url, "http://a.com/?b=1&c=2");
        assert_eq!(delivered_entities("#a"), entities("#a"));
    }
}
