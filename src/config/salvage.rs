//! What can be read of a broken `switches.toml`.
//!
//! The parser's own recovery ends the document at some errors and lets an unclosed string
//! swallow what follows, so that one bad entry would hide its neighbours. Here each line stands
//! for itself: it is parsed alone, and joined with those after it only if that makes it whole.

mod breakers;
mod broken;
mod parts;

pub(super) use parts::{Extent, Found, Trust};

use toml::de::DeTable;

use super::cursor::unknown_key;
use super::damage::{
    is_inner, key_of_header, leaves_open, may_be_cut, may_begin, may_name, was_header,
};
use super::file::SourceFile;
use super::keys;
use super::report::{Complaint, Report};
use super::tree::{Builder, Entry, Node, Place, Table, Value};
use parts::join_parts;

/// What was found in a file.
#[derive(Default)]
pub(super) struct Document<'t> {
    pub(super) found: Vec<Found<'t>>,
    /// The same of `[breaker]`.
    pub(super) breakers: Vec<Found<'t>>,
    pub(super) has_kill_table: bool,
    pub(super) has_breaker_table: bool,
    pub(super) parsed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    /// Before any header.
    Top,
    Kill,
    Breaker,
    /// Under a header that may have been one of the two.
    Damaged,
    /// Under another table's header.
    Other,
}

/// Most lines that one entry may take, and most bytes parsed again and again to find its end.
const MOST_LINES: usize = 200;
const MOST_BYTES: usize = 4 << 20;

struct Scanner<'t, 'r> {
    text: &'t str,
    /// Begin of every line, and the end of the text.
    lines: Vec<usize>,
    report: &'r Report<'r>,
    section: Section,
    /// An entry before was left open: what follows may be part of it.
    open: bool,
    /// Lines that cannot be read, each with the one below it: they may be the header that an
    /// entry lacks.
    damaged: Vec<(&'t str, &'t str)>,
    /// The line after an entry of several lines, and where that is in what was found.
    long: Option<(usize, usize)>,
    budget: usize,
    document: Document<'t>,
}

/// Reads a file line by line. Reports what is broken.
pub(super) fn salvage<'t>(file: &'t SourceFile, report: &Report<'_>) -> Document<'t> {
    let text: &str = &file.text;
    let ends = memchr::memchr_iter(b'\n', text.as_bytes()).map(|end| end + 1);
    let mut lines: Vec<usize> = std::iter::once(0).chain(ends).collect();
    lines.push(text.len());
    lines.dedup();
    let mut scanner = Scanner {
        text,
        lines,
        report,
        section: Section::Top,
        open: false,
        damaged: Vec::new(),
        long: None,
        budget: MOST_BYTES,
        document: Document::default(),
    };
    let mut line = 0;
    while line + 1 < scanner.lines.len() {
        line = scanner.step(line);
    }
    let found = std::mem::take(&mut scanner.document.found);
    scanner.document.found = join_parts(found);
    scanner.document
}

impl<'t> Scanner<'t, '_> {
    /// The text of lines `from..to`.
    fn slice(&self, from: usize, to: usize) -> &'t str {
        &self.text[self.lines[from]..self.lines[to]]
    }

    /// A line and the one below it.
    fn with_next(&self, line: usize) -> (&'t str, &'t str) {
        let next = line + 1;
        let last = (next + 1).min(self.lines.len() - 1);
        (self.slice(line, next), self.slice(next, last))
    }

    fn clean(&self, from: usize, to: usize) -> Option<Table<'t>> {
        parse(self.slice(from, to), self.lines[from])
    }

    /// Reads what begins at a line; gives the line after it.
    fn step(&mut self, line: usize) -> usize {
        let text = self
            .slice(line, line + 1)
            .trim_start_matches('\u{feff}')
            .trim();
        // A header has a name and no `=`; what has one is an entry that begins wrongly.
        let named = text.starts_with('[') && text.contains(|c| c != '[');
        if named && (!text.contains('=') || self.clean(line, line + 1).is_some()) {
            return self.header(line);
        }
        if text.is_empty() || text.starts_with('#') {
            if self.clean(line, line + 1).is_none() {
                self.report_broken(line);
            }
            return line + 1;
        }
        match self.whole(line) {
            Some((table, end)) => {
                self.document.parsed = true;
                if end == line + 1 && self.slice(line, end).starts_with([' ', '\t']) {
                    self.doubt_entry_above(line, text);
                }
                let first = self.document.found.len();
                self.take(table);
                self.long = (end > line + 1).then_some((end, first));
                end
            }
            None => {
                self.doubt_entry_above(line, text);
                self.broken(line, text);
                line + 1
            }
        }
    }

    /// An entry of several lines is not whole if what follows looks like more of it: its bracket
    /// was closed too early.
    fn doubt_entry_above(&mut self, line: usize, text: &str) {
        if let Some((end, first)) = self.long
            && end == line
            && is_inner(text)
        {
            for found in &mut self.document.found[first..] {
                found.entry = None;
            }
            self.open = true;
        }
    }

    /// The shortest run of lines from here that is TOML.
    fn whole(&mut self, line: usize) -> Option<(Table<'t>, usize)> {
        if let Some(table) = self.clean(line, line + 1) {
            return Some((table, line + 1));
        }
        if !leaves_open(self.slice(line, line + 1)) {
            return None;
        }
        let last = (line + MOST_LINES).min(self.lines.len() - 1);
        for end in line + 2..=last {
            let size = self.lines[end] - self.lines[line];
            if size > self.budget || self.known_header(end - 1) {
                return None;
            }
            self.budget -= size;
            if let Some(table) = self.clean(line, end) {
                return Some((table, end));
            }
        }
        None
    }

    /// Whether a line is `[kill]`, `[kill.NAME]` or `[breaker]` beyond doubt: no entry reaches
    /// past it.
    fn known_header(&self, line: usize) -> bool {
        let text = self.slice(line, line + 1).trim_start();
        (text.starts_with("[kill") || text.starts_with("[breaker"))
            && self.clean(line, line + 1).is_some()
    }

    fn header(&mut self, line: usize) -> usize {
        self.open = false;
        let Some(table) = self.clean(line, line + 1) else {
            self.section = Section::Damaged;
            self.damaged.push(self.with_next(line));
            self.report_broken(line);
            if let Some(key) = key_of_header(self.slice(line, line + 1)) {
                self.push(key, self.place(line), None, (Trust::Sound, Extent::Part));
            }
            return line + 1;
        };
        self.document.parsed = true;
        let Some(entry) = table.entries.into_iter().next() else {
            return line + 1;
        };
        if entry.key == "breaker" {
            return self.breaker_header(line, entry);
        }
        let kill = entry.key == "kill";
        let below = table_like(&entry.key, entry.value).map(|(_, below)| below);
        if let Some(below) = &below
            && kill
        {
            self.section = Section::Kill;
            self.document.has_kill_table = true;
            return match below.entries.first() {
                None => line + 1,
                Some(below) => self.sub_table(line, below),
            };
        }
        self.section = match below {
            Some(_) => Section::Damaged,
            None => Section::Other,
        };
        let complaint = if kill {
            self.section = Section::Damaged;
            Complaint::new("is one table, not a list of tables").hint("write [kill]")
        } else {
            unknown_key(&entry.key, keys::SWITCHES)
        };
        self.report
            .error(entry.key_place, entry.key.into_owned(), complaint);
        line + 1
    }

    /// `[kill.NAME]`, `[[kill.NAME]]` or `[kill.NAME.when]` and all that belongs to it, up to
    /// the header of something else.
    fn sub_table(&mut self, line: usize, name: &Entry<'t>) -> usize {
        let ends = |at: &usize| {
            let text = self.slice(*at, at + 1).trim();
            (text.starts_with('[') || was_header(text)) && !self.goes_on(*at, &name.key)
        };
        let end = (line + 1..self.lines.len() - 1).find(ends);
        let end = end.unwrap_or(self.lines.len() - 1);
        let exact = name.value.as_table().is_some_and(|t| t.entries.is_empty());
        let extent = if exact { Extent::Header } else { Extent::Part };
        let size = self.lines[end] - self.lines[line];
        let lacks = |(header, below): &(&str, &str)| {
            may_name(header, &name.key) || may_be_cut(header, below, &name.key)
        };
        let headless = extent == Extent::Part && self.damaged.iter().any(lacks);
        let whole = size <= self.budget && !headless;
        let table = whole.then(|| self.clean(line, end));
        self.budget = self.budget.saturating_sub(size);
        if let Some(table) = table.flatten() {
            for entry in table.entries {
                self.take_table(entry.value.value, Some(extent));
            }
            return end;
        }
        self.push(&name.key, name.key_place, None, (Trust::Sound, extent));
        // What follows may be this table's, or entries whose own header is gone.
        self.section = Section::Damaged;
        self.open = true;
        line + 1
    }

    /// Whether a header is about the same entry as the one above it.
    fn goes_on(&self, line: usize, name: &str) -> bool {
        let Some(table) = self.clean(line, line + 1) else {
            // The damage may be a line break.
            let (header, below) = self.with_next(line);
            let (header, below) = (header.trim(), below.trim());
            // `[ry_run = true` was a key of this entry.
            let key = header.contains('=') && !header.contains("kill");
            return key
                || may_name(header, name)
                || may_name(&format!("{header}{below}"), name)
                || may_be_cut(header, below, name)
                || (below.is_empty() && may_begin(header, name));
        };
        let kill = table.entries.into_iter().find(|entry| entry.key == "kill");
        let Some(Value::Table(kill)) = kill.map(|entry| entry.value.value) else {
            return false;
        };
        let below = kill.get(name);
        below.is_some_and(|below| {
            below
                .as_table()
                .is_none_or(|table| !table.entries.is_empty())
        })
    }

    fn take(&mut self, table: Table<'t>) {
        for entry in table.entries {
            match self.section {
                Section::Top if entry.key == "breaker" => {
                    self.take_breaker_table(entry.value.value)
                }
                Section::Breaker => self.push_breaker(entry),
                Section::Top if entry.key == "kill" => {
                    self.document.has_kill_table = true;
                    self.take_table(entry.value.value, None);
                }
                Section::Top => {
                    let complaint = misplaced(&entry.key);
                    self.report
                        .error(entry.key_place, entry.key.to_string(), complaint);
                    self.push_entry(entry, Trust::Stray, None);
                }
                Section::Kill => {
                    // `mode = "off"` below an entry left open is that entry's, not a route's.
                    let doubtful = self.open && is_inner(&entry.key);
                    let trust = if doubtful { Trust::Stray } else { Trust::Sound };
                    self.push_entry(entry, trust, None);
                }
                Section::Damaged => self.push_entry(entry, Trust::Stray, None),
                Section::Other => {}
            }
        }
    }

    fn take_table(&mut self, value: Value<'t>, extent: Option<Extent>) {
        if let Value::Table(table) = value {
            for entry in table.entries {
                self.push_entry(entry, Trust::Sound, extent);
            }
        }
    }

    /// Without an `extent` the entry has no header of its own.
    fn push_entry(&mut self, entry: Entry<'t>, trust: Trust, extent: Option<Extent>) {
        let (key, place) = (entry.key.to_string(), entry.key_place);
        let value = self.text.get(entry.value.place.start as usize..);
        let inline = value.is_none_or(|value| value.starts_with('{'));
        let dotted = entry.value.as_table().is_some() && !inline;
        let own = if dotted { Extent::Part } else { Extent::Closed };
        self.push(&key, place, Some(entry), (trust, extent.unwrap_or(own)));
    }

    fn push(
        &mut self,
        key: &str,
        key_place: Place,
        entry: Option<Entry<'t>>,
        (trust, extent): (Trust, Extent),
    ) {
        self.document.found.push(Found {
            key: key.to_owned(),
            key_place,
            entry,
            trust,
            extent,
        });
    }
}

/// The complaint about an entry outside `[kill]`.
pub(super) fn misplaced(key: &str) -> Complaint {
    Complaint::new(format!("`{key}` is not under [kill]")).hint("put the line `[kill]` above it")
}

/// The table and which of the two it is, if its name is one of theirs or may be with a slip:
/// `kil`, `ki.l`, `braker`.
pub(super) fn table_like<'t>(name: &str, node: Node<'t>) -> Option<(&'static str, Table<'t>)> {
    let Value::Table(mut table) = node.value else {
        return None;
    };
    if let Some(near) = near(name) {
        return Some((near, table));
    }
    let only = table.entries.pop().filter(|_| table.entries.is_empty())?;
    let joined = format!("{name}.{}", only.key);
    let Value::Table(table) = only.value.value else {
        return None;
    };
    near(&joined).map(|near| (near, table))
}

/// The table whose name differs by a slip at most.
fn near(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    ["kill", "breaker"]
        .into_iter()
        .find(|table| strsim::osa_distance(&name, table) <= 1)
}

fn parse(text: &str, base: usize) -> Option<Table<'_>> {
    if text.contains(char::REPLACEMENT_CHARACTER) {
        return None;
    }
    let (table, errors) = DeTable::parse_recoverable(text);
    let builder = Builder {
        file: 0,
        base,
        environment: None,
    };
    errors.is_empty().then(|| builder.table(table.into_inner()))
}
