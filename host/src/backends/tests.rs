//! What is particular to a file that others may hold.

use std::path::Path;

use sqlx::{Connection as _, SqliteConnection};

use super::*;
use crate::limiter::{Bucket, LimiterError, Window};

fn options(path: &Path) -> HostOptions {
    let mut options = HostOptions::new(path.with_extension("host"));
    options.limiter = StateBackend::Sqlite(path.to_owned());
    options.state_call_max = Duration::from_millis(400);
    options
}

fn take(key: &str, quota: Result<Quota, LimiterError>) -> Take {
    Take { plugin: "p".into(), key: key.to_owned(), quota: quota.unwrap(), keys_max: 100 }
}

fn window(limit: u32) -> Result<Quota, LimiterError> {
    Window::new(limit, Duration::from_mins(1)).map(Quota::Window)
}

async fn judged(backend: &Arc<Backend>, wanted: Take) -> Verdict {
    match backend.take(wanted, Duration::from_secs(9)).await {
        Ok(Taken::Judged { verdict, .. }) => verdict,
        other => panic!("{other:?}"),
    }
}

async fn other_connection(path: &Path) -> SqliteConnection {
    SqliteConnection::connect(&format!("sqlite://{}", path.display())).await.unwrap()
}

#[tokio::test]
async fn a_file_that_is_locked_is_unavailable_until_it_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.sqlite");
    let backends = Backends::open(&options(&path)).unwrap();
    let backend = backends.outside.limiter.clone().unwrap();
    assert!(judged(&backend, take("k", window(2))).await.allowed);
    let mut other = other_connection(&path).await;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let began = Instant::now();
    let refused = backend.take(take("k", window(2)), Duration::from_secs(9)).await.unwrap_err();
    assert!(refused.0.contains("state.sqlite") && refused.0.contains("locked"), "{refused:?}");
    assert!(began.elapsed() < Duration::from_secs(5));
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    loop {
        match backend.take(take("k", window(2)), Duration::from_secs(9)).await {
            Ok(Taken::Judged { verdict, .. }) => {
                assert!(verdict.allowed && verdict.remaining == 0, "what failed cost nothing");
                break;
            }
            _ => assert!(began.elapsed() < Duration::from_secs(20), "it does not come back"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_clock_that_was_set_back_locks_nobody_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.sqlite");
    let backends = Backends::open(&options(&path)).unwrap();
    let backend = backends.outside.limiter.clone().unwrap();
    let bucket = || Bucket::new(2, Duration::from_secs(2)).map(Quota::Bucket);
    assert!(judged(&backend, take("k", bucket())).await.allowed);
    assert!(judged(&backend, take("k", window(3))).await.allowed);
    // An hour into the future.
    let mut other = other_connection(&path).await;
    let moved = sqlx::query("UPDATE cells SET at = at + 3600000000000").execute(&mut other).await;
    assert_eq!(moved.unwrap().rows_affected(), 2);
    let full = judged(&backend, take("k", bucket())).await;
    assert!(!full.allowed, "full, but no fuller");
    assert_eq!(full.retry_after, Duration::from_secs(1));
    let began_now = judged(&backend, take("k", window(3))).await;
    assert!(began_now.allowed && began_now.remaining == 1, "what was taken stays taken");
    assert!(began_now.reset <= Duration::from_mins(1));
    let began = Instant::now();
    while !judged(&backend, take("k", bucket())).await.allowed {
        assert!(began.elapsed() < Duration::from_secs(20), "it stays full");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_newer_file_is_refused_and_a_new_one_may_be_opened_by_many_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.sqlite");
    let all: Vec<_> = std::thread::scope(|scope| {
        let open = || Backends::open(&options(&path));
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for opened in all {
        opened.unwrap();
    }
    let mut other = other_connection(&path).await;
    sqlx::query("PRAGMA user_version = 99").execute(&mut other).await.unwrap();
    let error = Backends::open(&options(&path)).unwrap_err().to_string();
    assert!(error.contains("version 99") && error.contains("another file"), "{error}");
    sqlx::query("PRAGMA application_id = 1").execute(&mut other).await.unwrap();
    let error = Backends::open(&options(&path)).unwrap_err().to_string();
    assert!(error.contains("something else"), "{error}");
}

#[test]
fn back_ends_are_closed_on_a_worker_of_another_runtime() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.sqlite");
    let runtime = Builder::new_current_thread().build().unwrap();
    runtime.block_on(async { drop(Backends::open(&options(&path)).unwrap()) });
}

/// More calls than may be in flight wait for their turn; more than may wait are shed, which
/// shows in metrics, and the takes are judged by the host as long as it lasts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d03_calls_beyond_those_in_flight_wait_and_beyond_these_are_shed_visibly() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.sqlite");
    let mut options = options(&path);
    options.state_call_max = Duration::from_secs(30);
    let backends = Backends::open(&options).unwrap();
    let backend = backends.outside.limiter.clone().unwrap();
    assert!(judged(&backend, take("k", window(1))).await.allowed);
    let metric = |line: &str| {
        let mut page = String::new();
        render(&backends.outside, &mut page);
        let values = page.lines().filter(|found| found.starts_with(line));
        values.map(|found| found.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum::<u64>()
    };
    assert_eq!(metric("pillion_limiter_degraded{"), 0);
    // Nothing is answered while another process has the file.
    let mut other = other_connection(&path).await;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let mut calls = tokio::task::JoinSet::new();
    let limit = u32::try_from(IN_FLIGHT_MAX + QUEUED_MAX).unwrap();
    for _ in 0..limit {
        let backend = Arc::clone(&backend);
        let call = async move { backend.take(take("all", window(limit)), options_wait()).await };
        calls.spawn(call);
    }
    let began = Instant::now();
    while backend.admitted.available_permits() > 0 {
        assert!(began.elapsed() < Duration::from_secs(20), "they are not under way");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for _ in 0..10 {
        let shed = backend.take(take("all", window(limit)), options_wait()).await.unwrap_err();
        assert!(shed.0.contains("no more can wait"), "{shed:?}");
        backend.took_locally();
    }
    assert_eq!(metric("pillion_limiter_degraded{"), 1);
    let busy = format!("backend=\"sqlite\",place=\"{}\",outcome=\"busy\"", path.display());
    assert_eq!(metric(&format!("pillion_state_calls_total{{{busy}}}")), 10);
    assert_eq!(metric("pillion_limiter_degraded_takes_total{"), 10);
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    let mut allowed = 0;
    while let Some(call) = calls.join_next().await {
        match call.unwrap() {
            Ok(Taken::Judged { verdict, .. }) => allowed += u32::from(verdict.allowed),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(allowed, limit, "each was judged by the one limiter");
}

/// What a hook may wait: longer than any of these tests takes.
fn options_wait() -> Duration {
    Duration::from_mins(1)
}
