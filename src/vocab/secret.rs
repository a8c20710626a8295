//! What must never be seen: not in errors, not in logs, not in `Debug` output.

use std::fmt;
use std::sync::Arc;

use subtle::{Choice, ConstantTimeEq};

/// A text that is compared and never shown.
#[derive(Clone)]
pub struct Secret(Arc<str>);

impl Secret {
    /// A secret of this text.
    pub fn new(text: &str) -> Secret {
        Secret(text.into())
    }

    /// Whether `given` is the secret, found in a time that depends on the lengths alone.
    pub fn equals(&self, given: &[u8]) -> Choice {
        self.0.as_bytes().ct_eq(given)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Secret) -> bool {
        self.equals(other.0.as_bytes()).into()
    }
}

impl Eq for Secret {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_compared_and_never_shown() {
        let secret = Secret::new("correct horse battery");
        assert!(bool::from(secret.equals(b"correct horse battery")));
        assert!(!bool::from(secret.equals(b"correct horse batterz")));
        assert!(!bool::from(secret.equals(b"")));
        assert_eq!(format!("{:?}", Some(&secret)), "Some([redacted])");
        assert_eq!(secret, Secret::new("correct horse battery"));
    }
}
