//! The address of the client behind the proxies that the configuration trusts: from a PROXY
//! protocol header per connection, and from `X-Forwarded-For` or `Forwarded` per request.
//!
//! A header says anything that its sender likes. So it counts only if the peer of the socket is a
//! trusted proxy, and only as far as trusted proxies wrote it: each proxy appends the address that
//! it was called from, so the list is read from its right end, over trusted addresses, to the
//! first one that is not trusted.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

use http::{HeaderMap, HeaderName};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// A block of addresses: `10.0.0.0/8`, `2001:db8::/32`, or a single address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Whether the canonical `address` is in the block.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let mask = mask(self.prefix, 32);
                u128::from(own.to_bits()) == u128::from(other.to_bits()) & mask
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                own.to_bits() == other.to_bits() & mask(self.prefix, 128)
            }
            _ => false,
        }
    }

    /// Whether it is every address of its family.
    pub(crate) fn is_everything(&self) -> bool {
        self.prefix == 0
    }
}

/// The bits of an address of `width` bits that its first `prefix` bits cover.
fn mask(prefix: u8, width: u8) -> u128 {
    let all = u128::MAX.checked_shr(128 - u32::from(width)).unwrap_or_default();
    let host = all.checked_shr(u32::from(prefix)).unwrap_or_default();
    all & !host
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let invalid = || {
            format!(
                "invalid network `{text}`: expected an address or a CIDR block, such as \
                 `192.0.2.7`, `10.0.0.0/8` or `2001:db8::/32`"
            )
        };
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        if address != address.to_canonical() {
            return Err(format!("invalid network `{text}`: write it as an IPv4 address"));
        }
        let width = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => width,
            Some(digits) => {
                let plain = digits.bytes().all(|digit| digit.is_ascii_digit());
                let prefix: Option<u8> = digits.parse().ok().filter(|it| plain && *it <= width);
                prefix.ok_or_else(invalid)?
            }
        };
        let network = match address {
            IpAddr::V4(address) => {
                let bits = u128::from(address.to_bits()) & mask(prefix, 32);
                IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(bits).unwrap_or_default()))
            }
            IpAddr::V6(address) => {
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask(prefix, 128)))
            }
        };
        if network != address {
            return Err(format!(
                "invalid network `{text}`: the address has bits beyond its prefix; write \
                 `{network}/{prefix}`"
            ));
        }
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// The header in which trusted proxies write the client's address. The other one is ignored: a
/// proxy hands on unchanged the header that it does not know, so a client could write it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ForwardedHeader {
    /// `X-Forwarded-For`: addresses separated by commas.
    #[default]
    XForwardedFor,
    /// `Forwarded`, RFC 7239.
    Forwarded,
}

/// The proxies in front of a listener, and what they say about clients. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proxies {
    trusted: Arc<[Network]>,
    header: ForwardedHeader,
    proxy_protocol: bool,
}

impl Proxies {
    /// `proxy_protocol`: connections of trusted proxies begin with a PROXY protocol header.
    pub(crate) fn new(trusted: &[Network], header: ForwardedHeader, proxy_protocol: bool) -> Self {
        Self { trusted: trusted.into(), header, proxy_protocol }
    }

    /// Whether there are none, so that every peer is a client.
    pub(crate) fn is_empty(&self) -> bool {
        self.trusted.is_empty()
    }

    /// Whether the canonical `address` belongs to a trusted proxy.
    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(address))
    }

    /// Whether a connection from `peer` must begin with a PROXY protocol header.
    pub(crate) fn expects_header_from(&self, peer: IpAddr) -> bool {
        self.proxy_protocol && self.trusts(peer)
    }

    /// The client of a request on a connection from `peer`: the peer itself unless it is a trusted
    /// proxy. A value that cannot be read ends the walk at the last address that is known.
    pub(crate) fn client_of(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        if !self.trusts(peer) {
            return peer;
        }
        match self.header {
            ForwardedHeader::XForwardedFor => {
                let lines = lines(headers, X_FORWARDED_FOR);
                self.walk(peer, lines.flat_map(|line| line.rsplit(|byte| *byte == b',')), plain)
            }
            ForwardedHeader::Forwarded => {
                let lines = lines(headers, FORWARDED);
                self.walk(peer, lines.flat_map(elements_from_the_right), forwarded_for)
            }
        }
    }

    /// Goes over `hops`, the last proxy's first, until one is not trusted or cannot be read.
    fn walk<'a>(
        &self,
        peer: IpAddr,
        hops: impl Iterator<Item = &'a [u8]>,
        read: impl Fn(&'a [u8]) -> Option<IpAddr>,
    ) -> IpAddr {
        let mut client = peer;
        // Lists may have empty elements, which mean nothing (RFC 9110, 5.6.1).
        for hop in hops.map(<[u8]>::trim_ascii).filter(|hop| !hop.is_empty()) {
            let Some(address) = read(hop) else { break };
            client = address;
            if !self.trusts(address) {
                break;
            }
        }
        client
    }
}

pub(crate) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(crate) const FORWARDED: HeaderName = HeaderName::from_static("forwarded");

/// The values of all lines of a header, the last one first.
fn lines(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &[u8]> {
    headers.get_all(name).iter().rev().map(http::HeaderValue::as_bytes)
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`.
fn plain(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let address: IpAddr = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            if !port.is_empty() && !is_port(port.strip_prefix(':')?) {
                return None;
            }
            address.parse::<Ipv6Addr>().ok()?.into()
        }
        None => match text.split_once(':') {
            Some((address, port)) if is_port(port) => address.parse::<Ipv4Addr>().ok()?.into(),
            _ => text.parse().ok()?,
        },
    };
    Some(address.to_canonical())
}

/// A port, which says nothing about who the client is. RFC 7239 allows an obfuscated one.
fn is_port(text: &str) -> bool {
    let digits = !text.is_empty() && text.len() <= 5 && text.bytes().all(|it| it.is_ascii_digit());
    digits || text.starts_with('_')
}

/// The elements of one `Forwarded` value, the last one first. Quoted strings may have commas. What
/// stands to the left of an element, which the client may have written, never changes how it is
/// read.
fn elements_from_the_right(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(value);
    std::iter::from_fn(move || {
        let whole = rest?;
        let mut quoted = false;
        let comma = whole.iter().rposition(|byte| {
            quoted ^= *byte == b'"';
            *byte == b',' && !quoted
        });
        rest = comma.and_then(|at| whole.get(..at));
        whole.get(comma.map_or(0, |at| at + 1)..)
    })
}

/// Splits at a separator that is not in a quoted string; `None` if a quote never ends.
fn split(value: &[u8], separator: u8) -> Option<Vec<&[u8]>> {
    let (mut quoted, mut escaped) = (false, false);
    let mut ends = |byte: &u8| {
        if escaped {
            escaped = false;
        } else if quoted && *byte == b'\\' {
            escaped = true;
        } else if *byte == b'"' {
            quoted = !quoted;
        } else if !quoted {
            return *byte == separator;
        }
        false
    };
    let parts: Vec<&[u8]> = value.split(&mut ends).collect();
    (!quoted).then_some(parts)
}

/// The address in the parameter `for` of a `Forwarded` element; `None` for `unknown`, obfuscated
/// names, and everything that is malformed.
fn forwarded_for(element: &[u8]) -> Option<IpAddr> {
    let mut found = None;
    for pair in split(element, b';')?.into_iter().map(<[u8]>::trim_ascii) {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (pair.get(..equals)?, pair.get(equals + 1..)?);
        if name.eq_ignore_ascii_case(b"for") && found.replace(value).is_some() {
            return None;
        }
    }
    let value = found?;
    // Addresses need no escapes, so a quoted string that has one is none.
    let inner = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
    plain(inner.unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(header: ForwardedHeader) -> Proxies {
        let trusted = ["10.0.0.0/8", "2001:db8:1::/48", "192.0.2.1"].map(|it| it.parse().unwrap());
        Proxies::new(&trusted, header, false)
    }

    fn client(header: ForwardedHeader, peer: &str, lines: &[&str]) -> String {
        let name = match header {
            ForwardedHeader::XForwardedFor => X_FORWARDED_FOR,
            ForwardedHeader::Forwarded => FORWARDED,
        };
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(&name, http::HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        proxies(header).client_of(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn s03_x_forwarded_for_is_read_from_the_right_over_trusted_hops() {
        let of = |peer, lines: &[&str]| client(ForwardedHeader::XForwardedFor, peer, lines);
        // What a client wrote itself is left of what the proxies appended.
        assert_eq!(of("10.0.0.1", &["6.6.6.6, 198.51.100.7"]), "198.51.100.7");
        assert_eq!(of("10.0.0.1", &["6.6.6.6,198.51.100.7 , 10.9.9.9,192.0.2.1"]), "198.51.100.7");
        assert_eq!(of("10.0.0.1", &["6.6.6.6", "198.51.100.7", "10.9.9.9"]), "198.51.100.7");
        // From an untrusted peer the header counts for nothing.
        assert_eq!(of("198.51.100.9", &["6.6.6.6"]), "198.51.100.9");
        assert_eq!(of("192.0.2.2", &["6.6.6.6"]), "192.0.2.2");
        // Without the header, or with trusted hops only, the outermost known address.
        assert_eq!(of("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(of("10.0.0.1", &["10.0.0.3, 10.0.0.2"]), "10.0.0.3");
        // Ports, brackets, IPv6, IPv4 in IPv6, and empty elements.
        assert_eq!(of("10.0.0.1", &["198.51.100.7:4711"]), "198.51.100.7");
        assert_eq!(of("10.0.0.1", &["[2001:db8::7]:4711"]), "2001:db8::7");
        assert_eq!(of("10.0.0.1", &["2001:db8::7, [2001:db8:1::2]"]), "2001:db8::7");
        assert_eq!(of("10.0.0.1", &["::ffff:198.51.100.7"]), "198.51.100.7");
        assert_eq!(of("10.0.0.1", &["198.51.100.7,, "]), "198.51.100.7");
        // What cannot be read ends the walk at the hop before it.
        for malformed in ["unknown", "1.2.3", "1.2.3.4:x", "[::1", "[::1]x", "1.2.3.4%20", "_x"] {
            let line = format!("6.6.6.6, {malformed}, 10.9.9.9");
            assert_eq!(of("10.0.0.1", &[&line]), "10.9.9.9", "{malformed}");
            assert_eq!(of("10.0.0.1", &[malformed]), "10.0.0.1", "{malformed}");
        }
    }

    #[test]
    fn s03_forwarded_is_read_like_rfc_7239_says() {
        let of = |lines: &[&str]| client(ForwardedHeader::Forwarded, "10.0.0.1", lines);
        assert_eq!(of(&["for=6.6.6.6, for=198.51.100.7;proto=https;by=10.0.0.1"]), "198.51.100.7");
        assert_eq!(of(&["For=\"[2001:db8:cafe::17]:4711\""]), "2001:db8:cafe::17");
        assert_eq!(of(&["by=\"a,b;c\" ; FOR=\"198.51.100.7:47\""]), "198.51.100.7");
        assert_eq!(of(&["for=198.51.100.7", "for=10.2.2.2;host=\"x;y,z\""]), "198.51.100.7");
        for malformed in
            ["for=unknown", "for=_hidden", "for=1.1.1.1;for=2.2.2.2", "by=1.1.1.1", "x", "for"]
        {
            let line = format!("for=6.6.6.6, {malformed}");
            assert_eq!(of(&[&line]), "10.0.0.1", "{malformed}");
        }
        // A quote that a client left open does not reach what the proxies appended.
        assert_eq!(of(&["for=6.6.6.6", "for=\"1.1.1.1, for=2.2.2.2"]), "2.2.2.2");
        assert_eq!(of(&["for=6.6.6.6", "for=\"1.1.1.1, for=10.2.2.2"]), "10.2.2.2");
    }

    #[test]
    fn s03_only_the_configured_header_counts() {
        let mut headers = HeaderMap::new();
        headers.append(X_FORWARDED_FOR, "198.51.100.7".parse().unwrap());
        headers.append(FORWARDED, "for=6.6.6.6".parse().unwrap());
        let of = |header| proxies(header).client_of("10.0.0.1".parse().unwrap(), &headers);
        assert_eq!(of(ForwardedHeader::XForwardedFor).to_string(), "198.51.100.7");
        assert_eq!(of(ForwardedHeader::Forwarded).to_string(), "6.6.6.6");
    }

    #[test]
    fn networks_are_addresses_and_blocks() {
        let has = |network: &str, address: &str| {
            network.parse::<Network>().unwrap().contains(address.parse().unwrap())
        };
        assert!(has("10.0.0.0/8", "10.255.0.1") && !has("10.0.0.0/8", "11.0.0.1"));
        assert!(has("192.0.2.1", "192.0.2.1") && !has("192.0.2.1", "192.0.2.0"));
        assert!(has("0.0.0.0/0", "1.2.3.4") && !has("0.0.0.0/0", "::1"));
        assert!(has("2001:db8::/33", "2001:db8:7fff::1"));
        assert!(!has("2001:db8::/33", "2001:db8:8000::1"));
        assert!(has("::/0", "::1") && has("::1/128", "::1") && !has("::1", "::2"));
        for wrong in ["", "10", "10.0.0.0/33", "10.0.0.1/8", "10.0.0.0/+8", "::/129", "a/8", "::/"]
        {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
        let error = "10.0.0.1/8".parse::<Network>().unwrap_err();
        assert!(error.contains("write `10.0.0.0/8`"), "{error}");
        assert!("::ffff:10.0.0.1".parse::<Network>().is_err());
    }
}
