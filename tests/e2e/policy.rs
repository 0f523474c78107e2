//! A policy plugin before the users service vetoes a registration: the caller is told why, and
//! nothing is left of it.

use pillion_tests::system::System;
use serde_json::json;

fn with_policy(config: &str) -> String {
    let chain = "[services.users]\nplugins = [\"auth\"]";
    assert!(config.contains(chain));
    let policy = "[plugins.policy-handles]\ncomponent = \"policy-handles.wasm\"\n\
                  config = { names = [\"root\"], prefixes = [\"admin\"] }\n\n[services.users]\n\
                  plugins = [\"auth\", \"policy-handles\"]";
    config.replacen(chain, policy, 1)
}

async fn register(system: &System, username: &str) -> pillion_tests::client::Answer {
    let password = "correct horse battery";
    let account = json!({ "username": username, "name": "A name", "password": password });
    system.client.post("/pillion/v1/accounts").json(&account).send().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handle_that_is_kept_back_is_refused_and_nothing_is_left() {
    let system = System::start_with(with_policy);
    for username in ["root", "Admin_of_all"] {
        let refused = register(&system, username).await.expect(403);
        assert_eq!(refused.header("content-type"), "application/problem+json");
        assert!(refused.text().contains("kept back"), "{}", refused.text());
        let login = json!({ "username": username, "password": "correct horse battery" });
        let answer = system.client.post("/pillion/v1/login").json(&login).send().await;
        assert!(answer.status.is_client_error(), "{}", answer.text());
    }
    register(&system, "rooted").await.expect(201);
    // The handle was given back, and the account with it: they can be had once the list allows it.
    let config = "{\"names\": [\"somebody_else\"]}";
    let swapped = system.plugin_command(&["swap", "policy-handles", "--config", config]);
    let said = String::from_utf8_lossy(&swapped.stderr).into_owned();
    assert!(swapped.status.success(), "{said}");
    let table = String::from_utf8_lossy(&swapped.stdout).into_owned();
    assert!(table.contains("STILL DRAINING") && table.contains("STREAMS"), "{table}");
    for username in ["root", "Admin_of_all"] {
        register(&system, username).await.expect(201);
    }
}
