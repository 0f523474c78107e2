//! The file is made once, and what is signed with its key says what it must.

use std::os::unix::fs::PermissionsExt as _;

use ring::signature::{ED25519, UnparsedPublicKey};
use serde_json::Value;

use super::*;
use crate::clock::FakeClock;
use crate::random::SystemRandom;

fn tokens(keys: &ServiceKeys, clock: &Arc<FakeClock>) -> ServiceTokens {
    let clock = clock.clone();
    ServiceTokens::new("users", keys.clone(), "pillion", "pillion-api", clock, &SystemRandom)
        .unwrap()
}

fn clock() -> Arc<FakeClock> {
    Arc::new(FakeClock::at("2026-07-01T10:00:00Z".parse().unwrap()))
}

/// Header and claims, the signature having been checked with one of the keys.
fn read(bearer: &HeaderValue, keys: &ServiceKeys) -> (Value, Value) {
    let token = bearer.to_str().unwrap().strip_prefix("Bearer ").unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let part = |text: &str| -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
    };
    let (header, claims) = signed.split_once('.').unwrap();
    let (header, claims) = (part(header), part(claims));
    let key = keys.iter().find(|key| header["kid"] == key.id()).expect("a key of this set");
    let public = UnparsedPublicKey::new(&ED25519, key.public());
    public.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
    (header, claims)
}

#[test]
fn a_token_is_a_services_for_a_minute_and_for_sagas_only() {
    let (clock, keys) = (clock(), ServiceKeys::passing(&SystemRandom).unwrap());
    let bearer = tokens(&keys, &clock).bearer();
    assert!(bearer.is_sensitive());
    let (header, claims) = read(&bearer, &keys);
    assert_eq!((header["alg"].as_str(), header["typ"].as_str()), (Some("EdDSA"), Some("at+jwt")));
    assert!(header["kid"].as_str().unwrap().starts_with("service-"));
    assert_eq!(claims["sub"], "service:users");
    assert_eq!(claims["client_id"], "service:users");
    assert_eq!(claims["scope"], "internal.saga");
    assert_eq!(claims["iss"], "pillion");
    assert_eq!(claims["aud"], "pillion-api");
    let issued_at = clock.now().as_secs();
    assert_eq!(claims["nbf"], issued_at);
    assert_eq!(claims["exp"], issued_at + 60);
}

#[test]
fn a_token_is_used_for_half_of_its_time() {
    let (clock, keys) = (clock(), ServiceKeys::passing(&SystemRandom).unwrap());
    let tokens = tokens(&keys, &clock);
    let first = tokens.bearer();
    clock.advance(Duration::from_secs(29));
    assert_eq!(tokens.bearer(), first);
    clock.advance(Duration::from_secs(1));
    let second = tokens.bearer();
    assert_ne!(second, first);
    // A clock that is put back makes a new one, which is valid then.
    clock.set("2026-07-01T09:00:00Z".parse().unwrap());
    let third = tokens.bearer();
    assert_eq!(read(&third, &keys).1["nbf"], clock.now().as_secs());
    let jti = |bearer| read(bearer, &keys).1["jti"].clone();
    assert_ne!(jti(&first), jti(&second));
    assert_ne!(jti(&second), jti(&third));
}

#[test]
fn of_many_that_begin_together_one_makes_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("service.key");
    let open = || ServiceKeys::open_or_make(&path, &SystemRandom).unwrap().signing.id.clone();
    let mut ids: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    ids.dedup();
    assert_eq!(ids.len(), 1, "{ids:?}");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left aside");
    assert_eq!(open(), ids[0]);
    let error = ServiceKeys::make(&path, &SystemRandom).unwrap_err();
    assert!(error.to_string().contains("cannot make the service key"), "{error}");
}

#[test]
fn the_first_key_of_a_file_signs_and_the_others_count_too() {
    let folder = tempfile::tempdir().unwrap();
    let paths = ["old", "new", "both"].map(|name| folder.path().join(name));
    let [old, new] = [0, 1].map(|at| {
        let keys: &Path = &paths[at];
        ServiceKeys::open_or_make(keys, &SystemRandom).unwrap()
    });
    let text = [&paths[1], &paths[0]].map(|path| fs::read_to_string(path).unwrap()).concat();
    fs::write(&paths[2], text).unwrap();
    let both = ServiceKeys::open(&paths[2]).unwrap();
    let clock = clock();
    read(&tokens(&old, &clock).bearer(), &both);
    read(&tokens(&both, &clock).bearer(), &new);
}

#[test]
fn a_file_that_is_no_key_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("service.key");
    let explained = |says: &str| {
        let error = ServiceKeys::open(&path).unwrap_err().to_string();
        assert!(error.contains(says) && error.contains("service.key"), "{error}");
    };
    explained("`pillion certs service-key FILE` makes it once");
    fs::write(&path, "not a key").unwrap();
    explained("holds no key");
    let damaged = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    fs::write(&path, damaged).unwrap();
    explained("not of Ed25519");
    fs::write(&path, "x".repeat(20_000)).unwrap();
    explained("has 20000 bytes");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    explained("it must be a file");
}

/// What `openssl genpkey -algorithm ed25519` writes, and what we write, is the same form.
#[test]
fn a_key_of_openssl_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("service.key");
    // The key of RFC 8410, section 10.3.
    let pem = "-----BEGIN PRIVATE KEY-----\n\
               MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
               -----END PRIVATE KEY-----\n";
    fs::write(&path, pem).unwrap();
    let keys = ServiceKeys::open(&path).unwrap();
    assert_eq!(
        STANDARD.encode(keys.signing.public()),
        "Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE="
    );
}
