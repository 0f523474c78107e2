//! Every number of the configuration, at both ends of what it may be and beyond.

use super::*;

/// A section's header, its key, and the least and the most that it may be.
type Range = (&'static str, &'static str, i128, i128);

const RANGES: &[Range] = &[
    ("[server]", "drain_delay_ms", 0, 600_000),
    ("[server]", "drain_deadline_ms", 0, 600_000),
    ("[server]", "header_timeout_ms", 100, 600_000),
    ("[server]", "body_timeout_ms", 100, 600_000),
    ("[server]", "request_timeout_ms", 100, 600_000),
    ("[server]", "response_timeout_ms", 100, 600_000),
    ("[server]", "write_timeout_ms", 100, 600_000),
    ("[server]", "idle_timeout_ms", 1_000, 3_600_000),
    ("[server]", "headers", 8, 256),
    ("[server]", "header_bytes", 8_192, 65_536),
    ("[server]", "body_bytes", 1_024, 16_777_216),
    ("[server]", "connections", 1, 65_536),
    ("[server]", "connections_per_address", 1, 65_536),
    ("[server]", "streams", 1, 1_000),
    ("[server]", "requests", 1, 65_536),
    ("[server]", "requests_per_address", 1, 65_536),
    ("[server]", "unread_bytes_per_address", 65_536, 4_000_000_000),
    ("[server]", "live_streams", 1, 65_536),
    ("[server]", "live_streams_per_address", 1, 65_536),
    ("[server]", "live_streams_per_account", 1, 65_536),
    ("[server]", "ipv6_prefix", 16, 128),
    ("[host]", "workers", 0, 256),
    ("[broker]", "replicas", 1, 3),
    ("[tokens]", "user_token_s", 60, 86_400),
    ("[tokens]", "app_token_days", 1, 1_095),
    ("[tokens]", "refresh_token_days", 1, 365),
    ("[tokens]", "refresh_grace_s", 0, 300),
    ("[tokens]", "key_rotation_days", 1, 365),
    ("[accounts]", "deactivation_grace_s", 0, 31_536_000),
    ("[accounts]", "follow_request_days", 1, 365),
    ("[sinks.access]\npath = \"a.log\"", "flush_ms", 1, 60_000),
];

const LIMITS: [(&str, i128, i128); 13] = [
    ("deadline_ms", 1, 60_000),
    ("wait_ms", 1, 60_000),
    ("load_deadline_ms", 1, 60_000),
    ("memory_bytes", 65_536, 268_435_456),
    ("table_elements", 0, 65_536),
    ("host_call_bytes", 4_096, 67_108_864),
    ("handles", 16, 65_536),
    ("host_calls", 1, 100_000_000),
    ("log_lines_per_second", 0, 100_000),
    ("kv_bytes", 0, 68_719_476_736),
    ("limiter_keys", 16, 100_000_000),
    ("metric_series", 0, 100_000),
    ("component_bytes", 1_024, 67_108_864),
];

const BREAKER: [(&str, i128, i128); 7] = [
    ("failure_rate_threshold", 1, 100),
    ("minimum_requests", 1, 1_000_000),
    ("minimum_clients", 1, 1_000),
    ("window_ms", 1_000, 600_000),
    ("open_ms", 100, 600_000),
    ("open_max_ms", 100, 3_600_000),
    ("client_failure_budget_ms", 1, 600_000),
];

/// Numbers that no key takes, whatever its type: some are larger than it, some less than nothing.
const NEVER: [i128; 5] = [-1, 4_000_000_001, 1 << 62, i64::MAX as i128, i64::MIN as i128];

#[test]
fn s17_every_number_of_a_section_says_what_it_may_be() {
    for &(section, key, least, most) in RANGES {
        let read = |value: i128| reading::parse(&format!("{section}\n{key} = {value}\n"));
        for value in [least, most] {
            read(value).unwrap_or_else(|problem| panic!("{key} = {value}: {problem:?}"));
        }
        for value in [least - 1, most + 1].into_iter().chain(NEVER) {
            let problem = read(value).expect_err(key);
            let expected = format!("{value} is out of range: write {least} to {most}");
            assert_eq!(problem.message, expected, "{key}");
            assert!(problem.key.ends_with(key) && problem.line.is_some(), "{problem:?}");
        }
    }
}

#[test]
fn s17_every_limit_of_a_plugin_says_what_it_may_be() {
    let load = |key: &str, value: i128| {
        let text = BUILT_IN.lines().map(|line| match line.strip_prefix(key) {
            Some(rest) if rest.starts_with(" = ") => format!("{key} = {value}"),
            _ => line.to_owned(),
        });
        tests::load(&text.collect::<Vec<_>>().join("\n"))
    };
    for (key, least, most) in LIMITS {
        for value in [least, most] {
            load(key, value).unwrap_or_else(|error| panic!("{key} = {value}: {error}"));
        }
        for value in [least - 1, most + 1].into_iter().chain(NEVER) {
            // 2^62 and some more fit into the type of some, and are within none.
            if (least..=most).contains(&value) {
                continue;
            }
            let error = load(key, value).expect_err(key);
            let [problem] = error.problems.as_slice() else { panic!("{error}") };
            assert_eq!(problem.key, format!("plugins.logging.limits.{key}"));
            assert!(problem.line.is_some(), "{problem:?}");
            let says = problem.message.contains(&format!("write {least} to {most}"));
            // One that is no number of the type at all is found while the file is read.
            assert!(says || value < 0 || value > i128::from(u32::MAX), "{problem:?}");
        }
    }
}

#[test]
fn s17_every_number_of_a_breaker_says_what_it_may_be() {
    for (key, least, most) in BREAKER {
        for value in [least - 1, most + 1] {
            let text = BUILT_IN.lines().map(|line| match line.strip_prefix(key) {
                Some(rest) if rest.starts_with(" = ") => format!("{key} = {value}"),
                _ => line.to_owned(),
            });
            let text = text.collect::<Vec<_>>().join("\n");
            let error = tests::load(&text).expect_err(key);
            let [problem] = error.problems.as_slice() else { panic!("{error}") };
            let expected = format!("breaker.{key} is {value}: expected {least} to {most}");
            assert_eq!(problem.message, expected);
        }
    }
}

/// A key that is added later must be in one of the tables.
#[test]
fn s17_the_tables_have_every_number_of_the_file() {
    let mut section = String::new();
    let mut numbers = 0;
    for line in BUILT_IN.lines() {
        let line = line.trim_start_matches("# ");
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_end_matches(']').to_owned();
        }
        let Some((key, value)) = line.split_once(" = ") else { continue };
        if value.parse::<u64>().is_err() || section.contains(".config") || key.contains(' ') {
            continue;
        }
        let is_limit = section.ends_with(".limits") && LIMITS.iter().any(|it| it.0 == key)
            || section.ends_with(".breaker") && BREAKER.iter().any(|it| it.0 == key);
        let header = format!("[{section}]");
        let is_of_section = RANGES.iter().any(|it| it.0.starts_with(&header) && it.1 == key);
        assert!(is_limit || is_of_section, "[{section}] {key} is in no table");
        numbers += 1;
    }
    assert!(numbers >= RANGES.len() + LIMITS.len() - 2, "{numbers}");
}

#[test]
fn s17_requests_that_could_not_all_have_their_instances_are_refused() {
    let fresh = BUILT_IN.replacen("mode = \"warm\"", "mode = \"fresh\"", 1).replacen(
        "requests = 1024",
        "requests = 60000",
        1,
    );
    let error = tests::load(&fresh).expect_err("too many");
    let problem = &error.problems[0];
    assert_eq!(problem.key, "server.requests");
    assert!(problem.message.contains("there is room for 16000"), "{}", problem.message);
    tests::load(&fresh.replacen("requests = 60000", "requests = 15000", 1)).unwrap();
}
