//! Values of a query string and of a path, as the service will read them.

/// The decoded values of every field with this name: whichever of several the service takes, it
/// has been looked at.
pub(crate) fn values<'a>(
    query: &'a [u8],
    name: &'a [u8],
) -> impl Iterator<Item = Vec<u8>> + use<'a> {
    query.split(|byte| *byte == b'&').filter_map(move |pair| {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        let (key, value) = pair.split_at_checked(equals)?;
        let is_it = decoded(key, Space::Plus) == name;
        is_it.then(|| decoded(value.get(1..).unwrap_or_default(), Space::Plus))
    })
}

/// The decoded last segment of a path.
pub(crate) fn last_segment(path: &str) -> Vec<u8> {
    decoded(path.rsplit('/').next().unwrap_or_default().as_bytes(), Space::Escaped)
}

/// How a space is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Space {
    /// `+`, in a query.
    Plus,
    /// Only as an escape, in a path.
    Escaped,
}

/// Percent-decoded. A broken escape stands for itself, as in the URL standard.
fn decoded(mut text: &[u8], space: Space) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    loop {
        text = match *text {
            [] => return out,
            [b'+', ref rest @ ..] if space == Space::Plus => {
                out.push(b' ');
                rest
            }
            [b'%', high, low, ref rest @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                out.push(hex(high) << 4 | hex(low));
                rest
            }
            [byte, ref rest @ ..] => {
                out.push(byte);
                rest
            }
        };
    }
}

fn hex(digit: u8) -> u8 {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_be_hidden_by_its_spelling() {
        for query in [
            "username=admin",
            "a=1&username=admin&b",
            "%75sername=admin",
            "username=%61dmin",
            "username=%61%64%6D%69%6e",
            "username=ann&username=admin",
        ] {
            let found = values(query.as_bytes(), b"username").any(|value| value == b"admin");
            assert!(found, "{query}");
        }
        for query in ["", "username", "user=admin", "xusername=admin", "username=admi%zz"] {
            let found = values(query.as_bytes(), b"username").any(|value| value == b"admin");
            assert!(!found, "{query}");
        }
        let value = values(b"username=a+b%2", b"username").next();
        assert_eq!(value.as_deref(), Some(&b"a b%2"[..]));
        assert_eq!(last_segment("/sagas/7/steps/reserve%5Fhandle"), b"reserve_handle");
        assert_eq!(last_segment("/a/b+c"), b"b+c");
    }
}
