//! How a request body ends that does not end well.

use std::error::Error;
use std::fmt;

/// Why a request body did not end well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFault {
    /// Longer than the route allows.
    TooLarge,
    /// The client was silent, or dripped.
    TooSlow,
    /// The client's framing is broken.
    Malformed,
    /// The client went away.
    Gone,
}

impl fmt::Display for BodyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BodyFault::TooLarge => "the request body is too large",
            BodyFault::TooSlow => "the client is too slow",
            BodyFault::Malformed => "the request body is malformed",
            BodyFault::Gone => "the client went away",
        })
    }
}

impl Error for BodyFault {}

impl BodyFault {
    /// hyper says "invalid" of bytes that are no chunked coding; all else is a client that left.
    pub(super) fn of(error: &(dyn Error + 'static)) -> BodyFault {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(io) = error.downcast_ref::<std::io::Error>() {
                return match io.kind() {
                    std::io::ErrorKind::InvalidInput | std::io::ErrorKind::InvalidData => {
                        BodyFault::Malformed
                    }
                    _ => BodyFault::Gone,
                };
            }
            cause = error.source();
        }
        BodyFault::Gone
    }
}
