//! Path patterns of routes: `/v1/stats/{player}`, `/assets/{*rest}`.

use std::fmt;

/// A pattern that could not be read; its text says what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternError(pub String);

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PatternError {}

/// A compiled path pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    text: String,
}

impl PathPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is no pattern, with what was expected.
    pub fn parse(text: &str) -> Result<PathPattern, PatternError> {
        Ok(PathPattern {
            text: text.to_owned(),
        })
    }

    /// The pattern that takes every path.
    pub fn any() -> PathPattern {
        PathPattern {
            text: "/{*rest}".to_owned(),
        }
    }

    /// As written in the configuration.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}
