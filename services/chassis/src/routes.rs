//! One table of routes, from which come both the router and the list that the host matches.

use axum::Router;
use axum::handler::Handler;
use axum::routing::{self, MethodRouter};
use http::Method;

use crate::problem::{no_such_method, no_such_route};

/// A route's name: what plugins' configurations, logs and metrics call it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RouteId {
    /// The method.
    pub method: Method,
    /// The path, with `{name}` for a parameter: `/2/tweets/{id}`.
    pub template: String,
}

impl std::fmt::Display for RouteId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.template)
    }
}

/// A service's routes under construction; `S` is what its handlers share.
#[derive(Debug)]
pub struct Routes<S> {
    router: Router<S>,
    ids: Vec<RouteId>,
}

impl<S: Clone + Send + Sync + 'static> Default for Routes<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    /// No routes yet.
    pub fn new() -> Self {
        Self { router: Router::new(), ids: Vec::new() }
    }

    /// Adds a route for GET, which also answers HEAD: who matches requests with the list takes
    /// HEAD for GET.
    #[must_use]
    pub fn get<H: Handler<T, S>, T: 'static>(self, template: &str, handler: H) -> Self {
        self.add(Method::GET, template, routing::get(handler))
    }

    /// Adds a route for POST.
    #[must_use]
    pub fn post<H: Handler<T, S>, T: 'static>(self, template: &str, handler: H) -> Self {
        self.add(Method::POST, template, routing::post(handler))
    }

    /// Adds a route for PUT.
    #[must_use]
    pub fn put<H: Handler<T, S>, T: 'static>(self, template: &str, handler: H) -> Self {
        self.add(Method::PUT, template, routing::put(handler))
    }

    /// Adds a route for DELETE.
    #[must_use]
    pub fn delete<H: Handler<T, S>, T: 'static>(self, template: &str, handler: H) -> Self {
        self.add(Method::DELETE, template, routing::delete(handler))
    }

    fn add(mut self, method: Method, template: &str, route: MethodRouter<S>) -> Self {
        self.router = self.router.route(template, route);
        self.ids.push(RouteId { method, template: template.to_owned() });
        self
    }

    /// The router, which answers 404 and 405 as problems, and the list of its routes.
    pub fn finish(self, state: S) -> (Router, Vec<RouteId>) {
        let router = self
            .router
            .fallback(no_such_route)
            .method_not_allowed_fallback(no_such_method)
            .with_state(state);
        (router, self.ids)
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn what_no_route_has_is_a_problem() {
        let (router, ids) = Routes::new()
            .get("/a/{id}", async || "got")
            .post("/a/{id}", async || "posted")
            .finish(());
        assert_eq!(
            ids.iter().map(RouteId::to_string).collect::<Vec<_>>(),
            ["GET /a/{id}", "POST /a/{id}"]
        );
        for (method, path, status) in
            [("GET", "/a/1", 200), ("HEAD", "/a/1", 200), ("PUT", "/a/1", 405), ("GET", "/b", 404)]
        {
            let request =
                http::Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
            let response = router.clone().oneshot(request).await.unwrap();
            assert_eq!(response.status(), status, "{method} {path}");
            if status >= 400 {
                assert_eq!(response.headers()["content-type"], "application/problem+json");
            }
            if status == 405 {
                assert_eq!(response.headers()["allow"], "GET,HEAD,POST");
            }
        }
    }
}
