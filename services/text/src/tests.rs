//! The rules of twitter-text, as vectors of our own.

use super::{Entities, entities, weigh};

fn weight(text: &str) -> u32 {
    weigh(text).weighted_length
}

fn urls(text: &str) -> Vec<String> {
    entities(text).urls.into_iter().map(|url| url.url).collect()
}

fn hashtags(text: &str) -> Vec<String> {
    entities(text).hashtags.into_iter().map(|tag| tag.tag).collect()
}

fn mentions(text: &str) -> Vec<String> {
    entities(text).mentions.into_iter().map(|mention| mention.username).collect()
}

fn cashtags(text: &str) -> Vec<String> {
    entities(text).cashtags.into_iter().map(|tag| tag.tag).collect()
}

#[test]
fn the_limit_is_280_latin_or_140_cjk_characters() {
    for (text, weight, valid) in [
        ("a".repeat(280), 280, true),
        ("a".repeat(281), 281, false),
        ("é".repeat(280), 280, true),
        ("я".repeat(280), 280, true),
        ("語".repeat(140), 280, true),
        ("語".repeat(141), 282, false),
        ("한".repeat(140), 280, true),
        (format!("{}a", "語".repeat(140)), 281, false),
    ] {
        let weighed = weigh(&text);
        assert_eq!((weighed.weighted_length, weighed.valid), (weight, valid), "{text}");
    }
}

#[test]
fn permillage_is_the_share_of_the_limit_rounded_down() {
    assert_eq!(weigh("").permillage, 0);
    assert_eq!(weigh("a").permillage, 3);
    assert_eq!(weigh(&"a".repeat(280)).permillage, 1000);
    assert_eq!(weigh(&"a".repeat(350)).permillage, 1250);
}

#[test]
fn text_that_is_empty_or_holds_noncharacters_is_invalid() {
    assert!(!weigh("").valid);
    for text in ["a\u{feff}", "\u{fffe}a", "a\u{ffff}a"] {
        assert!(!weigh(text).valid, "{text:?}");
    }
    assert!(weigh("a\u{202a}b\u{202c}").valid);
}

#[test]
fn composed_and_decomposed_forms_weigh_the_same() {
    assert_eq!(weight("cafe\u{301}"), 4);
    assert_eq!(weight("caf\u{e9}"), 4);
    assert_eq!(weight("\u{1112}\u{1161}\u{11ab}"), 2);
}

#[test]
fn the_light_ranges_are_exact() {
    for (c, expected) in [
        ('\u{10ff}', 1),
        ('\u{1100}', 2),
        ('\u{1fff}', 2),
        ('\u{2000}', 1),
        ('\u{200d}', 1),
        ('\u{200e}', 2),
        ('\u{200f}', 2),
        ('\u{2010}', 1),
        ('\u{201f}', 1),
        ('\u{2020}', 2),
        ('\u{2031}', 2),
        ('\u{2032}', 1),
        ('\u{2037}', 1),
        ('\u{2038}', 2),
    ] {
        assert_eq!(weight(&c.to_string()), expected, "{:x}", u32::from(c));
    }
}

#[test]
fn an_emoji_weighs_two_however_it_is_made() {
    for emoji in ["😀", "👍🏽", "👨‍👩‍👧‍👦", "👩🏿‍🚀", "👨🏻‍❤️‍💋‍👨🏿", "🇩🇪", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "1️⃣", "#️⃣", "❤️", "❤", "©️", "🏳️‍🌈", "🫩"]
    {
        assert_eq!(weight(emoji), 2, "{emoji}");
        assert_eq!(weight(&format!("a{emoji}b{emoji}")), 6, "{emoji}");
    }
    assert_eq!(weight("©"), 1);
    assert_eq!(weight("1#*"), 3);
}

#[test]
fn a_chain_of_emoji_that_is_no_recommended_sequence_is_not_free() {
    let chain = vec!["🍕"; 50].join("\u{200d}");
    assert_eq!(weight(&chain), 50 * 2 + 49);
}

#[test]
fn a_link_weighs_23_whatever_its_length() {
    assert_eq!(weight("http://t.co/a"), 23);
    assert_eq!(weight("example.com"), 23);
    assert_eq!(weight(&format!("https://example.com/{}", "a".repeat(300))), 23);
    assert_eq!(weight(&format!("{} https://example.com", "a".repeat(256))), 280);
    assert_eq!(weight("日本語https://example.com/日本語"), 6 + 23 + 6);
}

#[test]
fn links_with_a_protocol() {
    for (text, expected) in [
        ("see http://example.com", "http://example.com"),
        ("HTTPS://EXAMPLE.COM/A", "HTTPS://EXAMPLE.COM/A"),
        ("(http://example.com/a_(b))", "http://example.com/a_(b)"),
        ("http://example.com/a_(b_(c)_d)!", "http://example.com/a_(b_(c)_d)"),
        ("http://example.com:8080/x?y=z#w.", "http://example.com:8080/x?y=z#w"),
        ("http://example.com/, and", "http://example.com/"),
        ("http://example.com.", "http://example.com"),
        ("http://example.com/?q=a,b&c=d!", "http://example.com/?q=a,b&c=d"),
        ("http://sub_domain.example.com", "http://sub_domain.example.com"),
        ("http://müller.de/ñ", "http://müller.de/ñ"),
        ("http://пример.рф/путь", "http://пример.рф/путь"),
        ("http://xn--e1afmkfd.xn--p1ai/", "http://xn--e1afmkfd.xn--p1ai/"),
        ("読んで http://example.comを", "http://example.com"),
        ("http://example.com/#!/a", "http://example.com/#!/a"),
        ("http://example.com/@user/1", "http://example.com/@user/1"),
    ] {
        assert_eq!(urls(text), [expected], "{text}");
    }
}

#[test]
fn links_without_a_protocol_need_a_top_level_domain_that_exists() {
    for (text, expected) in [
        ("on example.com today", vec!["example.com"]),
        ("example.com/path?x=1.", vec!["example.com/path?x=1"]),
        ("a.co, b.org; c.io", vec!["a.co", "b.org", "c.io"]),
        ("今日はexample.comです", vec!["example.com"]),
        ("example.みんな", vec!["example.みんな"]),
        ("www.example.co.uk", vec!["www.example.co.uk"]),
        ("shop.com.ck", vec!["shop.com.ck"]),
        ("shop.co.za", vec!["shop.co.za"]),
        ("example.notatld", vec![]),
        ("file.txt and main.c", vec![]),
        ("1.5 or 3.14", vec![]),
        ("end.Start", vec![]),
        ("me@example.com", vec![]),
        ("first.last@example.com", vec![]),
        ("first.co-last@example.com", vec![]),
        ("example.com-and-more", vec![]),
        ("-example.com", vec![]),
        ("path/example.com", vec![]),
        ("ftp://example.com", vec![]),
        ("#example.com", vec![]),
        ("$example.com", vec![]),
        ("a..com", vec![]),
    ] {
        assert_eq!(urls(text), expected, "{text}");
    }
}

#[test]
fn links_that_dns_could_not_name_are_none() {
    let label = "a".repeat(63);
    assert_eq!(urls(&format!("http://{label}.com")).len(), 1);
    assert!(urls(&format!("http://{label}a.com")).is_empty());
    assert_eq!(urls(&format!("http://a.com/{}", "a".repeat(4096 - 13))).len(), 1);
    assert!(urls(&format!("http://a.com/{}", "a".repeat(4096 - 12))).is_empty());
    assert!(urls("http://a-.com http://-a.com http://a_b.com").is_empty());
}

#[test]
fn a_shortened_link_ends_after_its_identifier() {
    assert_eq!(urls("https://t.co/abc123/more"), ["https://t.co/abc123"]);
    assert_eq!(urls("https://t.co/abc?amp=1"), ["https://t.co/abc?amp=1"]);
    assert!(urls(&format!("https://t.co/{}", "a".repeat(41))).is_empty());
}

#[test]
fn links_expand_and_display() {
    for (text, expanded, display) in [
        ("example.com", "http://example.com", "example.com"),
        ("https://www.example.com/", "https://www.example.com/", "example.com"),
        (
            "https://example.com/123456789012345",
            "https://example.com/123456789012345",
            "example.com/12345678901234…",
        ),
        ("http://a.com/short", "http://a.com/short", "a.com/short"),
    ] {
        let url = entities(text).urls.remove(0);
        assert_eq!((url.expanded_url.as_str(), url.display_url.as_str()), (expanded, display));
    }
}

#[test]
fn hashtags_take_letters_of_any_script_but_not_digits_alone() {
    for (text, expected) in [
        ("#rust", vec!["rust"]),
        ("#café and #naïve", vec!["café", "naïve"]),
        ("＃日本語です。", vec!["日本語です"]),
        ("#한국어 #русский #ภาษาไทย", vec!["한국어", "русский", "ภาษาไทย"]),
        ("#2026", vec![]),
        ("#_", vec![]),
        ("#1st #a_b", vec!["1st", "a_b"]),
        ("#a-b #don't", vec!["a", "don"]),
        ("a#b &#nbsp; 1#c", vec![]),
        (".#a,#b(#c)", vec!["a", "b", "c"]),
        ("#a#b", vec![]),
        ("##a", vec!["a"]),
        ("☀️#sun", vec!["sun"]),
        ("#️⃣", vec![]),
        ("#http://example.com", vec![]),
        ("http://example.com/#part", vec![]),
        ("# a", vec![]),
        ("#", vec![]),
    ] {
        assert_eq!(hashtags(text), expected, "{text}");
    }
}

#[test]
fn mentions_follow_neither_letters_nor_addresses() {
    for (text, expected) in [
        ("@ann", vec!["ann"]),
        ("hi @ann, @Bob_2!", vec!["ann", "Bob_2"]),
        (".@ann (@bob)", vec!["ann", "bob"]),
        ("こんにちは@ann", vec!["ann"]),
        ("＠ann", vec!["ann"]),
        ("a@ann 1@ann _@ann", vec![]),
        ("me@example.com", vec![]),
        ("&@ann !@ann", vec![]),
        ("@ann@bob", vec![]),
        ("@anné", vec![]),
        ("@http://example.com", vec![]),
        ("RT @ann: hi", vec!["ann"]),
        ("RT@ann rt@bob", vec!["ann", "bob"]),
        ("part@ann", vec![]),
        ("@ann/list-1 @bob/", vec!["bob"]),
        ("@", vec![]),
    ] {
        assert_eq!(mentions(text), expected, "{text}");
    }
}

#[test]
fn cashtags_are_short_symbols_that_stand_alone() {
    for (text, expected) in [
        ("$TWTR $aapl", vec!["TWTR", "aapl"]),
        ("$BRK.A, $brk_b", vec!["BRK.A", "brk_b"]),
        ("$BRK.ABC", vec!["BRK"]),
        ("$TOOLONGS", vec![]),
        ("$5 $A1 US$AB", vec![]),
        ("$A.", vec!["A"]),
        ("$", vec![]),
    ] {
        assert_eq!(cashtags(text), expected, "{text}");
    }
}

#[test]
fn positions_count_code_points() {
    let found = entities("👨‍👩‍👧 é @ann #語 $AB a.co");
    assert_eq!((found.mentions[0].start, found.mentions[0].end), (8, 12));
    assert_eq!((found.hashtags[0].start, found.hashtags[0].end), (13, 15));
    assert_eq!((found.cashtags[0].start, found.cashtags[0].end), (16, 19));
    assert_eq!((found.urls[0].start, found.urls[0].end), (20, 24));
}

#[test]
fn the_wire_form_is_that_of_x() {
    let found = entities("#a @b $C d.com");
    assert_eq!(
        serde_json::to_value(&found).unwrap(),
        serde_json::json!({
            "hashtags": [{"start": 0, "end": 2, "tag": "a"}],
            "mentions": [{"start": 3, "end": 5, "username": "b"}],
            "cashtags": [{"start": 6, "end": 8, "tag": "C"}],
            "urls": [{
                "start": 9, "end": 14, "url": "d.com",
                "expanded_url": "http://d.com", "display_url": "d.com",
            }],
        })
    );
    assert_eq!(serde_json::to_string(&Entities::default()).unwrap(), "{}");
    assert!(entities("plain").is_empty() && !found.is_empty());
}

#[test]
fn long_hostile_text_is_handled_in_linear_time() {
    for text in [
        "a.".repeat(50_000),
        "a.com(".repeat(20_000),
        "http://".repeat(20_000),
        "a.com/((((".repeat(10_000),
        "#".repeat(100_000),
        "@a".repeat(50_000),
        "語.".repeat(50_000),
        "xn--.".repeat(20_000),
        "👨\u{200d}".repeat(30_000),
    ] {
        let started = std::time::Instant::now();
        let _ = (entities(&text), weigh(&text));
        assert!(started.elapsed().as_secs() < 5, "{}", &text[..8]);
    }
}

#[test]
fn d10_top_level_domains_of_other_letters_are_links() {
    for (text, url) in [
        ("http://foo.vermögensberater", "http://foo.vermögensberater"),
        ("see https://foo.vermögensberatung/a.", "https://foo.vermögensberatung/a"),
        ("http://foo.VERMÖGENSBERATER", "http://foo.VERMÖGENSBERATER"),
        ("http://foo.vermo\u{308}gensberater!", "http://foo.vermo\u{308}gensberater"),
        ("foo.vermögensberater", "foo.vermögensberater"),
        ("http://foo.みんな", "http://foo.みんな"),
        ("http://foo.xn--vermgensberater-ctb", "http://foo.xn--vermgensberater-ctb"),
        ("http://twitter.comですよ", "http://twitter.com"),
    ] {
        let found: Vec<String> = entities(text).urls.into_iter().map(|link| link.url).collect();
        assert_eq!(found, [url], "{text}");
    }
    for text in ["http://foo.vermögens", "http://foo.comö.", "foo.vermögensberaterin"] {
        assert!(
            entities(text).urls.iter().all(|link| !link.url.contains('ö')),
            "{text}: {:?}",
            entities(text).urls
        );
    }
}
