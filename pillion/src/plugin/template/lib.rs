//! Turns away callers whose user agent is on a list.

use pillion_plugin::{
    ConfigError, Decision, HttpResponse, JsonSchema, OnRequest, Plugin, export, fields,
};

struct Doorman {
    config: Config,
}

/// What the operator writes under `[plugins.PLUGIN_NAME.config]`.
#[derive(serde::Deserialize, JsonSchema)]
#[schemars(crate = "pillion_plugin::schemars")]
#[serde(default, deny_unknown_fields)]
struct Config {
    /// User agents to turn away.
    unwanted: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self { unwanted: vec!["bad-robot/1.0".to_owned()] }
    }
}

fields! { struct Seen<'a> { agent: Option<&'a [u8]> = "header:user-agent" } }

impl Plugin for Doorman {
    type Config = Config;

    fn new(config: Config) -> Result<Self, Vec<ConfigError>> {
        Ok(Self { config })
    }
}

impl OnRequest for Doorman {
    type Fields<'a> = Seen<'a>;

    fn on_request(&mut self, seen: Seen<'_>) -> Decision {
        match seen.agent {
            Some(agent) if self.config.unwanted.iter().any(|it| it.as_bytes() == agent) => {
                HttpResponse::problem(403, "Forbidden", "Not with this user agent.").into()
            }
            _ => Decision::Continue,
        }
    }
}

export!(Doorman: request);

#[cfg(test)]
mod tests {
    use pillion_plugin::testing::{Request, configure};

    use super::*;

    #[test]
    fn only_unwanted_agents_are_turned_away() {
        let mut doorman = configure::<Doorman>(r#"{"unwanted": ["bad/1.0"]}"#).unwrap();
        let good = Request::get("/").header("user-agent", "good/1.0").on_request(&mut doorman);
        assert_eq!(good, Decision::Continue);
        let bad = Request::get("/").header("user-agent", "bad/1.0").on_request(&mut doorman);
        let Decision::Respond(response) = bad else { panic!("should be turned away: {bad:?}") };
        assert_eq!(response.status, 403);
    }

    #[test]
    fn a_wrong_key_is_named() {
        let errors = configure::<Doorman>(r#"{"unwanted": [3]}"#).err().unwrap();
        assert_eq!(errors[0].key, "unwanted[0]");
    }
}
