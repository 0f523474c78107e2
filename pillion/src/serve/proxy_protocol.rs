//! The PROXY protocol, versions 1 and 2 (haproxy.org, `proxy-protocol.txt`): a header before the
//! first byte of a connection in which a proxy says whose connection it is.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// What a header of version 2 begins with.
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
const V2_FIXED_BYTES: usize = 16;
/// The longest header that is taken. Version 2 could say 65,535 more; proxies add some hundred
/// bytes of extensions, and 4 KiB leave room for the name in a client's certificate.
const HEADER_BYTES_MAX: usize = 4096;
/// The longest line of version 1, its end included.
const V1_BYTES_MAX: usize = 107;
/// The shortest one, `PROXY UNKNOWN`.
const V1_BYTES_MIN: usize = 15;

/// What the bytes that have been read so far are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decoded {
    /// The beginning of a header of which at least so many more bytes are to come.
    Incomplete(usize),
    /// A whole header, with the client's canonical address. Without one the connection is the
    /// proxy's own, such as a health check, or of a kind that has no address.
    Header(Option<IpAddr>),
    /// No header.
    Invalid(&'static str),
}

/// Decodes what a connection begins with. Never asks for bytes that are beyond the header.
pub(crate) fn decode(bytes: &[u8]) -> Decoded {
    let is_prefix_of = |whole: &[u8]| whole.iter().zip(bytes).all(|(a, b)| a == b);
    let is_any = is_prefix_of(V2_SIGNATURE) || is_prefix_of(b"PROXY ");
    if is_any && bytes.len() < V2_SIGNATURE.len() {
        // No header of either version is shorter.
        Decoded::Incomplete(V2_SIGNATURE.len() - bytes.len())
    } else if is_prefix_of(V2_SIGNATURE) {
        decode_v2(bytes)
    } else if is_prefix_of(b"PROXY ") {
        decode_v1(bytes)
    } else {
        Decoded::Invalid("the connection does not begin with a PROXY protocol header")
    }
}

fn decode_v1(bytes: &[u8]) -> Decoded {
    let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") else {
        if bytes.len() >= V1_BYTES_MAX {
            return Decoded::Invalid("the line of version 1 is too long");
        }
        let least = if bytes.ends_with(b"\r") { 1 } else { 2 };
        return Decoded::Incomplete(V1_BYTES_MIN.saturating_sub(bytes.len()).max(least));
    };
    if end + 2 > V1_BYTES_MAX {
        return Decoded::Invalid("the line of version 1 is too long");
    }
    if end + 2 < bytes.len() {
        return Decoded::Invalid("the line of version 1 is too short");
    }
    let line = bytes.get(..end).and_then(|line| std::str::from_utf8(line).ok());
    match line.and_then(|line| line.strip_prefix("PROXY ")) {
        // Whatever follows is to be ignored.
        Some(rest) if rest == "UNKNOWN" || rest.starts_with("UNKNOWN ") => Decoded::Header(None),
        Some(rest) if let Some(source) = v1_source(rest) => Decoded::Header(Some(source)),
        _ => Decoded::Invalid("the line of version 1 is malformed"),
    }
}

/// The source in what follows `PROXY ` in a line without its end, where it is known.
fn v1_source(words: &str) -> Option<IpAddr> {
    let mut words = words.split(' ');
    let family = words.next()?;
    let (source, destination) = (words.next()?, words.next()?);
    let ports = [words.next()?, words.next()?];
    let is_port = |text: &str| {
        let plain = text.bytes().all(|byte| byte.is_ascii_digit());
        plain && (text == "0" || !text.starts_with('0')) && text.parse::<u16>().is_ok()
    };
    if words.next().is_some() || !ports.into_iter().all(is_port) {
        return None;
    }
    let address = |text: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => Some(text.parse::<Ipv4Addr>().ok()?.into()),
            "TCP6" => Some(text.parse::<Ipv6Addr>().ok()?.into()),
            _ => None,
        }
    };
    address(destination)?;
    Some(address(source)?.to_canonical())
}

fn decode_v2(bytes: &[u8]) -> Decoded {
    let Some((fixed, rest)) = bytes.split_first_chunk::<V2_FIXED_BYTES>() else {
        return Decoded::Incomplete(V2_FIXED_BYTES - bytes.len());
    };
    let [.., command, family, high, low] = *fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if V2_FIXED_BYTES + length > HEADER_BYTES_MAX {
        return Decoded::Invalid("the header of version 2 is too long");
    }
    if rest.len() < length {
        return Decoded::Incomplete(length - rest.len());
    }
    if rest.len() > length {
        return Decoded::Invalid("the header of version 2 is too short");
    }
    let short = Decoded::Invalid("the header of version 2 is too short for its addresses");
    match (command, family) {
        // LOCAL, and PROXY for an unspecified family or Unix sockets.
        (0x20, _) | (0x21, 0x00 | 0x31 | 0x32) => Decoded::Header(None),
        // Source, destination and two ports; after them come extensions.
        (0x21, 0x11) => match (rest.len() >= 12, rest.first_chunk::<4>()) {
            (true, Some(source)) => Decoded::Header(Some(Ipv4Addr::from(*source).into())),
            _ => short,
        },
        (0x21, 0x21) => match (rest.len() >= 36, rest.first_chunk::<16>()) {
            (true, Some(source)) => {
                Decoded::Header(Some(IpAddr::from(Ipv6Addr::from(*source)).to_canonical()))
            }
            _ => short,
        },
        (0x21, _) => Decoded::Invalid("the header of version 2 is not about TCP"),
        _ => Decoded::Invalid("the version or command of the header is unknown"),
    }
}

/// Reads the header from the beginning of a connection, and not a byte more: what follows is the
/// client's, TLS or not. Fails if it is not whole within `time_max`.
pub(crate) async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    time_max: Duration,
) -> io::Result<Option<IpAddr>> {
    let header = async {
        let mut bytes = Vec::with_capacity(V1_BYTES_MAX);
        loop {
            match decode(&bytes) {
                Decoded::Header(source) => return Ok(source),
                Decoded::Invalid(why) => return Err(io::Error::other(why)),
                Decoded::Incomplete(more) => {
                    let read = bytes.len();
                    bytes.resize(read + more, 0);
                    stream.read_exact(bytes.get_mut(read..).unwrap_or_default()).await?;
                }
            }
        }
    };
    tokio::time::timeout(time_max, header).await.unwrap_or_else(|_| {
        Err(io::Error::new(io::ErrorKind::TimedOut, "the header did not arrive in time"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [V2_SIGNATURE.as_slice(), &[command, family], &length, body].concat()
    }

    /// Reads a header that a request follows; gives what is left, too.
    async fn read_all(bytes: &[u8]) -> (Result<Option<String>, String>, Vec<u8>) {
        let mut stream = [bytes, b"GET /"].concat();
        let mut rest = stream.as_mut_slice() as &[u8];
        let source = read(&mut rest, Duration::from_secs(1)).await;
        let source = source.map(|it| it.map(|it| it.to_string())).map_err(|it| it.to_string());
        (source, rest.to_vec())
    }

    #[tokio::test]
    async fn s03_headers_of_both_versions_are_read_to_their_last_byte() {
        let tcp4 =
            [&[198, 51, 100, 7, 10, 0, 0, 1, 0x12, 0x34, 0, 80][..], b"\x04\0\x01x"].concat();
        let ip = "2001:db8::7".parse::<Ipv6Addr>().unwrap().octets();
        let tcp6 = [&ip[..], &ip, &[0, 1, 0, 2]].concat();
        let mapped = "::ffff:198.51.100.7".parse::<Ipv6Addr>().unwrap().octets();
        let tcp6_mapped = [&mapped[..], &ip, &[0, 1, 0, 2]].concat();
        let line = |line: &str| format!("{line}\r\n").into_bytes();
        for (header, source) in [
            (line("PROXY TCP4 198.51.100.7 10.0.0.1 4711 80"), Some("198.51.100.7")),
            (line("PROXY TCP6 2001:db8::7 ::1 0 65535"), Some("2001:db8::7")),
            (line("PROXY TCP6 ::ffff:198.51.100.7 ::1 1 2"), Some("198.51.100.7")),
            (line("PROXY UNKNOWN"), None),
            (line("PROXY UNKNOWN ffff::1 ffff::2 1 2"), None),
            (v2(0x21, 0x11, &tcp4), Some("198.51.100.7")),
            (v2(0x21, 0x21, &tcp6), Some("2001:db8::7")),
            (v2(0x21, 0x21, &tcp6_mapped), Some("198.51.100.7")),
            (v2(0x20, 0x00, b""), None),
            (v2(0x20, 0x11, &tcp4), None),
            (v2(0x21, 0x00, b"\x04\0\x01x"), None),
            (v2(0x21, 0x31, &[0; 216]), None),
        ] {
            let (read, rest) = read_all(&header).await;
            assert_eq!(read, Ok(source.map(str::to_owned)), "{}", header.escape_ascii());
            assert_eq!(rest, b"GET /", "{}", header.escape_ascii());
        }
    }

    #[tokio::test]
    async fn s03_what_is_no_header_is_refused() {
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(100)).into_bytes();
        for header in [
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n".to_vec(),
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n".to_vec(),
            b"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n".to_vec(),
            b"PROXY TCP4 ::1 ::1 1 2\r\n".to_vec(),
            b"PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n".to_vec(),
            b"PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n".to_vec(),
            long,
            v2(0x21, 0x11, &[0; 11]),
            v2(0x21, 0x21, &[0; 35]),
            v2(0x21, 0x12, &[0; 12]),
            v2(0x22, 0x11, &[0; 12]),
            v2(0x11, 0x11, &[0; 12]),
            v2(0x21, 0x11, &[0; 5000]),
        ] {
            let (read, _) = read_all(&header).await;
            assert!(read.is_err(), "{}", header.escape_ascii());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn s03_a_header_that_does_not_come_is_not_awaited_forever() {
        let (_client, mut server) = tokio::io::duplex(64);
        let error = read(&mut server, Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
