//! The rules of the filtered stream.

use pillion_chassis::testing::BACKENDS;
use serde_json::{Value, json};

use super::harness::{ANN, Harness};

const PATH: &str = "/2/tweets/search/stream/rules";

fn ids(body: &Value) -> Vec<String> {
    let data = body["data"].as_array().cloned().unwrap_or_default();
    data.iter().map(|rule| rule["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn rules_come_and_go() {
    for backend in BACKENDS {
        let service = Harness::start(backend).await;
        let none = service.get(PATH).await;
        assert_eq!(
            none.body,
            json!({"meta": {"sent": "2026-07-08T10:00:01.000Z", "result_count": 0}})
        );

        let add = json!({"add": [{"value": "tea", "tag": "hot"}, {"value": "cat has:links"}]});
        let tried = service.send_rules("?dry_run=true", &add).await;
        assert_eq!((tried.status.as_u16(), ids(&tried.body).len()), (200, 2));
        assert!(ids(&service.get(PATH).await.body).is_empty());

        let added = service.send_rules("", &add).await;
        assert_eq!(added.status, 201);
        let summary = json!({"created": 2, "not_created": 0, "valid": 2, "invalid": 0});
        assert_eq!(added.body["meta"]["summary"], summary);
        assert_eq!(added.body["data"][0]["value"], "tea");
        assert_eq!(added.body["data"][0]["tag"], "hot");
        assert!(added.body["data"][1].get("tag").is_none());
        let [tea, cat] = &ids(&added.body)[..] else { panic!() };

        let listed = service.get(PATH).await;
        assert_eq!(listed.body["data"], added.body["data"]);
        assert_eq!(listed.body["meta"]["result_count"], 2);
        let one = service.get(&format!("{PATH}?ids={cat},5")).await;
        assert_eq!(ids(&one.body), [cat.as_str()]);
        let first = service.get(&format!("{PATH}?max_results=1")).await;
        assert_eq!(ids(&first.body), [tea.as_str()]);
        let token = first.body["meta"]["next_token"].as_str().unwrap();
        let second = service.get(&format!("{PATH}?max_results=1&pagination_token={token}")).await;
        assert_eq!(ids(&second.body), [cat.as_str()]);
        assert!(second.body["meta"].get("next_token").is_none());

        let delete = json!({"delete": {"ids": [tea, "5"], "values": ["cat has:links", "dog"]}});
        let tried = service.send_rules("?dry_run=true", &delete).await;
        assert_eq!(tried.body["meta"]["summary"], json!({"deleted": 2, "not_deleted": 2}));
        let deleted = service.send_rules("", &delete).await;
        assert_eq!(deleted.status, 200);
        assert_eq!(deleted.body["meta"]["summary"], json!({"deleted": 2, "not_deleted": 2}));
        assert_eq!(
            deleted.body["errors"][0]["errors"][0],
            json!({"message": "Rule does not exist", "parameters": {"ids": ["5"]}})
        );
        assert!(ids(&service.get(PATH).await.body).is_empty());

        service.send_rules("", &add).await;
        let deleted = service.send_rules("?delete_all=true", &json!({})).await;
        assert_eq!(deleted.body["meta"]["summary"], json!({"deleted": 2, "not_deleted": 0}));
    }
}

#[tokio::test]
async fn good_rules_are_made_beside_bad_ones() {
    for backend in BACKENDS {
        let service = Harness::start(backend).await;
        let first = service.send_rules("", &json!({"add": [{"value": "tea"}]})).await;
        let add = json!({"add": [{"value": "tea"}, {"value": "has:links"}, {"value": "cat"},
                                 {"value": "cat", "tag": "again"}]});
        let reply = service.send_rules("", &add).await;
        assert_eq!(reply.status, 201);
        let summary = json!({"created": 1, "not_created": 3, "valid": 1, "invalid": 3});
        assert_eq!(reply.body["meta"]["summary"], summary);
        let errors = &reply.body["errors"];
        assert_eq!(errors[0]["title"], "UnprocessableEntity");
        assert_eq!(errors[0]["value"], "has:links");
        assert!(errors[0]["details"][0].as_str().unwrap().ends_with("(at position 1)"));
        assert_eq!(
            errors[1],
            json!({
                "value": "tea",
                "id": first.body["data"][0]["id"],
                "title": "DuplicateRule",
                "type": "https://api.twitter.com/2/problems/duplicate-rules",
            })
        );
        let bad = service.send_rules("", &json!({"add": [{"value": "("}]})).await;
        assert_eq!(bad.status, 200);
        let summary = json!({"created": 0, "not_created": 1, "valid": 0, "invalid": 1});
        assert_eq!(bad.body["meta"]["summary"], summary);
    }
}

#[tokio::test]
async fn an_app_has_its_own_rules_and_not_more_than_a_thousand() {
    for backend in BACKENDS {
        let service = Harness::start(backend).await;
        let rules: Vec<_> = (0..999).map(|n| (format!("tea {n}"), None)).collect();
        let ids = pillion_chassis::Ids::new(service.clock.clone(), 1).unwrap();
        service.store.add_rules("app", &rules, &ids, false).await.unwrap();
        service.store.add_rules("other", &rules, &ids, false).await.unwrap();
        let add = json!({"add": [{"value": "fits"}, {"value": "does not"}]});
        let reply = service.send_rules("", &add).await;
        let summary = json!({"created": 1, "not_created": 1, "valid": 2, "invalid": 0});
        assert_eq!(reply.body["meta"]["summary"], summary);
        assert_eq!(reply.body["errors"][0]["type"], "https://api.twitter.com/2/problems/rule-cap");
        assert_eq!(service.get(PATH).await.body["meta"]["result_count"], 1_000);
        service.send_rules("?delete_all=true", &json!({})).await;
        assert_eq!(service.store.all_rules("other").await.unwrap().len(), 999);
    }
}

#[tokio::test]
async fn bodies_that_say_nothing_or_two_things_are_refused() {
    for backend in BACKENDS {
        let service = Harness::start(backend).await;
        for (flags, body, says) in [
            ("", json!({}), "neither `add` nor `delete`"),
            ("", json!({"add": []}), "$.add: it is empty"),
            ("", json!({"delete": {}}), "$.delete: it is empty"),
            (
                "",
                json!({"add": [{"value": "a"}], "delete": {"ids": ["1"]}}),
                "one of them at a time",
            ),
            ("?delete_all=true", json!({"delete": {"ids": ["1"]}}), "send the body {} with it"),
            ("?dry_run=yes", json!({}), "is not one of [true,false]"),
            ("", json!({"add": [{"tag": "a"}]}), "missing field `value`"),
            ("", json!({"add": [{"value": "a", "tag": "x".repeat(257)}]}), "$.add[0].tag"),
        ] {
            let reply = service.send_rules(flags, &body).await;
            assert_eq!(reply.status, 400, "{body}");
            assert!(reply.message().contains(says), "{}", reply.message());
        }
        for method in ["GET", "POST"] {
            let reply = service.ask(Harness::request(method, PATH, Some(ANN), "{}")).await;
            assert_eq!(reply.status, 403);
        }
    }
}

#[tokio::test]
async fn a13_rules_are_counted() {
    for backend in BACKENDS {
        let service = Harness::start(backend).await;
        let path = format!("{PATH}/counts");
        let add = json!({"add": [{"value": "tea"}, {"value": "cat"}]});
        assert_eq!(service.send_rules("", &add).await.status, 201);
        let all = service.get(&path).await.body["data"].clone();
        let of_app = all["client_app_rules_count"].clone();
        assert_eq!(of_app["rule_count"], 2);
        assert_eq!(
            (&all["project_rules_count"], &all["cap_per_project"]),
            (&json!(2), &json!(1000))
        );
        assert_eq!(all["all_project_client_apps"], json!([of_app]));
        let some = service.get(&format!("{path}?rules_count.fields=cap_per_client_app")).await;
        assert_eq!(some.body, json!({"data": {"cap_per_client_app": 1000}}));
        assert_eq!(service.get(&format!("{path}?rules_count.fields=x")).await.status, 400);
        let user = Harness::request("GET", &path, Some(ANN), "");
        assert_eq!(service.ask(user).await.status, 403);
    }
}
