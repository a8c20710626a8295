//! JSON strings for bodies: eight bytes at a time.
//!
//! serde_json looks at each byte by itself, which is half of what the writer does for a body
//! of some KiB. The test for zero bytes in a word is the exact one of "Bit Twiddling Hacks"
//! (Anderson).

const LOW: u64 = u64::from_le_bytes([0x7f; 8]);
/// Bytes that a word may be written beyond its end, and the longest escape beyond two bytes.
const SLACK: usize = 24;

/// The high bit of each byte that is zero.
fn zero_bytes(word: u64) -> u64 {
    !(((word & LOW) + LOW) | word | LOW)
}

fn equal_bytes(word: u64, byte: u8) -> u64 {
    zero_bytes(word ^ u64::from_le_bytes([byte; 8]))
}

/// Appends `text` as a JSON string, with its quotes.
pub(crate) fn push_string(text: &str, into: &mut Vec<u8>) {
    into.push(b'"');
    let mut out = into.len();
    // Each byte takes two at most, but for control characters, which make room themselves.
    into.resize(out + 2 * text.len() + SLACK, 0);
    let (words, rest) = text.as_bytes().as_chunks::<8>();
    for bytes in words {
        let word = u64::from_le_bytes(*bytes);
        // A byte below 0x20 has none of the upper three bits.
        if zero_bytes(word & u64::from_le_bytes([0xe0; 8])) == 0 {
            out += push_word(word, &mut into[out..]);
        } else {
            for byte in bytes {
                out += push_byte(*byte, out, into);
            }
        }
    }
    for byte in rest {
        out += push_byte(*byte, out, into);
    }
    into.truncate(out);
    into.push(b'"');
}

/// Writes eight bytes without control characters; the length. What is escaped stands for
/// itself, so the rest of the word moves on by one for each backslash before it.
fn push_word(word: u64, out: &mut [u8]) -> usize {
    out[..8].copy_from_slice(&word.to_le_bytes());
    let mut hits = equal_bytes(word, b'"') | equal_bytes(word, b'\\');
    let mut moved = 0;
    while hits != 0 {
        let place = (hits.trailing_zeros() / 8) as usize;
        let at = place + moved;
        out[at] = b'\\';
        out[at + 1..at + 9].copy_from_slice(&(word >> (8 * place)).to_le_bytes());
        moved += 1;
        hits &= hits - 1;
    }
    8 + moved
}

/// Writes one byte, escaped where JSON asks for it; the length.
fn push_byte(byte: u8, out: usize, into: &mut Vec<u8>) -> usize {
    if matches!(byte, 0..0x20 | b'"' | b'\\') {
        escape(byte, out, into)
    } else {
        into[out] = byte;
        1
    }
}

/// Writes the escape of one byte; its length.
fn escape(byte: u8, out: usize, into: &mut Vec<u8>) -> usize {
    let short = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        0x09 => b't',
        0x0a => b'n',
        0x0c => b'f',
        0x0d => b'r',
        _ => {
            let hex = |digit: u8| b"0123456789abcdef"[usize::from(digit)];
            into.extend_from_slice(&[0; 4]);
            let long = [b'\\', b'u', b'0', b'0', hex(byte >> 4), hex(byte & 15)];
            into[out..out + long.len()].copy_from_slice(&long);
            return long.len();
        }
    };
    into[out..out + 2].copy_from_slice(&[b'\\', short]);
    2
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(text: &str) -> String {
        let mut into = b"before".to_vec();
        push_string(text, &mut into);
        String::from_utf8(into.split_off(6)).unwrap()
    }

    #[test]
    fn every_character_below_0x80_is_written_as_serde_json_does_at_every_place() {
        for byte in 0..0x80_u8 {
            for length in 1..20 {
                for place in 0..length {
                    let mut bytes = vec![b'x'; length];
                    bytes[place] = byte;
                    let text = String::from_utf8(bytes).unwrap();
                    assert_eq!(written(&text), serde_json::to_string(&text).unwrap());
                }
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_is_written_as_serde_json_does(
            any in ".{0,60}",
            hard in "[\u{0}-\u{3f}\\\\é\u{10ffff}]{0,60}",
        ) {
            for text in [any, hard] {
                prop_assert_eq!(written(&text), serde_json::to_string(&text).unwrap());
            }
        }
    }
}
