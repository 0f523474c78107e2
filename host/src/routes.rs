//! Which of a service's routes a request is for, so that plugins and metrics speak of
//! `/2/tweets/{id}` and not of a million paths.

use std::sync::Arc;

use http::Method;

/// A service's routes.
#[derive(Clone, Debug, Default)]
pub struct RouteTable {
    methods: Vec<(Method, matchit::Router<Arc<str>>)>,
}

impl RouteTable {
    /// From methods and templates, `/2/tweets/{id}`. A template that cannot be (two of the same
    /// shape, a brace that never closes) is left out: the service's own router, made from the
    /// same list, refuses it at start-up.
    pub fn new(routes: impl IntoIterator<Item = (Method, String)>) -> Self {
        let mut methods: Vec<(Method, matchit::Router<Arc<str>>)> = Vec::new();
        for (method, template) in routes {
            let at = methods.iter().position(|(known, _)| *known == method).unwrap_or_else(|| {
                methods.push((method, matchit::Router::new()));
                methods.len() - 1
            });
            if let Some((method, router)) = methods.get_mut(at)
                && let Err(error) = router.insert(template.clone(), template.as_str().into())
            {
                tracing::error!(%method, template, %error, "a route cannot be matched for plugins");
            }
        }
        Self { methods }
    }

    /// The template that the path matches for this method. HEAD is answered by what answers
    /// GET, as axum does it.
    pub(crate) fn find(&self, method: &Method, path: &str) -> Option<Arc<str>> {
        let find = |method: &Method| {
            let (_, router) = self.methods.iter().find(|(known, _)| known == method)?;
            router.at(path).ok().map(|found| Arc::clone(found.value))
        };
        find(method).or_else(|| if method == Method::HEAD { find(&Method::GET) } else { None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_matches_by_method_and_shape() {
        let table = RouteTable::new([
            (Method::GET, "/2/tweets/{id}".to_owned()),
            (Method::GET, "/2/tweets".to_owned()),
            (Method::DELETE, "/2/tweets/{id}".to_owned()),
        ]);
        let find = |method, path| table.find(&method, path);
        assert_eq!(find(Method::GET, "/2/tweets/20").as_deref(), Some("/2/tweets/{id}"));
        assert_eq!(find(Method::GET, "/2/tweets").as_deref(), Some("/2/tweets"));
        assert_eq!(find(Method::HEAD, "/2/tweets/20").as_deref(), Some("/2/tweets/{id}"));
        assert_eq!(find(Method::POST, "/2/tweets/20"), None);
        assert_eq!(find(Method::GET, "/2/tweets/20/likes"), None);
    }
}
