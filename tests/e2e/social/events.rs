//! What operators do with the data: copy it while it changes, make it anew of the events, and
//! start on it with another version of the program.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pillion_tests::build;
use pillion_tests::system::System;

use super::{Person, World, without_limits};

#[tokio::test]
async fn everything_is_made_anew_of_events_and_stays_the_same() {
    let mut world = World::start();
    super::home::says_and_shares(&world).await;
    let path = "/admin/v1/events/tweets?count=1000";
    let tail = |world: &World| {
        let (admin, token) = world.system.admin_of("tweets");
        async move { admin.get(path).bearer(&token).send().await.expect(200).json() }
    };
    let before = tail(&world).await;
    world.rebuilds_the_same().await;
    // Twice, and after a restart.
    world.rebuilds_the_same().await;
    world.system.stop();
    world.system.launch();
    world.settle().await;
    world.rebuilds_the_same().await;
    assert_eq!(tail(&world).await, before, "the events themselves never change");
}

/// What a person who reads everything sees of a system.
async fn seen(world: &World, person: &Person) -> Vec<Vec<String>> {
    let id = &person.id;
    let mut all = Vec::new();
    for path in [
        format!("/2/users/{id}/tweets?max_results=100"),
        format!("/2/users/{id}/timelines/reverse_chronological?max_results=100"),
        format!("/2/users/{id}/liked_tweets?max_results=100"),
        format!("/2/users/{id}/followers"),
        format!("/2/users/{id}/following"),
        "/2/tweets/search/recent?query=number&max_results=100".to_owned(),
        "/pillion/v1/notifications?max_results=100".to_owned(),
    ] {
        all.push(world.all(person, &path).await);
    }
    all
}

/// Waits until each writer has written some more.
async fn until_more_is_written(written: &[Arc<AtomicUsize>]) {
    const MORE: usize = 5;
    let before: Vec<usize> = written.iter().map(|count| count.load(Ordering::Relaxed)).collect();
    let began = Instant::now();
    let is_more = |(count, before): (&Arc<AtomicUsize>, &usize)| {
        count.load(Ordering::Relaxed) >= before + MORE
    };
    while !written.iter().zip(&before).all(is_more) {
        assert!(began.elapsed() < Duration::from_mins(1), "writers do not get on");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_while_writes_go_on_is_a_system_of_one_moment() {
    let world = Arc::new(World::of(System::start_with(without_limits)));
    let [ann, bob] = world.people(["ann", "bob"]).await;
    world.follow(&ann, &bob).await;
    world.follow(&bob, &ann).await;
    let early = world.tweet(&bob, "number one of all").await;
    world.settle().await;
    let written = [Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0))];
    let stopped = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for (person, count) in [&ann, &bob].into_iter().zip(&written) {
        let (world, person, stopped) = (world.clone(), person.clone(), stopped.clone());
        let count = count.clone();
        writers.push(tokio::spawn(async move {
            let mut written = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let tweet = world.tweet(&person, &format!("number {}", written.len())).await;
                world.like(&person, &tweet).await;
                written.push(tweet);
                count.store(written.len(), Ordering::Relaxed);
            }
            written
        }));
    }
    until_more_is_written(&written).await;
    let to = world.system.folder().join("backup");
    let mut command = Command::new(build::pillion());
    command.arg("backup").arg(&to).arg("--data").arg(world.system.data());
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic");
    let output = output.expect("the program runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    until_more_is_written(&written).await;
    stopped.store(true, Ordering::Relaxed);
    let mut written = Vec::new();
    for writer in writers {
        written.push(writer.await.expect("writes went on"));
    }
    // A backup that is there is not overwritten; nor is a folder with data.
    let again = bare(&["backup", path(&to), "--data", path(&world.system.data())]);
    assert!(!again.0 && again.1.contains("is there already"), "{}", again.1);
    let over = bare(&["restore", path(&to), "--data", path(&world.system.data())]);
    assert!(!over.0 && over.1.contains("is not empty"), "{}", over.1);

    let mut restored = System::new(without_limits, Vec::new());
    let (passes, said) = bare(&["restore", path(&to), "--data", path(&restored.data())]);
    assert!(passes, "{said}");
    restored.launch();
    let restored = World::of(restored);
    // The same accounts with the same passwords, and their tokens, for the keys are the same.
    let them = restored.again(&ann).await;
    restored.settle().await;
    for (person, written) in [&ann, &bob].into_iter().zip(&written) {
        let path = format!("/2/users/{}/tweets?max_results=100", person.id);
        let mut kept = restored.all(&them, &path).await;
        kept.reverse();
        let kept: Vec<String> = kept.into_iter().filter(|tweet| *tweet != early).collect();
        // What was written first, up to the moment of the backup, without a hole.
        assert!(!kept.is_empty(), "nothing of what was written before the backup");
        assert!(kept.len() < written.len(), "nothing was written after it");
        assert_eq!(kept, written[..kept.len()]);
        // Likes are there for what they like, at most the last one is missing.
        let path = format!("/2/users/{}/liked_tweets?max_results=100", person.id);
        let mut liked = restored.all(&them, &path).await;
        liked.reverse();
        assert!(kept.len() - liked.len() <= 1, "{} of {}", liked.len(), kept.len());
        assert_eq!(liked, kept[..liked.len()]);
    }
    // Every service is as far as the others.
    let home = restored.home(&them).await;
    let mut own = restored.all(&them, &format!("/2/users/{}/tweets?max_results=100", ann.id)).await;
    own.extend(restored.all(&them, &format!("/2/users/{}/tweets?max_results=100", bob.id)).await);
    own.sort_by_key(|id| std::cmp::Reverse(id.parse::<u64>().expect("an id")));
    own.truncate(800);
    assert_eq!(home, own);
    restored.rebuilds_the_same().await;
    // It goes on from there, alone.
    let before = seen(&world, &ann).await;
    let new = restored.tweet(&them, "life goes on").await;
    restored.settle().await;
    assert_eq!(restored.home(&them).await.first(), Some(&new));
    assert_eq!(seen(&world, &ann).await, before);
}

#[tokio::test]
async fn a_damaged_backup_is_refused_and_leaves_nothing() {
    let mut world = World::of(System::start_with(without_limits));
    let [ann] = world.people(["ann"]).await;
    world.tweet(&ann, "kept").await;
    world.system.stop();
    let to = world.system.folder().join("backup");
    let (passes, said) = bare(&["backup", path(&to), "--data", path(&world.system.data())]);
    assert!(passes, "{said}");
    let tweets = to.join("tweets.sqlite");
    let mut bytes = std::fs::read(&tweets).expect("a copy");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&tweets, &bytes).expect("written");
    let folder = world.system.folder().join("restored");
    let (passes, said) = bare(&["restore", path(&to), "--data", path(&folder)]);
    assert!(!passes && said.contains("tweets.sqlite") && said.contains("damaged"), "{said}");
    assert!(!folder.exists());
    let (passes, said) = bare(&["restore", path(world.system.folder()), "--data", path(&folder)]);
    assert!(!passes && said.contains("is no backup"), "{said}");
    let (passes, said) = bare(&["backup", path(&folder), "--data", "/nowhere"]);
    assert!(!passes && said.contains("/nowhere"), "{said}");
    assert!(!folder.exists());
}

#[tokio::test]
async fn a_newer_or_foreign_schema_is_refused_and_left_alone() {
    let mut world = World::of(System::start_with(without_limits));
    let [ann] = world.people(["ann"]).await;
    world.tweet(&ann, "kept").await;
    world.system.stop();
    let data = world.system.data();
    let sqlite = |statement: &str| {
        // Python's own, so that no second SQLite is linked into the suite.
        let script = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute(sys.argv[2]); c.commit()";
        let run = Command::new("python3")
            .args(["-c", script])
            .arg(data.join("graph.sqlite"))
            .arg(statement)
            .output();
        let run = run.expect("Python runs");
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    };
    let refused = |world: &World| {
        let output = world
            .system
            .command(&data, pillion_tests::system::FREE, pillion_tests::system::FREE)
            .output()
            .expect("the program runs");
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    sqlite(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'from the future', TRUE, x'00', 0)",
    );
    let said = refused(&world);
    assert!(said.contains("graph.sqlite") && said.contains("newer version"), "{said}");
    assert!(said.contains("9999"), "{said}");
    sqlite("DELETE FROM _sqlx_migrations WHERE version = 9999");
    // Another's migrations under the same numbers.
    sqlite("UPDATE _sqlx_migrations SET checksum = x'00' WHERE version = 1");
    let said = refused(&world);
    assert!(said.contains("graph.sqlite") && said.contains("belongs to another service"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}

#[tokio::test]
async fn another_services_database_is_refused() {
    let mut world = World::of(System::start_with(without_limits));
    world.system.stop();
    let data = world.system.data();
    std::fs::copy(data.join("graph.sqlite"), data.join("search.sqlite")).expect("a copy");
    for rest in ["search.sqlite-wal", "search.sqlite-shm"] {
        let rest = data.join(rest);
        if rest.exists() {
            std::fs::remove_file(rest).expect("removed");
        }
    }
    let free = pillion_tests::system::FREE;
    let output = world.system.command(&data, free, free).output().expect("the program runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "it starts on another service's database");
    assert!(said.contains("search.sqlite") && said.contains("belongs to another"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}

fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Whether it passed, and what it said.
fn bare(arguments: &[&str]) -> (bool, String) {
    let output = System::bare(arguments);
    let said =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    (output.status.success(), said.concat())
}
