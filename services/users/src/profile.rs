//! A profile and the rules for what is in it.

use std::fmt;
use std::str::FromStr;

use pillion_chassis::problem::InvalidParameter;
use pillion_chassis::{Timestamp, UserId};
use serde::{Deserialize, Deserializer, Serialize, de};

/// The service keeps this of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Profile {
    pub(crate) user_id: UserId,
    pub(crate) username: Username,
    pub(crate) about: About,
    /// Whether only followers whom the owner approved see the tweets.
    pub(crate) protected: bool,
    pub(crate) created_at: Timestamp,
}

/// What an owner says about themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct About {
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) location: Option<String>,
    pub(crate) url: Option<String>,
}

/// A handle: 1 to 15 of `A-Z a-z 0-9 _`. Two that differ in case only are the same one.
#[derive(Debug, Clone, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct Username(String);

/// A text is not a handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a username is 1 to 15 letters A to Z, digits and underscores")]
pub(crate) struct UsernameError;

const USERNAME_CHARS_MAX: usize = 15;

/// X's bounds for what a profile says.
const NAME_CHARS_MAX: usize = 50;
const DESCRIPTION_CHARS_MAX: usize = 160;
const LOCATION_CHARS_MAX: usize = 30;
const URL_CHARS_MAX: usize = 100;

/// Reads what an owner says about themselves and collects what is wrong with it. A text that is
/// empty is none.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    /// What is wrong, in the order of the checks.
    pub(crate) errors: Vec<InvalidParameter>,
}

impl Checks {
    /// Says that what was sent under a name breaks its rule.
    pub(crate) fn refuse(&mut self, name: &str, value: &str, rule: &str) {
        self.errors.push(InvalidParameter {
            name: name.to_owned(),
            values: vec![value.to_owned()],
            message: format!("$.{name}: [{value}] is not valid: {rule}"),
        });
    }

    /// Refuses characters that nobody sees, or that turn the text around them: with these one
    /// account looks like another.
    fn readable(&mut self, name: &str, sent: &str) {
        if let Some(c) = pillion_text::unsafe_display_char(sent) {
            let rule = format!("it has the invisible character U+{:04X}", u32::from(c));
            self.refuse(name, sent, &rule);
        }
    }

    /// The name, without space around it.
    pub(crate) fn name(&mut self, sent: &str) -> String {
        let name = sent.trim();
        if !is_line(name, NAME_CHARS_MAX) || pillion_text::is_blank(name) {
            let rule = format!(
                "a name is one line of 1 to {NAME_CHARS_MAX} characters, not all of them invisible"
            );
            self.refuse("name", sent, &rule);
        } else {
            self.readable("name", sent);
        }
        name.to_owned()
    }

    /// The description.
    pub(crate) fn description(&mut self, sent: String) -> Option<String> {
        if sent.chars().count() > DESCRIPTION_CHARS_MAX {
            let rule = format!("a description has at most {DESCRIPTION_CHARS_MAX} characters");
            self.refuse("description", &sent, &rule);
        }
        Some(sent).filter(|text| !text.is_empty())
    }

    /// The location.
    pub(crate) fn location(&mut self, sent: String) -> Option<String> {
        if is_line(&sent, LOCATION_CHARS_MAX) {
            self.readable("location", &sent);
        } else {
            let rule = format!("a location is one line of at most {LOCATION_CHARS_MAX} characters");
            self.refuse("location", &sent, &rule);
        }
        Some(sent).filter(|text| !text.is_empty())
    }

    /// The owner's page.
    pub(crate) fn url(&mut self, sent: String) -> Option<String> {
        if !sent.is_empty() && !is_page(&sent) {
            let rule = format!(
                "a url begins with http:// or https:// and has at most {URL_CHARS_MAX} \
                 characters without spaces"
            );
            self.refuse("url", &sent, &rule);
        }
        Some(sent).filter(|text| !text.is_empty())
    }
}

fn is_line(text: &str, chars_max: usize) -> bool {
    text.chars().count() <= chars_max && !text.chars().any(char::is_control)
}

fn is_page(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    host.is_some_and(|host| !host.is_empty() && !host.starts_with('/'))
        && text.chars().count() <= URL_CHARS_MAX
        && !text.chars().any(|c| c.is_whitespace() || c.is_control())
}

impl Username {
    /// As its owner writes it.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// What all ways to write it have in common.
    pub(crate) fn key(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

impl PartialEq for Username {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl fmt::Display for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Username {
    type Err = UsernameError;

    fn from_str(text: &str) -> Result<Self, UsernameError> {
        let fits = (1..=USERNAME_CHARS_MAX).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if fits { Ok(Self(text.to_owned())) } else { Err(UsernameError) }
    }
}

impl<'de> Deserialize<'de> for Username {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_are_one_whatever_their_case() {
        let jack: Username = "Jack_1".parse().unwrap();
        assert_eq!(jack, "jACK_1".parse().unwrap());
        assert_eq!((jack.as_str(), jack.key().as_str()), ("Jack_1", "jack_1"));
    }

    #[test]
    fn what_is_not_a_handle_is_refused() {
        for text in ["", "jäck", "a b", "a-b", "@jack", "sixteen_letters_"] {
            assert_eq!(text.parse::<Username>(), Err(UsernameError), "{text}");
        }
        assert!("fifteen_letters".parse::<Username>().is_ok());
    }
}
