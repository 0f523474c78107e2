//! Accounts begin, with failures at every step: all of it, or nothing.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use pillion_chassis::sql::query;
use pillion_chassis::testing::empty;
use pillion_chassis::{FakeClock, Migrations};
use serde_json::json;
use sqlx::migrate::Migrator;

use super::{Fixture, Mode, PASSWORD, World, claims, decoded, json_request, on_each};
use crate::store::MIGRATIONS;

/// The calls of a registration up to the pivot.
const CALLS: [&str; 6] = [
    "PUT identity.create",
    "PUT users.reserve_handle",
    "PUT users.create_profile",
    "PUT timelines.provision",
    "PUT notifications.create_inbox",
    "PUT users.activate",
];

#[tokio::test]
async fn a_registered_account_can_log_in() {
    on_each(async |fixture: Fixture| {
        let answer = fixture.register("Ann").await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
        let id = answer.body["data"]["id"].as_str().unwrap();
        assert_eq!(answer.body["data"], json!({ "id": id, "username": "Ann", "name": "A name" }));
        assert_eq!(answer.headers["location"], format!("/2/users/{id}"));
        assert_eq!(fixture.shown("ann").await.as_deref(), Some(id));

        // Handles are the same in any case.
        let login = fixture.login("ANN").await;
        assert_eq!(login.status, StatusCode::OK, "{}", login.body);
        assert_eq!(login.headers["cache-control"], "no-store");
        assert_eq!(login.body["token_type"], "bearer");
        assert_eq!(login.body["expires_in"], 7_200);
        let claims = claims(&fixture.handle.jwks(), login.text("access_token"));
        assert_eq!(claims["sub"], id);
        assert_eq!(claims["client_id"], "pillion");
        assert_eq!(claims["scope"], login.body["scope"]);
        fixture.settled().await;
        let mut asked = CALLS.to_vec();
        asked.extend(["PUT identity.enable", "PUT search.index"]);
        assert_eq!(fixture.world.asked(), asked);
        assert_eq!(fixture.rows().await, [1, 1, 0, 0, 1]);
    })
    .await;
}

#[tokio::test]
async fn the_other_services_are_called_with_a_token_of_our_own() {
    on_each(async |fixture: Fixture| {
        let mut request = json_request(
            Method::POST,
            "/pillion/v1/accounts",
            &json!({ "username": "ann", "name": "Ann", "password": PASSWORD }),
        );
        request.headers_mut().insert("authorization", "Bearer somebody-elses".parse().unwrap());
        assert_eq!(fixture.send(request).await.status, StatusCode::CREATED);
        let (query, token) = fixture.world.shown.lock().unwrap()[1].clone();
        let claims = decoded(token.split('.').nth(1).unwrap());
        assert_eq!(claims["sub"], "service:identity");
        assert_eq!(claims["scope"], "internal.saga");
        // So that a plugin may have a say in who gets which handle.
        assert_eq!(query, "username=ann");
    })
    .await;
}

#[tokio::test]
async fn a_taken_handle_is_409_and_leaves_nothing() {
    on_each(async |fixture: Fixture| {
        fixture.register("ann").await;
        let again = fixture.register("Ann").await;
        assert_eq!(again.status, StatusCode::CONFLICT);
        assert!(again.text("detail").contains("[Ann]"));

        // Taken in the users service alone: the account made for it goes again.
        let id = fixture.register("bob").await.id();
        fixture.settled().await;
        let mut transaction = fixture.test.database.write().await.unwrap();
        let gone = query("DELETE FROM account WHERE id = $1").bind(id.parse::<i64>().unwrap());
        gone.execute(&mut transaction).await.unwrap();
        transaction.commit().await.unwrap();
        let refused = fixture.register("bob").await;
        assert_eq!(refused.status, StatusCode::CONFLICT);
        assert!(refused.text("detail").contains("[bob]"));
        assert_eq!(fixture.rows().await, [1, 2, 0, 0, 2]);
    })
    .await;
}

#[tokio::test]
async fn refused_at_any_step_it_leaves_nothing() {
    on_each(async |fixture: Fixture| {
        for (index, call) in CALLS.into_iter().enumerate() {
            // A plugin in front of users.activate decides nothing: it may have been done before.
            let mode = if index == 5 { Mode::Refused(422) } else { Mode::Vetoed(422) };
            fixture.world.set(call, mode);
            let refused = fixture.register("ann").await;
            assert_eq!(refused.status.as_u16(), 422, "{call}: {}", refused.body);
            assert_eq!(refused.headers["content-type"], "application/problem+json");
            assert_eq!(refused.text("detail"), format!("no {call}"));
            assert_eq!(fixture.rows().await, [0; 5], "{call}");
            // A pivot that is refused has done nothing.
            let back = CALLS[..(index + 1).min(5)].iter().rev();
            let back = back.map(|call| call.replace("PUT", "DELETE"));
            let all: Vec<_> =
                CALLS[..=index].iter().map(|call| (*call).to_owned()).chain(back).collect();
            assert_eq!(fixture.world.asked(), all);
            assert_eq!(fixture.login("ann").await.status, StatusCode::UNAUTHORIZED);
            fixture.world.heal();
        }
        assert_eq!(fixture.register("ann").await.status, StatusCode::CREATED);
        // So many log-ins that failed count against the next one, for a while.
        fixture.clock.advance(Duration::from_mins(15));
        assert_eq!(fixture.login("ann").await.status, StatusCode::OK);
    })
    .await;
}

#[tokio::test]
async fn a_veto_of_a_plugin_leaves_nothing() {
    on_each(async |fixture: Fixture| {
        fixture.world.set("PUT users.reserve_handle", Mode::Vetoed(403));
        let refused = fixture.register("admin").await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN);
        assert_eq!(refused.text("detail"), "no PUT users.reserve_handle");
        assert_eq!(fixture.rows().await, [0; 5]);
        fixture.world.heal();
        assert_eq!(fixture.register("admin").await.status, StatusCode::CREATED);
    })
    .await;
}

#[tokio::test]
async fn what_the_users_service_refuses_is_passed_on_with_all_that_is_wrong() {
    on_each(async |fixture: Fixture| {
        let wrong =
            json!({ "username": "with space", "name": "n".repeat(51), "password": PASSWORD });
        let refused = fixture.post("/pillion/v1/accounts", wrong).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST);
        assert_eq!(refused.headers["content-type"], "application/problem+json");
        let parameters = |n: usize| refused.body["errors"][n]["parameters"].clone();
        assert_eq!(parameters(0)["username"][0], "with space");
        assert_eq!(parameters(1)["name"][0], "n".repeat(51));
        assert_eq!(fixture.rows().await, [0; 5]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_want_a_handle_at_the_same_moment_one_gets_it() {
    on_each(async |fixture: Fixture| {
        let register = async |username: &str, password: &str| {
            let body = json!({ "username": username, "name": "A name", "password": password });
            fixture.post("/pillion/v1/accounts", body).await
        };
        let (a, b) = tokio::join!(register("ann", PASSWORD), register("ANN", "another password"));
        let mut statuses = [a.status, b.status];
        statuses.sort();
        assert_eq!(statuses, [StatusCode::CREATED, StatusCode::CONFLICT]);
        assert_eq!(fixture.rows().await, [1, 1, 0, 0, 1]);
        // The same person twice is one person.
        let (a, b) = tokio::join!(register("bob", PASSWORD), register("bob", PASSWORD));
        let ids: Vec<_> = [a, b].iter().map(|answer| answer.body["data"]["id"].clone()).collect();
        let ids: Vec<_> = ids.into_iter().filter(|id| !id.is_null()).collect();
        assert!(!ids.is_empty() && ids.windows(2).all(|pair| pair[0] == pair[1]), "{ids:?}");
        assert_eq!(fixture.rows().await, [2, 2, 0, 0, 2]);
    })
    .await;
}

#[tokio::test]
async fn a_registration_that_stopped_half_way_goes_on_by_itself() {
    for mode in [Mode::Down, Mode::AnswersLost] {
        on_each(async |fixture: Fixture| {
            fixture.world.set("PUT users.activate", mode);
            let failed = fixture.register("ann").await;
            assert_eq!(failed.status, StatusCode::SERVICE_UNAVAILABLE);
            assert!(failed.headers.contains_key("retry-after"));
            assert!(failed.text("detail").contains("goes on by itself"));

            // The process dies, the users service comes back, the next process takes it on.
            let fixture = fixture.restart().await;
            fixture.world.heal();
            fixture.settled().await;
            assert_eq!(fixture.login("ann").await.status, StatusCode::OK);
            assert_eq!(fixture.rows().await, [1, 1, 0, 0, 1]);
        })
        .await;
    }
}

#[tokio::test]
async fn a_service_that_stays_away_has_everything_taken_back() {
    on_each(async |fixture: Fixture| {
        fixture.world.set("PUT timelines.provision", Mode::AnswersLost);
        fixture.register_and_go("ann").await;
        fixture.clock.advance(Duration::from_secs(31));
        fixture.settled().await;
        assert_eq!(fixture.rows().await, [0; 5]);
        assert!(fixture.world.asked().contains(&"DELETE timelines.provision".to_owned()));
        fixture.world.heal();
        assert_eq!(fixture.register("ann").await.status, StatusCode::CREATED);
    })
    .await;
}

#[tokio::test]
async fn the_same_request_again_waits_for_the_same_registration() {
    on_each(async |fixture: Fixture| {
        fixture.world.set("PUT users.activate", Mode::AnswersLost);
        fixture.register_and_go("ann").await;
        let other = json!({ "username": "ann", "name": "X", "password": "another password" });
        let other = fixture.post("/pillion/v1/accounts", other).await;
        assert_eq!(other.status, StatusCode::CONFLICT);
        let again = fixture.register("ann").await;
        assert_eq!(again.status, StatusCode::SERVICE_UNAVAILABLE, "it waits as the first one did");
        let later = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            fixture.world.heal();
            fixture.clock.advance(Duration::from_secs(6));
        };
        let (again, ()) = tokio::join!(fixture.register("ann"), later);
        // On a slow machine it comes when all is over.
        if again.status != StatusCode::CONFLICT {
            assert_eq!(fixture.shown("ann").await, Some(again.id()));
        }
        fixture.settled().await;
        assert_eq!(fixture.login("ann").await.status, StatusCode::OK);
        assert_eq!(fixture.rows().await, [1, 1, 0, 0, 1]);
        assert_eq!(fixture.register("ann").await.status, StatusCode::CONFLICT);
    })
    .await;
}

#[tokio::test]
async fn an_account_can_be_used_before_it_is_found() {
    on_each(async |fixture: Fixture| {
        fixture.world.set("PUT search.index", Mode::Down);
        assert_eq!(fixture.register("ann").await.status, StatusCode::CREATED);
        assert_eq!(fixture.login("ann").await.status, StatusCode::OK);
        fixture.world.heal();
        fixture.settled().await;
    })
    .await;
}

#[tokio::test]
async fn bad_registrations_are_told_what_is_wrong() {
    on_each(async |fixture: Fixture| {
        let long = "a".repeat(65);
        for (body, name) in [
            (json!({ "username": "ann", "name": "Ann", "password": "short" }), "password"),
            (json!({ "username": "ann", "name": "Ann", "password": "a".repeat(129) }), "password"),
            (json!({ "username": "ann", "name": "Ann" }), "body"),
            (json!({ "username": 7, "name": "Ann", "password": PASSWORD }), "username"),
            (json!({ "username": long, "name": "Ann", "password": PASSWORD }), "username"),
            (
                json!({ "username": "ann", "name": "a".repeat(20_000), "password": PASSWORD }),
                "body",
            ),
            (json!({ "username": "ann", "name": "Ann", "password": PASSWORD, "bot": true }), "bot"),
        ] {
            let answer = fixture.post("/pillion/v1/accounts", body).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST);
            let error = answer.body["errors"][0].to_string();
            assert!(error.contains(name), "{error}");
        }
        assert!(fixture.world.asked().is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_clock_that_went_back_makes_no_id_twice() {
    on_each(async |fixture: Fixture| {
        let first = fixture.register("ann").await.id();
        fixture.settled().await;
        fixture.clock.set("2026-01-01T00:00:00Z".parse().unwrap());
        let fixture = fixture.restart().await;
        let second = fixture.register("bob").await.id();
        assert!(second.parse::<u64>().unwrap() > first.parse::<u64>().unwrap());
    })
    .await;
}

#[tokio::test]
async fn what_a_build_before_the_sagas_left_half_done_is_brought_to_its_end() {
    for backend in super::BACKENDS {
        let (test, users_test) = (empty(backend).await, empty(backend).await);
        let up_to = |migrator: &Migrator| {
            Migrator::with_migrations(migrator.iter().take(1).cloned().collect())
        };
        let own = &MIGRATIONS;
        let first = Migrations { sqlite: up_to(&own.sqlite), postgres: up_to(&own.postgres) };
        test.database.migrate(&first).await.unwrap();
        let mut transaction = test.database.write().await.unwrap();
        for (id, username, state) in [(11, "Ann", "pending"), (12, "bob", "deleting")] {
            query(
                "INSERT INTO account
                     (id, username_folded, profile, password_hash, state, state_since)
                 VALUES ($1, $2, $3, 'x', $4, 1)",
            )
            .bind(i64::from(id))
            .bind(username.to_ascii_lowercase())
            .bind(json!({ "username": username, "name": username }).to_string())
            .bind(state)
            .execute(&mut transaction)
            .await
            .unwrap();
        }
        transaction.commit().await.unwrap();

        let clock = Arc::new(FakeClock::at("2026-07-01T10:00:00Z".parse().unwrap()));
        let world = Arc::new(World::default());
        let fixture = Fixture::with(test, users_test, clock, world).await;
        let left = async || {
            let left = query("SELECT count(*) FROM account_left");
            left.fetch_one::<(i64,)>(&fixture.test.database).await.unwrap().0
        };
        while left().await > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        fixture.settled().await;
        let left = query("SELECT id, username, state FROM account");
        let left: Vec<(i64, String, String)> =
            left.fetch_all(&fixture.test.database).await.unwrap();
        assert_eq!(left, [(11, "Ann".to_owned(), "active".to_owned())]);
        assert_eq!(fixture.shown("ann").await.as_deref(), Some("11"));
    }
}

#[tokio::test]
async fn i06_a_taken_handle_is_refused_without_hashing() {
    on_each(async |fixture: Fixture| {
        fixture.register("ann").await;
        // With every place for a hash taken, only a request that needs none is answered.
        let passwords = &fixture.identity().passwords;
        let _all = passwords.take_every_registration();
        let free = fixture.register("bob").await;
        assert_eq!(free.status, StatusCode::SERVICE_UNAVAILABLE);
        for _ in 0..50 {
            assert_eq!(fixture.register("ANN").await.status, StatusCode::CONFLICT);
        }
        assert_eq!(fixture.login("ann").await.status, StatusCode::OK);
    })
    .await;
}
