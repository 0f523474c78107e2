//! What clients send and what plugins decide: fields are packed as the contract says, routes and
//! traces are read alike everywhere, and edits are applied whole or not at all.

use std::sync::Arc;
use std::time::Instant;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};

use crate::edits;
use crate::exchange::{Attributes, Exchange};
use crate::fields::{Field, Phase, pack};
use crate::routes::RouteTable;
use crate::trace::{TRACEPARENT, TraceContext};
use crate::wit::v0_1::pillion::plugin::types::{Attribute, Edits, Header, HttpResponse};

fn exchange(method: Method, uri: Uri, headers: HeaderMap) -> Exchange {
    Exchange {
        service: "app".into(),
        generation: 1,
        route: None,
        address: None,
        source: 0,
        trace: TraceContext::of(&headers),
        method,
        uri,
        version: Version::HTTP_11,
        request_headers: headers,
        request_id: "r".into(),
        time_us: 1,
        arrived: Instant::now(),
        caller: None,
        attributes: Attributes::new(Arc::from([])),
        status: 200,
        response_headers: HeaderMap::new(),
        duration_us: 0,
        response_bytes: 0,
        ended_by: "client",
        decisions: Vec::new(),
        fresh: Vec::new(),
        probes: Vec::new(),
    }
}

/// Lines of `NAME:VALUE` as headers, those that are none left out.
fn headers<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Vec<(&'a [u8], &'a [u8])> {
    let pair = |line: &'a [u8]| {
        let at = line.iter().position(|byte| *byte == b':')?;
        Some((line.get(..at)?, line.get(at + 1..)?))
    };
    lines.filter_map(pair).collect()
}

/// The bit of an end that says that the field is absent.
const ABSENT: u32 = 1 << 31;

#[test]
fn fuzz_fields() {
    const TEXTS: [&str; 6] = ["method", "path", "query", "authority", "trace-id", "span-id"];
    const BYTES: [&str; 3] = ["header:host", "header:cookie", "header:x-a"];
    let fields: Vec<Field> = (TEXTS.iter().chain(&BYTES))
        .map(|name| Field::parse(name, Phase::Request, "p", |_| None).unwrap())
        .collect();
    pillion_fuzz::run("fields", |input| {
        let mut lines = input.split(|byte| *byte == b'\n');
        let Ok(uri) = Uri::try_from(lines.next().unwrap_or_default()) else { return };
        let mut map = HeaderMap::new();
        for (name, value) in headers(lines) {
            if let (Ok(name), Ok(value)) =
                (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
            {
                map.append(name, value);
            }
        }
        let x = exchange(Method::GET, uri, map);
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        pack(&fields, &x, &mut bytes, &mut ends);
        assert_eq!(ends.len(), fields.len());
        let mut start = 0;
        for (place, (field, end)) in fields.iter().zip(&ends).enumerate() {
            let to = usize::try_from(end & !ABSENT).unwrap();
            let value = bytes.get(start..to).expect("ends are in order and within the bytes");
            start = to;
            let present = end & ABSENT == 0;
            assert!(present || value.is_empty());
            // A plugin that asks for one alone sees the same.
            assert_eq!(field.read(&x), present.then(|| value.to_vec()));
            if place < TEXTS.len() {
                assert!(std::str::from_utf8(value).is_ok(), "{} is text", TEXTS[place]);
            }
        }
        assert_eq!(start, bytes.len());
    });
}

#[test]
fn fuzz_trace() {
    pillion_fuzz::run("trace", |input| {
        let Ok(value) = HeaderValue::from_bytes(input) else { return };
        let mut map = HeaderMap::new();
        map.append(TRACEPARENT, value);
        let trace = TraceContext::of(&map);
        let own = trace.header().expect("it is a header");
        let text = own.to_str().expect("of plain text").to_owned();
        assert_eq!(text.len(), 55);
        // The next service continues what this one sends.
        let next = TraceContext::of(&HeaderMap::from_iter([(TRACEPARENT, own.clone())]));
        assert!(next.is_continued());
        assert_eq!(next.trace_id(), trace.trace_id());
        assert_eq!(trace.is_continued(), input.get(3..35) == Some(trace.trace_id().as_bytes()));
        // Of two it is not known which one counts.
        map.append(TRACEPARENT, own);
        assert!(!TraceContext::of(&map).is_continued());
    });
}

#[test]
fn fuzz_routes() {
    const TEMPLATES: [&str; 5] =
        ["/", "/2/tweets", "/2/tweets/{id}", "/2/users/by/username/{name}", "/2/users/{id}/{list}"];
    let table = RouteTable::new(TEMPLATES.map(|template| (Method::GET, template.to_owned())));
    let matches = |template: &str, path: &str| {
        let (template, path): (Vec<_>, Vec<_>) =
            (template.split('/').collect(), path.split('/').collect());
        // As axum's router does it, a parameter is empty nowhere but in the middle.
        let last = path.len() - 1;
        let same = |(place, (wanted, sent)): (usize, (&&str, &&str))| match wanted.strip_prefix('{')
        {
            Some(_) => place < last || !sent.is_empty(),
            None => wanted == sent,
        };
        template.len() == path.len() && template.iter().zip(&path).enumerate().all(same)
    };
    pillion_fuzz::run("routes", |input| {
        let Ok(uri) = Uri::try_from(input) else { return };
        let path = uri.path();
        let found = table.find(&Method::GET, path);
        let expected = TEMPLATES.iter().find(|template| matches(template, path));
        assert_eq!(found.as_deref(), expected.copied(), "{path}");
        assert_eq!(table.find(&Method::HEAD, path), found);
        assert_eq!(table.find(&Method::POST, path), None);
    });
}

#[test]
fn fuzz_edits() {
    pillion_fuzz::run("edits", |input| {
        let pairs = headers(input.split(|byte| *byte == b'\n'));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let header =
            |(name, value): &(&[u8], &[u8])| Header { name: text(name), value: value.to_vec() };
        let made: Vec<Header> = pairs.iter().map(header).collect();
        let attributes =
            pairs.iter().map(|(name, value)| Attribute { name: text(name), value: value.to_vec() });
        let is_harmless = |map: &HeaderMap| {
            map.iter().all(|(name, value)| {
                let owned = ["host", "connection", "content-length", "transfer-encoding"];
                !owned.contains(&name.as_str())
                    && !name.as_str().starts_with("pillion-")
                    && !value.as_bytes().iter().any(|byte| b"\r\n\0".contains(byte))
            })
        };
        let edits = Edits {
            remove_headers: made.iter().map(|header| header.name.clone()).collect(),
            set_headers: made.clone(),
            append_headers: Vec::new(),
            attributes: attributes.collect(),
            caller: None,
        };
        let before = HeaderMap::from_iter([(
            HeaderName::from_static("x-kept"),
            HeaderValue::from_static("1"),
        )]);
        let mut x = exchange(Method::GET, Uri::from_static("/"), before.clone());
        match edits::request(&mut x, "p", false, edits) {
            Ok(()) => assert!(is_harmless(&x.request_headers)),
            // Nothing of it is applied.
            Err(_) => assert_eq!(x.request_headers, before),
        }
        let status = u16::try_from(input.len()).unwrap_or(0);
        let response = HttpResponse { status, headers: made, body: input.to_vec() };
        if let Ok((response, _)) = edits::whole_response(response) {
            assert!((200..=599).contains(&response.status().as_u16()));
            assert!(is_harmless(response.headers()));
        }
    });
}
