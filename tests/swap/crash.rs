//! `kill -9` while a swap is under way.

use std::time::{Duration, Instant};

use pillion_tests::build;
use pillion_tests::system::System;
use serde_json::{Value, json};

use crate::under_load::{another_version, swap, with_witness};

const KILLS: u64 = 12;

/// The digest and the stamp that run.
async fn running(system: &System) -> (String, String) {
    let list = system
        .admin()
        .get("/admin/v1/plugins")
        .bearer(&system.admin_token())
        .send()
        .await
        .expect(200)
        .json();
    let witness = list["data"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|plugin| plugin["name"] == json!("witness"));
    let digest = witness.and_then(|plugin| plugin["digest"].as_str()).expect("a digest").to_owned();
    let token = system.demo("bearer_token");
    let answer = system.client.get("/2/users/me").bearer(&token).send().await.expect(200);
    let stamp = answer.header("x-witness").split('/').next().expect("a stamp").to_owned();
    (digest, stamp)
}

fn digest(path: &std::path::Path) -> String {
    pillion_host::Digest::of(&std::fs::read(path).expect("a component")).to_string()
}

/// A swap's body, and the digest of its component if it brings one: every other one does.
fn request(system: &System, number: u64) -> (Value, Option<String>) {
    let config = json!({ "stamp": number });
    if number.is_multiple_of(2) {
        return (json!({ "config": config }), None);
    }
    let component = another_version(&build::fixture("witness"), number, system.folder());
    let digest = digest(&component);
    (json!({ "component": component, "config": config }), Some(digest))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_during_activation_leaves_the_old_or_the_new_set() {
    let mut system = System::start_with(with_witness);
    // How long a swap takes here: of the configuration only, and with code to compile.
    let mut took = [Duration::ZERO; 2];
    for (took, body) in took.iter_mut().zip([request(&system, 1_000), request(&system, 1_001)]) {
        let began = Instant::now();
        swap(&system.admin(), &system.admin_token(), "witness", &body.0).await;
        *took = began.elapsed();
    }
    let mut old = running(&system).await;
    let (mut stayed, mut changed) = (0, 0);
    for kill in 1..=KILLS {
        let (body, new) = request(&system, kill);
        let new = (new.unwrap_or_else(|| old.0.clone()), kill.to_string());
        let (admin, token) = (system.admin(), system.admin_token());
        let swapping = tokio::spawn(async move {
            let request = admin.post("/admin/v1/plugins/witness/swap").bearer(&token).json(&body);
            request.try_send().await.is_ok_and(|answer| answer.status == 200)
        });
        // From the swap's beginning to a little after its end.
        let share = 1.2 * f64::from(u32::try_from(kill).expect("small")) / 12.0;
        tokio::time::sleep(took[usize::from(kill % 2 == 1)].mul_f64(share)).await;
        system.kill();
        let acknowledged = swapping.await.expect("no panic");
        system.launch();
        let now = running(&system).await;
        assert!(
            now == old || now == new,
            "{now:?} is neither {old:?} nor {new:?}\n{}",
            system.log()
        );
        assert!(!acknowledged || now == new, "an acknowledged swap is gone");
        if now == old {
            stayed += 1;
        } else {
            changed += 1;
        }
        old = now;
    }
    println!("{KILLS} kills: {stayed} kept the old set, {changed} came back with the new one");
}

/// Every step of an activation, and whether the new set holds after a crash there.
const STEPS: [(&str, bool); 7] = [
    ("component.keep.before", false),
    ("component.keep.after", false),
    ("activate.record.before", false),
    ("activate.record.after", false),
    ("activate.active.after", true),
    ("activate.flip.after", true),
    ("activate.drain.after", true),
];

/// P2: an abort at each step leaves exactly the set that the record on disk names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p02_an_abort_at_every_step_of_an_activation_leaves_the_old_or_the_new_set() {
    let mut system = System::start_with(with_witness);
    let mut old = running(&system).await;
    for (number, (step, holds)) in (1..).zip(STEPS) {
        system.stop();
        // The first activation of this process: its start takes up the recorded generation.
        system.once("PILLION_CRASH_AT", &format!("{step}:1"));
        system.launch();
        // Odd ones bring a component that has to be compiled and kept.
        let (body, digest) = request(&system, 2 * number + 101);
        let new = (digest.expect("a component"), (2 * number + 101).to_string());
        let (admin, token) = (system.admin(), system.admin_token());
        let call = admin.post("/admin/v1/plugins/witness/swap").bearer(&token).json(&body);
        let acknowledged = call.try_send().await;
        assert!(acknowledged.is_err(), "{step}: it was answered: {acknowledged:?}");
        assert!(system.ended(Duration::from_secs(30)).await, "{step} was not passed");
        system.launch();
        let now = running(&system).await;
        let expected = if holds { new } else { old };
        assert_eq!(now, expected, "{step}\n{}", system.log());
        // And it can be changed again.
        let stamp = json!({ "config": { "stamp": 1_000 + number } });
        swap(&system.admin(), &system.admin_token(), "witness", &stamp).await;
        old = running(&system).await;
        assert_eq!(old.1, (1_000 + number).to_string(), "{step}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swap_and_a_rollback_survive_a_restart() {
    let mut system = System::start_with(with_witness);
    let before = running(&system).await;
    let (admin, token) = (system.admin(), system.admin_token());
    swap(&admin, &token, "witness", &json!({ "config": { "stamp": 77 } })).await;
    assert_eq!(running(&system).await.1, "77");
    system.kill();
    system.launch();
    assert_eq!(running(&system).await.1, "77", "{}", system.log());
    let rolled: Value = system
        .admin()
        .post("/admin/v1/generations/rollback")
        .bearer(&system.admin_token())
        .send()
        .await
        .expect(200)
        .json();
    assert_eq!(rolled["data"]["cause"], json!("rollback"));
    assert_eq!(running(&system).await, before);
    system.stop();
    system.launch();
    assert_eq!(running(&system).await, before);
}
