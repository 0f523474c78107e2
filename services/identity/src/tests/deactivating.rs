//! Accounts end, or come back, with failures at every step.

use std::time::Duration;

use http::StatusCode;
use serde_json::json;

use super::{Answer, Fixture, Mode, PASSWORD, on_each};

const DAY: Duration = Duration::from_hours(24);

/// What is hidden, in this order.
const HIDDEN: [&str; 5] = [
    "PUT identity.revoke",
    "PUT users.deactivate",
    "PUT graph.hide",
    "PUT tweets.hide",
    "PUT timelines.purge",
];

/// What is erased, in this order.
const ERASED: [&str; 8] = [
    "PUT users.purge",
    "PUT tweets.purge",
    "PUT graph.purge",
    "PUT engagements.purge",
    "PUT timelines.purge_all",
    "PUT search.purge",
    "PUT notifications.purge",
    "PUT identity.purge",
];

/// Ann, with her first log-in.
async fn ann(fixture: &Fixture) -> Answer {
    fixture.register("ann").await;
    let login = fixture.login("ann").await;
    fixture.settled().await;
    fixture.world.asked();
    login
}

async fn refresh(fixture: &Fixture, login: &Answer) -> Answer {
    let token = login.text("refresh_token");
    let form = format!("grant_type=refresh_token&refresh_token={token}&client_id=pillion");
    fixture.form("/2/oauth2/token", &form, None).await
}

#[tokio::test]
async fn a_deactivated_account_is_as_if_not_there() {
    on_each(async |fixture: Fixture| {
        let login = ann(&fixture).await;
        let token = login.text("access_token");
        let (app, secret) = fixture.app(token, json!({ "name": "Hers" })).await;
        let wrong = fixture.deactivate(token, "not the password").await;
        assert_eq!(wrong.status, StatusCode::FORBIDDEN);
        assert!(fixture.shown("ann").await.is_some());

        let answer = fixture.deactivate(token, PASSWORD).await;
        let expected = json!({ "deactivated": true, "purge_at": "2026-07-31T10:00:00.000Z" });
        // The clock goes on a little while sagas come to their ends.
        let purge_at = answer.body["data"]["purge_at"].as_str().unwrap();
        assert_eq!(purge_at[..10], expected["purge_at"].as_str().unwrap()[..10]);
        assert_eq!(
            (answer.status, &answer.body["data"]["deactivated"]),
            (StatusCode::OK, &true.into())
        );
        assert_eq!(fixture.world.asked(), HIDDEN);

        assert_eq!(fixture.shown("ann").await, None);
        assert_eq!(refresh(&fixture, &login).await.text("error"), "invalid_grant");
        let basic = format!("{app}:{secret}");
        let grant = "grant_type=client_credentials";
        let of_app = fixture.form("/2/oauth2/token", grant, Some(&basic)).await;
        assert_eq!(of_app.text("error"), "invalid_client");
        // The access token still has minutes to live; what it names is not there.
        let again = fixture.deactivate(token, PASSWORD).await;
        assert_eq!(again.status, StatusCode::UNAUTHORIZED);
        assert!(again.text("detail").contains("does not exist any more"));
        assert_eq!(fixture.register("ann").await.status, StatusCode::CONFLICT);
        let wrong = json!({ "username": "ann", "password": "not the password" });
        let wrong = fixture.post("/pillion/v1/login", wrong).await;
        assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
        assert_eq!(fixture.shown("ann").await, None);
    })
    .await;
}

#[tokio::test]
async fn logging_in_brings_everything_back() {
    on_each(async |fixture: Fixture| {
        let login = ann(&fixture).await;
        let token = login.text("access_token");
        let (app, secret) = fixture.app(token, json!({ "name": "Hers" })).await;
        let id = fixture.shown("ann").await;
        for _ in 0..2 {
            let login = fixture.login("ann").await;
            fixture.deactivate(login.text("access_token"), PASSWORD).await;
            fixture.clock.advance(29 * DAY);
            let back = fixture.login("ann").await;
            assert_eq!(back.status, StatusCode::OK, "{}", back.body);
            assert_eq!(fixture.shown("ann").await, id);
            assert_eq!(refresh(&fixture, &back).await.status, StatusCode::OK);
            assert_eq!(refresh(&fixture, &login).await.text("error"), "invalid_grant");
            let undone = HIDDEN.iter().rev().map(|call| call.replace("PUT", "DELETE"));
            let hidden = HIDDEN.iter().map(|call| (*call).to_owned());
            assert_eq!(fixture.world.asked(), hidden.chain(undone).collect::<Vec<_>>());
        }
        let basic = format!("{app}:{secret}");
        let grant = "grant_type=client_credentials";
        let of_app = fixture.form("/2/oauth2/token", grant, Some(&basic)).await;
        assert_eq!(of_app.status, StatusCode::OK);
        let again = ["user.deactivated", "user.reactivated"];
        assert_eq!(
            fixture.told().await,
            ["user.registered", again[0], again[1], again[0], again[1]]
        );
        // The time is over, and nothing happens.
        fixture.clock.advance(60 * DAY);
        fixture.settled().await;
        assert_eq!(fixture.login("ann").await.status, StatusCode::OK);
    })
    .await;
}

#[tokio::test]
async fn when_the_time_is_over_it_is_gone_for_good() {
    on_each(async |fixture: Fixture| {
        let login = ann(&fixture).await;
        fixture.register("bob").await;
        fixture.deactivate(login.text("access_token"), PASSWORD).await;
        fixture.clock.advance(29 * DAY + DAY / 2);
        // Also the process does not have to be the same.
        let fixture = fixture.restart().await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        fixture.world.asked();
        assert_eq!(fixture.rows().await[0], 2);

        fixture.world.set("PUT graph.purge", Mode::Down);
        fixture.clock.advance(DAY);
        for _ in 0..100 {
            if fixture.told().await.last().is_some_and(|name| name == "user.deleted") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // Too late to change one's mind, whoever is away.
        assert_eq!(fixture.login("ann").await.status, StatusCode::UNAUTHORIZED);
        fixture.world.heal();
        fixture.settled().await;
        assert_eq!(fixture.world.asked(), ERASED);
        assert_eq!(fixture.login("ann").await.status, StatusCode::UNAUTHORIZED);
        assert_eq!(fixture.rows().await[0], 1);
        assert_eq!(fixture.shown("ann").await, None);
        // The handle stays taken.
        let again = fixture.register("ann").await;
        assert_eq!(again.status, StatusCode::CONFLICT);
        assert_eq!(fixture.rows().await[..4], [1, 2, 0, 0]);
        assert_eq!(fixture.login("bob").await.status, StatusCode::OK);
    })
    .await;
}

#[tokio::test]
async fn refused_at_any_step_the_account_is_as_it_was() {
    on_each(async |fixture: Fixture| {
        ann(&fixture).await;
        for (index, call) in HIDDEN.into_iter().enumerate() {
            let login = fixture.login("ann").await;
            fixture.world.set(call, Mode::Vetoed(403));
            let refused = fixture.deactivate(login.text("access_token"), PASSWORD).await;
            assert_eq!(refused.status, StatusCode::FORBIDDEN, "{call}");
            assert_eq!(refused.text("detail"), format!("no {call}"));
            fixture.world.heal();
            let undone = HIDDEN[..=index].iter().rev().map(|call| call.replace("PUT", "DELETE"));
            let hidden = HIDDEN[..=index].iter().map(|call| (*call).to_owned());
            assert_eq!(fixture.world.asked(), hidden.chain(undone).collect::<Vec<_>>());
            assert!(fixture.shown("ann").await.is_some());
            assert_eq!(fixture.login("ann").await.status, StatusCode::OK);
        }
    })
    .await;
}

#[tokio::test]
async fn a_service_that_is_away_hides_it_later_or_not_at_all() {
    on_each(async |fixture: Fixture| {
        let login = ann(&fixture).await;
        fixture.world.set("PUT tweets.hide", Mode::AnswersLost);
        let accepted = fixture.deactivate(login.text("access_token"), PASSWORD).await;
        assert_eq!(accepted.status, StatusCode::ACCEPTED);
        assert_eq!(accepted.body["data"]["deactivated"], true);
        // Closed at once, whoever is away; and logging in takes it back from where it is.
        assert_eq!(refresh(&fixture, &login).await.text("error"), "invalid_grant");
        let back = fixture.login("ann").await;
        assert_eq!(back.status, StatusCode::OK);
        assert!(fixture.world.asked().contains(&"DELETE tweets.hide".to_owned()));

        let accepted = fixture.deactivate(back.text("access_token"), PASSWORD).await;
        assert_eq!(accepted.status, StatusCode::ACCEPTED);
        fixture.world.heal();
        fixture.settled().await;
        assert_eq!(fixture.shown("ann").await, None);
        // When one cannot be reached to unhide it, the log-in says so, and works later.
        fixture.world.set("DELETE graph.hide", Mode::Down);
        let early = fixture.login("ann").await;
        assert_eq!(early.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(early.headers.contains_key("retry-after"));
        fixture.world.heal();
        fixture.settled().await;
        assert_eq!(fixture.login("ann").await.status, StatusCode::OK);
        assert!(fixture.shown("ann").await.is_some());
    })
    .await;
}

#[tokio::test]
async fn what_was_taken_back_before_its_first_step_is_open_again() {
    on_each(async |fixture: Fixture| {
        let login = ann(&fixture).await;
        // Nobody drives sagas now.
        fixture.running.shutdown.request();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let accepted = fixture.deactivate(login.text("access_token"), PASSWORD).await;
        assert_eq!(accepted.status, StatusCode::ACCEPTED);
        assert_eq!(fixture.login("ann").await.status, StatusCode::SERVICE_UNAVAILABLE);
        let fixture = fixture.restart().await;
        fixture.settled().await;
        assert_eq!(fixture.login("ann").await.status, StatusCode::OK);
        assert!(fixture.world.asked().iter().all(|call| !call.starts_with("PUT")));
    })
    .await;
}
