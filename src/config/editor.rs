//! Where a `switches.toml` mentions a key, and where new keys go.

use super::keys;
use super::statements::{Form, Kind, Part, Statement, cut};

/// What the statements below a header are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    /// Before any header.
    Top,
    /// `[kill]`.
    Kill,
    /// `[kill.NAME]`.
    Entry,
    /// A header that may have been `[kill]`.
    Damaged,
    Other,
}

/// One place that says something about the key.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mention {
    /// A statement; the key is these parts of its path.
    Line { at: usize, parts: (usize, usize) },
    /// A pair in the inline table of `kill = { ... }`.
    Inner {
        at: usize,
        index: usize,
        parts: (usize, usize),
    },
    /// `[kill.KEY]` and what is below it.
    Table { at: usize },
    /// A line that is no TOML.
    Broken { at: usize },
}

/// One file and one key, with every mention of it.
pub(super) struct Editor<'a> {
    pub(super) text: &'a str,
    pub(super) form: Form,
    pub(super) key: &'a str,
    pub(super) end_of_line: &'static str,
    pub(super) statements: Vec<Statement>,
    pub(super) sections: Vec<Section>,
    pub(super) mentions: Vec<Mention>,
}

impl<'a> Editor<'a> {
    pub(super) fn new(text: &'a str, form: Form, key: &'a str) -> Editor<'a> {
        let statements = cut(text, form);
        let mut editor = Editor {
            text,
            form,
            key,
            end_of_line: if text.contains("\r\n") { "\r\n" } else { "\n" },
            sections: sections(&statements),
            statements,
            mentions: Vec::new(),
        };
        let all = 0..editor.statements.len();
        editor.mentions = all.flat_map(|at| editor.mentions_of(at)).collect();
        editor
    }

    /// Which parts of a path, from `skip` on, are the key. A name with a dot may have been
    /// written without quotes.
    fn parts(&self, path: &[Part], skip: usize) -> Option<(usize, usize)> {
        let mut name = String::new();
        for (index, part) in path.iter().enumerate().skip(skip) {
            name.push_str(&part.name);
            if name == self.key {
                return Some((skip, index + 1));
            }
            name.push('.');
        }
        None
    }

    fn mentions_of(&self, at: usize) -> Vec<Mention> {
        let section = self.sections[at];
        let line = |parts| Mention::Line { at, parts };
        let found = match &self.statements[at].kind {
            Kind::Idle | Kind::BrokenHeader => None,
            Kind::Header { path, .. } => (section == Section::Entry)
                .then(|| self.parts(path, 1))
                .flatten()
                .map(|_| Mention::Table { at }),
            Kind::Pair { pair, inner } => match section {
                Section::Top if is_kill(&pair.path) && pair.path.len() == 1 => {
                    let inner = inner.iter().enumerate();
                    let inner = inner.filter_map(|(index, pair)| {
                        let parts = self.parts(&pair.path, 0)?;
                        Some(Mention::Inner { at, index, parts })
                    });
                    return inner.collect();
                }
                Section::Top => {
                    let skip = usize::from(is_kill(&pair.path));
                    self.parts(&pair.path, skip).map(line)
                }
                Section::Kill | Section::Damaged => self.parts(&pair.path, 0).map(line),
                Section::Entry | Section::Other => None,
            },
            Kind::Broken { key, .. } => {
                let key = match section {
                    Section::Top => key.strip_prefix("kill.").unwrap_or(key),
                    Section::Kill | Section::Damaged => key,
                    Section::Entry | Section::Other => "",
                };
                (key == self.key).then_some(Mention::Broken { at })
            }
        };
        found.into_iter().collect()
    }

    /// What belongs to a `[kill.NAME]`; in a broken file only what can belong to an entry.
    pub(super) fn table_body(&self, header: usize) -> impl Iterator<Item = usize> {
        let is_header = |at: &usize| {
            matches!(
                self.statements[*at].kind,
                Kind::Header { .. } | Kind::BrokenHeader
            )
        };
        let known = |name: &str| keys::find(keys::KILL_ENTRY, name).is_some();
        let belongs = move |at: &usize| match &self.statements[*at].kind {
            Kind::Pair { pair, .. } => self.form == Form::Whole || known(&pair.path[0].name),
            Kind::Broken { key, .. } => known(key),
            Kind::Idle | Kind::Header { .. } | Kind::BrokenHeader => false,
        };
        let rest = header + 1..self.statements.len();
        rest.take_while(move |at| !is_header(at)).filter(belongs)
    }

    /// The statement that new entries join: the last `[kill]`, `kill = { ... }` or `kill.a = ...`.
    pub(super) fn container(&self) -> Option<usize> {
        let is_header = |at: &usize| {
            let header = matches!(self.statements[*at].kind, Kind::Header { .. });
            header && self.sections[*at] == Section::Kill
        };
        let is_pair = |at: &usize| match &self.statements[*at].kind {
            Kind::Pair { pair, .. } => self.sections[*at] == Section::Top && is_kill(&pair.path),
            Kind::Idle | Kind::Header { .. } | Kind::BrokenHeader | Kind::Broken { .. } => false,
        };
        let all = 0..self.statements.len();
        all.clone()
            .rfind(is_header)
            .or_else(|| all.clone().rfind(is_pair))
    }

    /// The last entry below a header, or the header.
    pub(super) fn last_entry(&self, header: usize) -> usize {
        let mut last = header;
        for at in header + 1..self.statements.len() {
            match self.statements[at].kind {
                Kind::Header { .. } | Kind::BrokenHeader => break,
                Kind::Pair { .. } | Kind::Broken { .. } => last = at,
                Kind::Idle => {}
            }
        }
        last
    }
}

pub(super) fn is_kill(path: &[Part]) -> bool {
    path.first().is_some_and(|part| part.name == "kill")
}

/// Under which kind of header each statement stands; a header counts to its own.
fn sections(statements: &[Statement]) -> Vec<Section> {
    let mut section = Section::Top;
    let section_of = |statement: &Statement| {
        match &statement.kind {
            Kind::Idle | Kind::Pair { .. } | Kind::Broken { .. } => {}
            Kind::BrokenHeader => section = Section::Damaged,
            Kind::Header { path, .. } => section = below(path),
        }
        section
    };
    statements.iter().map(section_of).collect()
}

/// Slips such as `[kil]` and `[ki.ll]` are read as what they may have been.
fn below(path: &[Part]) -> Section {
    let near = |name: &str| strsim::osa_distance(&name.to_ascii_lowercase(), "kill") <= 1;
    let names: Vec<&str> = path.iter().map(|part| part.name.as_str()).collect();
    match &names[..] {
        ["kill"] => Section::Kill,
        ["kill", ..] => Section::Entry,
        [name] if near(name) => Section::Damaged,
        _ if near(&names.join(".")) => Section::Damaged,
        [name, ..] if near(name) => Section::Entry,
        _ => Section::Other,
    }
}
