//! The addresses that a consent may return to (RFC 6749, 3.1.2, and RFC 8252, 7).
//!
//! Three kinds: `https://`; `http://` to this machine, on whatever port an app that is installed
//! gets when it asks (RFC 8252, 7.3); and schemes that belong to an app because they contain a dot,
//! as `com.app:/back` (RFC 8252, 7.1). Nothing else, and none with credentials or a fragment.

/// The longest address, in bytes.
const BYTES_MAX: usize = 512;

/// An address that a consent may return to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct RedirectUri<'a> {
    /// The address without its port, where any port will do.
    compared: (&'a str, &'a str),
}

/// Why an address cannot be one.
pub(crate) const RULE: &str = "it must be https://HOST/…, http:// to 127.0.0.1, [::1] or \
                               localhost, or of a scheme with a dot such as com.app:/back, without \
                               user name and fragment, in at most 512 bytes of ASCII";

/// Whether an app may register this address.
pub(crate) fn is_valid(text: &str) -> bool {
    parse(text).is_some()
}

/// Whether a request for `asked` is one for the address `registered`.
pub(crate) fn fits(registered: &str, asked: &str) -> bool {
    match (parse(registered), parse(asked)) {
        (Some(registered), Some(asked)) => registered == asked,
        _ => false,
    }
}

fn parse(text: &str) -> Option<RedirectUri<'_>> {
    // A backslash is a slash to browsers, and quotes and brackets belong into no address.
    let fits = |byte: u8| byte.is_ascii_graphic() && !b"#\\\"<>^`{|}".contains(&byte);
    if text.len() > BYTES_MAX || !text.bytes().all(fits) {
        return None;
    }
    let (scheme, rest) = text.split_once(':')?;
    match scheme {
        "https" => {
            let (authority, _) = split(rest)?;
            is_host(authority, true).then_some(RedirectUri { compared: (text, "") })
        }
        "http" => {
            let (authority, path) = split(rest)?;
            let hosts = ["127.0.0.1", "[::1]", "localhost"];
            let host = hosts.into_iter().find(|host| {
                let port = authority.strip_prefix(host);
                port.is_some_and(|port| port.is_empty() || is_port(port))
            })?;
            Some(RedirectUri { compared: (host, path) })
        }
        _ => {
            let labels_fit = scheme.contains('.')
                && scheme.split('.').all(|label| {
                    let mut bytes = label.bytes();
                    bytes
                        .next()
                        .is_some_and(|first| first.is_ascii_lowercase() || first.is_ascii_digit())
                        && bytes.all(|byte| {
                            byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'
                        })
                })
                && scheme.starts_with(|first: char| first.is_ascii_lowercase());
            let place_fits = match rest.strip_prefix("//") {
                Some(_) => is_host(split(rest)?.0, false),
                None => rest.starts_with('/'),
            };
            (labels_fit && place_fits).then_some(RedirectUri { compared: (text, "") })
        }
    }
}

/// The authority of `//authority/path?query`, and what follows it.
fn split(rest: &str) -> Option<(&str, &str)> {
    let rest = rest.strip_prefix("//")?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    rest.split_at_checked(end)
}

/// A host with or without a port, and never with a user.
fn is_host(authority: &str, wants_domain: bool) -> bool {
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => {
            return address.parse::<std::net::Ipv6Addr>().is_ok()
                && (port.is_empty() || is_port(port));
        }
        None => match authority.find(':') {
            Some(colon) => authority.split_at(colon),
            None => (authority, ""),
        },
    };
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let named = !host.is_empty() && !host.starts_with('.') && host.bytes().all(fits);
    (named || (host.is_empty() && !wants_domain)) && (port.is_empty() || is_port(port))
}

fn is_port(text: &str) -> bool {
    text.strip_prefix(':').is_some_and(|port| {
        port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|it| it > 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i07_only_three_kinds_of_addresses_can_be_registered() {
        for good in [
            "https://app.example",
            "https://app.example/back?x=1&y=%20",
            "https://app.example:8443/back",
            "https://[2001:db8::1]:443/",
            "https://10.0.0.7/",
            "http://127.0.0.1/back",
            "http://127.0.0.1:3000/back",
            "http://[::1]:3000/back",
            "http://localhost:3000",
            "http://localhost?x",
            "com.app:/cb",
            "com.example.my-app:/oauth/back",
            "com.app://cb",
            "com.app:///cb",
        ] {
            assert!(is_valid(good), "{good}");
        }
        for bad in [
            "",
            "/back",
            "app.example/back",
            "http://evil.example/",
            "http://127.0.0.1.evil.example/",
            "http://127.0.0.1@evil.example/",
            "http://localhost.evil.example",
            "http://127.0.0.1:0/",
            "http://127.0.0.1:99999/",
            "http://127.0.0.1:8080x/",
            "https://",
            "https:///path",
            "https:app.example",
            "https://u:p@host/",
            "https://u@host/",
            "https://host\\@evil/",
            "https://host/#x",
            "https://host/ x",
            "https://host/\u{e9}",
            "https://.host/",
            "https://host:/",
            "HTTPS://host/",
            "intent://scan/#Intent",
            "intent://scan",
            "data:text/html,x",
            "data://x",
            "javascript:alert(1)",
            "javascript://x",
            "vbscript://x",
            "file:///etc/passwd",
            "myapp://cb",
            "myapp:/cb",
            "com.app:cb",
            "com.app:",
            "com..app:/cb",
            ".app:/cb",
            "1.app:/cb",
            "com.app://u:p@cb",
            "Com.App:/cb",
        ] {
            assert!(!is_valid(bad), "{bad}");
        }
        assert!(!is_valid(&format!("https://host/{}", "a".repeat(500))));
    }

    #[test]
    fn i07_an_address_of_this_machine_fits_on_any_port_and_others_fit_exactly() {
        for (registered, asked, expected) in [
            ("http://127.0.0.1/back", "http://127.0.0.1:49152/back", true),
            ("http://127.0.0.1:3000/back", "http://127.0.0.1/back", true),
            ("http://[::1]/back?x=1", "http://[::1]:5/back?x=1", true),
            ("http://localhost:1/", "http://localhost:2/", true),
            ("http://127.0.0.1/back", "http://localhost/back", false),
            ("http://127.0.0.1/back", "http://127.0.0.1:1/other", false),
            ("http://127.0.0.1/back", "http://127.0.0.1:1@evil.example/back", false),
            ("http://127.0.0.1/back", "https://127.0.0.1/back", false),
            ("https://app.example/back", "https://app.example/back", true),
            ("https://app.example/back", "https://app.example:8443/back", false),
            ("https://app.example/back", "https://app.example/back/", false),
            ("com.app:/cb", "com.app:/cb", true),
            ("com.app:/cb", "com.app:/cb2", false),
        ] {
            assert_eq!(fits(registered, asked), expected, "{registered} {asked}");
        }
    }
}
