//! The statements of a `switches.toml`, and where in it they stand, for those who edit it.
//!
//! A whole file is cut where TOML ends its statements. A broken one is cut the way
//! [`super::salvage`] reads it: each line for itself, joined with the next ones only if that
//! makes it whole.

use std::ops::Range;

use toml_edit::{Document, Item, Table, TableLike, Value};

use super::damage::{leading_key, leaves_open};
use super::keys;

/// Whether a file is TOML from begin to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Whole,
    Broken,
}

/// One part of a dotted key, and where it is written.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) name: String,
    pub(super) span: Range<usize>,
}

/// A key and its value.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    /// Where its key begins. Of dotted keys that share a part, each has its own begin, whereas the
    /// place of that part is where it is written first.
    pub(super) start: usize,
    pub(super) path: Vec<Part>,
    pub(super) value: Range<usize>,
}

/// What a statement is.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// A blank line or a comment.
    Idle,
    /// `[a.b]` or `[[a.b]]`.
    Header { path: Vec<Part>, span: Range<usize> },
    /// `a.b = value`; `inner` holds the pairs of an inline table.
    Pair { pair: Pair, inner: Vec<Pair> },
    /// A header that is no TOML.
    BrokenHeader,
    /// No TOML, but it begins with this key. `rest` is where what seems to belong to it ends.
    Broken { key: String, rest: usize },
}

/// One statement with the lines it takes, the last line's end included.
#[derive(Clone, Debug)]
pub(super) struct Statement {
    pub(super) lines: Range<usize>,
    pub(super) kind: Kind,
}

/// Most bytes parsed again and again to find the ends of statements.
const MOST_BYTES: usize = 4 << 20;

struct Cutter<'t> {
    text: &'t str,
    form: Form,
    /// Begin of every line, and the end of the text.
    lines: Vec<usize>,
    budget: usize,
}

/// Whether the text is TOML, as the reading of switches judges it.
pub(super) fn form(text: &str) -> Form {
    let whole = !text.contains(char::REPLACEMENT_CHARACTER) && Document::parse(text).is_ok();
    if whole { Form::Whole } else { Form::Broken }
}

/// Cuts a text into its statements; together they are all of it.
pub(super) fn cut(text: &str, form: Form) -> Vec<Statement> {
    let ends = memchr::memchr_iter(b'\n', text.as_bytes()).map(|end| end + 1);
    let mut lines: Vec<usize> = std::iter::once(0).chain(ends).collect();
    lines.push(text.len());
    lines.dedup();
    let mut cutter = Cutter {
        text,
        form,
        lines,
        budget: MOST_BYTES,
    };
    let mut statements = Vec::new();
    let mut line = 0;
    while line + 1 < cutter.lines.len() {
        let (kind, end) = cutter.next(line);
        let lines = cutter.lines[line]..cutter.lines[end];
        statements.push(Statement { lines, kind });
        line = end;
    }
    statements
}

impl Cutter<'_> {
    fn slice(&self, from: usize, to: usize) -> &str {
        &self.text[self.lines[from]..self.lines[to]]
    }

    fn parse(&self, from: usize, to: usize) -> Option<Kind> {
        let text = self.slice(from, to);
        if text.contains(char::REPLACEMENT_CHARACTER) {
            return None;
        }
        let document = Document::parse(text).ok()?;
        let mut kind = kind(document.as_table(), self.lines[from])?;
        if let Kind::Pair { pair, inner } = &mut kind {
            let mut end = pair.value.start + 1;
            for pair in inner {
                let key = pair.path.last().map_or(end, |part| part.span.start);
                pair.start = begin(self.text, end..key);
                end = pair.value.end;
            }
        }
        Some(kind)
    }

    /// The statement that begins at a line, and the line after it.
    fn next(&mut self, line: usize) -> (Kind, usize) {
        let text = self.slice(line, line + 1);
        let text = text.trim_start_matches('\u{feff}').trim();
        if text.is_empty() || text.starts_with('#') {
            return (Kind::Idle, line + 1);
        }
        if let Some(kind) = self.parse(line, line + 1) {
            return (kind, line + 1);
        }
        // A header has no `=`; what has one is an entry that begins wrongly.
        if text.starts_with('[') && !text.contains('=') {
            return (Kind::BrokenHeader, line + 1);
        }
        let open = leaves_open(text);
        let key = leading_key(text).to_owned();
        if (open || self.form == Form::Whole)
            && let Some(found) = self.joined(line)
        {
            return found;
        }
        let rest = if open { self.rest(line + 1) } else { line + 1 };
        let rest = self.lines[rest];
        (Kind::Broken { key, rest }, line + 1)
    }

    fn joined(&mut self, line: usize) -> Option<(Kind, usize)> {
        for end in line + 2..self.lines.len() {
            let size = self.lines[end] - self.lines[line];
            if size > self.budget || (self.form == Form::Broken && self.is_known_header(end - 1)) {
                return None;
            }
            self.budget -= size;
            if let Some(kind) = self.parse(line, end) {
                return Some((kind, end));
            }
        }
        None
    }

    fn is_known_header(&self, line: usize) -> bool {
        let text = self.slice(line, line + 1).trim_start();
        (text.starts_with("[kill") || text.starts_with("[breaker"))
            && self.parse(line, line + 1).is_some()
    }

    /// The line after those that can only belong to an entry left open before them.
    fn rest(&self, from: usize) -> usize {
        let belongs = |line: &usize| {
            let text = self.slice(*line, *line + 1).trim();
            let closes = text.starts_with(['}', ']', '{', ',']) && !text.starts_with("[kill");
            closes || keys::find(keys::KILL_ENTRY, leading_key(text)).is_some()
        };
        let last = self.lines.len() - 1;
        (from..last).find(|line| !belongs(line)).unwrap_or(last)
    }
}

/// The comma in what stands between two pairs, where comments may stand too.
pub(super) fn comma(text: &str, gap: Range<usize>) -> Option<usize> {
    let mut at = gap.start;
    for line in text[gap].split_inclusive('\n') {
        let code = line.split('#').next().unwrap_or_default();
        if let Some(found) = code.find(',') {
            return Some(at + found);
        }
        at += line.len();
    }
    None
}

/// Where a key begins whose last part ends this gap behind the value before it.
fn begin(text: &str, gap: Range<usize>) -> usize {
    let mut at = comma(text, gap.clone()).map_or(gap.start, |comma| comma + 1);
    for line in text[at..gap.end].split_inclusive('\n') {
        let code = line.trim_start();
        if !code.is_empty() && !code.starts_with('#') {
            return at + line.len() - code.len();
        }
        at += line.len();
    }
    gap.end
}

fn shifted(span: Range<usize>, base: usize) -> Range<usize> {
    span.start + base..span.end + base
}

fn part(table: &dyn TableLike, name: &str, base: usize) -> Option<Part> {
    let span = shifted(table.key(name)?.span()?, base);
    let name = name.to_owned();
    Some(Part { name, span })
}

/// What one statement, parsed alone, is.
fn kind(mut table: &Table, base: usize) -> Option<Kind> {
    let mut path = Vec::new();
    loop {
        let (name, item) = table.iter().next()?;
        path.push(part(table, name, base)?);
        match item {
            Item::Table(below) if below.is_implicit() => table = below,
            Item::Table(below) => {
                let span = shifted(below.span()?, base);
                return Some(Kind::Header { path, span });
            }
            Item::ArrayOfTables(below) => {
                let span = shifted(below.span()?, base);
                return Some(Kind::Header { path, span });
            }
            Item::Value(value) => {
                let mut inner = Vec::new();
                if let Value::InlineTable(table) = value {
                    pairs(table, (&[], base), &mut inner)?;
                    inner.sort_by_key(|pair| pair.value.start);
                }
                let value = shifted(value.span()?, base);
                let start = path[0].span.start;
                let pair = Pair { start, path, value };
                return Some(Kind::Pair { pair, inner });
            }
            Item::None => return None,
        }
    }
}

/// The pairs of an inline table; dotted keys lead into further ones.
fn pairs(table: &dyn TableLike, above: (&[Part], usize), found: &mut Vec<Pair>) -> Option<()> {
    let (prefix, base) = above;
    for (name, item) in table.iter() {
        let mut path = prefix.to_vec();
        path.push(part(table, name, base)?);
        match item.as_inline_table() {
            Some(below) if below.is_dotted() => pairs(below, (&path, base), found)?,
            _ => {
                let value = shifted(item.span()?, base);
                let start = path[0].span.start;
                found.push(Pair { start, path, value });
            }
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Vec<String> {
        let names = |path: &[Part]| {
            let names: Vec<&str> = path.iter().map(|part| part.name.as_str()).collect();
            names.join("/")
        };
        let statements = cut(text, form(text));
        let covered: String = statements.iter().map(|s| &text[s.lines.clone()]).collect();
        assert_eq!(covered, text);
        let tell = |statement: &Statement| match &statement.kind {
            Kind::Idle => None,
            Kind::Header { path, span } => Some(format!("{} {}", names(path), &text[span.clone()])),
            Kind::Pair { pair, inner } => {
                let inner: Vec<String> = inner.iter().map(|pair| names(&pair.path)).collect();
                let value = &text[pair.value.clone()];
                Some(format!(
                    "{}: {value} {}",
                    names(&pair.path),
                    inner.join(" ")
                ))
            }
            Kind::BrokenHeader => Some("header?".to_owned()),
            Kind::Broken { key, rest } => {
                let rest = text[statement.lines.end..*rest].lines().count();
                Some(format!("{key}? {rest}"))
            }
        };
        statements.iter().filter_map(tell).collect()
    }

    #[test]
    fn a_whole_file_is_cut_where_toml_ends_its_statements() {
        let text = "\u{feff}x.a.b = 1\r\n[kill] # [x]\r\n\"t:x\" = [ # ]\r\n { a = 1 }\r\n]\r\n\
                    b = '''\r\n[kill]\r\n'''\r\n[[ kill . c ]]\r\n[kill.d.e]\r\n";
        assert_eq!(
            told(text),
            [
                "x/a/b: 1 ",
                "kill [kill]",
                "t:x: [ # ]\r\n { a = 1 }\r\n] ",
                "b: '''\r\n[kill]\r\n''' ",
                "kill/c [[ kill . c ]]",
                "kill/d/e [kill.d.e]",
            ]
        );
        assert_eq!(
            told("kill = { a = 1, # c\n b.mode = 2, b.percent = 3 }"),
            ["kill: { a = 1, # c\n b.mode = 2, b.percent = 3 } a b/mode b/percent"]
        );
    }

    #[test]
    fn a_broken_file_is_cut_line_by_line() {
        let text = "[kill]\na = \"drop\nb = [\n  { mode = 1 }\n]\nc = {\n mode = 1\n}}\nd = 1\n[kil\n\"e = 2";
        assert_eq!(
            told(text),
            [
                "kill [kill]",
                "a? 0",
                "b: [\n  { mode = 1 }\n] ",
                "c? 2",
                "mode: 1 ",
                "? 0",
                "d: 1 ",
                "header?",
                "e? 0",
            ]
        );
    }
}
