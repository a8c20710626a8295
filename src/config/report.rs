//! Collects every problem of a load, so that one never hides the next.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashSet;

use super::error::{Problem, Severity};
use super::file::SourceFile;
use super::tokens::hide_token;
use super::tree::{Place, locate};

/// What is wrong with a value, before anyone says where.
#[derive(Clone, Debug)]
pub(super) struct Complaint {
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

impl Complaint {
    pub(super) fn new(message: impl Into<String>) -> Complaint {
        Complaint {
            message: message.into(),
            hint: None,
        }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Complaint {
        self.hint = Some(hint.into());
        self
    }

    /// Adds a hint if there is one.
    pub(super) fn maybe_hint(mut self, hint: Option<String>) -> Complaint {
        self.hint = hint;
        self
    }
}

/// The problems found so far.
pub(super) struct Report<'f> {
    files: &'f [SourceFile],
    line_starts: Vec<OnceCell<Vec<u32>>>,
    found: RefCell<Vec<(Place, Problem)>>,
    /// Lines that are no TOML; what else is said about them is noise.
    broken_lines: RefCell<HashSet<(u32, usize)>>,
    incomplete: Cell<bool>,
    errors: Cell<usize>,
}

impl<'f> Report<'f> {
    pub(super) fn new(files: &'f [SourceFile]) -> Report<'f> {
        Report {
            files,
            line_starts: files.iter().map(|_| OnceCell::new()).collect(),
            found: RefCell::default(),
            broken_lines: RefCell::default(),
            incomplete: Cell::new(false),
            errors: Cell::new(0),
        }
    }

    /// Reports an error at a place.
    pub(super) fn error(&self, place: Place, key: String, complaint: Complaint) {
        self.push(Severity::Error, place, key, complaint);
    }

    /// Reports an error that says something is missing. Silent once a file could not be read
    /// whole: what is missing may be in the part that could not.
    pub(super) fn missing(&self, place: Place, key: String, complaint: Complaint) {
        if !self.incomplete.get() {
            self.push(Severity::Error, place, key, complaint);
        }
    }

    /// Reports a warning at a place.
    pub(super) fn warning(&self, place: Place, key: String, complaint: Complaint) {
        self.push(Severity::Warning, place, key, complaint);
    }

    /// Reports what the TOML parser says of a text that begins at byte `base`; of one line
    /// only the first error, because the others follow from it.
    pub(super) fn syntax(&self, file: u32, base: usize, error: &toml::de::Error) {
        self.syntax_of_key(file, base, (String::new(), error));
    }

    /// The same for a text of which it is known what key the damaged line is about.
    pub(super) fn syntax_of_key(
        &self,
        file: u32,
        base: usize,
        (key, error): (String, &toml::de::Error),
    ) {
        self.incomplete.set(true);
        self.errors.set(self.errors.get() + 1);
        let span = error.span().unwrap_or(0..0);
        let place = Place {
            file,
            start: (base + span.start) as u32,
            end: (base + span.end) as u32,
        };
        let message = error.message().lines().collect::<Vec<_>>().join(", ");
        // An array left open takes every line below for an element: one complaint is enough.
        let swallowed = message.starts_with("missing comma");
        let mut problem = self.problem(Severity::Error, place, key, Complaint::new(message));
        let typographic = problem.source_line.contains(['“', '”', '„', '‘', '’']);
        let hint = typographic.then_some("write plain quotes, \"...\", for the typographic ones");
        let hint = hint.or_else(|| syntax_hint(&problem.message));
        problem.hint = hint.map(str::to_owned);
        let mut found = self.found.borrow_mut();
        let repeats = |(_, last): &(Place, Problem)| swallowed && last.message == problem.message;
        let new = self.broken_lines.borrow_mut().insert((file, problem.line));
        if new && !found.last().is_some_and(repeats) {
            found.push((place, problem));
        }
    }

    /// Reports a key that the parser met again, and where it met it first.
    pub(super) fn twice(&self, (file, first): (u32, usize), error: &toml::de::Error) {
        self.incomplete.set(true);
        let at = |span: std::ops::Range<usize>| Place {
            file,
            start: span.start as u32,
            end: span.end as u32,
        };
        let first = self.name(at(first..first));
        let span = error.span().unwrap_or(0..0);
        let text = &self.files[file as usize].text;
        let key = text.get(span.clone()).unwrap_or_default();
        let line = text[..span.start].rfind('\n').map_or(0, |end| end + 1);
        // In a header the whole name says more than its last part.
        let header = text[line..span.end].trim_start().strip_prefix('[');
        let key = header.unwrap_or(key).to_owned();
        let complaint = Complaint::new(format!("defined twice: here and at {first}"));
        self.error(at(span), key, complaint.hint("remove one of them"));
    }

    fn push(&self, severity: Severity, place: Place, key: String, complaint: Complaint) {
        if severity == Severity::Error {
            self.errors.set(self.errors.get() + 1);
        }
        let problem = self.problem(severity, place, key, complaint);
        let line = (place.file, problem.line);
        if !self.broken_lines.borrow().contains(&line) {
            self.found.borrow_mut().push((place, problem));
        }
    }

    fn problem(
        &self,
        severity: Severity,
        place: Place,
        key: String,
        complaint: Complaint,
    ) -> Problem {
        let file = &self.files[place.file as usize];
        let mut problem = Problem {
            severity,
            key,
            hint: complaint.hint,
            ..Problem::placeless(&file.path, complaint.message)
        };
        let starts = self.line_starts[place.file as usize].get_or_init(|| {
            let ends = memchr::memchr_iter(b'\n', file.text.as_bytes());
            std::iter::once(0)
                .chain(ends.map(|end| end as u32 + 1))
                .collect()
        });
        locate(&mut problem, &file.text, starts, place);
        hide_token(&mut problem, &file.text);
        problem
    }

    /// `file:line` of a place, to name a second place in a message.
    pub(super) fn name(&self, place: Place) -> String {
        let problem = self.problem(Severity::Error, place, String::new(), Complaint::new(""));
        format!("{}:{}", problem.file.display(), problem.line)
    }

    /// How many errors were reported so far, repeated ones included.
    pub(super) fn errors(&self) -> usize {
        self.errors.get()
    }

    /// Errors and warnings, each in the order of the files, each said once.
    pub(super) fn finish(self) -> (Vec<Problem>, Vec<Problem>) {
        let mut found = self.found.into_inner();
        found.sort_by_key(|(place, _)| (place.file, place.start));
        let mut said = HashSet::new();
        found.retain(|(place, problem)| {
            said.insert((place.file, place.start, problem.message.clone()))
        });
        let problems = found.into_iter().map(|(_, problem)| problem);
        problems.partition(|problem| problem.severity == Severity::Error)
    }
}

/// How many bytes of one text the other lacks, whatever their case: never more than the edits
/// between them, and found at a fraction of the cost. There may be ten thousand names.
fn bag_distance(one: &str, other: &str) -> usize {
    let mut surplus = [0_i16; 128];
    one.bytes()
        .for_each(|byte| surplus[usize::from(byte.to_ascii_lowercase() & 127)] += 1);
    let mut missing = 0;
    for byte in other.bytes() {
        let slot = &mut surplus[usize::from(byte.to_ascii_lowercase() & 127)];
        missing += usize::from(*slot <= 0);
        *slot -= 1;
    }
    missing.max((one.len() + missing).saturating_sub(other.len()))
}

/// What to do about the parser's complaints that say it too briefly.
fn syntax_hint(message: &str) -> Option<&'static str> {
    const HINTS: [(&str, &str); 7] = [
        (
            "missing comma between key-value",
            "write a comma between the two",
        ),
        ("missing comma", "is the list above closed with `]`?"),
        ("extra `=`", "write one `=`"),
        (
            "unexpected key or value",
            "remove what follows, or put `#` before it",
        ),
        ("key with no value", "write KEY = VALUE"),
        (
            "string values must be quoted",
            "write \"...\" around the value",
        ),
        (
            "invalid unquoted key",
            "write \"...\" around the key, such as \"tier:core\"",
        ),
    ];
    let fits = HINTS.iter().find(|(begin, _)| message.starts_with(begin));
    fits.map(|(_, hint)| *hint)
}

/// A hint that names the candidate nearest to what was written, if one is near. Upper and lower
/// case are the same here: `DROP` is `drop` with the wrong key held down.
pub(crate) fn did_you_mean<'a>(
    written: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    let allowed = (written.chars().count() / 3).clamp(1, 3);
    let written = written.to_ascii_lowercase();
    let rank = |candidate: &str| {
        // `listen_address` for `listen`: far in letters, near in meaning.
        if candidate.len() >= 4 && written.starts_with(candidate) {
            return Some(allowed);
        }
        if bag_distance(&written, candidate) > allowed {
            return None;
        }
        let distance = strsim::osa_distance(&written, &candidate.to_ascii_lowercase());
        (distance <= allowed).then_some(distance)
    };
    candidates
        .into_iter()
        .filter_map(|candidate| Some((rank(candidate)?, candidate)))
        .min()
        .map(|(_, candidate)| format!("did you mean `{candidate}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_offered_and_a_far_one_is_not() {
        let keys = ["timeout", "tier", "path"];
        assert_eq!(
            did_you_mean("timeuot", keys).as_deref(),
            Some("did you mean `timeout`?")
        );
        assert_eq!(
            did_you_mean("teir", keys).as_deref(),
            Some("did you mean `tier`?")
        );
        let longer = did_you_mean("path_prefix", keys);
        assert_eq!(longer.as_deref(), Some("did you mean `path`?"));
        assert_eq!(did_you_mean("colour", keys), None);
        let shouted = did_you_mean("TIMEOUT", keys);
        assert_eq!(shouted.as_deref(), Some("did you mean `timeout`?"));
    }

    #[test]
    fn the_bag_distance_never_exceeds_the_edits() {
        for (one, other) in [
            ("r10", "r1"),
            ("abc", "cab"),
            ("", "ab"),
            ("stat", "stats"),
            ("x", "y"),
        ] {
            let edits = strsim::osa_distance(one, other);
            assert!(bag_distance(one, other) <= edits, "{one} {other}");
        }
        assert_eq!(bag_distance("aab", "abc"), 1);
    }

    #[test]
    fn places_count_lines_and_characters() {
        let files = [SourceFile::new("a.toml", "é = 1\r\nbé = 2")];
        let report = Report::new(&files);
        let place = Place {
            file: 0,
            start: 14,
            end: 15,
        };
        report.error(place, "b".to_owned(), Complaint::new("no"));
        let (errors, _) = report.finish();
        assert_eq!((errors[0].line, errors[0].column), (2, 6));
        assert_eq!(errors[0].source_line, "bé = 2");
    }
}
