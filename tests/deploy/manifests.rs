//! Manifests, Compose file, Containerfile and configuration fit each other and the program.

use std::collections::BTreeSet;

use pillion_tests::build;
use pillion_tests::system::System;
use serde_json::{Value, json};

use super::{SERVICES, configuration, deploy, words, yaml};

/// The one container of a pod.
fn container(template: &Value) -> &Value {
    let containers = template["spec"]["containers"].as_array().expect("containers");
    assert_eq!(containers.len(), 1);
    &containers[0]
}

fn mounted(mounts: &Value, at: &str) -> bool {
    let mounts = mounts.as_array().expect("mounts");
    mounts.iter().any(|mount| mount["mountPath"].as_str().is_some_and(|path| at.starts_with(path)))
}

/// Nothing more than it needs: not root, nothing to write to but what is mounted.
fn is_confined(template: &Value) {
    let spec = &template["spec"];
    assert_eq!(spec["securityContext"]["runAsNonRoot"], true);
    assert_eq!(spec["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!(spec["automountServiceAccountToken"], false);
    let context = &container(template)["securityContext"];
    assert_eq!(context["readOnlyRootFilesystem"], true);
    assert_eq!(context["allowPrivilegeEscalation"], false);
    assert_eq!(context["capabilities"]["drop"], json!(["ALL"]));
    let user = &spec["securityContext"]["runAsUser"];
    let file = std::fs::read_to_string(deploy("Containerfile")).expect("deploy/Containerfile");
    assert!(file.contains(&format!("USER {user}:{user}\n")), "the image has another user");
}

#[test]
fn every_service_is_deployed_as_its_configuration_says() {
    let config = configuration();
    for service in SERVICES {
        let documents = yaml(&format!("kubernetes/{service}.yaml"));
        let of = |kind: &str| {
            let found = documents.iter().find(|document| document["kind"] == kind);
            found.unwrap_or_else(|| panic!("{service} has no {kind}"))
        };
        let section = &config["services"][service];
        let listen = section["listen"].as_str().expect("an address");
        let port: u16 = listen.rsplit_once(':').expect("a port").1.parse().expect("a port");
        assert_eq!(of("Service")["spec"]["ports"][0]["port"], port, "{service}");
        assert_eq!(section["url"].as_str(), Some(&*format!("https://{service}:{port}")));

        let template = &of("Deployment")["spec"]["template"];
        is_confined(template);
        let container = container(template);
        let arguments = &container["args"];
        assert_eq!((&arguments[0], &arguments[1]), (&json!("serve"), &json!(service)));
        assert_eq!(container["ports"][0]["containerPort"], port);
        let probes = config["server"]["probe_listen"].as_str().expect("an address");
        let probes: u16 = probes.rsplit_once(':').expect("a port").1.parse().expect("a port");
        assert_eq!(container["ports"][1], json!({ "name": "probes", "containerPort": probes }));
        for (probe, path) in
            [("startup", "/readyz"), ("readiness", "/readyz"), ("liveness", "/healthz")]
        {
            let get = &container[format!("{probe}Probe")]["httpGet"];
            assert_eq!(get, &json!({ "path": path, "port": "probes" }), "{service}");
        }
        let variable = format!("PILLION_DATABASE_{}", service.to_uppercase());
        assert_eq!(container["env"][0]["name"], json!(variable));
        // Every path of the configuration is one that is mounted.
        for path in [
            &config["tokens"]["service_key"],
            &config["tls"]["ca"],
            &config["tls"]["certificate"],
            &config["tls"]["key"],
            &config["server"]["data"],
        ] {
            let path = path.as_str().expect("a path");
            assert!(mounted(&container["volumeMounts"], path), "{service}: {path}");
        }
        let volumes = template["spec"]["volumes"].as_array().expect("volumes");
        let secret = format!("pillion-tls-{service}");
        assert!(volumes.iter().any(|volume| volume["secret"]["secretName"] == json!(secret)));
        // Long enough to end in order.
        let server = &config["server"];
        let ms = |key: &str| server[key].as_integer().expect("a number");
        let grace = template["spec"]["terminationGracePeriodSeconds"].as_i64().expect("seconds");
        assert!(grace * 1_000 > ms("drain_delay_ms") + ms("drain_deadline_ms") + 5_000);

        let scaler = &of("HorizontalPodAutoscaler")["spec"];
        assert_eq!(scaler["scaleTargetRef"]["name"], json!(service));
        assert!(scaler["minReplicas"].as_u64() >= Some(2), "{service}: one of a pair may go");
        let labels = &template["metadata"]["labels"];
        for selector in [
            &of("Service")["spec"]["selector"],
            &of("Deployment")["spec"]["selector"]["matchLabels"],
            &of("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        ] {
            assert_eq!(selector, labels, "{service}");
        }
    }
    let migrate = &yaml("kubernetes/migrate.yaml")[0]["spec"]["template"];
    is_confined(migrate);
    // The authority where the databases' URLs expect it, and no key.
    let ca = config["tls"]["ca"].as_str().expect("a path");
    let (folder, name) = ca.rsplit_once('/').expect("a path");
    let mounts = container(migrate)["volumeMounts"].as_array().expect("mounts");
    assert!(mounts.iter().any(|mount| mount["mountPath"] == folder && mount["readOnly"] == true));
    let volumes = migrate["spec"]["volumes"].as_array().expect("volumes");
    let items = volumes.iter().find_map(|volume| volume["secret"]["items"].as_array());
    assert_eq!(items, Some(&vec![json!({ "key": name, "path": name })]));
    // A database for each service, and the key that identity's keys are encrypted with.
    let variables = container(migrate)["env"].as_array().expect("variables");
    assert_eq!(variables.len(), SERVICES.len() + 1);
    assert!(variables.iter().any(|it| it["name"] == "PILLION_KEY_ENCRYPTION_KEY"));
}

#[test]
fn compose_runs_the_same() {
    let config = configuration();
    let compose = &yaml("compose.yaml")[0];
    for service in SERVICES {
        let container = &compose["services"][service];
        let command = &container["command"];
        assert_eq!((&command[0], &command[1]), (&json!("serve"), &json!(service)));
        assert_eq!(container["read_only"], true);
        assert_eq!(container["cap_drop"], json!(["ALL"]));
        let variable = format!("PILLION_DATABASE_{}", service.to_uppercase());
        for container in [container, &compose["services"]["migrate"]] {
            let url = container["environment"][&variable].as_str().expect("a URL");
            let ca = config["tls"]["ca"].as_str().expect("a path");
            let ends = format!("/{service}?sslmode=verify-full&sslrootcert={ca}");
            assert!(url.ends_with(&ends), "{service}: {url}");
        }
        let volumes: BTreeSet<&str> = (container["volumes"].as_array().expect("volumes").iter())
            .map(|volume| {
                let parts: Vec<&str> = volume.as_str().expect("a text").split(':').collect();
                let [from, to, "ro"] = parts[..] else { panic!("{volume} can be written to") };
                assert!(!from.contains("secrets/ca.key"), "the authority stays away");
                to
            })
            .collect();
        for path in [
            &config["tokens"]["service_key"],
            &config["tls"]["ca"],
            &config["tls"]["certificate"],
            &config["tls"]["key"],
        ] {
            assert!(volumes.contains(path.as_str().expect("a path")), "{service}: {path}");
        }
    }
    for server in ["postgres", "nats", "redis"] {
        let volumes = &compose["services"][server]["volumes"];
        let volumes = volumes.as_array().expect("volumes");
        for (kind, to) in [("pem", "certificate"), ("key", "key")] {
            let to = config["tls"][to].as_str().expect("a path");
            let mount = json!(format!("./secrets/{server}.{kind}:{to}:ro"));
            assert!(volumes.contains(&mount), "{server}: {mount}");
        }
    }
}

/// Nothing that goes to a server can be read on the way.
#[test]
fn servers_are_spoken_to_by_tls_only() {
    let config = configuration();
    let begins = |value: &toml::Value, scheme: &str| {
        assert!(value.as_str().expect("a URL").starts_with(scheme), "{value}");
    };
    begins(&config["broker"]["url"], "tls://");
    begins(&config["state"]["kv"], "rediss://");
    begins(&config["state"]["limiter"], "rediss://");
    let compose = &yaml("compose.yaml")[0];
    let command = |server: &str| compose["services"][server]["command"].to_string();
    assert!(command("postgres").contains("\"ssl=on\""));
    assert!(command("redis").contains("\"--port\",\"0\",\"--tls-port\""));
    let file = |name: &str| std::fs::read_to_string(deploy(name)).expect("a file of deploy/");
    assert!(file("compose/nats.conf").contains("verify: true"));
    assert!(file("compose/databases.sh").contains("hostssl all all all"));
    let operating = build::root().join("docs/operating.md");
    let operating = std::fs::read_to_string(operating).expect("docs/operating.md");
    let ca = config["tls"]["ca"].as_str().expect("a path");
    assert!(operating.contains(&format!("?sslmode=verify-full&sslrootcert={ca}")));
}

/// An alert that nobody knows what to do about, or about a metric that is called otherwise, is none.
#[test]
fn alerts_are_about_what_the_page_says() {
    let page = std::fs::read_to_string(build::root().join("docs/operating.md"));
    let page = page.expect("docs/operating.md");
    let anchors: BTreeSet<String> = (page.lines().filter(|line| line.starts_with('#')))
        .map(|line| {
            let title = line.trim_start_matches(['#', ' ']).to_lowercase().replace(' ', "-");
            let kept = title.chars().filter(|letter| letter.is_alphanumeric() || *letter == '-');
            format!("docs/operating.md#{}", kept.collect::<String>())
        })
        .collect();
    let rules = &yaml("prometheus-rules.yaml")[0]["groups"][0]["rules"];
    let rules = rules.as_array().expect("rules");
    assert!(rules.len() >= 20, "{}", rules.len());
    for rule in rules {
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let (alert, expression) = (text(&rule["alert"]), text(&rule["expr"]));
        let runbook = text(&rule["annotations"]["runbook"]);
        assert!(anchors.contains(&runbook), "{alert}: {runbook} is no part of the page");
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        let metrics: Vec<&str> = (expression.split(|letter| !is_name(letter)))
            .filter(|name| name.starts_with("pillion_"))
            .map(|name| name.trim_end_matches("_bucket").trim_end_matches("_count"))
            .collect();
        assert!(!metrics.is_empty(), "{alert}: {expression}");
        for metric in metrics {
            assert!(page.contains(metric), "{alert}: the page does not know {metric}");
        }
    }
}

/// Kustomize takes what is listed, and nothing else is there.
#[test]
fn kustomize_has_every_file() {
    let kustomization = &yaml("kustomization.yaml")[0];
    let listed: BTreeSet<String> = (kustomization["resources"].as_array().expect("files").iter())
        .map(|file| file.as_str().expect("a path").to_owned())
        .collect();
    let there: BTreeSet<String> = std::fs::read_dir(deploy("kubernetes"))
        .expect("deploy/kubernetes")
        .map(|entry| format!("kubernetes/{}", entry.expect("a file").file_name().display()))
        .filter(|name| name != "kubernetes/migrate.yaml")
        .collect();
    assert_eq!(listed, there);
    let generated = &kustomization["configMapGenerator"][0];
    assert_eq!(generated, &json!({ "name": "pillion-config", "files": ["pillion.toml"] }));
}

/// Who changes a rule at the root changes it here.
#[test]
fn plugins_and_chains_are_those_of_the_project() {
    let root = std::fs::read_to_string(build::root().join("pillion.toml")).expect("pillion.toml");
    let root: toml::Table = root.parse().expect("TOML");
    let config = configuration();
    assert_eq!(config["plugins"], root["plugins"]);
    for service in SERVICES {
        let chain = |config: &toml::Table| config["services"][service]["plugins"].clone();
        assert_eq!(chain(&config), chain(&root), "{service}");
    }
}

#[test]
fn the_program_takes_the_configuration() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    for arguments in [
        ["certs", "service-key", &path("service.key")].as_slice(),
        &["certs", "init", "--dir", &path("")],
        &["certs", "issue", "tweets", "--dir", &path("")],
    ] {
        let made = System::bare(arguments);
        assert!(made.status.success(), "{}", words(&made));
    }
    let text = std::fs::read_to_string(deploy("pillion.toml")).expect("deploy/pillion.toml");
    let plugins = build::plugin("auth");
    let plugins = plugins.parent().expect("a folder").display().to_string();
    // What is at another place on this machine.
    let moved = [
        ("/opt/pillion/plugins", &plugins),
        ("/etc/pillion/service-key/service.key", &path("service.key")),
        ("/etc/pillion/tls/ca.crt", &path("ca.pem")),
        ("/etc/pillion/tls/tls.crt", &path("tweets.pem")),
        ("/etc/pillion/tls/tls.key", &path("tweets.key")),
    ];
    let text = moved.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    });
    std::fs::write(folder.path().join("pillion.toml"), text).expect("a folder of the test");
    let checked = System::bare(&["check", "--config", &path("pillion.toml")]);
    assert!(checked.status.success(), "{}", words(&checked));
    assert!(words(&checked).contains("9 services in order"), "{}", words(&checked));
    // A file that is not there, or not what it should be, is found before a start.
    std::fs::write(folder.path().join("ca.pem"), "no certificate").expect("a folder of the test");
    let checked = System::bare(&["check", "--config", &path("pillion.toml")]);
    assert!(!checked.status.success(), "{}", words(&checked));
    assert!(words(&checked).contains("ca.pem holds no certificate as PEM"), "{}", words(&checked));
}
