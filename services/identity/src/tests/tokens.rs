//! The OAuth routes: renewing, apps' own tokens, revoking, and how clients show themselves.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use http::{Method, StatusCode};
use serde_json::json;

use super::{Answer, Fixture, claims, json_request, on_each};

const DAY: Duration = Duration::from_hours(24);

async fn logged_in(fixture: Fixture) -> (Fixture, Answer) {
    fixture.register("ann").await;
    let login = fixture.login("ann").await;
    (fixture, login)
}

async fn refresh(fixture: &Fixture, token: &str) -> Answer {
    let form = format!("grant_type=refresh_token&refresh_token={token}&client_id=pillion");
    fixture.form("/2/oauth2/token", &form, None).await
}

#[tokio::test]
async fn refresh_tokens_rotate() {
    on_each(async |fixture: Fixture| {
        let (fixture, login) = logged_in(fixture).await;
        let first = refresh(&fixture, login.text("refresh_token")).await;
        assert_eq!(first.status, StatusCode::OK, "{}", first.body);
        assert_eq!(first.body["scope"], login.body["scope"]);
        assert_ne!(first.text("refresh_token"), login.text("refresh_token"));
        let claims = claims(&fixture.handle.jwks(), first.text("access_token"));
        assert!(claims["sub"].as_str().unwrap().parse::<u64>().is_ok());
        assert_eq!(refresh(&fixture, first.text("refresh_token")).await.status, StatusCode::OK);
    })
    .await;
}

#[tokio::test]
async fn i02_a_refresh_token_that_comes_again_gets_the_same_pair_for_a_while() {
    on_each(async |fixture: Fixture| {
        let (fixture, login) = logged_in(fixture).await;
        let token = login.text("refresh_token");
        let next = refresh(&fixture, token).await;
        for _ in 0..2 {
            fixture.clock.advance(Duration::from_secs(15));
            let again = refresh(&fixture, token).await;
            assert_eq!((again.status, &again.body), (StatusCode::OK, &next.body));
        }
        // Another tab has used the successor meanwhile.
        let last = refresh(&fixture, next.text("refresh_token")).await;
        assert_eq!(last.status, StatusCode::OK);
        assert_eq!(refresh(&fixture, token).await.body, next.body);
        assert_eq!(refresh(&fixture, last.text("refresh_token")).await.status, StatusCode::OK);
        // After a restart, too.
        let fixture = fixture.restart().await;
        assert_eq!(refresh(&fixture, token).await.body, next.body);
    })
    .await;
}

#[tokio::test]
async fn i02_a_refresh_token_that_comes_again_after_the_grace_ends_its_session() {
    on_each(async |fixture: Fixture| {
        let (fixture, login) = logged_in(fixture).await;
        let elsewhere = fixture.login("ann").await;
        let next = refresh(&fixture, login.text("refresh_token")).await;
        fixture.clock.advance(Duration::from_secs(31));
        let reused = refresh(&fixture, login.text("refresh_token")).await;
        assert_eq!(reused.status, StatusCode::BAD_REQUEST);
        assert_eq!(reused.text("error"), "invalid_grant");
        assert!(reused.text("error_description").contains("used before"));
        let successor = refresh(&fixture, next.text("refresh_token")).await;
        assert_eq!(successor.text("error"), "invalid_grant");
        // The access tokens of the session are revoked with it.
        assert!(fixture.is_revoked(next.text("access_token")).await);
        assert!(fixture.is_revoked(login.text("access_token")).await);
        // Other sessions go on.
        assert_eq!(refresh(&fixture, elsewhere.text("refresh_token")).await.status, StatusCode::OK);
        assert!(!fixture.is_revoked(elsewhere.text("access_token")).await);
    })
    .await;
}

#[tokio::test]
async fn i02_who_race_with_the_same_refresh_token_get_the_same_pair() {
    on_each(async |fixture: Fixture| {
        let (fixture, login) = logged_in(fixture).await;
        let token = login.text("refresh_token");
        let refresh = || refresh(&fixture, token);
        let (a, b, c) = tokio::join!(refresh(), refresh(), refresh());
        assert_eq!((a.status, &a.body, &a.body), (StatusCode::OK, &b.body, &c.body));
    })
    .await;
}

#[tokio::test]
async fn refresh_tokens_outlive_a_restart_but_not_30_days() {
    on_each(async |fixture: Fixture| {
        let (fixture, login) = logged_in(fixture).await;
        let fixture = fixture.restart().await;
        fixture.clock.advance(29 * DAY);
        let next = refresh(&fixture, login.text("refresh_token")).await;
        assert_eq!(next.status, StatusCode::OK);
        fixture.clock.advance(30 * DAY);
        let expired = refresh(&fixture, next.text("refresh_token")).await;
        assert_eq!(expired.text("error"), "invalid_grant");
        let store = &fixture.identity().store;
        store.forget_expired(pillion_chassis::Clock::now(&*fixture.clock)).await.unwrap();
        let hash = crate::secret::Secret::presented(next.text("refresh_token").to_owned()).hash();
        assert_eq!(store.session_of(&hash).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn a_refresh_may_narrow_the_scope_but_not_widen_it() {
    on_each(async |fixture: Fixture| {
        let (fixture, login) = logged_in(fixture).await;
        let form = |token: &str, scope| {
            format!("grant_type=refresh_token&refresh_token={token}&scope={scope}")
        };
        let wide = form(login.text("refresh_token"), "root");
        let wide = fixture.form("/2/oauth2/token", &wide, None).await;
        assert_eq!(wide.text("error"), "invalid_scope");
        let narrow = form(login.text("refresh_token"), "tweet.read");
        let narrow = fixture.form("/2/oauth2/token", &narrow, None).await;
        assert_eq!(narrow.text("scope"), "tweet.read");
        let back = refresh(&fixture, narrow.text("refresh_token")).await;
        assert_eq!(back.body["scope"], login.body["scope"]);
    })
    .await;
}

#[tokio::test]
async fn apps_get_tokens_of_their_own_in_every_way_that_clients_ask() {
    on_each(async |fixture: Fixture| {
        let (fixture, login) = logged_in(fixture).await;
        let token = login.text("access_token");
        let (id, secret) = fixture.app(token, json!({ "name": "My app" })).await;
        assert!(id.parse::<u64>().is_err());
        let basic = format!("{id}:{secret}");
        let full = format!("grant_type=client_credentials&client_id={id}&client_secret={secret}");
        let json = json!({
            "grant_type": "client_credentials", "client_id": id, "client_secret": secret,
        });
        let query = Request::post(format!("/2/oauth2/token?{full}")).body(Body::empty()).unwrap();
        let json = json_request(Method::POST, "/2/oauth2/token", &json);
        for answer in [
            fixture.form("/oauth2/token", "grant_type=client_credentials", Some(&basic)).await,
            fixture.form("/2/oauth2/token", "grant_type=client_credentials", Some(&basic)).await,
            fixture.form("/2/oauth2/token", &full, None).await,
            fixture.send(query).await,
            fixture.send(json).await,
        ] {
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
            assert_eq!(answer.body["token_type"], "bearer");
            assert!(answer.body.get("refresh_token").is_none());
            let claims = claims(&fixture.handle.jwks(), answer.text("access_token"));
            assert_eq!(claims["sub"], id);
            assert_eq!(claims["client_id"], id);
            assert!(!claims["scope"].as_str().unwrap().contains("write"));
        }
    })
    .await;
}

#[tokio::test]
async fn clients_that_cannot_show_who_they_are_get_401() {
    on_each(async |fixture: Fixture| {
        let (fixture, login) = logged_in(fixture).await;
        let token = login.text("access_token");
        let (id, _) = fixture.app(token, json!({ "name": "My app" })).await;
        let grant = "grant_type=client_credentials";
        for (form, basic) in [
            (grant.to_owned(), None),
            (grant.to_owned(), Some(format!("{id}:wrong"))),
            (grant.to_owned(), Some("app-1:secret".to_owned())),
            (grant.to_owned(), Some("no colon".to_owned())),
            (format!("{grant}&client_id={id}"), None),
            (format!("{grant}&client_id=pillion&client_secret=x"), None),
        ] {
            let answer = fixture.form("/2/oauth2/token", &form, basic.as_deref()).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{form} {basic:?}");
            assert_eq!(answer.text("error"), "invalid_client");
            assert!(answer.headers["www-authenticate"].to_str().unwrap().starts_with("Basic"));
            assert_eq!(answer.headers["cache-control"], "no-store");
        }
        let (public, secret) =
            fixture.app(token, json!({ "name": "Public", "client_type": "public" })).await;
        assert_eq!(secret, "");
        let form = format!("{grant}&client_id={public}");
        let answer = fixture.form("/2/oauth2/token", &form, None).await;
        assert_eq!(answer.text("error"), "unauthorized_client");
    })
    .await;
}

#[tokio::test]
async fn malformed_token_requests_say_what_is_wrong() {
    on_each(async |fixture: Fixture| {
        let (fixture, login) = logged_in(fixture).await;
        let unknown = "grant_type=refresh_token&refresh_token=unknown";
        for (form, error, part) in [
            ("", "invalid_request", "grant_type is missing"),
            ("grant_type=", "invalid_request", "grant_type is missing"),
            ("grant_type=password", "unsupported_grant_type", "[password]"),
            ("grant_type=a&grant_type=b", "invalid_request", "grant_type is there twice"),
            ("grant_type=refresh_token", "invalid_request", "refresh_token is missing"),
            (unknown, "invalid_grant", "unknown"),
        ] {
            let answer = fixture.form("/2/oauth2/token", form, None).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{form}");
            assert_eq!(answer.text("error"), error, "{form}");
            assert!(answer.text("error_description").contains(part), "{}", answer.body);
        }
        for (kind, body) in [
            ("text/plain", "grant_type=refresh_token".to_owned()),
            ("application/json", "[".to_owned()),
            ("application/x-www-form-urlencoded", "a=".to_owned() + &"b".repeat(20_000)),
        ] {
            let request = Request::post("/2/oauth2/token")
                .header("content-type", kind)
                .body(Body::from(body))
                .unwrap();
            let answer = fixture.send(request).await;
            assert_eq!(answer.text("error"), "invalid_request", "{kind}");
        }
        // An access token is no refresh token.
        let answer = refresh(&fixture, login.text("access_token")).await;
        assert_eq!(answer.text("error"), "invalid_grant");
    })
    .await;
}

#[tokio::test]
async fn a_refresh_token_is_only_good_for_its_own_client() {
    on_each(async |fixture: Fixture| {
        let (fixture, login) = logged_in(fixture).await;
        let (id, secret) =
            fixture.app(login.text("access_token"), json!({ "name": "My app" })).await;
        let basic = format!("{id}:{secret}");
        let form =
            format!("grant_type=refresh_token&refresh_token={}", login.text("refresh_token"));
        let stolen = fixture.form("/2/oauth2/token", &form, Some(&basic)).await;
        assert_eq!(stolen.text("error"), "invalid_grant");
        let form = format!("token={}", login.text("refresh_token"));
        let revoked = fixture.form("/2/oauth2/revoke", &form, Some(&basic)).await;
        assert_eq!(revoked.text("error"), "invalid_grant");
        let both = format!("{form}&client_id=pillion&grant_type=refresh_token");
        let both = fixture.form("/2/oauth2/token", &both, Some(&basic)).await;
        assert_eq!(both.text("error"), "invalid_request");
        // It has survived all that.
        assert_eq!(refresh(&fixture, login.text("refresh_token")).await.status, StatusCode::OK);
    })
    .await;
}

#[tokio::test]
async fn bad_apps_are_told_what_is_wrong() {
    on_each(async |fixture: Fixture| {
        let (fixture, login) = logged_in(fixture).await;
        for (body, part) in [
            (json!({ "name": "" }), "`name` must have"),
            (json!({ "name": "a".repeat(51) }), "`name` must have"),
            (json!({ "name": "a", "redirect_uris": ["/back"] }), "[/back]"),
            (json!({ "name": "a", "redirect_uris": ["https://a.example/#x"] }), "fragment"),
            (json!({ "name": "a", "redirect_uris": ["http://evil.example/"] }), "localhost"),
            (json!({ "name": "a\u{202e}b" }), "`name` must have"),
            (json!({ "name": "a\u{200b}b" }), "`name` must have"),
            (
                json!({ "name": "a", "redirect_uris": vec!["https://a.example/"; 11] }),
                "11 addresses",
            ),
            (json!({ "name": "a", "client_type": "secret" }), "confidential"),
        ] {
            let request = json_request(Method::POST, "/pillion/v1/apps", &body);
            let answer = fixture.send_as(login.text("access_token"), request).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
            assert!(answer.body.to_string().contains(part), "{}", answer.body);
        }
        for _ in 0..20 {
            fixture.app(login.text("access_token"), json!({ "name": "a" })).await;
        }
        let request = json_request(Method::POST, "/pillion/v1/apps", &json!({ "name": "a" }));
        let answer = fixture.send_as(login.text("access_token"), request).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
    })
    .await;
}
