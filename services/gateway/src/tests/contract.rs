//! The table of routes, the services' own tables and the `OpenAPI` document say the same.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::real::{Form, World};
use crate::document::OPENAPI;
use crate::fields::{
    MEDIA_FIELDS, PLACE_FIELDS, POLL_FIELDS, TWEET_EXPANSIONS, TWEET_FIELDS, USER_EXPANSIONS,
    USER_FIELDS,
};
use crate::routes::TABLE;

const OWN: [&str; 4] = ["GET /", "GET /2/openapi.json", "GET /docs", "GET /openapi.json"];

fn document() -> Value {
    serde_json::from_str(OPENAPI).unwrap()
}

fn table() -> BTreeSet<String> {
    TABLE.iter().map(|route| format!("{} {}", route.verb.method(), route.template)).collect()
}

/// Follows a reference within the document.
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(target) => document.pointer(target.strip_prefix('#').unwrap()).expect(target),
        None => value,
    }
}

#[test]
fn the_document_has_every_public_route_and_no_other() {
    let document = document();
    let mut documented = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            documented.insert(format!("{} {path}", method.to_uppercase()));
        }
    }
    let mut public = table();
    public.extend(OWN.map(str::to_owned));
    assert_eq!(documented, public);
}

#[tokio::test]
async fn the_table_has_every_public_route_of_every_service_and_no_other() {
    let world = World::new(Form::InProcess).await;
    let owned: BTreeSet<String> = world
        .routes
        .iter()
        .filter(|(_, route)| !route.template.starts_with("/internal"))
        .map(|(service, route)| format!("{service}: {route}"))
        .collect();
    let public: BTreeSet<String> = TABLE
        .iter()
        // Those that take no other service to know which items an answer has.
        .filter(|route| route.owner != crate::NAME)
        .map(|route| format!("{}: {} {}", route.owner, route.verb.method(), route.template))
        .collect();
    assert_eq!(owned, public);
    assert!(world.routes.iter().any(|(_, route)| route.template.starts_with("/internal")));
}

#[test]
fn the_document_names_the_parameters_that_each_route_takes() {
    let document = document();
    for route in &TABLE {
        let method = route.verb.method().as_str().to_lowercase();
        let operation = &document["paths"][route.template][method];
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let (mut query, mut path) = (BTreeSet::new(), BTreeSet::new());
        for parameter in parameters.map(|parameter| resolved(&document, parameter)) {
            let name = parameter["name"].as_str().unwrap();
            match parameter["in"].as_str().unwrap() {
                "query" => query.insert(name),
                "path" => path.insert(name),
                other => {
                    assert_eq!((other, name), ("header", "Last-Event-ID"));
                    continue;
                }
            };
        }
        let Some(names) = route.query.names() else {
            continue;
        };
        assert_eq!(query, names.into_iter().collect(), "{}", route.template);
        let parts = route.template.split('/').filter_map(|part| part.strip_prefix('{'));
        assert_eq!(path, parts.filter_map(|part| part.strip_suffix('}')).collect());
    }
}

#[test]
fn the_document_names_the_values_that_lists_take() {
    let document = document();
    for (parameter, values) in [
        ("TweetFields", TWEET_FIELDS.as_slice()),
        ("UserFields", &USER_FIELDS),
        ("MediaFields", &MEDIA_FIELDS),
        ("PlaceFields", &PLACE_FIELDS),
        ("PollFields", &POLL_FIELDS),
        ("TweetExpansions", &TWEET_EXPANSIONS),
        ("UserExpansions", &USER_EXPANSIONS),
    ] {
        let documented =
            &document["components"]["parameters"][parameter]["schema"]["items"]["enum"];
        assert_eq!(*documented, serde_json::json!(values), "{parameter}");
    }
}

#[test]
fn every_reference_and_name_in_the_document_is_good() {
    fn check(document: &Value, value: &Value) {
        match value {
            Value::Object(members) => {
                resolved(document, value);
                members.values().for_each(|member| check(document, member));
            }
            Value::Array(items) => items.iter().for_each(|item| check(document, item)),
            _ => {}
        }
    }
    let document = document();
    check(&document, &document);
    let tags: BTreeSet<&str> = document["tags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tag| tag["name"].as_str().unwrap())
        .collect();
    let mut names = BTreeSet::new();
    for item in document["paths"].as_object().unwrap().values() {
        for operation in item.as_object().unwrap().values() {
            assert!(names.insert(operation["operationId"].as_str().unwrap()), "twice");
            assert!(tags.contains(operation["tags"][0].as_str().unwrap()));
        }
    }
}

#[test]
fn a11_the_document_has_the_refusals_that_every_route_can_give() {
    let document = document();
    for (path, item) in document["paths"].as_object().unwrap() {
        for operation in item.as_object().unwrap().values() {
            let answers = &operation["responses"];
            assert!(answers.get("431").is_some(), "{path}: a head that is too large");
            let takes_json = operation.pointer("/requestBody/content/application~1json").is_some();
            if takes_json && !path.contains("oauth2") {
                assert!(answers.get("415").is_some(), "{path}: a body of another type");
            }
        }
    }
}

/// What the document says may be null is accepted so, and the other way round.
#[tokio::test]
async fn a11_null_is_accepted_where_the_document_has_it() {
    let document = document();
    let world = World::new(Form::InProcess).await;
    let (_, token) = world.join("ann").await;
    for (schema, path, needed) in [
        (
            "ProfileChange",
            "/pillion/v1/account/profile",
            json!({ "name": "Ann", "location": "Bern" }),
        ),
        ("NewTweet", "/2/tweets", json!({ "text": "null" })),
        ("NewApp", "/pillion/v1/apps", json!({ "name": "an app" })),
    ] {
        let properties =
            document["components"]["schemas"][schema]["properties"].as_object().unwrap();
        for (index, (name, property)) in properties.iter().enumerate() {
            let kind = &resolved(&document, property)["type"];
            let documented = kind == "null"
                || kind.as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "null"));
            let mut body = needed.clone();
            if body.get("text").is_some() {
                // Nobody says the same twice.
                body["text"] = format!("null {index}").into();
            }
            body[name] = Value::Null;
            let answer = world.call(http::Method::POST, path, &token, &body).await;
            let accepted = answer.status.is_success();
            assert_eq!(accepted, documented, "{schema}.{name}: {} {}", answer.status, answer.body);
        }
    }
}

#[test]
fn a11_addresses_have_patterns() {
    let document = document();
    for pointer in [
        "/components/schemas/NewAccount/properties/url/pattern",
        "/components/schemas/ProfileChange/properties/url/pattern",
        "/components/schemas/NewApp/properties/redirect_uris/items/pattern",
    ] {
        assert!(document.pointer(pointer).is_some_and(Value::is_string), "{pointer}");
    }
}
