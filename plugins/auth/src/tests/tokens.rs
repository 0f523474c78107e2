//! Tokens that are refused, and what their senders are told.

use pillion_plugin::{
    crypto::Algorithm,
    testing::{self, Request},
};
use serde_json::json;

use super::{
    NOW_S, auth, auth_with, caller, claims, header, post, problem, response, signed, token,
    unauthorized, with,
};
use crate::base64url;

#[test]
fn headers_that_hold_no_token() {
    let mut auth = auth();
    for authorization in [
        "Bearer",
        "Bearer ",
        "Bearer   ",
        "Bearer a.b.c ",
        "Bearer a b",
        "Bearer a.b.c, Bearer d.e.f",
        "",
    ] {
        let detail = unauthorized(&mut auth, authorization);
        assert!(detail.contains("without spaces"), "{authorization:?}: {detail}");
    }
    for authorization in ["Basic YTpi", "Bearertoken", "x", "OAuth oauth_token=\"1\""] {
        let detail = unauthorized(&mut auth, authorization);
        assert!(detail.contains("another scheme"), "{authorization:?}: {detail}");
    }
    assert_eq!(testing::verifications(), 0);
}

#[test]
fn tokens_of_another_shape() {
    let mut auth = auth();
    let good = token(&claims());
    let parts: Vec<&str> = good.split('.').collect();
    let (message, signature) = good.rsplit_once('.').unwrap();
    for bad in [
        "x".to_owned(),
        "..".to_owned(),
        message.to_owned(),
        format!("{good}.{signature}"),
        format!("{good}="),
        format!(".{}.{}", parts[1], parts[2]),
        format!("{message}."),
        format!("{message}.!!!!"),
    ] {
        let detail = unauthorized(&mut auth, &format!("Bearer {bad}"));
        assert!(
            ["three parts", "header is not", "signature is wrong"]
                .iter()
                .any(|it| detail.contains(it)),
            "{bad}: {detail}"
        );
    }
    let detail = unauthorized(&mut auth, &format!("Bearer {}", "a".repeat(4_097)));
    assert_eq!(detail, "The access token is longer than 4096 bytes.");
}

#[test]
fn headers_that_do_not_fit() {
    let mut auth = auth();
    for (changes, expected) in [
        (
            json!({"alg": "none"}),
            "The access token is signed with none; EdDSA and HS256 are accepted.",
        ),
        (
            json!({"alg": "RS256"}),
            "The access token is signed with RS256; EdDSA and HS256 are accepted.",
        ),
        (
            json!({"alg": "eddsa"}),
            "The access token is signed with eddsa; EdDSA and HS256 are accepted.",
        ),
        (
            json!({"alg": null}),
            "The access token is signed with none; EdDSA and HS256 are accepted.",
        ),
        (json!({"typ": "JWT"}), "The access token's type (typ) must be at+jwt, not JWT."),
        (json!({"typ": null}), "The access token's type (typ) must be at+jwt, not none."),
        (
            json!({"crit": ["b64"], "b64": false}),
            "The access token's header requires extensions (crit), and none are supported.",
        ),
        (json!({"kid": null}), "The access token names no key (kid)."),
        (json!({"kid": ""}), "The access token names no key (kid)."),
        (json!({"kid": "old"}), "The access token is signed with the unknown key old."),
        (json!({"kid": 7}), "The access token's header is not the JSON object that it must be."),
        (
            json!({"alg": "HS256"}),
            "The access token's key ed is for another algorithm than it names.",
        ),
        (json!({"kid": "hs"}), "The access token's key hs is for another algorithm than it names."),
    ] {
        let token = signed("ed", &with(header(), changes).to_string(), &claims().to_string());
        assert_eq!(unauthorized(&mut auth, &format!("Bearer {token}")), expected);
    }
    for text in ["[]", "x", "{\"alg\":\"EdDSA\",\"alg\":\"HS256\"}"] {
        let token = signed("ed", text, &claims().to_string());
        let detail = unauthorized(&mut auth, &format!("Bearer {token}"));
        assert_eq!(detail, "The access token's header is not the JSON object that it must be.");
    }
}

#[test]
fn a_key_pair_is_never_taken_for_a_shared_secret() {
    let mut auth = auth();
    let message = format!(
        "{}.{}",
        base64url::encode(with(header(), json!({"alg": "HS256"})).to_string().as_bytes()),
        base64url::encode(claims().to_string().as_bytes())
    );
    testing::add_key("forger", "ed", Algorithm::HmacSha256, &[7; 32]);
    let signature = testing::sign("forger", "ed", message.as_bytes());
    let detail =
        unauthorized(&mut auth, &format!("Bearer {message}.{}", base64url::encode(&signature)));
    assert_eq!(detail, "The access token's key ed is for another algorithm than it names.");
}

#[test]
fn a_change_anywhere_breaks_the_signature() {
    let mut auth = auth();
    let good = token(&claims());
    let other = token(&with(claims(), json!({"sub": "43"})));
    let parts: Vec<&str> = good.split('.').collect();
    let others: Vec<&str> = other.split('.').collect();
    for forged in [
        format!("{}.{}.{}", parts[0], others[1], parts[2]),
        format!("{}.{}.{}", parts[0], parts[1], others[2]),
    ] {
        let detail = unauthorized(&mut auth, &format!("Bearer {forged}"));
        assert_eq!(detail, "The access token's signature is wrong.");
    }
}

#[test]
fn claims_that_do_not_fit() {
    let mut auth = auth();
    for (changes, expected) in [
        (json!({"exp": NOW_S - 60}), "The access token expired at 2025-12-31T23:59:00Z."),
        (json!({"exp": null}), "The access token lacks the claim exp."),
        (json!({"exp": "soon"}), "The access token's claim exp is not a time."),
        (json!({"exp": -1}), "The access token's claim exp is not a time."),
        (json!({"nbf": NOW_S + 61}), "The access token is not valid before 2026-01-01T00:01:01Z."),
        (json!({"nbf": "soon"}), "The access token's claim nbf is not a time."),
        (json!({"iat": "now"}), "The access token's claim iat is not a time."),
        (json!({"iss": null}), "The access token lacks the claim iss."),
        (
            json!({"iss": "https://evil\r\n.example\"x"}),
            "The access token was issued by https://evil??.example?x, which is not accepted here.",
        ),
        (json!({"aud": null}), "The access token lacks the claim aud."),
        (json!({"aud": "other"}), "The access token is meant for another audience."),
        (json!({"aud": ["other"]}), "The access token is meant for another audience."),
        (json!({"aud": 7}), "The access token's claims are not the JSON object that they must be."),
        (json!({"sub": null}), "The access token lacks the claim sub."),
        (json!({"sub": ""}), "The access token lacks the claim sub."),
        (
            json!({"sub": 42}),
            "The access token's claims are not the JSON object that they must be.",
        ),
        (
            json!({"sub": "app-2"}),
            "The access token's subject is neither a user nor its own application.",
        ),
        (json!({"client_id": null}), "The access token lacks the claim client_id."),
    ] {
        let token = token(&with(claims(), changes));
        assert_eq!(unauthorized(&mut auth, &format!("Bearer {token}")), expected);
    }
    let token = signed("ed", &header().to_string(), "not json");
    let detail = unauthorized(&mut auth, &format!("Bearer {token}"));
    assert_eq!(detail, "The access token's claims are not the JSON object that they must be.");
}

#[test]
fn what_a_client_sent_is_repeated_shortened() {
    let mut auth = auth();
    let header = with(header(), json!({"kid": "k".repeat(500)})).to_string();
    let token = signed("ed", &header, &claims().to_string());
    let detail = unauthorized(&mut auth, &format!("Bearer {token}"));
    assert_eq!(
        detail,
        format!("The access token is signed with the unknown key {}....", "k".repeat(64))
    );
}

#[test]
fn a_key_of_services_signs_for_nobody_else_and_no_other_for_them() {
    let mut auth = auth_with(json!({"routes": {
        "POST /2/tweets": {"scopes": ["tweet.write"]},
        "PUT /internal/sagas/{saga_id}/steps/{step}": {"scopes": ["internal.saga"]},
    }}));
    testing::add_key("access-tokens", "service-1", Algorithm::Ed25519, &[8; 32]);
    let header = with(header(), json!({"kid": "service-1"})).to_string();
    let service = json!({"sub": "service:users", "client_id": "service:users",
        "scope": "internal.saga"});
    let made_up = token(&with(claims(), service.clone()));
    let detail = unauthorized(&mut auth, &format!("Bearer {made_up}"));
    let says = "The access token is a service's, and is not signed with a key of services.";
    assert_eq!(detail, says);
    let good =
        format!("Bearer {}", signed("service-1", &header, &with(claims(), service).to_string()));
    let mut step = Request::new("PUT", "/internal/sagas/1/steps/create")
        .route("/internal/sagas/{saga_id}/steps/{step}")
        .header("authorization", good.as_str());
    let caller = caller(step.on_request(&mut auth));
    assert_eq!((caller.user_id, caller.client_id.as_str()), (None, "service:users"));
    let response = response(post(&good).on_request(&mut auth));
    problem(&response, 403, "Forbidden");
    for changes in [
        json!({"sub": "42", "client_id": "app-1"}),
        json!({"sub": "42", "client_id": "service:users"}),
        json!({"sub": "app-1", "client_id": "app-1", "scope": ""}),
    ] {
        let token = signed("service-1", &header, &with(claims(), changes).to_string());
        let detail = unauthorized(&mut auth, &format!("Bearer {token}"));
        assert_eq!(detail, "The access token is signed with a key that is for services only.");
    }
}

#[test]
fn i11_crit_and_arrays_are_refused_whatever_they_hold() {
    let mut auth = auth();
    for crit in ["null", "[]", "[\"b64\"]", "0"] {
        let header = format!(r#"{{"alg":"EdDSA","typ":"at+jwt","kid":"ed","crit":{crit}}}"#);
        let token = signed("ed", &header, &claims().to_string());
        let detail = unauthorized(&mut auth, &format!("Bearer {token}"));
        assert!(detail.contains("(crit)"), "{crit}: {detail}");
    }
    // The members in the order in which the plugin declares them.
    let token = signed("ed", r#"["EdDSA","at+jwt","ed"]"#, &claims().to_string());
    let detail = unauthorized(&mut auth, &format!("Bearer {token}"));
    assert_eq!(detail, "The access token's header is not the JSON object that it must be.");
    let array = json!(["pillion", "pillion-api", "42", "app-1", "tweet.write", NOW_S, NOW_S + 900]);
    let token = signed("ed", &header().to_string(), &array.to_string());
    let detail = unauthorized(&mut auth, &format!("Bearer {token}"));
    assert_eq!(detail, "The access token's claims are not the JSON object that they must be.");
}

#[test]
fn i12_any_number_of_spaces_follows_the_scheme() {
    let mut auth = auth();
    for spaces in [" ", "  ", "      "] {
        caller(post(&format!("Bearer{spaces}{}", token(&claims()))).on_request(&mut auth));
    }
}

#[test]
fn i03_the_leeway_is_configurable_and_nbf_optional() {
    for leeway in [0, 60, 600] {
        let mut auth = auth_with(json!({"leeway_s": leeway}));
        for good in [
            json!({"nbf": NOW_S + leeway}),
            json!({"nbf": null}),
            json!({"exp": NOW_S + 1 - leeway}),
            json!({"iat": NOW_S + 3_600}),
        ] {
            let token = token(&with(claims(), good));
            caller(post(&format!("Bearer {token}")).on_request(&mut auth));
        }
        for (bad, reason) in [
            (json!({"nbf": NOW_S + leeway + 1}), "is not valid before"),
            (json!({"exp": NOW_S - leeway}), "expired at"),
        ] {
            let token = token(&with(claims(), bad));
            let detail = unauthorized(&mut auth, &format!("Bearer {token}"));
            assert!(detail.contains(reason), "{detail}");
        }
    }
}

/// A token signed with a shared secret.
fn partners(kid: &str, changes: serde_json::Value) -> String {
    let header = with(header(), json!({"alg": "HS256", "kid": kid})).to_string();
    format!("Bearer {}", signed(kid, &header, &with(claims(), changes).to_string()))
}

#[test]
fn i10_a_shared_key_speaks_only_for_what_it_lists() {
    let mut auth = auth_with(json!({"partners": {
        "hs": {"issuer": "partner", "audience": "theirs", "clients": ["app-1", "app-2"],
               "users": ["42", "43"], "scopes": ["tweet.read", "tweet.write", "users.read"]},
        "mute": {"issuer": "pillion", "audience": "pillion-api"},
    }}));
    for kid in ["mute", "unlisted"] {
        testing::add_key("access-tokens", kid, Algorithm::HmacSha256, b"another secret of theirs");
    }
    let theirs = json!({"iss": "partner", "aud": "theirs"});
    let admitted = caller(post(&partners("hs", theirs.clone())).on_request(&mut auth));
    assert_eq!(admitted.user_id.as_deref(), Some("42"));
    let says = |what: &str| {
        format!("The access token is signed with the key hs, which may not speak for {what}.")
    };
    for (changes, expected) in [
        (json!({"sub": "44"}), says("the user 44")),
        (json!({"client_id": "app-3"}), says("the client app-3")),
        (json!({"scope": "tweet.read like.read"}), says("the scope like.read")),
        (json!({"sub": "app-1", "scope": ""}), says("an application without scopes")),
        (
            json!({"iss": "pillion"}),
            "The access token was issued by pillion, which is not accepted here.".into(),
        ),
        (json!({"aud": "pillion-api"}), "The access token is meant for another audience.".into()),
    ] {
        let token = partners("hs", with(theirs.clone(), changes));
        assert_eq!(unauthorized(&mut auth, &token), expected);
    }
    assert!(unauthorized(&mut auth, &partners("mute", json!({}))).ends_with("the client app-1."));
    assert!(unauthorized(&mut auth, &partners("unlisted", json!({}))).ends_with("anybody."));
    // Identity's own tokens are not a partner's.
    caller(post(&format!("Bearer {}", token(&claims()))).on_request(&mut auth));
}

#[test]
fn i04_a_revoked_token_is_refused_also_when_it_is_remembered() {
    for revoked in ["1", "s7", "app-1"] {
        let mut auth = auth();
        let good = format!("Bearer {}", token(&with(claims(), json!({"rev": ["s7", "app-1"]}))));
        let other = format!("Bearer {}", token(&with(claims(), json!({"jti": "2"}))));
        for _ in 0..3 {
            caller(post(&good).on_request(&mut auth));
            caller(post(&other).on_request(&mut auth));
        }
        assert_eq!(testing::revocation_checks(), 2, "once for each while nothing changes");
        testing::revoke(revoked);
        for _ in 0..2 {
            let detail = unauthorized(&mut auth, &good);
            assert_eq!(detail, "The access token was revoked.");
            caller(post(&other).on_request(&mut auth));
        }
        assert_eq!(testing::revocation_checks(), 5, "the other one once more");
        assert_eq!(testing::verifications(), 2);
    }
    let mut auth = auth();
    let many: Vec<String> = (0..9).map(|id| id.to_string()).collect();
    let many = format!("Bearer {}", token(&with(claims(), json!({"rev": many}))));
    assert!(unauthorized(&mut auth, &many).contains("claims are not"));
}
