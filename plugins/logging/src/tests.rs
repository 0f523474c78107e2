//! The plugin on requests, natively.

#![expect(clippy::needless_pass_by_value, reason = "a test reads better with `json!` in the call")]

use pillion_plugin::{
    sink::SinkError,
    testing::{self, Request},
};
use serde_json::{Value, json};

use crate::{Logging, hash, threshold};

fn plugin(config: Value) -> Logging {
    testing::reset();
    testing::configure(&config.to_string()).unwrap()
}

fn request() -> Request {
    Request::get("/2/tweets/1?tweet.fields=id&code=secret")
        .route("/2/tweets/{id}")
        .caller(Some("42"), "app-1", "tweet.read")
        .address("192.0.2.1")
        .header("user-agent", "curl/8 \"x\"")
        .header("referer", "https://example.com/")
        .header("x-forwarded-for", "198.51.100.7")
        .field("duration-us", 1_234_u64.to_le_bytes())
        .field("response-bytes", 17_u64.to_le_bytes())
        .field("decisions", "logging=continue auth=modify")
}

fn line(plugin: &mut Logging, mut request: Request) -> Value {
    request.on_complete(plugin);
    let lines = testing::lines("access");
    serde_json::from_str(lines.last().expect("a line")).unwrap()
}

#[test]
fn a_line_as_it_is_written() {
    let mut plugin = plugin(json!({}));
    request().on_complete(&mut plugin);
    assert_eq!(
        testing::lines("access"),
        [concat!(
            r#"{"time":"2026-01-01T00:00:00.000000Z","request_id":"00000000000000000000000000000001","#,
            r#""trace_id":"0af7651916cd43dd8448eb211c80319c","span_id":"b7ad6b7169203331","#,
            r#""service":"test","method":"GET","route":"/2/tweets/{id}","path":"/2/tweets/1","#,
            r#""query":"tweet.fields=id&code=[redacted]","status":200,"bytes":17,"duration_us":1234,"#,
            r#""user_id":"42","client_id":"app-1","address":"192.0.2.1","user_agent":"curl/8 \"x\"","#,
            r#""ended_by":"complete","decisions":"logging=continue auth=modify"}"#,
        )]
    );
}

#[test]
fn what_is_absent_is_null() {
    let mut plugin = plugin(json!({"headers": ["origin"]}));
    let line = line(&mut plugin, Request::get("/"));
    for key in ["route", "query", "user_id", "client_id", "address", "user_agent", "origin"] {
        assert_eq!(line[key], Value::Null, "{key}");
    }
}

#[test]
fn the_operator_redacts_and_adds() {
    let mut plugin = plugin(json!({
        "redact": ["address", "client_id", "path", "query", "user_agent", "user_id"],
        "headers": ["referer", "content-type"],
        "mask_headers": ["x-forwarded-for", "origin"],
    }));
    let line = line(&mut plugin, request());
    for key in ["address", "client_id", "path", "query", "user_agent", "user_id", "x_forwarded_for"]
    {
        assert_eq!(line[key], "[redacted]", "{key}");
    }
    assert_eq!(line["referer"], "https://example.com/");
    assert_eq!((&line["content_type"], &line["origin"]), (&Value::Null, &Value::Null));
    assert_eq!(line["route"], "/2/tweets/{id}");
    for secret in ["42", "app-1", "192.0.2.1", "curl", "secret", "198.51"] {
        assert!(!testing::lines("access")[0].contains(secret), "{secret}");
    }
}

#[test]
fn masked_parameters_are_the_operators_choice() {
    let mut plugin = self::plugin(json!({"mask_parameters": ["Tweet.Fields"]}));
    assert_eq!(line(&mut plugin, request())["query"], "tweet.fields=[redacted]&code=secret");
    let mut plugin = self::plugin(json!({"mask_parameters": []}));
    assert_eq!(line(&mut plugin, request())["query"], "tweet.fields=id&code=secret");
}

#[test]
fn the_largest_line_fits_the_output() {
    let all = [
        "accept-language",
        "content-length",
        "content-type",
        "origin",
        "referer",
        "x-forwarded-for",
    ];
    let mut plugin = plugin(json!({"headers": all, "mask_parameters": []}));
    let huge = vec![0xff; 16 << 10];
    let text = "\u{1}".repeat(16 << 10);
    let mut request = Request::new(&text, &format!("{text}?{text}")).route(&text).address(&text);
    for name in ["request-id", "trace-id", "span-id", "service", "ended-by", "decisions"] {
        request = request.field(name, text.as_bytes());
    }
    for name in all.into_iter().chain(["user-agent"]) {
        request = request.header(name, huge.clone());
    }
    let line = line(&mut plugin, request.caller(Some(&text), &text, ""));
    assert!(line["path"].as_str().unwrap().ends_with('…'));
    let bytes = testing::lines("access")[0].len();
    assert!((8 << 10..16 << 10).contains(&bytes), "{bytes}");
}

#[test]
fn a_sample_is_taken_by_what_the_host_makes() {
    let count = |plugin: &mut Logging, status: u16| {
        let before = testing::lines("access").len();
        for id in 0..10_000 {
            Request::get("/")
                .field("span-id", format!("{id:016x}"))
                .status(status)
                .on_complete(plugin);
        }
        testing::lines("access").len() - before
    };
    let mut tenth = plugin(json!({"sample": 0.1}));
    let logged = count(&mut tenth, 200);
    assert!((850..1_150).contains(&logged), "{logged}");
    assert_eq!(count(&mut tenth, 200), logged, "the same ones");
    assert_eq!(count(&mut tenth, 500), 10_000);
    assert_eq!(count(&mut plugin(json!({"sample": 0.0})), 499), 0);
    let mut errors_too = plugin(json!({"sample": 0.0, "always_log_errors": false}));
    assert_eq!(count(&mut errors_too, 500), 0);
    assert_eq!(count(&mut plugin(json!({"sample": 1})), 200), 10_000);
}

#[test]
fn a_client_does_not_choose_whether_it_is_logged() {
    let mut tenth = plugin(json!({"sample": 0.1}));
    for span in 0..100 {
        let before = testing::lines("access").len();
        for id in 0..50 {
            Request::get("/")
                .field("span-id", format!("{span:016x}"))
                .field("request-id", format!("chosen-{id}"))
                .field("trace-id", format!("{id:032x}"))
                .on_complete(&mut tenth);
        }
        let logged = testing::lines("access").len() - before;
        assert!(matches!(logged, 0 | 50), "{logged} with one span");
    }
    assert!(!testing::lines("access").is_empty());
}

#[test]
fn thresholds_at_the_ends() {
    assert_eq!(threshold(0.0), None);
    assert_eq!(threshold(1.0), Some(u64::MAX));
    assert_eq!(threshold(0.5), Some(1 << 63));
    assert_ne!(hash("a"), hash("b"));
}

#[test]
fn a_full_output_costs_lines_that_are_counted() {
    let mut plugin = plugin(json!({}));
    testing::fail_sink(Some(SinkError::Full));
    for _ in 0..3 {
        request().on_complete(&mut plugin);
    }
    testing::fail_sink(None);
    assert_eq!(line(&mut plugin, request())["dropped"], 3);
    assert_eq!(line(&mut plugin, request()).get("dropped"), None);
    assert_eq!(testing::logs(), []);
}

#[test]
fn an_output_that_is_not_granted_is_reported() {
    let mut plugin = plugin(json!({"sink": "elsewhere"}));
    testing::fail_sink(Some(SinkError::NotGranted));
    request().on_complete(&mut plugin);
    assert!(testing::logs()[0].1.contains("grant `sink:elsewhere`"));
}

#[test]
fn every_wrong_key_of_the_configuration_is_named() {
    let errors = |json: &str| -> Vec<String> {
        testing::configure::<Logging>(json)
            .unwrap_err()
            .into_iter()
            .map(|error| error.key)
            .collect()
    };
    assert_eq!(errors(r#"{"sinks": "a"}"#), ["sinks"]);
    assert_eq!(errors(r#"{"redact": ["address", "status"]}"#), ["redact[1]"]);
    assert_eq!(errors(r#"{"headers": ["cookie"]}"#), ["headers[0]"]);
    assert_eq!(
        errors(
            r#"{"sink": "", "sample": 1.5, "mask_parameters": [""], "headers": ["origin"], "mask_headers": ["origin"]}"#
        ),
        ["sink", "sample", "mask_parameters[0]", "mask_headers[0]"]
    );
}

#[test]
fn it_says_what_it_is() {
    let descriptor = testing::describe::<Logging>();
    assert_eq!((descriptor.name.as_str(), descriptor.grants), ("logging", vec!["sink".to_owned()]));
    assert_eq!((descriptor.request, descriptor.response), (None, None));
    assert_eq!(descriptor.completion.unwrap().len(), 24);
}
