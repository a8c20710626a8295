//! Reads a table key by key: unknown keys, wrong types and bad values are reported at their
//! place, and reading goes on.

use std::fmt;

use super::keys::{self, NOT_YET, Section, Status};
use super::report::{Complaint, Report, did_you_mean};
use super::tree::{Entry, Node, Place, Table};
use super::value::expected;

/// What a decoder of one value gives.
pub(super) type Decoded<T> = Result<T, Complaint>;

/// The names from the root to a table. Written out only when something is wrong.
#[derive(Clone, Copy)]
pub(super) struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    name: &'a str,
}

impl<'a> Path<'a> {
    /// The path of the root.
    pub(super) const ROOT: Path<'static> = Path {
        parent: None,
        name: "",
    };

    /// One name further.
    pub(super) fn join<'b>(&'b self, name: &'b str) -> Path<'b> {
        Path {
            parent: Some(self),
            name,
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(parent) = self.parent else {
            return Ok(());
        };
        if parent.parent.is_some() {
            write!(f, "{parent}.")?;
        }
        f.write_str(self.name)
    }
}

/// A table being read. `inherited` is the same table of `[defaults]`: it gives the keys that
/// `own` lacks, and its errors are reported where it stands, once.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    own: Option<&'a Table<'a>>,
    inherited: Option<&'a Table<'a>>,
    pub(super) path: Path<'a>,
    /// Where errors about the table as a whole point.
    pub(super) place: Place,
    pub(super) report: &'a Report<'a>,
}

impl<'a> Cursor<'a> {
    /// Reads a table whose keys are those of `section`; others are reported.
    pub(super) fn open(
        table: &'a Table<'a>,
        section: Section,
        (path, place): (Path<'a>, Place),
        report: &'a Report<'a>,
    ) -> Cursor<'a> {
        let cursor = Cursor {
            own: Some(table),
            inherited: None,
            path,
            place,
            report,
        };
        cursor.check_keys(section);
        cursor
    }

    /// The same with a table that gives what this one lacks.
    pub(super) fn inheriting(self, inherited: Option<&'a Table<'a>>) -> Cursor<'a> {
        Cursor { inherited, ..self }
    }

    /// The same with errors about the table as a whole pointing elsewhere.
    pub(super) fn at(self, place: Place) -> Cursor<'a> {
        Cursor { place, ..self }
    }

    fn check_keys(&self, section: Section) {
        for entry in self.own.into_iter().flat_map(|table| &table.entries) {
            let complaint = match keys::find(section, &entry.key).map(|key| key.status) {
                Some(Status::Supported) => continue,
                Some(Status::Later) => Complaint::new(NOT_YET),
                Some(Status::Elsewhere(place)) => Complaint::new(place),
                None => unknown_key(&entry.key, section),
            };
            self.complain(&entry.key, entry.key_place, complaint);
        }
    }

    /// Reports an error about a key of this table.
    pub(super) fn complain(&self, key: &str, place: Place, complaint: Complaint) {
        let key = self.path.join(key).to_string();
        self.report.error(place, key, complaint);
    }

    /// Reports that the table as a whole lacks something.
    pub(super) fn missing(&self, complaint: Complaint) {
        self.report
            .missing(self.place, self.path.to_string(), complaint);
    }

    /// Whether the table itself, not what it inherits, has the key.
    pub(super) fn owns(&self, key: &str) -> bool {
        self.own.is_some_and(|table| table.entry(key).is_some())
    }

    /// Where the key or what it inherits is written; else where the table is.
    pub(super) fn place_of(&self, key: &str) -> Place {
        self.find(key).map_or(self.place, |(node, _)| node.place)
    }

    fn find(&self, key: &str) -> Option<(&'a Node<'a>, bool)> {
        let own = self.own.and_then(|table| table.get(key));
        let inherited = || self.inherited.and_then(|table| table.get(key));
        own.map(|node| (node, true))
            .or_else(|| inherited().map(|node| (node, false)))
    }

    /// Whether the key is there at all.
    pub(super) fn has(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// Whether a table below this one, or what it inherits, has the key.
    pub(super) fn has_within(&self, table: &str, key: &str) -> bool {
        let has = |all: &&Table<'_>| {
            let below = all.get(table).and_then(Node::as_table);
            below.is_some_and(|below| below.entry(key).is_some())
        };
        self.own.iter().any(has) || self.inherited.iter().any(has)
    }

    /// Reads the value of a key; `None` when it is absent or wrong.
    pub(super) fn read<T>(
        &self,
        key: &str,
        decode: impl FnOnce(&'a Node<'a>) -> Decoded<T>,
    ) -> Option<T> {
        let (node, own) = self.find(key)?;
        self.decode(key, (node, own), decode)
    }

    fn decode<T>(
        &self,
        key: &str,
        (node, own): (&'a Node<'a>, bool),
        decode: impl FnOnce(&'a Node<'a>) -> Decoded<T>,
    ) -> Option<T> {
        let decoded = match node.broken() {
            Some(complaint) => Err(complaint),
            None => decode(node),
        };
        match decoded {
            Ok(value) => Some(value),
            Err(complaint) => {
                if own {
                    self.complain(key, node.place, complaint);
                }
                None
            }
        }
    }

    /// Reads each item of a list; those that are wrong are reported and left out, and `None`
    /// says that none was right. A string stands for a list of one when `single` says so.
    pub(super) fn read_list<T>(
        &self,
        key: &str,
        single: Single,
        decode: impl Fn(&'a Node<'a>) -> Decoded<T>,
    ) -> Option<Vec<T>> {
        let (node, own) = self.find(key)?;
        let one = || {
            (single == Single::Allowed && node.as_text().is_some())
                .then(|| std::slice::from_ref(node))
        };
        let Some(items) = node.as_list().or_else(one) else {
            let what = match single {
                Single::Allowed => "a string or a list of strings",
                Single::Refused => "a list of strings",
            };
            return self.decode(key, (node, own), |node| Err(expected(what, node)));
        };
        self.decode_items(key, (items, own), decode)
    }

    /// The same for a list of anything, which is named for the error.
    pub(super) fn read_items<T>(
        &self,
        key: &str,
        what: &str,
        decode: impl Fn(&'a Node<'a>) -> Decoded<T>,
    ) -> Option<Vec<T>> {
        let (node, own) = self.find(key)?;
        match node.as_list() {
            Some(items) => self.decode_items(key, (items, own), decode),
            None => self.decode(key, (node, own), |node| Err(expected(what, node))),
        }
    }

    fn decode_items<T>(
        &self,
        key: &str,
        (items, own): (&'a [Node<'a>], bool),
        decode: impl Fn(&'a Node<'a>) -> Decoded<T>,
    ) -> Option<Vec<T>> {
        let decoded: Vec<Option<T>> = items
            .iter()
            .map(|item| self.decode(key, (item, own), &decode))
            .collect();
        let whole = decoded.iter().any(Option::is_some) || decoded.is_empty();
        whole.then(|| decoded.into_iter().flatten().collect())
    }

    /// Opens a table below this one; `None` when it is absent or no table.
    pub(super) fn table<'b>(&'b self, key: &'b str, section: Section) -> Option<Cursor<'b>> {
        let cursor = self.free_table(key)?;
        cursor.check_keys(section);
        Some(cursor)
    }

    /// The same for a table whose keys are names that users choose.
    pub(super) fn free_table<'b>(&'b self, key: &'b str) -> Option<Cursor<'b>> {
        let inherited = self.inherited.and_then(|table| table.get(key));
        let inherited_table = inherited.and_then(Node::as_table);
        let own = match self.own.and_then(|table| table.get(key)) {
            None => None,
            Some(node) => {
                let table = node.as_table();
                if table.is_none() {
                    self.complain(key, node.place, expected("a table", node));
                }
                Some((table?, node.place))
            }
        };
        if own.is_none() && inherited_table.is_none() {
            return None;
        }
        Some(Cursor {
            own: own.map(|(table, _)| table),
            inherited: inherited_table,
            path: self.path.join(key),
            place: self.place_of(key),
            report: self.report,
        })
    }

    /// Opens a table that `"off"` may stand for, also to leave out what is inherited. `form` is
    /// how it is written, for who wrote something else.
    pub(super) fn switchable<'b>(
        &'b self,
        key: &'b str,
        section: Section,
        form: &str,
    ) -> Switchable<'b> {
        const FORMS: &str = "a table or \"off\"";
        let is_off = |node: &Node<'_>| node.as_text() == Some("off");
        let Some((node, own)) = self.find(key) else {
            return Switchable::Absent;
        };
        if node.as_table().is_none() {
            let _ = self.decode(key, (node, own), |node| match is_off(node) {
                true => Ok(()),
                false => Err(expected(FORMS, node).hint(format!("write {form}"))),
            });
            return match is_off(node) {
                true => Switchable::Off,
                false => Switchable::Absent,
            };
        }
        self.table(key, section)
            .map_or(Switchable::Absent, Switchable::Table)
    }

    /// Opens each table of a list, which is named for the error; what is none is reported.
    /// `None` when the key is absent or no list.
    pub(super) fn tables<'b>(
        &'b self,
        key: &'b str,
        section: Section,
        what: &str,
    ) -> Option<Vec<Cursor<'b>>> {
        let (node, own) = self.find(key)?;
        let Some(items) = node.as_list() else {
            return self.decode(key, (node, own), |node| Err(expected(what, node)));
        };
        let tables = items.iter().filter_map(|item| {
            let read =
                |node: &'a Node<'a>| node.as_table().ok_or_else(|| expected("a table", node));
            let table = Some(self.decode(key, (item, own), read)?);
            let cursor = Cursor {
                own: table.filter(|_| own),
                inherited: table.filter(|_| !own),
                path: self.path.join(key),
                place: item.place,
                report: self.report,
            };
            cursor.check_keys(section);
            Some(cursor)
        });
        Some(tables.collect())
    }

    /// Every entry with whether it is the table's own; what is inherited comes last.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'a Entry<'a>, bool)> {
        let own = self.own;
        let inherited = self.inherited.into_iter().flat_map(|table| &table.entries);
        let inherited = inherited
            .filter(move |entry| own.is_none_or(|own| own.entry(&entry.key).is_none()))
            .map(|entry| (entry, false));
        let own = own.into_iter().flat_map(|table| &table.entries);
        own.map(|entry| (entry, true)).chain(inherited)
    }

    /// Reads one of [`Cursor::entries`].
    pub(super) fn read_entry<T>(
        &self,
        (entry, own): (&'a Entry<'a>, bool),
        decode: impl FnOnce(&'a Node<'a>) -> Decoded<T>,
    ) -> Option<T> {
        self.decode(&entry.key, (&entry.value, own), decode)
    }
}

/// What stands where a table or `"off"` may.
pub(super) enum Switchable<'a> {
    /// Nothing that could be used.
    Absent,
    /// `"off"`.
    Off,
    /// A table.
    Table(Cursor<'a>),
}

/// Whether one string may stand for a list.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Single {
    Allowed,
    Refused,
}

/// The complaint about a key that the section does not have.
pub(super) fn unknown_key(key: &str, section: Section) -> Complaint {
    let names = keys::usable(section);
    let hint = did_you_mean(key, names).unwrap_or_else(|| {
        let names: Vec<&str> = keys::usable(section).collect();
        format!("known here: {}", names.join(", "))
    });
    Complaint::new(format!("unknown key `{key}`")).hint(hint)
}
