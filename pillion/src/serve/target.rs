//! What a request is for: the authority and the path, checked and brought into one form before
//! anything else sees them.

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Request, Uri, Version, header};

/// The longest name that the DNS has.
const HOST_BYTES_MAX: usize = 255;

/// Brings a request into the one form that plugins, routes and handlers see. Says why a request is
/// refused: 400.
pub(crate) fn normalize<B>(request: &mut Request<B>) -> Result<(), &'static str> {
    let mut headers = std::mem::take(request.headers_mut());
    let checked = check_authority(request.version(), request.uri(), &mut headers);
    join_cookies(&mut headers);
    *request.headers_mut() = headers;
    checked?;
    normalize_path(request.uri_mut())
}

/// Checks `Host` and the target's authority (RFC 9112, 3.2; RFC 9113, 8.3.1). Afterwards `Host`
/// and the authority in the URI, where there are both, name the same.
///
/// A host is an IP address or a name of letters, digits, `-`, `_` and `.`: the characters that
/// other names could have by the grammar of URIs (`a,b`, `%65`) no DNS name has, and programs
/// read them in different ways.
pub(crate) fn check_authority(
    version: Version,
    uri: &Uri,
    headers: &mut HeaderMap,
) -> Result<(), &'static str> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err("The request has more than one `Host` header.");
    }
    if host.is_some_and(|host| HostPort::parse(host.as_bytes()).is_none()) {
        return Err("The `Host` header is not a host name or IP address with an optional port.");
    }
    let Some(target) = uri.authority() else {
        // Before HTTP/1.1 a request could do without.
        if host.is_none() && version >= Version::HTTP_11 {
            return Err("The request names no host: it needs the header `Host`, or `:authority`.");
        }
        return Ok(());
    };
    let Some(named) = HostPort::parse(target.as_str().as_bytes()) else {
        return Err("The target's authority is not a host with an optional port.");
    };
    let host_port = host.and_then(|host| HostPort::parse(host.as_bytes()));
    let same = host_port.is_none_or(|host| host.is(&named, uri.scheme()));
    if version >= Version::HTTP_2 {
        return if same { Ok(()) } else { Err("`:authority` and `host` name different hosts.") };
    }
    if host.is_none() && version >= Version::HTTP_11 {
        return Err("The request has no `Host` header.");
    }
    if !same || host.is_none() {
        replace_host(target, headers);
    }
    Ok(())
}

/// The target's authority wins over `Host` (RFC 9112, 3.2.2).
fn replace_host(target: &Authority, headers: &mut HeaderMap) {
    match HeaderValue::from_str(target.as_str()) {
        Ok(value) => headers.insert(header::HOST, value),
        // What has been parsed has characters of host names only.
        Err(_) => headers.remove(header::HOST),
    };
}

/// An authority without userinfo.
struct HostPort<'a> {
    host: &'a [u8],
    port: Option<u16>,
}

impl<'a> HostPort<'a> {
    fn parse(text: &'a [u8]) -> Option<Self> {
        let (host, port) = if let Some(rest) = text.strip_prefix(b"[") {
            let end = rest.iter().position(|byte| *byte == b']')?;
            let address = std::str::from_utf8(rest.get(..end)?).ok()?;
            address.parse::<std::net::Ipv6Addr>().ok()?;
            text.split_at_checked(end + 2)?
        } else {
            let end = text.iter().position(|byte| *byte == b':').unwrap_or(text.len());
            let (host, port) = text.split_at_checked(end)?;
            let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._".contains(byte);
            if host.is_empty() || host.len() > HOST_BYTES_MAX || !host.iter().all(fits) {
                return None;
            }
            (host, port)
        };
        let port = match port.strip_prefix(b":") {
            // A port may be empty (RFC 3986, 3.2.3).
            Some([]) => None,
            Some(digits) if digits.iter().all(u8::is_ascii_digit) => {
                Some(std::str::from_utf8(digits).ok()?.parse().ok()?)
            }
            None if port.is_empty() => None,
            _ => return None,
        };
        Some(Self { host, port })
    }

    /// Whether both name the same, a default port left out or not.
    fn is(&self, other: &Self, scheme: Option<&Scheme>) -> bool {
        let default = if scheme == Some(&Scheme::HTTPS) { 443 } else { 80 };
        self.host.eq_ignore_ascii_case(other.host)
            && self.port.unwrap_or(default) == other.port.unwrap_or(default)
    }
}

/// Joins the fields into which HTTP/2 may split cookies (RFC 9113, 8.2.3).
pub(crate) fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(header::COOKIE).iter();
    if crumbs.next().is_none() || crumbs.next().is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> =
        headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    // Parts of valid values and the separator make a valid value.
    if let Ok(mut joined) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        joined.set_sensitive(true);
        headers.insert(header::COOKIE, joined);
    }
}

/// Brings the path into its normal form (RFC 3986, 6.2.2): what is percent-encoded without need is
/// decoded, other escapes are in upper case. Routes, plugins, logs and handlers then never
/// disagree on what a path is.
pub(crate) fn normalize_path(uri: &mut Uri) -> Result<(), &'static str> {
    if !uri.path().contains('%') {
        return Ok(());
    }
    let normal = normal_path(uri.path())
        .ok_or("The path has a `%` that no two hexadecimal digits follow.")?;
    if normal == uri.path() {
        return Ok(());
    }
    let mut parts = std::mem::take(uri).into_parts();
    let query = parts.path_and_query.as_ref().and_then(|whole| whole.query());
    let whole = match query {
        Some(query) => format!("{normal}?{query}"),
        None => normal,
    };
    let too_long = "The path is not valid.";
    parts.path_and_query = Some(PathAndQuery::try_from(whole).map_err(|_| too_long)?);
    *uri = Uri::from_parts(parts).map_err(|_| too_long)?;
    Ok(())
}

/// The path's normal form; `None` for one that has a broken escape.
pub(crate) fn normal_path(path: &str) -> Option<String> {
    let mut normal = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, escape)) = rest.split_once('%') {
        normal.push_str(before);
        let digits = escape.get(..2)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        let byte = u8::from_str_radix(digits, 16).ok()?;
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            normal.push(char::from(byte));
        } else {
            normal.push('%');
            normal.extend(digits.chars().map(|digit| digit.to_ascii_uppercase()));
        }
        rest = escape.get(2..)?;
    }
    normal.push_str(rest);
    Some(normal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(version: Version, uri: &str, hosts: &[&[u8]]) -> Result<String, &'static str> {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, HeaderValue::from_bytes(host).unwrap());
        }
        check_authority(version, &uri.parse().unwrap(), &mut headers)?;
        let host = headers.get(header::HOST).map_or(&b""[..], HeaderValue::as_bytes);
        Ok(String::from_utf8(host.to_vec()).unwrap())
    }

    #[test]
    fn s08_http1_needs_one_valid_host() {
        let one = |host: &[u8]| check(Version::HTTP_11, "/", &[host]);
        for good in
            ["a", "A.example", "a_b-c.1", "a:80", "a:", "127.0.0.1:8080", "[::1]", "[::1]:1"]
        {
            assert_eq!(one(good.as_bytes()), Ok(good.to_owned()));
        }
        for bad in [
            &b""[..],
            b"a b/",
            b"\xff",
            b"a,b",
            b"u@a",
            b"a:99999x",
            b"a:65536",
            b"a:+1",
            b":80",
            b"a/",
            b"a?",
            b"a#",
            b"%61",
            b"[::1",
            b"::1",
            b"[::1]x",
            b"[a]",
            b"[::1%25eth0]",
            b"a b",
            b"a\tb",
            b"a:1:2",
            &[b'a'; 256],
        ] {
            assert!(one(bad).is_err(), "{}", bad.escape_ascii());
        }
        assert!(check(Version::HTTP_11, "/", &[]).is_err());
        assert!(check(Version::HTTP_11, "/", &[b"a", b"a"]).is_err());
        assert!(check(Version::HTTP_11, "http://a/", &[]).is_err());
        assert_eq!(check(Version::HTTP_10, "/", &[]), Ok(String::new()));
        assert!(check(Version::HTTP_10, "/", &[b"a", b"b"]).is_err());
    }

    #[test]
    fn s08_the_targets_authority_wins() {
        let of = |uri, host: &[u8]| check(Version::HTTP_11, uri, &[host]);
        assert_eq!(of("http://evil/x", b"good"), Ok("evil".to_owned()));
        assert_eq!(of("http://a:80/x", b"A"), Ok("A".to_owned()), "the same");
        assert_eq!(check(Version::HTTP_10, "http://a/", &[]), Ok("a".to_owned()));
        assert!(of("http://u@a/x", b"a").is_err());
    }

    #[test]
    fn s08_http2_names_one_host() {
        let of = |uri, hosts: &[&[u8]]| check(Version::HTTP_2, uri, hosts).is_ok();
        assert!(of("http://a/", &[]) && of("/", &[b"a"]));
        assert!(of("http://a/", &[b"A:80"]) && of("https://a:443/", &[b"a"]));
        for (uri, hosts) in [
            ("http://evil/", &[&b"good"[..]][..]),
            ("http://a:81/", &[b"a"]),
            ("http://u@a/", &[]),
            ("http://u@a/", &[b"u@a"]),
            ("http://a/", &[b"a", b"a"]),
            ("/", &[]),
        ] {
            assert!(!of(uri, hosts), "{uri} {hosts:?}");
        }
    }

    #[test]
    fn s09_cookie_crumbs_become_one_field() {
        let mut headers = HeaderMap::new();
        join_cookies(&mut headers);
        assert!(headers.is_empty());
        for crumb in ["a=1", "b=\"2\"", "c"] {
            headers.append(header::COOKIE, crumb.parse().unwrap());
        }
        join_cookies(&mut headers);
        let cookies: Vec<_> = headers.get_all(header::COOKIE).iter().collect();
        assert_eq!(cookies, ["a=1; b=\"2\"; c"]);
    }

    #[test]
    fn s07_paths_have_one_form() {
        let of = |uri: &str| {
            let mut uri: Uri = uri.parse().unwrap();
            normalize_path(&mut uri).map(|()| uri.to_string())
        };
        assert_eq!(
            of("/2/%75sers/%32127/followers?a=%32"),
            Ok("/2/users/2127/followers?a=%32".into())
        );
        assert_eq!(of("/a%2fb%7E%C3%a9"), Ok("/a%2Fb~%C3%A9".into()));
        assert_eq!(of("/%2531"), Ok("/%2531".into()), "decoded once only");
        assert_eq!(of("http://a/%61?x"), Ok("http://a/a?x".into()));
        for broken in ["/%", "/%3", "/%3x", "/%%34%31", "/a%zz"] {
            assert!(of(broken).is_err(), "{broken}");
        }
    }
}
