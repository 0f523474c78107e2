//! The table of what each route needs, and the decision by it.

use std::collections::BTreeMap;

use pillion_plugin::{ConfigError, Route, RouteMap};

use crate::config::Access;

/// Scopes as bits, in the order in which the table first names them. Scopes that no route
/// needs have no bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scopes(u128);

/// As many as [`Scopes`] has bits.
const SCOPES_MAX: usize = 128;

impl Scopes {
    pub(crate) fn contain(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }
}

/// What one route needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    Public,
    Token { scopes: Scopes, app: bool },
}

/// What kind of caller a token stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Somebody, by an application.
    User,
    /// An application as itself. Its token needs the scopes like a user's if it has any at all;
    /// one without, as X's are, passes wherever applications may.
    App { scoped: bool },
    /// One of our own services as itself; it needs the scopes like a user.
    Service,
}

/// Why a good token is not good enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denial {
    /// Some of these scopes are missing.
    Scopes(Scopes),
    /// The route needs a user.
    NeedsUser,
}

impl Rule {
    /// Whether a caller of `kind` with `held` scopes may pass.
    pub(crate) fn admits(self, kind: Kind, held: Scopes) -> Result<(), Denial> {
        let Self::Token { scopes, app } = self else {
            return Ok(());
        };
        match kind {
            Kind::App { .. } if !app => Err(Denial::NeedsUser),
            Kind::App { scoped: false } => Ok(()),
            // Without scopes the route asks for any user, and a service is none.
            Kind::Service if scopes == Scopes::default() && !app => Err(Denial::NeedsUser),
            _ if held.contain(scopes) => Ok(()),
            _ => Err(Denial::Scopes(scopes)),
        }
    }
}

/// What each route needs.
#[derive(Debug)]
pub(crate) struct Table {
    rules: RouteMap<Rule>,
    scopes: Vec<String>,
}

impl Table {
    /// Reads the table `routes` of the configuration.
    pub(crate) fn new(routes: BTreeMap<String, Access>) -> Result<Self, Vec<ConfigError>> {
        let mut table = Self { rules: RouteMap::from_iter([]), scopes: Vec::new() };
        let mut errors = Vec::new();
        if routes.is_empty() {
            errors.push(ConfigError::new("routes", "is empty: every route would be closed"));
        }
        let mut rules = Vec::with_capacity(routes.len());
        for (text, access) in routes {
            let route = text.parse::<Route>().map_err(|reason| (String::new(), reason.to_owned()));
            match route.and_then(|route| Ok((route, table.rule_of(access)?))) {
                Ok(rule) => rules.push(rule),
                Err((key, reason)) => {
                    errors.push(ConfigError::new(format!("routes.{text}{key}"), reason));
                }
            }
        }
        if table.scopes.len() > SCOPES_MAX {
            let count = table.scopes.len();
            let reason = format!("name {count} different scopes; at most {SCOPES_MAX}");
            errors.push(ConfigError::new("routes", reason));
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        table.rules = rules.into_iter().collect();
        Ok(table)
    }

    /// The rule, or what is wrong under which key of the route.
    fn rule_of(&mut self, access: Access) -> Result<Rule, (String, String)> {
        let wrong = |key: &str, reason: String| Err((key.to_owned(), reason));
        match (access.public, access.scopes) {
            (true, None) if !access.app => Ok(Rule::Public),
            (true, _) => {
                wrong(".public", "excludes `scopes` and `app`: remove them, or `public`".to_owned())
            }
            (false, None) => {
                wrong("", "needs `public = true`, or `scopes` (`[]` lets any user in)".to_owned())
            }
            (false, Some(names)) => {
                let mut scopes = Scopes::default();
                for (index, name) in names.into_iter().enumerate() {
                    if !is_scope(&name) {
                        return wrong(
                            &format!(".scopes[{index}]"),
                            format!(
                                "`{name}` is no scope: visible ASCII without spaces, quotes and \
                                 backslashes"
                            ),
                        );
                    }
                    scopes.0 |= self.bit(name);
                }
                Ok(Rule::Token { scopes, app: access.app })
            }
        }
    }

    /// The bit of a scope, new or known; none past the bound, which `new` reports.
    fn bit(&mut self, name: String) -> u128 {
        let index = self.scopes.iter().position(|known| *known == name).unwrap_or_else(|| {
            self.scopes.push(name);
            self.scopes.len() - 1
        });
        u32::try_from(index).ok().and_then(|index| 1_u128.checked_shl(index)).unwrap_or(0)
    }

    /// What a route needs.
    pub(crate) fn rule(&self, method: &str, template: &str) -> Option<Rule> {
        self.rules.get(method, template).copied()
    }

    /// The bits of a token's scopes, which single spaces separate.
    pub(crate) fn scopes(&self, names: &str) -> Scopes {
        let bits = names.split(' ').filter_map(|name| {
            let index = self.scopes.iter().position(|known| known == name)?;
            1_u128.checked_shl(u32::try_from(index).ok()?)
        });
        Scopes(bits.fold(0, |all, bit| all | bit))
    }

    /// The names of scopes, separated by spaces.
    pub(crate) fn names(&self, scopes: Scopes) -> String {
        let named = self.scopes.iter().enumerate().filter(|(index, _)| scopes.0 >> index & 1 == 1);
        named.map(|(_, name)| name.as_str()).collect::<Vec<_>>().join(" ")
    }
}

/// `scope-token` of RFC 6749.
fn is_scope(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(json: &str) -> Result<Table, Vec<(String, String)>> {
        let routes = serde_json::from_str(json).unwrap();
        Table::new(routes)
            .map_err(|errors| errors.into_iter().map(|it| (it.key, it.reason)).collect())
    }

    #[test]
    fn finds_routes_by_method_and_template() {
        let table = table(
            r#"{"GET /2/tweets": {"scopes": ["tweet.read"], "app": true}, "POST /2/tweets": {"scopes": ["tweet.write"]}, "POST /a": {"public": true}}"#,
        )
        .unwrap();
        let read = table.scopes("tweet.read");
        let write = table.scopes("tweet.write");
        assert_eq!(table.rule("GET", "/2/tweets"), Some(Rule::Token { scopes: read, app: true }));
        assert_eq!(table.rule("HEAD", "/2/tweets"), Some(Rule::Token { scopes: read, app: true }));
        assert_eq!(
            table.rule("POST", "/2/tweets"),
            Some(Rule::Token { scopes: write, app: false })
        );
        assert_eq!(table.rule("POST", "/a"), Some(Rule::Public));
        assert_eq!(table.rule("GET", "/a"), None);
        assert_eq!(table.rule("HEAD", "/a"), None);
        assert_eq!(table.rule("DELETE", "/2/tweets"), None);
        assert_eq!(
            table.names(table.scopes("tweet.write other tweet.read")),
            "tweet.read tweet.write"
        );
    }

    #[test]
    fn every_kind_of_caller_against_every_kind_of_rule() {
        let one = Scopes(1);
        let none = Scopes::default();
        let rule = |scopes, app| Rule::Token { scopes, app };
        let (bare, scoped) = (Kind::App { scoped: false }, Kind::App { scoped: true });
        for (rule, kind, held, expected) in [
            (Rule::Public, bare, none, Ok(())),
            (Rule::Public, scoped, none, Ok(())),
            (rule(one, false), Kind::User, one, Ok(())),
            (rule(one, false), Kind::User, Scopes(3), Ok(())),
            (rule(one, false), Kind::User, Scopes(2), Err(Denial::Scopes(one))),
            (rule(none, false), Kind::User, none, Ok(())),
            (rule(one, true), bare, none, Ok(())),
            (rule(one, false), bare, none, Err(Denial::NeedsUser)),
            (rule(one, true), scoped, Scopes(3), Ok(())),
            (rule(one, true), scoped, Scopes(2), Err(Denial::Scopes(one))),
            // It has scopes, but none that any route needs.
            (rule(one, true), scoped, none, Err(Denial::Scopes(one))),
            (rule(none, true), scoped, none, Ok(())),
            (rule(one, false), scoped, one, Err(Denial::NeedsUser)),
            (rule(one, false), Kind::Service, one, Ok(())),
            (rule(one, true), Kind::Service, none, Err(Denial::Scopes(one))),
            (rule(none, false), Kind::Service, one, Err(Denial::NeedsUser)),
            (rule(none, true), Kind::Service, none, Ok(())),
        ] {
            assert_eq!(rule.admits(kind, held), expected, "{rule:?} {kind:?} {held:?}");
        }
    }

    #[test]
    fn every_error_names_its_route() {
        let errors = table(
            r#"{"GET": {"public": true}, "GET /a": {}, "GET /b": {"public": true, "app": true},
                "GET /c": {"scopes": ["ok", "not ok"]}, "get /d": {"scopes": []}, "GET d": {"scopes": []}}"#,
        )
        .unwrap_err();
        let keys: Vec<&str> = errors.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "routes.GET",
                "routes.GET /a",
                "routes.GET /b.public",
                "routes.GET /c.scopes[1]",
                "routes.GET d",
                "routes.get /d"
            ]
        );
        assert_eq!(table("{}").unwrap_err()[0].0, "routes");
    }

    #[test]
    fn the_bound_of_scopes_is_reported() {
        let names: Vec<String> = (0..129).map(|index| format!("\"s{index}\"")).collect();
        let json = format!(r#"{{"GET /a": {{"scopes": [{}]}}}}"#, names.join(","));
        assert_eq!(
            table(&json).unwrap_err(),
            [("routes".into(), "name 129 different scopes; at most 128".into())]
        );
    }
}
