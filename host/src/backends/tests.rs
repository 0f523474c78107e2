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
