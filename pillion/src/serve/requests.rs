//! What the process counts itself, in Prometheus' text form: connections, requests, and how
//! long each route took. The plugins' metrics are the host's.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, Method, StatusCode};
use pillion_chassis::RouteId;

use super::client_address::{FORWARDED, Proxies, X_FORWARDED_FOR};
use super::refusals::Refusals;

/// Upper bounds of the histogram, in microseconds: from an answer out of memory to the request
/// time-out.
const BUCKETS_US: [u64; 12] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 500_000, 2_500_000, 10_000_000];

/// How a request ended: with a status of `1xx` to `5xx`, or without one.
const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "499"];

/// The place of the class of panics, which are answered 500 further out.
const FAILED: usize = 4;

/// The place of the class of requests whose client left before there was an answer: the number
/// that proxies have made customary, and that no handler here gives.
const LEFT: usize = 5;

/// The requests of one service. There are as many series as routes, whatever clients ask for.
#[derive(Debug)]
pub(crate) struct RequestMetrics {
    service: &'static str,
    routes: Vec<RouteId>,
    /// Template, then method, to the place in `routes`.
    places: HashMap<String, Vec<(Method, usize)>>,
    /// One for each route, and one at the end for what matched none.
    answered: Vec<[Histogram; CLASSES.len()]>,
}

#[derive(Debug, Default)]
struct Histogram {
    buckets: [AtomicU64; BUCKETS_US.len()],
    count: AtomicU64,
    sum_us: AtomicU64,
}

impl RequestMetrics {
    pub(crate) fn new(service: &'static str, routes: Vec<RouteId>) -> Self {
        let mut places: HashMap<String, Vec<(Method, usize)>> = HashMap::new();
        for (index, route) in routes.iter().enumerate() {
            let methods = places.entry(route.template.clone()).or_default();
            methods.push((route.method.clone(), index));
        }
        let answered = std::iter::repeat_with(Default::default).take(routes.len() + 1).collect();
        Self { service, routes, places, answered }
    }

    fn place(&self, template: Option<&str>, method: &Method) -> usize {
        // What answers GET answers HEAD too; the plugins see the same.
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let methods = template.and_then(|template| self.places.get(template));
        methods
            .and_then(|methods| methods.iter().find(|(known, _)| known == method))
            .map_or(self.routes.len(), |(_, index)| *index)
    }

    fn record(&self, place: usize, class: usize, took: Duration) {
        let Some(histogram) = self.answered.get(place).and_then(|route| route.get(class)) else {
            return;
        };
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        for (bucket, bound) in histogram.buckets.iter().zip(BUCKETS_US) {
            // Cumulative buckets are made when they are read, which is seldom.
            if took_us <= bound {
                bucket.fetch_add(1, Ordering::Relaxed);
                break;
            }
        }
        histogram.count.fetch_add(1, Ordering::Relaxed);
        histogram.sum_us.fetch_add(took_us, Ordering::Relaxed);
    }

    fn write(&self, text: &mut String) {
        for (index, classes) in self.answered.iter().enumerate() {
            let route = self.routes.get(index);
            let method = route.map_or("", |route| route.method.as_str());
            let template = route.map_or("", |route| route.template.as_str());
            for (histogram, class) in classes.iter().zip(CLASSES) {
                let count = histogram.count.load(Ordering::Relaxed);
                if count == 0 {
                    continue;
                }
                let labels = format!(
                    "service=\"{}\",method=\"{method}\",route=\"{template}\",status=\"{class}\"",
                    self.service
                );
                histogram.write(text, &labels, count);
            }
        }
    }
}

impl Histogram {
    fn write(&self, text: &mut String, labels: &str, count: u64) {
        const NAME: &str = "pillion_request_duration_seconds";
        let mut below = 0;
        for (bucket, bound) in self.buckets.iter().zip(BUCKETS_US) {
            below += bucket.load(Ordering::Relaxed);
            let bound = Duration::from_micros(bound).as_secs_f64();
            line(text, format_args!("{NAME}_bucket{{{labels},le=\"{bound}\"}} {below}"));
        }
        // A request that was recorded while we read may be in a bucket and not in the count.
        let count = count.max(below);
        line(text, format_args!("{NAME}_bucket{{{labels},le=\"+Inf\"}} {count}"));
        let sum = Duration::from_micros(self.sum_us.load(Ordering::Relaxed)).as_secs_f64();
        line(text, format_args!("{NAME}_sum{{{labels}}} {sum}"));
        line(text, format_args!("{NAME}_count{{{labels}}} {count}"));
    }
}

/// The place of a status's class.
fn class_of(status: StatusCode) -> usize {
    usize::from(status.as_u16() / 100).saturating_sub(1).min(FAILED)
}

/// A request under way, which is counted however it ends.
struct Counted {
    metrics: Arc<RequestMetrics>,
    place: usize,
    begun: Instant,
    /// The answer's, once there is one.
    class: Option<usize>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let unanswered = if std::thread::panicking() { FAILED } else { LEFT };
        let class = self.class.unwrap_or(unanswered);
        self.metrics.record(self.place, class, self.begun.elapsed());
    }
}

/// The layer: from before the plugins to the head of the response.
pub(super) async fn observe(
    State(metrics): State<Arc<RequestMetrics>>,
    request: Request,
    next: Next,
) -> Response {
    let template = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let place = metrics.place(template, request.method());
    let mut counted = Counted { metrics, place, begun: Instant::now(), class: None };
    let response = next.run(request).await;
    counted.class = Some(class_of(response.status()));
    response
}

/// What belongs to no service.
#[derive(Debug, Default)]
pub(crate) struct ProcessMetrics {
    connections: AtomicI64,
    streams: AtomicI64,
    pub(super) refusals: Refusals,
    requests_malformed: AtomicU64,
    is_hint_logged: AtomicBool,
}

impl ProcessMetrics {
    /// One connection more, until the value is dropped.
    pub(super) fn connection(&self) -> impl Drop + '_ {
        struct Open<'a>(&'a AtomicI64);
        impl Drop for Open<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.connections.fetch_add(1, Ordering::Relaxed);
        Open(&self.connections)
    }

    /// So many streams more, or fewer.
    pub(super) fn stream(&self, change: i64) {
        self.streams.fetch_add(change, Ordering::Relaxed);
    }

    pub(super) fn malformed(&self) {
        self.requests_malformed.fetch_add(1, Ordering::Relaxed);
    }

    /// Says once that clients may share one address, when a request says who else sent it.
    pub(super) fn hint_at_proxies(&self, peer: IpAddr, proxies: &Proxies, headers: &HeaderMap) {
        if proxies.is_empty()
            && !self.is_hint_logged.load(Ordering::Relaxed)
            && (headers.contains_key(&X_FORWARDED_FOR) || headers.contains_key(&FORWARDED))
            && !self.is_hint_logged.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                %peer,
                "requests carry X-Forwarded-For or Forwarded, which is ignored; if a proxy is in \
                 front, add it to server.trusted_proxies, or all clients share its address"
            );
        }
    }

    /// Everything as one page of Prometheus' text form.
    pub(crate) fn page(&self, services: &[Arc<RequestMetrics>]) -> String {
        let mut text = String::new();
        let plain = [
            (
                "pillion_connections",
                "gauge",
                "Connections that are open.",
                self.connections.load(Ordering::Relaxed),
            ),
            (
                "pillion_streams",
                "gauge",
                "Streams of tweets and notifications that are open.",
                self.streams.load(Ordering::Relaxed),
            ),
            (
                "pillion_requests_malformed_total",
                "counter",
                "Requests answered 400 before the plugins: their host or path is not valid.",
                i64::try_from(self.requests_malformed.load(Ordering::Relaxed)).unwrap_or(i64::MAX),
            ),
        ];
        for (name, kind, help, value) in plain {
            header(&mut text, name, kind, help);
            line(&mut text, format_args!("{name} {value}"));
        }
        self.refusals.write(&mut text);
        header(
            &mut text,
            "pillion_request_duration_seconds",
            "histogram",
            "From the request's head to the response's, plugins included; status 499: the client \
             left before that.",
        );
        for service in services {
            service.write(&mut text);
        }
        text
    }
}

pub(super) fn header(text: &mut String, name: &str, kind: &str, help: &str) {
    line(text, format_args!("# HELP {name} {help}"));
    line(text, format_args!("# TYPE {name} {kind}"));
}

pub(super) fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{line}");
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn requests_are_counted_by_route_and_never_by_path() {
        let route = RouteId { method: Method::GET, template: "/2/tweets/{id}".to_owned() };
        let metrics = Arc::new(RequestMetrics::new("tweets", vec![route]));
        let app = Router::new()
            .route("/2/tweets/{id}", get(|| async { "a tweet" }))
            .layer(from_fn_with_state(Arc::clone(&metrics), observe));
        for path in ["/2/tweets/1", "/2/tweets/2", "/made/up"] {
            let request = Request::get(path).body(Body::empty()).unwrap();
            app.clone().oneshot(request).await.unwrap();
        }
        // What GET answers is what HEAD answers.
        app.oneshot(Request::head("/2/tweets/1").body(Body::empty()).unwrap()).await.unwrap();
        let page = ProcessMetrics::default().page(&[metrics]);
        assert_eq!(count(&page, "GET", "/2/tweets/{id}", "2xx"), Some(3), "{page}");
        assert_eq!(count(&page, "", "", "4xx"), Some(1), "{page}");
        assert!(!page.contains("/made/up"));
    }

    /// How many requests of the service `tweets` the page tells of.
    fn count(page: &str, method: &str, route: &str, status: &str) -> Option<u64> {
        let series = format!(
            "pillion_request_duration_seconds_count{{service=\"tweets\",method=\"{method}\",\
             route=\"{route}\",status=\"{status}\"}} "
        );
        page.lines().find_map(|line| line.strip_prefix(&series))?.parse().ok()
    }

    #[tokio::test]
    async fn requests_without_an_answer_are_counted_too() {
        let routes = ["/slow", "/panic"]
            .map(|template| RouteId { method: Method::GET, template: template.to_owned() });
        let metrics = Arc::new(RequestMetrics::new("tweets", routes.to_vec()));
        let app = Router::new()
            .route("/slow", get(std::future::pending::<()>))
            .route("/panic", get(|| async { panic!("on purpose") as () }))
            .layer(from_fn_with_state(Arc::clone(&metrics), observe));
        let ask = |path: &str| app.clone().oneshot(Request::get(path).body(Body::empty()).unwrap());
        let left = tokio::time::timeout(Duration::from_millis(10), ask("/slow")).await;
        assert!(left.is_err());
        assert!(tokio::spawn(ask("/panic")).await.unwrap_err().is_panic());
        let page = ProcessMetrics::default().page(&[metrics]);
        assert_eq!(count(&page, "GET", "/slow", "499"), Some(1), "{page}");
        assert_eq!(count(&page, "GET", "/panic", "5xx"), Some(1), "{page}");
    }

    #[test]
    fn buckets_are_cumulative() {
        let metrics = RequestMetrics::new("users", Vec::new());
        for took_us in [50, 100, 101, 20_000_000] {
            metrics.record(0, class_of(StatusCode::OK), Duration::from_micros(took_us));
        }
        let page = ProcessMetrics::default().page(&[Arc::new(metrics)]);
        let bucket = |bound: &str| {
            let end = format!("le=\"{bound}\"}} ");
            page.lines().find_map(|line| Some(line.split_once(&end)?.1.to_owned()))
        };
        assert_eq!(bucket("0.0001").as_deref(), Some("2"), "{page}");
        assert_eq!(bucket("0.00025").as_deref(), Some("3"));
        assert_eq!(bucket("10").as_deref(), Some("3"));
        assert_eq!(bucket("+Inf").as_deref(), Some("4"));
    }
}
