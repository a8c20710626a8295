//! A file as written: a tree in which every key and value knows its place.

use std::borrow::Cow;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::environment::substitute;
use super::error::Problem;
use super::file::{Environment, SourceFile};
use super::report::{Complaint, Report};

/// Where something is written: a file and its bytes there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: u32,
    pub(super) start: u32,
    pub(super) end: u32,
}

/// A value and its place.
#[derive(Debug)]
pub(super) struct Node<'t> {
    pub(super) place: Place,
    pub(super) value: Value<'t>,
}

/// What a value is.
#[derive(Debug)]
pub(super) enum Value<'t> {
    Text(Cow<'t, str>),
    /// `None`: beyond 64 bits.
    Integer(Option<i64>),
    Float(String),
    Boolean(bool),
    Datetime(String),
    List(Vec<Node<'t>>),
    Table(Table<'t>),
    /// A string whose `${NAME}` cannot be replaced; said wherever it is used.
    Broken(Complaint),
}

/// A table, sorted by key.
#[derive(Debug, Default)]
pub(super) struct Table<'t> {
    pub(super) entries: Vec<Entry<'t>>,
}

/// A key of a table and its value.
#[derive(Debug)]
pub(super) struct Entry<'t> {
    pub(super) key: Cow<'t, str>,
    pub(super) key_place: Place,
    pub(super) value: Node<'t>,
}

impl<'t> Table<'t> {
    /// The entry of that key.
    pub(super) fn entry(&self, key: &str) -> Option<&Entry<'t>> {
        self.entries
            .binary_search_by(|entry| entry.key.as_ref().cmp(key))
            .ok()
            .map(|index| &self.entries[index])
    }

    /// The value of that key.
    pub(super) fn get(&self, key: &str) -> Option<&Node<'t>> {
        self.entry(key).map(|entry| &entry.value)
    }
}

impl<'t> Node<'t> {
    /// The string it is, if it is one.
    pub(super) fn as_text(&self) -> Option<&str> {
        if let Value::Text(text) = &self.value {
            return Some(text);
        }
        None
    }

    /// The number it is, if it is one of 64 bits.
    pub(super) fn as_integer(&self) -> Option<i64> {
        if let Value::Integer(number) = self.value {
            return number;
        }
        None
    }

    /// `true` or `false`, if it is one.
    pub(super) fn as_boolean(&self) -> Option<bool> {
        if let Value::Boolean(value) = self.value {
            return Some(value);
        }
        None
    }

    /// The items, if it is a list.
    pub(super) fn as_list(&self) -> Option<&[Node<'t>]> {
        if let Value::List(items) = &self.value {
            return Some(items);
        }
        None
    }

    /// The table it is, if it is one.
    pub(super) fn as_table(&self) -> Option<&Table<'t>> {
        if let Value::Table(table) = &self.value {
            return Some(table);
        }
        None
    }

    /// Why it cannot be used, if it was broken before anyone read it.
    pub(super) fn broken(&self) -> Option<Complaint> {
        if let Value::Broken(complaint) = &self.value {
            return Some(complaint.clone());
        }
        None
    }
}

/// Turns what the parser gives into a tree.
pub(super) struct Builder<'e> {
    /// Index of the file.
    pub(super) file: u32,
    /// Where the parsed text begins in the file.
    pub(super) base: usize,
    /// Replaces `${NAME}`; without one strings stay as they are.
    pub(super) environment: Option<&'e Environment>,
}

impl Builder<'_> {
    fn place(&self, span: &std::ops::Range<usize>) -> Place {
        Place {
            file: self.file,
            start: (self.base + span.start) as u32,
            end: (self.base + span.end) as u32,
        }
    }

    /// The tree of a parsed table.
    pub(super) fn table<'t>(&self, table: DeTable<'t>) -> Table<'t> {
        let entries = table.into_iter().map(|(key, value)| Entry {
            key_place: self.place(&key.span()),
            key: key.into_inner(),
            value: self.node(value),
        });
        Table {
            entries: entries.collect(),
        }
    }

    fn node<'t>(&self, value: Spanned<DeValue<'t>>) -> Node<'t> {
        let place = self.place(&value.span());
        let value = match value.into_inner() {
            DeValue::String(text) => self.text(text),
            DeValue::Integer(number) => {
                Value::Integer(i64::from_str_radix(number.as_str(), number.radix()).ok())
            }
            DeValue::Float(number) => Value::Float(number.as_str().to_owned()),
            DeValue::Boolean(value) => Value::Boolean(value),
            DeValue::Datetime(time) => Value::Datetime(time.to_string()),
            DeValue::Array(list) => {
                Value::List(list.into_iter().map(|item| self.node(item)).collect())
            }
            DeValue::Table(table) => Value::Table(self.table(table)),
        };
        Node { place, value }
    }

    fn text<'t>(&self, text: Cow<'t, str>) -> Value<'t> {
        let Some(environment) = self.environment else {
            return Value::Text(text);
        };
        if !text.contains("${") {
            return Value::Text(text);
        }
        match substitute(&text, environment) {
            Ok(text) => Value::Text(Cow::Owned(text)),
            Err(complaint) => Value::Broken(complaint),
        }
    }
}

/// Reads a structure file. Syntax errors are reported, and what could be read is returned.
pub(super) fn read<'t>(
    index: usize,
    file: &'t SourceFile,
    environment: &Environment,
    report: &Report<'_>,
) -> Table<'t> {
    let (document, errors) = DeTable::parse_recoverable(&file.text);
    for error in &errors {
        let span = error.span().filter(|_| error.message() == "duplicate key");
        match span.and_then(|span| first_of(&file.text, span.start)) {
            Some(first) => report.twice((index as u32, first), error),
            None => report.syntax(index as u32, 0, error),
        }
    }
    let builder = Builder {
        file: index as u32,
        base: 0,
        environment: Some(environment),
    };
    builder.table(document.into_inner())
}

/// Where the key that is repeated at byte `at` was defined first; `None` when that is within
/// one line, where it is easily seen.
fn first_of(text: &str, at: usize) -> Option<usize> {
    let line_start = text[..at].rfind('\n').map_or(0, |end| end + 1);
    let line = text[line_start..].lines().next()?;
    let before = &text[..line_start];
    if line.trim_start().starts_with('[') {
        let same = |other: &&str| other.trim() == line.trim();
        return before.lines().find(same).map(|first| offset(text, first));
    }
    let name = line.split('=').next()?.trim();
    let is_header = |line: &&str| line.trim_start().starts_with('[');
    let table = before.lines().rev().take_while(|line| !is_header(line));
    let same = |line: &&str| line.split('=').next().is_some_and(|key| key.trim() == name);
    table.filter(same).last().map(|first| offset(text, first))
}

fn offset(text: &str, part: &str) -> usize {
    let indent = part.len() - part.trim_start().len();
    part.as_ptr() as usize - text.as_ptr() as usize + indent
}

/// The text around a place, for what points at it.
pub(super) fn locate(problem: &mut Problem, text: &str, line_starts: &[u32], place: Place) {
    let start = floor_boundary(text, place.start as usize);
    let end = floor_boundary(text, place.end as usize).max(start);
    let line = line_starts.partition_point(|begin| *begin as usize <= start);
    let begin = line_starts[line - 1] as usize;
    let rest = &text[begin..];
    let source = rest.split('\n').next().unwrap_or_default();
    let source = source.strip_suffix('\r').unwrap_or(source);
    let from = (start - begin).min(source.len());
    let to = (end - begin).clamp(from, source.len());
    problem.line = line;
    problem.column = 1 + source[..from].chars().count();
    problem.mark = from..to;
    source.clone_into(&mut problem.source_line);
}

fn floor_boundary(text: &str, index: usize) -> usize {
    let mut index = index.min(text.len());
    while !text.is_char_boundary(index) {
        index -= 1;
    }
    index
}
