//! Something for each route, by method and template: what tables in configurations become.

use std::str::FromStr;

/// A route as configurations write it: `GET /2/tweets/{id}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    template: Box<str>,
    method: Box<str>,
}

impl FromStr for Route {
    type Err = &'static str;

    /// # Errors
    /// What to write instead.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once(' ').filter(|(method, template)| {
            !method.is_empty()
                && method.bytes().all(|byte| byte.is_ascii_uppercase())
                && template.starts_with('/')
                && !template.contains(' ')
        });
        match parts {
            None => Err("must be `METHOD /template`, such as `GET /2/tweets/{id}`"),
            Some(("HEAD", _)) => Err("is what `GET` says: `HEAD` has no entry of its own"),
            Some((method, template)) => {
                Ok(Self { template: template.into(), method: method.into() })
            }
        }
    }
}

/// A value for each route. Looking one up compares a few strings and allocates nothing.
#[derive(Clone, Debug)]
pub struct RouteMap<T> {
    /// Sorted by route.
    entries: Vec<(Route, T)>,
}

impl<T> FromIterator<(Route, T)> for RouteMap<T> {
    /// Of two values for one route one remains.
    fn from_iter<I: IntoIterator<Item = (Route, T)>>(entries: I) -> Self {
        let mut entries: Vec<_> = entries.into_iter().collect();
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        entries.dedup_by(|(a, _), (b, _)| a == b);
        Self { entries }
    }
}

impl<T> RouteMap<T> {
    /// The value for a request's fields `method` and `route`. `HEAD` has that of `GET`, whose
    /// handler answers it.
    pub fn get(&self, method: &str, template: &str) -> Option<&T> {
        let method = if method == "HEAD" { "GET" } else { method };
        let found = self
            .entries
            .binary_search_by(|(route, _)| {
                (&*route.template, &*route.method).cmp(&(template, method))
            })
            .ok()?;
        self.entries.get(found).map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_by_method_and_template() {
        let routes = ["GET /a", "POST /a", "GET /a/{id}", "DELETE /a/{id}"];
        let map: RouteMap<usize> = routes
            .iter()
            .enumerate()
            .map(|(index, route)| (route.parse().unwrap(), index))
            .collect();
        for (method, template, expected) in [
            ("GET", "/a", Some(0)),
            ("HEAD", "/a", Some(0)),
            ("POST", "/a", Some(1)),
            ("GET", "/a/{id}", Some(2)),
            ("HEAD", "/a/{id}", Some(2)),
            ("DELETE", "/a/{id}", Some(3)),
            ("DELETE", "/a", None),
            ("get", "/a", None),
            ("GET", "/a/", None),
        ] {
            assert_eq!(map.get(method, template).copied(), expected, "{method} {template}");
        }
    }

    #[test]
    fn anything_else_is_no_route() {
        for text in ["", "GET", "GET ", "GET a", "get /a", "/a", "GET  /a", "GET /a b", "HEAD /a"] {
            assert!(text.parse::<Route>().is_err(), "{text:?}");
        }
    }
}
