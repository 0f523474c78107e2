//! Finds links: with a protocol, or bare domains under a top-level domain that exists.
//!
//! Positions are indices into a slice of code points.

use unicode_normalization::UnicodeNormalization;

use super::classes::{
    is_domain_char, is_invalid, is_path_char, is_path_end, is_plain_domain_char, is_query_char,
    is_query_end,
};

/// The longest link that counts as one, in code points, protocol included.
const URL_CHARS_MAX: usize = 4096;

/// The longest domain that DNS can name; also bounds the work at each possible start.
const DOMAIN_CHARS_MAX: usize = 253;

/// The longest label of a domain in its ASCII form (RFC 1035).
const LABEL_BYTES_MAX: usize = 63;

/// The longest top-level domain written in its own script, in code points; the longest in use has
/// seventeen.
const TLD_CHARS_MAX: usize = 24;

/// The longest identifier of a shortened `t.co` link, in characters.
const SHORT_LINK_CHARS_MAX: usize = 40;

/// A link, from `start` up to and excluding `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
    /// Whether the text spells out `http://` or `https://`.
    pub(super) has_protocol: bool,
}

/// Every link in the text, in order.
pub(super) fn find(text: &[char]) -> Vec<Span> {
    let mut found = Vec::new();
    let top_levels = find_top_levels(text);
    if top_levels.is_empty() {
        return found;
    }
    let mut at = 0;
    // The end of the last match: the character before a link must lie outside the link before it.
    let mut floor = 0;
    while at < text.len() {
        if !may_start(text, at, floor) {
            at += 1;
            continue;
        }
        let Some(link) = parse(text, at, &top_levels) else {
            at += 1;
            continue;
        };
        collect(text, &link, &mut found);
        at = link.end.max(at + 1);
        floor = at;
    }
    found
}

/// The parts of a candidate, as indices into the text.
struct Link {
    start: usize,
    domain: usize,
    domain_end: usize,
    has_path: bool,
    end: usize,
}

fn get(text: &[char], at: usize) -> Option<char> {
    text.get(at).copied()
}

/// The characters between two indices; empty if they are out of order.
fn slice(text: &[char], start: usize, end: usize) -> &[char] {
    text.get(start..end).unwrap_or_default()
}

fn may_start(text: &[char], at: usize, floor: usize) -> bool {
    if !get(text, at).is_some_and(is_domain_char) {
        return false;
    }
    match at.checked_sub(1) {
        None => true,
        Some(before) if before < floor => false,
        Some(before) => get(text, before).is_some_and(|c| {
            !(c.is_ascii_alphanumeric() || "@＠$#＃".contains(c) || is_invalid(c))
        }),
    }
}

fn parse(text: &[char], start: usize, top_levels: &[TopLevel]) -> Option<Link> {
    let domain = start + protocol_chars(text, start);
    let domain_end = domain_end(text, domain, top_levels)?;
    let port_end = after_port(text, domain_end);
    let path_end = after_path(text, port_end);
    let end = after_query(text, path_end);
    Some(Link { start, domain, domain_end, has_path: path_end > port_end, end })
}

/// Decides what of a candidate is a link, and appends it.
fn collect(text: &[char], link: &Link, found: &mut Vec<Span>) {
    let has_protocol = link.domain > link.start;
    if !is_real_domain(text, link) {
        return;
    }
    if has_protocol {
        if let Some(end) = short_link_end(text, link) {
            found.push(Span { start: link.start, end, has_protocol });
        }
        return;
    }
    // `-a.com`, `/a.com` and the like are parts of something else.
    let before = link.start.checked_sub(1).and_then(|before| get(text, before));
    if before.is_some_and(|c| "-_./".contains(c)) {
        return;
    }
    collect_plain_domains(text, link, found);
}

/// Without a protocol only the Latin part of a run is the domain: in scripts written without
/// spaces the words around it touch it.
fn collect_plain_domains(text: &[char], link: &Link, found: &mut Vec<Span>) {
    let mut at = link.domain;
    while at < link.domain_end {
        let run_end = (at..link.domain_end)
            .find(|&i| !get(text, i).is_some_and(|c| c == '.' || is_plain_domain_char(c)))
            .unwrap_or(link.domain_end);
        let end = (at + 1..run_end)
            .rev()
            .filter(|&dot| get(text, dot) == Some('.') && get(text, dot - 1) != Some('.'))
            .find_map(|dot| tld_end(text, dot + 1, link.domain_end));
        let starts_label = get(text, at).is_some_and(is_plain_domain_char);
        match end {
            Some(end) if starts_label => {
                let end = if end == link.domain_end && link.has_path { link.end } else { end };
                found.push(Span { start: at, end, has_protocol: false });
                at = end;
            }
            _ if starts_label => at = run_end + 1,
            _ => at += 1,
        }
    }
}

/// The number of characters of `http://` or `https://`, in any case; 0 if neither is there.
fn protocol_chars(text: &[char], start: usize) -> usize {
    ["https://", "http://"]
        .into_iter()
        .find(|protocol| {
            let there = slice(text, start, start + protocol.len());
            there.len() == protocol.len()
                && there.iter().zip(protocol.chars()).all(|(c, p)| c.eq_ignore_ascii_case(&p))
        })
        .map_or(0, str::len)
}

/// A top-level domain: the dot in front of it, and where it ends.
struct TopLevel {
    dot: usize,
    end: usize,
}

/// Every place where a domain could end, looked up once for all the places where it could start.
fn find_top_levels(text: &[char]) -> Vec<TopLevel> {
    let dots = text.iter().enumerate().filter(|&(_, &c)| c == '.');
    dots.filter_map(|(dot, _)| Some(TopLevel { dot, end: tld_end(text, dot + 1, text.len())? }))
        .collect()
}

/// Where the longest domain that begins here ends: labels joined by dots, then a top-level domain.
fn domain_end(text: &[char], start: usize, top_levels: &[TopLevel]) -> Option<usize> {
    let mut dots = Vec::new();
    let mut label = start;
    for at in start..text.len().min(start + DOMAIN_CHARS_MAX) {
        match get(text, at) {
            Some('.') => {
                match label_kind(slice(text, label, at)) {
                    Label::Bad => break,
                    Label::Name => dots.push(at),
                    // An underscore may stand further left, not in the name itself.
                    Label::SubdomainOnly => {}
                }
                label = at + 1;
            }
            Some('-' | '_') => {}
            Some(c) if is_domain_char(c) => {}
            _ => break,
        }
    }
    dots.into_iter().rev().find_map(|dot| {
        let found = top_levels.binary_search_by_key(&dot, |top| top.dot).ok()?;
        Some(top_levels.get(found)?.end)
    })
}

enum Label {
    Bad,
    SubdomainOnly,
    Name,
}

fn label_kind(label: &[char]) -> Label {
    let edge = |c: Option<&char>| c.is_some_and(|&c| c != '-' && c != '_');
    if !edge(label.first()) || !edge(label.last()) {
        Label::Bad
    } else if label.contains(&'_') {
        Label::SubdomainOnly
    } else {
        Label::Name
    }
}

/// Where the top-level domain that begins at `start` ends, if there is one before `limit`.
fn tld_end(text: &[char], start: usize, limit: usize) -> Option<usize> {
    let limit = limit.min(text.len());
    let ascii_end = (start..limit)
        .find(|&at| !get(text, at).is_some_and(|c| c.is_ascii_alphanumeric()))
        .unwrap_or(limit);
    let punycode = slice(text, start, limit);
    if starts_with_punycode(punycode) {
        let end = (start..limit)
            .find(|&at| !get(text, at).is_some_and(|c| c.is_ascii_alphanumeric() || c == '-'))
            .unwrap_or(limit);
        return Some(end);
    }
    // A name that begins with ASCII letters and has others, such as `vermögensberater`.
    if ascii_end > start
        && let Some(end) = longest_tld(text, start, limit, |c| c.is_ascii_alphanumeric())
            .filter(|end| *end > ascii_end)
    {
        return Some(end);
    }
    if ascii_end > start {
        return (is_free(text, ascii_end, limit) && is_top_level(slice(text, start, ascii_end)))
            .then_some(ascii_end);
    }
    longest_tld(text, start, limit, |_| false)
}

/// Where the longest top-level domain that begins here ends, of letters outside ASCII and what
/// `more` lets in: whatever follows may touch it.
fn longest_tld(
    text: &[char],
    start: usize,
    limit: usize,
    more: impl Fn(char) -> bool,
) -> Option<usize> {
    let last = limit.min(start + TLD_CHARS_MAX);
    let belongs = |c: char| more(c) || (!c.is_ascii() && is_domain_char(c));
    let longest = (start..last).find(|&at| !get(text, at).is_some_and(&belongs)).unwrap_or(last);
    (start + 1..=longest)
        .rev()
        .find(|&end| is_free(text, end, limit) && is_top_level(slice(text, start, end)))
}

/// Whether a top-level domain may end here.
fn is_free(text: &[char], end: usize, limit: usize) -> bool {
    end >= limit || !get(text, end).is_some_and(|c| c.is_ascii_alphanumeric() || "@+-".contains(c))
}

fn starts_with_punycode(text: &[char]) -> bool {
    let mut chars = text.iter();
    "xn--".chars().all(|p| chars.next().is_some_and(|c| c.eq_ignore_ascii_case(&p)))
        && chars.next().is_some_and(|c| c.is_ascii_alphanumeric() || *c == '-')
}

/// Whether this is a top-level domain in the public suffix list.
fn is_top_level(name: &[char]) -> bool {
    let name: String = name.iter().flat_map(|c| c.to_lowercase()).nfc().collect();
    // Some have a rule only for what is below them: any label (`*.ck`), or a few (`co.za`).
    ["a.", "co."].into_iter().any(|below| {
        let suffix = [below, &name].concat();
        psl::suffix(suffix.as_bytes()).is_some_and(|suffix| suffix.typ() == Some(psl::Type::Icann))
    })
}

fn after_port(text: &[char], at: usize) -> usize {
    let digits = at + 1;
    if get(text, at) != Some(':') {
        return at;
    }
    let end = (digits..text.len())
        .find(|&i| !get(text, i).is_some_and(|c| c.is_ascii_digit()))
        .unwrap_or(text.len());
    if end > digits { end } else { at }
}

/// Where the path that begins here ends; punctuation that closes a sentence stays outside.
fn after_path(text: &[char], start: usize) -> usize {
    if get(text, start) != Some('/') {
        return start;
    }
    let mut end = start + 1;
    let mut at = end;
    while let Some(c) = get(text, at) {
        if c == '(' {
            match after_parentheses(text, at) {
                Some(after) => at = after,
                None => break,
            }
            end = at;
        } else if is_path_char(c) {
            at += 1;
            if is_path_end(c) {
                end = at;
            }
        } else {
            break;
        }
    }
    end
}

/// Where a balanced group that begins here ends. It holds at least one character, and at most one
/// group inside it.
fn after_parentheses(text: &[char], open: usize) -> Option<usize> {
    let run = |from: usize| {
        (from..text.len())
            .find(|&at| !get(text, at).is_some_and(is_path_char))
            .unwrap_or(text.len())
    };
    let first = run(open + 1);
    match get(text, first)? {
        ')' if first > open + 1 => Some(first + 1),
        '(' => {
            let inner = run(first + 1);
            if inner == first + 1 || get(text, inner) != Some(')') {
                return None;
            }
            let last = run(inner + 1);
            (get(text, last) == Some(')')).then_some(last + 1)
        }
        _ => None,
    }
}

fn after_query(text: &[char], start: usize) -> usize {
    if get(text, start) != Some('?') {
        return start;
    }
    let mut end = start;
    for at in start + 1..text.len() {
        match get(text, at) {
            Some(c) if is_query_char(c) => {
                if is_query_end(c) {
                    end = at + 1;
                }
            }
            _ => break,
        }
    }
    end
}

/// Whether DNS could name the domain, and the link is not overlong.
fn is_real_domain(text: &[char], link: &Link) -> bool {
    let labels: String = slice(text, link.domain, link.domain_end).iter().collect();
    let fits = labels.split('.').all(|label| {
        if label.is_ascii() {
            label.len() <= LABEL_BYTES_MAX
        } else {
            !label.starts_with("xn--")
                && idna::punycode::encode_str(label)
                    .is_some_and(|encoded| "xn--".len() + encoded.len() <= LABEL_BYTES_MAX)
        }
    });
    fits && link.end - link.start <= URL_CHARS_MAX
}

/// The end of a link with a protocol. A `t.co` link ends after its identifier and query, whatever
/// follows; `None` if its identifier is overlong.
fn short_link_end(text: &[char], link: &Link) -> Option<usize> {
    let host = slice(text, link.domain, link.domain_end);
    let is_short = host.iter().map(char::to_ascii_lowercase).eq("t.co".chars());
    if !is_short || get(text, link.domain_end) != Some('/') {
        return Some(link.end);
    }
    let slug = link.domain_end + 1;
    let slug_end = (slug..link.end)
        .find(|&at| !get(text, at).is_some_and(|c| c.is_ascii_alphanumeric()))
        .unwrap_or(link.end);
    match slug_end - slug {
        0 => Some(link.end),
        1..=SHORT_LINK_CHARS_MAX => Some(after_query(text, slug_end)),
        _ => None,
    }
}

/// The link's ASCII-lower-case protocol is implied when the text leaves it out.
pub(super) fn expand(url: &str, has_protocol: bool) -> String {
    if has_protocol { url.to_owned() } else { format!("http://{url}") }
}

/// How many characters of a link's path are shown before it is cut.
const DISPLAY_PATH_CHARS_MAX: usize = 15;

/// The form for readers: no protocol, no `www.`, a long path cut with an ellipsis.
pub(super) fn display(url: &str) -> String {
    let without_protocol = url.split_once("://").map_or(url, |(_, rest)| rest);
    let plain = match without_protocol.get(..4) {
        Some(prefix) if prefix.eq_ignore_ascii_case("www.") => {
            without_protocol.get(4..).unwrap_or(without_protocol)
        }
        _ => without_protocol,
    };
    let host = plain.find(['/', '?']).unwrap_or(plain.len());
    let (host, path) = plain.split_at(host);
    match path.char_indices().nth(DISPLAY_PATH_CHARS_MAX) {
        _ if path == "/" => host.to_owned(),
        None => plain.to_owned(),
        Some((cut, _)) => format!("{host}{}…", path.get(..cut).unwrap_or(path)),
    }
}
