//! The normalised and the lenient reading of a request path.

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
    /// `%` without two hexadecimal digits.
    Escape,
    /// NUL or another control character, raw or encoded.
    Control,
}

/// Reads the path of a request target (without its query).
///
/// # Errors
/// See [`PathError`].
pub fn normalise(path: &str) -> Result<Normalised<'_>, PathError> {
    Ok(Normalised {
        path: Cow::Borrowed(path),
        lenient: None,
    })
}
