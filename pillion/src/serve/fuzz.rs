//! What strangers and proxies send before HTTP is spoken, and around it: nothing panics, and
//! nothing that a client can write changes what a trusted proxy said.

use std::net::IpAddr;

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Uri, Version};

use super::client_address::{FORWARDED, ForwardedHeader, Proxies, X_FORWARDED_FOR};
use super::proxy_protocol::{self, Decoded};
use super::target;

#[test]
fn fuzz_forwarded() {
    let trusted = ["10.0.0.0/8", "2001:db8::/32"].map(|network| network.parse().unwrap());
    let peer: IpAddr = "10.0.0.1".parse().unwrap();
    let client: IpAddr = "198.51.100.7".parse().unwrap();
    pillion_fuzz::run("forwarded", |input| {
        for (header, name, appended) in [
            (ForwardedHeader::XForwardedFor, X_FORWARDED_FOR, &b", 198.51.100.7, 10.3.3.3"[..]),
            (
                ForwardedHeader::Forwarded,
                FORWARDED,
                b", for=198.51.100.7;by=_x, for=\"10.3.3.3:1\"",
            ),
        ] {
            let proxies = Proxies::new(&trusted, header, true);
            let Ok(alone) = HeaderValue::from_bytes(input) else { return };
            let both = HeaderValue::from_bytes(&[input, appended].concat()).unwrap();
            let with =
                |value| proxies.client_of(peer, &HeaderMap::from_iter([(name.clone(), value)]));
            // What proxies appended counts, whatever stands before it.
            assert_eq!(with(both), client);
            assert_eq!(with(alone.clone()), with(alone.clone()).to_canonical());
            let untrusted = HeaderMap::from_iter([(name.clone(), alone)]);
            assert_eq!(proxies.client_of(client, &untrusted), client);
        }
    });
}

#[test]
fn fuzz_proxy_protocol() {
    pillion_fuzz::run("proxy_protocol", |input| {
        // As it is read: never a byte more than was asked for.
        let mut read = 0;
        loop {
            match proxy_protocol::decode(&input[..read]) {
                Decoded::Incomplete(more) => {
                    assert!(more > 0 && read + more <= 4096, "{read} + {more}");
                    read += more;
                    if read > input.len() {
                        return;
                    }
                }
                Decoded::Header(source) => {
                    assert!(source.is_none_or(|source| source == source.to_canonical()));
                    // A byte more is not a longer header.
                    let longer = [&input[..read], b"x"].concat();
                    assert!(matches!(proxy_protocol::decode(&longer), Decoded::Invalid(_)));
                    return;
                }
                Decoded::Invalid(_) => return,
            }
        }
    });
}

#[test]
fn fuzz_target() {
    pillion_fuzz::run("target", |input| {
        let mut lines = input.split(|byte| *byte == b'\n');
        let uri = lines.next().unwrap_or_default();
        let Ok(uri) = Uri::try_from(uri) else { return };
        for version in [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2] {
            let mut request = http::Request::new(());
            *request.version_mut() = version;
            *request.uri_mut() = uri.clone();
            for host in lines.clone() {
                let Ok(host) = HeaderValue::from_bytes(host) else { return };
                request.headers_mut().append(http::header::HOST, host);
            }
            if target::normalize(&mut request).is_err() {
                continue;
            }
            // One host, in plain text, the same wherever it is looked for.
            let hosts: Vec<_> = request.headers().get_all(http::header::HOST).iter().collect();
            assert!(hosts.len() <= 1 && hosts.iter().all(|host| host.to_str().is_ok()));
            let authority = request.uri().authority().map(http::uri::Authority::as_str);
            let authority = authority.or(hosts.first().and_then(|host| host.to_str().ok()));
            assert!(version < Version::HTTP_11 || authority.is_some());
            assert!(authority.is_none_or(|it| !it.contains(['@', ',', '/', ' ', '%'])));
            // Once is enough, and the path is no other one.
            let path = request.uri().path().to_owned();
            assert_eq!(target::normal_path(&path).as_deref(), Some(&*path));
            assert_eq!(decoded(&path), decoded(uri.path()));
            assert_eq!(request.uri().query(), uri.query());
            assert!(path.is_empty() || path.parse::<PathAndQuery>().is_ok());
        }
    });
}

fn decoded(path: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = path;
    while let Some((before, escape)) = rest.split_once('%') {
        bytes.extend(before.bytes());
        let (digits, after) = escape.split_at(2);
        bytes.push(u8::from_str_radix(digits, 16).unwrap());
        rest = after;
    }
    bytes.extend(rest.bytes());
    bytes
}
