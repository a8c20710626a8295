//! The two readings of a request path.
//!
//! **Normalised** (RFC 3986, 6.2.2): escapes of unreserved characters are decoded, the digits of
//! other escapes are in upper case, dot segments are removed. `//`, `;`, `\` and `%2F` stay. It
//! is what routes are matched on and what is sent upstream.
//!
//! **Lenient**: how another server might read the normalised path. Every escape is decoded
//! once (what is no UTF-8 stays), `\` is `/`, `;parameters` are cut from each segment, repeated
//! slashes are one, and dot segments are removed again. Who matches both readings and refuses a
//! request whose readings reach different routes leaves no way around a kill switch:
//! `/..;/killed`, `/x/..\killed`, `/killed%3Ba` and `/now%3Akilled` are found out. A path
//! without any of this has one reading, and costs one pass over its bytes.

use std::borrow::Cow;

/// A request path in its two readings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Normalised<'a> {
    /// Unreserved characters decoded, dot segments removed (RFC 3986, 6.2.2). Borrowed when
    /// the path is already so.
    pub path: Cow<'a, str>,
    /// The most lenient reading another server might give it; `None` when it is the same.
    pub lenient: Option<String>,
}

/// A path that is refused whatever the routes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// `%` without two hexadecimal digits; or a backslash or an escaped slash inside
    /// `;parameters`, which has no one lenient reading: some servers cut before they decode.
    Escape,
    /// NUL or another control character, raw or encoded.
    Control,
}

/// Reads the path of a request target (without its query).
///
/// # Errors
/// See [`PathError`].
pub fn normalise(path: &str) -> Result<Normalised<'_>, PathError> {
    let seen = scan(path.as_bytes());
    if seen & CONTROL != 0 {
        return Err(PathError::Control);
    }
    let path = if seen & (PERCENT | SLASH_DOT) == 0 {
        Cow::Borrowed(path)
    } else {
        let decoded = decode(path)?;
        let clean = remove_dots(decoded);
        if clean == path {
            Cow::Borrowed(path)
        } else {
            Cow::Owned(clean)
        }
    };
    let lenient = if seen & (PERCENT | PARAMETER | SLASH_SLASH) == 0 {
        None
    } else {
        lenient(&path)?
    };
    Ok(Normalised { path, lenient })
}

const SLASH: u8 = 1;
const DOT: u8 = 2;
const CONTROL: u8 = 4;
const PERCENT: u8 = 8;
/// `;` or a backslash.
const PARAMETER: u8 = 16;
// Of pairs of bytes; the first two never stand alone in what `scan` returns.
const SLASH_SLASH: u8 = 32;
const SLASH_DOT: u8 = 64;

const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 0x20 {
        classes[byte] = CONTROL;
        byte += 1;
    }
    classes[0x7f] = CONTROL;
    classes[b'/' as usize] = SLASH;
    classes[b'.' as usize] = DOT;
    classes[b'%' as usize] = PERCENT;
    classes[b';' as usize] = PARAMETER;
    classes[b'\\' as usize] = PARAMETER;
    classes
};

/// What needs work in a path, found in one pass without branches.
fn scan(path: &[u8]) -> u8 {
    let mut seen = 0;
    let mut after_slash = 0;
    for &byte in path {
        let class = CLASSES[usize::from(byte)];
        // After a slash, `/` and `.` move to the bits of pairs.
        seen |= class | ((class & after_slash) << 5);
        after_slash = if class == SLASH { SLASH | DOT } else { 0 };
    }
    seen & !(SLASH | DOT)
}

/// `ALPHA / DIGIT / "-" / "." / "_" / "~"`.
pub(super) fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// The bytes that the escapes of `text` stand for.
pub(super) fn escapes(text: &str) -> impl Iterator<Item = Result<u8, PathError>> {
    let bytes = text.as_bytes();
    memchr::memchr_iter(b'%', bytes).map(|at| escape_at(bytes, at))
}

/// The byte that the escape at `at` stands for.
fn escape_at(bytes: &[u8], at: usize) -> Result<u8, PathError> {
    let digit = |at: usize| {
        let digit = char::from(*bytes.get(at)?).to_digit(16)?;
        u8::try_from(digit).ok()
    };
    match (digit(at + 1), digit(at + 2)) {
        (Some(high), Some(low)) => Ok(high << 4 | low),
        _ => Err(PathError::Escape),
    }
}

fn push_escape(out: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    out.push(char::from(DIGITS[usize::from(byte >> 4)]));
    out.push(char::from(DIGITS[usize::from(byte & 15)]));
}

/// Decodes unreserved characters and writes other escapes in upper case.
pub(super) fn decode(text: &str) -> Result<String, PathError> {
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for (at, byte) in memchr::memchr_iter(b'%', text.as_bytes()).zip(escapes(text)) {
        let byte = byte?;
        if byte.is_ascii_control() {
            return Err(PathError::Control);
        }
        out.push_str(&text[done..at]);
        if is_unreserved(byte) {
            out.push(char::from(byte));
        } else {
            push_escape(&mut out, byte);
        }
        done = at + 3;
    }
    out.push_str(&text[done..]);
    Ok(out)
}

/// Removes dot segments (RFC 3986, 5.2.4).
fn remove_dots(path: String) -> String {
    // What does not begin with a slash (`*`) has no segments, and matches no route.
    if !path.starts_with('/') || !path.contains("/.") {
        return path;
    }
    let mut out = String::with_capacity(path.len());
    let mut segments = path[1..].split('/').peekable();
    while let Some(segment) = segments.next() {
        push_segment(&mut out, segment, segments.peek().is_none());
    }
    out
}

/// Appends a segment, or does what the dot segment asks; the last one leaves a slash behind.
fn push_segment(out: &mut String, segment: &str, last: bool) {
    match segment {
        "." => {}
        ".." => out.truncate(out.rfind('/').unwrap_or(0)),
        _ => {
            out.push('/');
            out.push_str(segment);
            return;
        }
    }
    if last {
        out.push('/');
    }
}

/// The lenient reading of a normalised path, when it is another one.
fn lenient(path: &str) -> Result<Option<String>, PathError> {
    if !path.starts_with('/') {
        return Ok(None);
    }
    if path.split('/').any(hides_slash_in_parameters) {
        return Err(PathError::Escape);
    }
    let text = decode_all(path);
    let mut out = String::with_capacity(text.len());
    let mut segments = text[1..].split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        let name = segment.split(';').next().unwrap_or(segment);
        // An empty segment is a repeated slash; at the end it is the slash that ends the path.
        let name = if name.is_empty() { "." } else { name };
        push_segment(&mut out, name, last);
    }
    Ok((out != path).then_some(out))
}

/// Cut before decoding this segment ends at its `;`, decoded first it is two segments.
fn hides_slash_in_parameters(segment: &str) -> bool {
    let Some((_, parameters)) = segment.split_once(';') else {
        return false;
    };
    parameters.contains('\\') || escapes(parameters).any(|byte| matches!(byte, Ok(b'/' | b'\\')))
}

/// Decodes every escape once, and makes backslashes slashes.
pub(super) fn decode_all(path: &str) -> String {
    let bytes = path.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let (byte, length) = match byte {
            b'%' => escape_at(bytes, at).map_or((byte, 1), |byte| (byte, 3)),
            _ => (byte, 1),
        };
        decoded.push(if byte == b'\\' { b'/' } else { byte });
        at += length;
    }
    let mut out = String::with_capacity(bytes.len());
    for chunk in decoded.utf8_chunks() {
        out.push_str(chunk.valid());
        // Raw bytes are UTF-8, so that what is none came from escapes.
        for &byte in chunk.invalid() {
            push_escape(&mut out, byte);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn clean(path: &str) -> String {
        normalise(path).unwrap().path.into_owned()
    }

    fn lenient_of(path: &str) -> Option<String> {
        normalise(path).unwrap().lenient
    }

    #[test]
    fn a_clean_path_is_borrowed_and_has_one_reading() {
        for path in [
            "/",
            "/a",
            "/a/b/",
            "/a.b/c..d/e.",
            "/a:b@c!$&'()*+,=",
            "/é",
            "/{a}|",
            "*",
            "",
            "a",
        ] {
            let read = normalise(path).unwrap();
            assert!(matches!(read.path, Cow::Borrowed(p) if p == path), "{path}");
            assert_eq!(read.lenient, None, "{path}");
        }
        for path in ["/a%20b", "/.well-known/x", "/a/...", "/caf%C3%A9"] {
            assert!(
                matches!(normalise(path).unwrap().path, Cow::Borrowed(_)),
                "{path}"
            );
        }
    }

    #[test]
    fn unreserved_characters_are_decoded_and_dot_segments_removed() {
        for (path, expected) in [
            ("/%41%7a%30%2D%2e%5F%7e", "/Az0-._~"),
            ("/v1/../v1/%63heating", "/v1/cheating"),
            ("/%2e%2E/killed", "/killed"),
            ("/a/%2e/b", "/a/b"),
            ("/a/.", "/a/"),
            ("/a/..", "/"),
            ("/a/b/../..", "/"),
            ("/..", "/"),
            ("/../../a", "/a"),
            ("/a/../../b/./c/", "/b/c/"),
            ("/mid/content=5/../6", "/mid/6"),
            ("/a//../b", "/a/b"),
            ("/a/./", "/a/"),
            ("/a%2fb%3f%c3%a9", "/a%2Fb%3F%C3%A9"),
            ("//a", "//a"),
            ("/a;b/..", "/"),
            ("/a/%252fkilled", "/a/%252fkilled"),
            ("/killed/%2e%2e%2fkilled", "/killed/..%2Fkilled"),
        ] {
            assert_eq!(clean(path), expected, "{path}");
        }
    }

    #[test]
    fn ways_around_a_switch_have_a_lenient_reading_that_meets_it() {
        for (path, expected) in [
            ("/..;/killed", "/killed"),
            ("/x/..\\killed", "/killed"),
            ("/x/..%5ckilled", "/killed"),
            ("/%2fkilled", "/killed"),
            ("//killed", "/killed"),
            ("/killed;a", "/killed"),
            ("/killed;a=b;c", "/killed"),
            ("/killed%3ba", "/killed"),
            ("/killed/%2e%2e%2fkilled", "/killed"),
            ("/x/..%3B/killed", "/killed"),
            ("/x/.;a/killed", "/x/killed"),
            ("/now%3Akilled", "/now:killed"),
            ("/caf%C3%A9", "/café"),
            ("/a%20b", "/a b"),
            ("/killed/;a", "/killed/"),
            ("/killed//", "/killed/"),
            ("//", "/"),
            ("/a/%252fkilled", "/a/%2fkilled"),
            ("/%C3%A9%FF", "/é%FF"),
        ] {
            assert_eq!(lenient_of(path).as_deref(), Some(expected), "{path}");
        }
        assert_eq!(lenient_of("/a%FF"), None);
        assert_eq!(lenient_of("/a/../b"), None);
        assert_eq!(lenient_of("a;b//c"), None);
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for path in [
            "/%", "/%4", "/%4g", "/%g4", "/%%41", "/a%", "/%+1", "*%", "%é",
        ] {
            assert_eq!(normalise(path), Err(PathError::Escape), "{path}");
        }
        for path in ["/\0", "/a\nb", "/\x7f", "/%00", "/%1F", "/%0d%0a", "/%7f"] {
            assert_eq!(normalise(path), Err(PathError::Control), "{path}");
        }
        for path in ["/killed;%2fx", "/killed;a\\x", "/a;b%5c../c"] {
            assert_eq!(normalise(path), Err(PathError::Escape), "{path}");
        }
    }

    fn paths() -> impl Strategy<Value = String> {
        let parts = [
            "/", "//", ".", "..", "%2e", "%2E", "%2f", "%5c", "\\", ";", "%3b", "a", "B", "%41",
            "%25", "%252e", "%c3%a9", "%ff", "é", "%20", "%", "4",
        ];
        prop::collection::vec(prop::sample::select(parts.to_vec()), 0..12)
            .prop_map(|parts| format!("/{}", parts.concat()))
    }

    proptest! {
        #[test]
        fn normalising_is_idempotent_and_leaves_no_dots(path in paths()) {
            if let Ok(read) = normalise(&path) {
                prop_assert!(read.path.len() <= path.len());
                prop_assert!(read.path.starts_with('/'));
                prop_assert!(read.path.split('/').all(|s| s != "." && s != ".."));
                prop_assert_eq!(normalise(&read.path), Ok(Normalised {
                    path: Cow::Borrowed(&*read.path),
                    lenient: read.lenient.clone(),
                }));
            }
        }

        #[test]
        fn the_lenient_reading_has_nothing_left_to_read_leniently(path in paths()) {
            if let Ok(Normalised { lenient: Some(lenient), .. }) = normalise(&path) {
                prop_assert!(lenient.starts_with('/'));
                prop_assert!(!lenient.contains("//") && !lenient.contains([';', '\\']));
                prop_assert!(lenient.split('/').all(|s| s != "." && s != ".."));
                // Without a percent sign that was itself encoded, it is its own reading.
                if !lenient.contains('%') {
                    let again = normalise(&lenient).unwrap();
                    prop_assert_eq!(&*again.path, &*lenient);
                    prop_assert_eq!(again.lenient, None);
                }
            }
        }

        #[test]
        fn any_text_is_read_without_panic(path in "\\PC{0,20}") {
            let _ = normalise(&path);
        }
    }
}
