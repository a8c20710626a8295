//! What is wrong with a configuration, where, and what to do about it.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use annotate_snippets::{AnnotationKind, Level, Origin, Renderer, Snippet};
use serde::{Serialize, Serializer};

/// Whether a problem stops the configuration from being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It does.
    Error,
    /// It does not, but somebody should look.
    Warning,
}

impl Severity {
    /// The name in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Severity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Error or warning.
    pub severity: Severity,
    /// The file, as people know it.
    pub file: PathBuf,
    /// Line, from 1; 0 when the problem has no place.
    pub line: usize,
    /// Column in characters, from 1; 0 when the problem has no place.
    pub column: usize,
    /// The key, such as `routes.submit-stats.timeout`; empty when it concerns none.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The line as written.
    #[serde(skip)]
    pub source_line: String,
    /// The bytes of `source_line` that are meant.
    #[serde(skip)]
    pub(super) mark: Range<usize>,
}

impl Problem {
    /// An error that has no place in the file, such as a file that is not there.
    pub fn placeless(file: impl Into<PathBuf>, message: impl Into<String>) -> Problem {
        Problem {
            severity: Severity::Error,
            file: file.into(),
            line: 0,
            column: 0,
            key: String::new(),
            message: message.into(),
            hint: None,
            source_line: String::new(),
            mark: 0..0,
        }
    }

    /// The same with a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Problem {
        self.hint = Some(hint.into());
        self
    }

    /// Several lines for a terminal: the message, the source line with what is meant marked,
    /// and the hint.
    pub fn render(&self, colour: bool) -> String {
        let title = self.title();
        let file = self.file.to_string_lossy();
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level.primary_title(title.as_str());
        let mut group = if self.line == 0 {
            title.element(Origin::path(file))
        } else {
            let annotation = AnnotationKind::Primary.span(self.mark.clone());
            title.element(
                Snippet::source(self.source_line.as_str())
                    .path(file)
                    .line_start(self.line)
                    .annotation(annotation),
            )
        };
        if let Some(hint) = &self.hint {
            group = group.element(Level::HELP.message(hint.as_str()));
        }
        let renderer = if colour {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        renderer.render(&[group])
    }

    fn title(&self) -> String {
        if self.key.is_empty() {
            self.message.clone()
        } else {
            format!("{}: {}", self.key, self.message)
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": {}", self.title())?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Problem {
        Problem {
            severity: Severity::Error,
            file: "config/seawall.toml".into(),
            line: 12,
            column: 11,
            key: "routes.x.timeout".to_owned(),
            message: "expected a duration".to_owned(),
            hint: Some("write \"3s\"".to_owned()),
            source_line: "timeout = \"3 parsecs\"".to_owned(),
            mark: 10..21,
        }
    }

    #[test]
    fn one_line_names_place_key_message_and_hint() {
        assert_eq!(
            example().to_string(),
            "config/seawall.toml:12:11: routes.x.timeout: expected a duration; write \"3s\""
        );
    }

    #[test]
    fn several_lines_show_the_source() {
        insta::assert_snapshot!(example().render(false), @r#"
        error: routes.x.timeout: expected a duration
          --> config/seawall.toml:12:11
           |
        12 | timeout = "3 parsecs"
           |           ^^^^^^^^^^^
           |
           = help: write "3s"
        "#);
    }

    #[test]
    fn a_problem_without_a_place_names_the_file_alone() {
        let problem = Problem::placeless("config/seawall.toml", "there is no such file");
        assert_eq!(
            problem.to_string(),
            "config/seawall.toml: there is no such file"
        );
        insta::assert_snapshot!(problem.render(false), @r"
        error: there is no such file
        --> config/seawall.toml
        ");
    }

    #[test]
    fn json_has_the_fields_that_scripts_read() {
        let json = serde_json::to_value(example()).unwrap();
        assert_eq!(json["line"], 12);
        assert_eq!(json["severity"], "error");
        assert_eq!(json["key"], "routes.x.timeout");
        assert!(json.get("source_line").is_none());
    }
}
