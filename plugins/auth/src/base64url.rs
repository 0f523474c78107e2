//! Base64url without padding (RFC 4648 §5), as JWTs use it: strict, into a reused buffer.

/// Not canonical base64url: another character, an impossible length, or bits left over. Two
/// spellings of one value would make two tokens of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotBase64;

/// Replaces `out` with the bytes that `text` stands for.
pub(crate) fn decode_into(text: &[u8], out: &mut Vec<u8>) -> Result<(), NotBase64> {
    out.clear();
    out.reserve(text.len() / 4 * 3 + 2);
    let (quads, rest) = text.as_chunks::<4>();
    for quad in quads {
        let [_, bytes @ ..] = word(quad)?.to_be_bytes();
        out.extend_from_slice(&bytes);
    }
    // What is left stands for one byte or two, and for some bits that must be 0.
    let [_, first, second, third] = match rest {
        [] => return Ok(()),
        [_] => return Err(NotBase64),
        _ => (word(rest)? << (6 * (4 - rest.len()))).to_be_bytes(),
    };
    out.push(first);
    if rest.len() == 2 {
        return if second == 0 { Ok(()) } else { Err(NotBase64) };
    }
    out.push(second);
    if third == 0 { Ok(()) } else { Err(NotBase64) }
}

/// Up to four symbols as one number.
#[inline]
fn word(symbols: &[u8]) -> Result<u32, NotBase64> {
    symbols.iter().try_fold(0, |word, symbol| match SEXTETS.get(usize::from(*symbol)) {
        Some(&sextet) if sextet != INVALID => Ok(word << 6 | u32::from(sextet)),
        _ => Err(NotBase64),
    })
}

const INVALID: u8 = 0xff;

#[expect(clippy::indexing_slicing, reason = "checked by the compiler, which runs it")]
const SEXTETS: [u8; 256] = {
    let mut table = [INVALID; 256];
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut rest: &[u8] = alphabet;
    let mut value = 0;
    while let Some((&symbol, tail)) = rest.split_first() {
        table[symbol as usize] = value;
        value += 1;
        rest = tail;
    }
    table
};

/// For tests: the other way round.
#[cfg(test)]
pub(crate) fn encode(bytes: &[u8]) -> String {
    let symbol = |value: u32| {
        let index = SEXTETS.iter().position(|&sextet| u32::from(sextet) == value).unwrap();
        char::from(u8::try_from(index).unwrap())
    };
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0, |word, &byte| word << 8 | u32::from(byte));
        let word = word << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            text.push(symbol(word >> (18 - 6 * place) & 63));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(text: &str) -> Result<Vec<u8>, NotBase64> {
        let mut out = b"left from before".to_vec();
        decode_into(text.as_bytes(), &mut out).map(|()| out)
    }

    #[test]
    fn vectors_of_rfc_4648() {
        for (text, bytes) in [
            ("", ""),
            ("Zg", "f"),
            ("Zm8", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg", "foob"),
            ("Zm9vYmE", "fooba"),
            ("Zm9vYmFy", "foobar"),
        ] {
            assert_eq!(decode(text).unwrap(), bytes.as_bytes());
            assert_eq!(encode(bytes.as_bytes()), text);
        }
        assert_eq!(decode("-_-_").unwrap(), [0xfb, 0xff, 0xbf]);
    }

    #[test]
    fn what_is_not_canonical_is_refused() {
        for text in ["Z", "Zg==", "Zm9vY", "Zm 9", "Zm+/", "Zh", "Zm9", "Zm9vYmF=", "Zg\n", "é"] {
            assert_eq!(decode(text), Err(NotBase64), "{text:?}");
        }
    }

    #[test]
    fn every_byte_survives() {
        let bytes: Vec<u8> = (0..=255).collect();
        for start in 0..3 {
            assert_eq!(decode(&encode(&bytes[start..])).unwrap(), &bytes[start..]);
        }
    }
}
