//! Query parameters, read by name and checked together: one 400 tells all that is wrong.

use std::convert::Infallible;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use axum::extract::FromRequestParts;
use http::request::Parts;

use crate::problem::{InvalidParameter, Problem};

/// The query parameters of a request. A handler takes each one that its route has and then
/// calls [`Parameters::finish`], which refuses the request if any was wrong or if there is one
/// that the route does not have: a misspelt parameter that is ignored looks like a wrong answer.
#[derive(Debug, Default)]
pub struct Parameters {
    sent: Vec<(String, String)>,
    known: Vec<&'static str>,
    errors: Vec<InvalidParameter>,
}

/// The names chosen by a list such as `tweet.fields`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields(Vec<&'static str>);

impl Fields {
    /// Whether this name was chosen.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains(&name)
    }
}

impl Parameters {
    /// The parameters of a query string, without its question mark.
    pub fn parse(query: &str) -> Self {
        let sent = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        Self { sent, ..Self::default() }
    }

    /// The text of a parameter, if it is there. Twice is an error.
    pub fn text(&mut self, name: &'static str) -> Option<String> {
        let values = self.take(name);
        if values.len() > 1 {
            self.refuse(name, values, format!("The `{name}` query parameter is there twice"));
            return None;
        }
        values.into_iter().next()
    }

    /// A parameter as a `T`, if it is there.
    pub fn value<T>(&mut self, name: &'static str) -> Option<T>
    where
        T: FromStr,
        T::Err: Display,
    {
        let text = self.text(name)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                let message =
                    format!("The `{name}` query parameter value [{text}] is not valid: {error}");
                self.refuse(name, vec![text], message);
                None
            }
        }
    }

    /// A whole number in a range, or the default when it is not there.
    pub fn number(&mut self, name: &'static str, range: RangeInclusive<u32>, default: u32) -> u32 {
        let Some(text) = self.text(name) else {
            return default;
        };
        match text.parse() {
            Ok(number) if range.contains(&number) => number,
            _ => {
                let message = format!(
                    "The `{name}` query parameter value [{text}] is not a whole number between {} \
                     and {}",
                    range.start(),
                    range.end()
                );
                self.refuse(name, vec![text], message);
                default
            }
        }
    }

    /// A list separated by commas, which must hold 1 to `count_max` values. What is there twice
    /// counts once.
    pub fn list<T>(&mut self, name: &'static str, count_max: usize) -> Vec<T>
    where
        T: FromStr + PartialEq,
        T::Err: Display,
    {
        let texts = self.take_list(name);
        if texts.is_empty() {
            let message = format!("The `{name}` query parameter can not be empty");
            self.refuse(name, Vec::new(), message);
        }
        if texts.len() > count_max {
            let message = format!(
                "The number of values in the `{name}` query parameter list [{}] is not between 1 \
                 and {count_max}",
                texts.len()
            );
            self.refuse(name, Vec::new(), message);
            return Vec::new();
        }
        let mut values = Vec::with_capacity(texts.len());
        for text in texts {
            match text.parse() {
                Ok(value) if !values.contains(&value) => values.push(value),
                Ok(_) => {}
                Err(error) => {
                    let message = format!(
                        "The `{name}` query parameter value [{text}] is not valid: {error}"
                    );
                    self.refuse(name, vec![text], message);
                }
            }
        }
        values
    }

    /// A list of names out of `allowed`; nothing when it is not there.
    pub fn fields(&mut self, name: &'static str, allowed: &[&'static str]) -> Fields {
        let mut chosen = Vec::new();
        for text in self.take_list(name) {
            if let Some(field) = allowed.iter().find(|field| **field == text) {
                chosen.push(*field);
            } else {
                let message = format!(
                    "The `{name}` query parameter value [{text}] is not one of [{}]",
                    allowed.join(",")
                );
                self.refuse(name, vec![text], message);
            }
        }
        Fields(chosen)
    }

    /// Says that what was sent under a name is wrong, for rules of the route's own.
    pub fn refuse(&mut self, name: &str, values: Vec<String>, message: String) {
        self.errors.push(InvalidParameter { name: name.to_owned(), values, message });
    }

    /// 400 if anything was wrong, with every parameter that was.
    pub fn finish(mut self) -> Result<(), Problem> {
        for (name, value) in std::mem::take(&mut self.sent) {
            let known = self.known.join(",");
            let message = format!("The query parameter [{name}] is not one of [{known}]");
            self.refuse(&name, vec![value], message);
        }
        if self.errors.is_empty() {
            return Ok(());
        }
        Err(Problem::invalid_parameters(self.errors))
    }

    fn take_list(&mut self, name: &'static str) -> Vec<String> {
        let values = self.take(name);
        values
            .iter()
            .flat_map(|list| list.split(','))
            .filter(|value| !value.is_empty())
            .map(str::to_owned)
            .collect()
    }

    fn take(&mut self, name: &'static str) -> Vec<String> {
        self.known.push(name);
        self.sent.extract_if(.., |(sent, _)| sent == name).map(|(_, value)| value).collect()
    }
}

impl<S: Sync> FromRequestParts<S> for Parameters {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::parse(parts.uri.query().unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::UserId;

    fn errors(parameters: Parameters) -> Vec<String> {
        let problem = parameters.finish().unwrap_err();
        let errors = problem.document()["errors"].as_array().unwrap().clone();
        errors.iter().map(|error| error["message"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn good_parameters_are_read() {
        let mut query = Parameters::parse("ids=1,2%2C1&user.fields=name,url&max_results=7");
        let ids: Vec<UserId> = query.list("ids", 100);
        assert_eq!(ids.iter().map(|id| id.get()).collect::<Vec<_>>(), [1, 2]);
        let fields = query.fields("user.fields", &["name", "url", "location"]);
        assert!(fields.has("name") && fields.has("url") && !fields.has("location"));
        assert_eq!(query.number("max_results", 5..=100, 10), 7);
        assert_eq!(query.value::<UserId>("since_id"), None);
        query.finish().unwrap();
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once() {
        let mut query =
            Parameters::parse("ids=1,x&user.fields=nam&max_results=101&a=1&a=2&expansion=y");
        query.list::<UserId>("ids", 100);
        query.fields("user.fields", &["name"]);
        query.number("max_results", 5..=100, 10);
        query.text("a");
        query.list::<UserId>("usernames", 100);
        let errors = errors(query);
        assert_eq!(
            errors,
            [
                "The `ids` query parameter value [x] is not valid: an id is 1 to 19 decimal digits",
                "The `user.fields` query parameter value [nam] is not one of [name]",
                "The `max_results` query parameter value [101] is not a whole number between 5 \
                 and 100",
                "The `a` query parameter is there twice",
                "The `usernames` query parameter can not be empty",
                "The query parameter [expansion] is not one of \
                 [ids,user.fields,max_results,a,usernames]",
            ]
        );
    }

    #[test]
    fn a_list_is_bounded() {
        let mut query = Parameters::parse("ids=1,2,3");
        assert!(query.list::<UserId>("ids", 2).is_empty());
        assert_eq!(
            errors(query),
            ["The number of values in the `ids` query parameter list [3] is not between 1 and 2"]
        );
    }
}
