//! From the operator's JSON to a plugin, or to errors that name keys.

use serde::de::DeserializeOwned;

use crate::{ConfigError, Plugin};

impl ConfigError {
    /// One wrong key. `key` is its path, `routes[2].scopes`; `reason` says what is wrong and
    /// what to write instead.
    pub fn new(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { key: key.into(), reason: reason.into() }
    }
}

/// Makes the plugin `P` of a configuration.
pub(crate) fn configure<P: Plugin>(json: &str) -> Result<P, Vec<ConfigError>> {
    P::new(parse(json).map_err(|error| vec![error])?)
}

fn parse<C: DeserializeOwned>(json: &str) -> Result<C, ConfigError> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let config = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        explain(if path == "." { "" } else { &path }, error.inner())
    })?;
    deserializer.end().map_err(|error| explain("", &error))?;
    Ok(config)
}

fn explain(path: &str, error: &serde_json::Error) -> ConfigError {
    let mut reason = error.to_string();
    if error.is_data() {
        // The operator wrote no JSON, so that lines and columns would mislead.
        if let Some(position) = reason.rfind(" at line ") {
            reason.truncate(position);
        }
    }
    // serde blames the object around a missing key: name the key itself.
    let missing = reason
        .strip_prefix("missing field `")
        .and_then(|rest| rest.strip_suffix('`'))
        .map(|key| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") });
    match missing {
        Some(key) => ConfigError::new(key, "is missing and has no default"),
        None => ConfigError::new(path, reason),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        #[expect(dead_code, reason = "only parsed")]
        burst: u32,
        #[expect(dead_code, reason = "only parsed")]
        #[serde(default)]
        routes: BTreeMap<String, Vec<Route>>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Route {
        #[expect(dead_code, reason = "only parsed")]
        scopes: Vec<String>,
    }

    fn error(json: &str) -> (String, String) {
        let error = parse::<Config>(json).unwrap_err();
        (error.key, error.reason)
    }

    #[test]
    fn an_error_names_the_path_of_the_key() {
        let (key, reason) =
            error(r#"{"burst":1,"routes":{"GET /":[{"scopes":["a"]},{"scopes":[3]}]}}"#);
        assert_eq!(key, "routes.GET /[1].scopes[0]");
        assert_eq!(reason, "invalid type: integer `3`, expected a string");
    }

    #[test]
    fn an_unknown_key_is_named_with_the_known_ones() {
        let (key, reason) = error(r#"{"burts":1}"#);
        assert_eq!(key, "burts");
        assert_eq!(reason, "unknown field `burts`, expected `burst` or `routes`");
    }

    #[test]
    fn a_missing_key_is_named_itself() {
        assert_eq!(error("{}"), ("burst".into(), "is missing and has no default".into()));
        let (key, _) = error(r#"{"burst":1,"routes":{"GET /":[{}]}}"#);
        assert_eq!(key, "routes.GET /[0].scopes");
    }

    #[test]
    fn text_that_is_not_json_says_where() {
        assert_eq!(
            error(r#"{"burst":}"#),
            ("burst".into(), "expected value at line 1 column 10".into())
        );
        assert_eq!(error(r#"{"burst":1} x"#).1, "trailing characters at line 1 column 13");
    }
}
