//! Query strings without their secrets.

/// What stands in place of a value.
pub(crate) const REDACTED: &[u8] = b"[redacted]";

/// Replaces `out` by the query with the values of the parameters `masked` (lower case)
/// replaced. A name counts however it is percent-encoded and in any case: better one value too
/// many than a secret in the log.
pub(crate) fn mask(query: &[u8], masked: &[String], out: &mut Vec<u8>) {
    out.clear();
    for (index, pair) in query.split(|byte| *byte == b'&').enumerate() {
        if index > 0 {
            out.push(b'&');
        }
        let equals = pair.iter().position(|byte| *byte == b'=');
        match equals.and_then(|at| pair.split_at_checked(at)) {
            Some((name, _)) if masked.iter().any(|it| it == "*" || spells(name, it.as_bytes())) => {
                out.extend_from_slice(name);
                out.push(b'=');
                out.extend_from_slice(REDACTED);
            }
            _ => out.extend_from_slice(pair),
        }
    }
}

/// Whether `name`, percent-decoded and in lower case, is `wanted`.
fn spells(mut name: &[u8], wanted: &[u8]) -> bool {
    for expected in wanted {
        let (byte, rest) = match *name {
            [b'%', high, low, ref rest @ ..] => match (hex(high), hex(low)) {
                (Some(high), Some(low)) => (high << 4 | low, rest),
                _ => return false,
            },
            [b'+', ref rest @ ..] => (b' ', rest),
            [byte, ref rest @ ..] => (byte, rest),
            [] => return false,
        };
        if byte.to_ascii_lowercase() != *expected {
            return false;
        }
        name = rest;
    }
    name.is_empty()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(query: &str, names: &[&str]) -> String {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut out = b"before".to_vec();
        mask(query.as_bytes(), &names, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_of_masked_parameters_go() {
        assert_eq!(
            masked("ids=1,2&code=abc&state=x&code=def", &["code"]),
            "ids=1,2&code=[redacted]&state=x&code=[redacted]"
        );
        assert_eq!(masked("a=1&b&c=", &["*"]), "a=[redacted]&b&c=[redacted]");
        assert_eq!(masked("a=1&&b=2&", &["b"]), "a=1&&b=[redacted]&");
        assert_eq!(masked("", &["*"]), "");
    }

    #[test]
    fn a_name_cannot_be_hidden_by_its_spelling() {
        for name in ["code", "CODE", "%63ode", "%43%4f%44%45", "cod%65"] {
            assert_eq!(masked(&format!("{name}=s"), &["code"]), format!("{name}=[redacted]"));
        }
        assert_eq!(masked("my+key=s", &["my key"]), "my+key=[redacted]");
    }

    #[test]
    fn other_names_stay() {
        for pair in ["codes=1", "cod=1", "xcode=1", "co%zzde=1", "code%", "%=1", "code"] {
            assert_eq!(masked(pair, &["code"]), pair);
        }
    }
}
