//! Signing keys: published, kept over a restart, and rotated.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use pillion_chassis::testing::deps;
use pillion_chassis::{InProcessPeers, Scopes, UserId};
use serde_json::json;

use super::{Fixture, claims, config, decoded, now_s, on_each};
use crate::signer::KEY_ANNOUNCED;
use crate::{Config, Handle, JwkSet, KeyEncryptionKey};

fn token(fixture: &Fixture) -> String {
    let user = UserId::new(12).unwrap();
    let scopes = Scopes::parse("tweet.write tweet.read");
    fixture.handle.issue_user_token(user, "demo", &scopes, Duration::from_hours(1))
}

fn kid(token: &str) -> String {
    decoded(token.split('.').next().unwrap())["kid"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_token_has_exactly_the_claims_that_verifiers_need() {
    on_each(async |fixture: Fixture| {
        let (first, second) = (token(&fixture), token(&fixture));
        let mut claims = claims(&fixture.handle.jwks(), &first);
        let jti = claims["jti"].take();
        assert_ne!(jti, decoded(second.split('.').nth(1).unwrap())["jti"]);
        let now = now_s(&fixture.clock);
        assert_eq!(
            claims,
            json!({
                "iss": "pillion", "aud": "pillion-api", "sub": "12", "client_id": "demo",
                "scope": "tweet.read tweet.write", "iat": now, "nbf": now, "exp": now + 3600,
                "jti": null,
            })
        );
    })
    .await;
}

#[tokio::test]
async fn the_keys_are_published_and_outlive_a_restart() {
    on_each(async |fixture: Fixture| {
        let request = || Request::get("/.well-known/jwks.json").body(Body::empty()).unwrap();
        let before = fixture.send(request()).await;
        let key = &before.body["keys"][0];
        for (member, value) in
            [("kty", "OKP"), ("crv", "Ed25519"), ("alg", "EdDSA"), ("use", "sig")]
        {
            assert_eq!(key[member], value);
        }
        assert!(key.get("d").is_none());
        let published: JwkSet = serde_json::from_value(before.body.clone()).unwrap();
        assert_eq!(published, fixture.handle.jwks());
        let token = token(&fixture);
        let fixture = fixture.restart().await;
        assert_eq!(fixture.send(request()).await.body, before.body);
        claims(&fixture.handle.jwks(), &token);
    })
    .await;
}

#[tokio::test]
async fn a_new_key_is_announced_before_it_signs_and_the_old_one_kept_while_needed() {
    on_each(async |fixture: Fixture| {
        let mut changes = fixture.handle.jwks_changes();
        changes.mark_unchanged();
        let old = token(&fixture);
        fixture.handle.rotate_keys().await.unwrap();
        assert!(changes.has_changed().unwrap());
        assert_eq!(changes.borrow_and_update().keys.len(), 2);
        assert_eq!(kid(&token(&fixture)), kid(&old));

        fixture.clock.advance(KEY_ANNOUNCED);
        let new = token(&fixture);
        assert_ne!(kid(&new), kid(&old));
        claims(&changes.borrow(), &new);
        claims(&changes.borrow(), &old);

        // Those of apps work for a year.
        fixture.clock.advance(Duration::from_hours(24 * 300));
        fixture.handle.rotate_keys().await.unwrap();
        assert_eq!(fixture.handle.jwks().keys.len(), 3);
        fixture.clock.advance(Duration::from_hours(24 * 66));
        fixture.handle.rotate_keys().await.unwrap();
        let kids: Vec<_> = fixture.handle.jwks().keys.into_iter().map(|key| key.kid).collect();
        assert!(!kids.contains(&kid(&old)) && kids.contains(&kid(&new)), "{kids:?}");
        let fixture = fixture.restart().await;
        assert_eq!(fixture.handle.jwks().keys.len(), kids.len());
    })
    .await;
}

/// The keys with whether they have a private half, newest last.
async fn stored(fixture: &Fixture) -> Vec<(String, Option<Vec<u8>>)> {
    let keys = fixture.identity().store.signing_keys().await.unwrap();
    keys.into_iter().map(|key| (key.kid, key.seed)).collect()
}

#[tokio::test]
async fn i09_keys_rotate_on_schedule_and_private_halves_are_encrypted_and_erased() {
    on_each(async |fixture: Fixture| {
        let identity = fixture.identity();
        let tend = async || {
            identity.signer.tend(&identity.store, &*identity.random).await.unwrap();
        };
        let first = kid(&token(&fixture));
        let sealed = stored(&fixture).await[0].1.clone().unwrap();
        assert_eq!(sealed.len(), 12 + 32 + 16);
        fixture.clock.advance(Duration::from_hours(24 * 30 - 1));
        tend().await;
        assert_eq!(stored(&fixture).await.len(), 1);
        fixture.clock.advance(Duration::from_hours(1));
        for _ in 0..3 {
            tend().await;
        }
        assert_eq!(stored(&fixture).await.len(), 2, "one process makes one key");
        assert_eq!(kid(&token(&fixture)), first);
        fixture.clock.advance(KEY_ANNOUNCED);
        assert_ne!(kid(&token(&fixture)), first);
        // Another process may not have heard of it yet, so the old half stays a little longer.
        fixture.clock.advance(KEY_ANNOUNCED);
        tend().await;
        let keys = stored(&fixture).await;
        assert_eq!(keys.iter().map(|key| key.1.is_some()).collect::<Vec<_>>(), [false, true]);
        // For years: no more keys than tokens need.
        for _ in 0..40 {
            fixture.clock.advance(Duration::from_hours(24 * 30 + 1));
            tend().await;
        }
        let kept = stored(&fixture).await.len();
        assert!((12..=15).contains(&kept), "{kept}");
    })
    .await;
}

#[tokio::test]
async fn i09_two_processes_that_rotate_at_once_make_one_key() {
    on_each(async |fixture: Fixture| {
        let other = beside(&fixture).await;
        fixture.clock.advance(Duration::from_hours(24 * 31));
        let tend = async |handle: &Handle| {
            handle.0.signer.tend(&handle.0.store, &*handle.0.random).await.unwrap();
        };
        tokio::join!(tend(&fixture.handle), tend(&other));
        assert_eq!(stored(&fixture).await.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn i09_a_process_with_another_encryption_key_does_not_start() {
    on_each(async |fixture: Fixture| {
        let peers = Arc::new(InProcessPeers::new());
        let deps = deps(&fixture.test.database, &fixture.clock, &peers);
        let other = format!("{}A", "B".repeat(42));
        let key = KeyEncryptionKey::parse(&other, "a test").unwrap();
        let error = crate::service(deps, Config::new(key)).await.unwrap_err().to_string();
        assert!(error.contains("PILLION_KEY_ENCRYPTION_KEY"), "{error}");
    })
    .await;
}

#[test]
fn a_client_id_that_looks_like_a_user_is_refused() {
    for id in ["", "12", "a:b"] {
        let config = Config { first_party_client_id: id.to_owned(), ..config() };
        let error = crate::check_config(&config).unwrap_err().to_string();
        assert!(error.contains("first_party_client_id"), "{error}");
    }
    assert!(crate::check_config(&config()).is_ok());
}

/// Another process of the service, on the same database.
async fn beside(fixture: &Fixture) -> Handle {
    let peers = Arc::new(InProcessPeers::new());
    let deps = deps(&fixture.test.database, &fixture.clock, &peers);
    crate::service(deps, config()).await.unwrap().1
}

#[tokio::test]
async fn every_process_of_the_service_signs_and_publishes_what_one_of_them_made() {
    on_each(async |fixture: Fixture| {
        let other = beside(&fixture).await;
        assert_eq!(other.jwks(), fixture.handle.jwks());
        fixture.handle.rotate_keys().await.unwrap();
        assert_ne!(other.jwks(), fixture.handle.jwks());
        let mut changes = other.jwks_changes();
        changes.mark_unchanged();
        for _ in 0..2 {
            other.0.signer.refresh(&other.0.store).await.unwrap();
        }
        assert_eq!(other.jwks(), fixture.handle.jwks());
        assert!(changes.has_changed().unwrap());
        fixture.clock.advance(KEY_ANNOUNCED);
        let scopes = Scopes::parse("tweet.read");
        let user = UserId::new(12).unwrap();
        let theirs = other.issue_user_token(user, "demo", &scopes, Duration::from_hours(1));
        assert_eq!(kid(&theirs), kid(&token(&fixture)), "both sign with the new one");
    })
    .await;
}

#[tokio::test]
async fn processes_that_start_at_the_same_time_have_one_key() {
    on_each(async |fixture: Fixture| {
        let mut transaction = fixture.test.database.write().await.unwrap();
        let empty = pillion_chassis::sql::query("DELETE FROM signing_key");
        empty.execute(&mut transaction).await.unwrap();
        transaction.commit().await.unwrap();
        let (a, b) = tokio::join!(beside(&fixture), beside(&fixture));
        assert_eq!(a.jwks().keys.len(), 1);
        assert_eq!(a.jwks(), b.jwks());
    })
    .await;
}
