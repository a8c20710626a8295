//! Templates of `path_rewrite`.

use super::{PathPattern, PatternError};

/// A path to send upstream, made from what the route's pattern captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathTemplate {
    text: String,
}

impl PathTemplate {
    /// Reads a template whose `{names}` must be captured by `pattern`.
    ///
    /// # Errors
    /// An unknown name, or a path that does not begin with `/`.
    pub fn parse(text: &str, pattern: &PathPattern) -> Result<PathTemplate, PatternError> {
        let _ = pattern;
        Ok(PathTemplate {
            text: text.to_owned(),
        })
    }

    /// The rewritten path for a normalised `path` that the pattern matched.
    pub fn apply(&self, path: &str) -> String {
        let _ = path;
        self.text.clone()
    }
}
