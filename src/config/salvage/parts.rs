//! Mentions of keys in `switches.toml`, and which of them make one entry together.
//!
//! TOML lets an entry be written in parts: `a.mode = "drop"` and `a.percent = 50`, `[[kill.a]]`
//! again and again, `[kill.a]` and `[kill.a.when]`. The parser joins them in a file that is
//! whole; read line by line they are joined here. A part alone would be a wrong entry: wider
//! without its condition, narrower without the rest of its list.

use std::collections::BTreeMap;

use crate::config::tree::{Entry, Node, Place, Table, Value};

/// Whether an entry stands where entries belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::config) enum Trust {
    /// Before any header, or under one that is damaged. It may throw a switch, never restore.
    Stray,
    /// Under `[kill]`.
    Sound,
}

/// Whether other mentions may belong to the same entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Extent {
    /// It is complete: `a = ...`.
    Closed,
    /// `[kill.a]`: parts may follow.
    Header,
    /// `a.mode = ...`, `[[kill.a]]`, `[kill.a.when]`.
    Part,
}

/// An entry, or the key of one that could not be read.
pub(in crate::config) struct Found<'t> {
    pub(in crate::config) key: String,
    pub(in crate::config) key_place: Place,
    /// `None`: broken, and already reported.
    pub(in crate::config) entry: Option<Entry<'t>>,
    pub(in crate::config) trust: Trust,
    pub(in crate::config) extent: Extent,
}

/// Joins the parts of each entry. What lacks a part that is broken is broken itself.
pub(in crate::config) fn join_parts(found: Vec<Found<'_>>) -> Vec<Found<'_>> {
    let mut joined: Vec<Found<'_>> = Vec::with_capacity(found.len());
    let mut latest: BTreeMap<String, usize> = BTreeMap::new();
    for mut mention in found {
        let before = latest.get(&mention.key).copied();
        let before = before.and_then(|index| joined.get_mut(index));
        match (before.as_ref().map(|before| before.extent), mention.extent) {
            (Some(Extent::Part), Extent::Part | Extent::Header)
            | (Some(Extent::Header), Extent::Part) => {
                if let Some(before) = before {
                    before.join(mention);
                }
                continue;
            }
            // A part of what is complete: wrong in itself, and the other stays as it is.
            (Some(Extent::Closed), Extent::Part) => mention.entry = None,
            (Some(_), Extent::Closed)
            | (Some(Extent::Closed | Extent::Header), Extent::Header)
            | (None, _) => {}
        }
        latest.insert(mention.key.clone(), joined.len());
        joined.push(mention);
    }
    joined
}

impl<'t> Found<'t> {
    fn join(&mut self, part: Found<'t>) {
        self.trust = self.trust.min(part.trust);
        if part.extent == Extent::Header {
            self.extent = Extent::Header;
        }
        self.entry = match (self.entry.take(), part.entry) {
            (Some(entry), Some(part)) => {
                let value = join(entry.value, part.value);
                value.map(|value| Entry { value, ..entry })
            }
            (None, _) | (_, None) => None,
        };
    }
}

/// Both together; `None` if one contradicts the other.
fn join<'t>(one: Node<'t>, other: Node<'t>) -> Option<Node<'t>> {
    let place = one.place;
    let value = match (one.value, other.value) {
        (Value::Table(one), Value::Table(other)) => Value::Table(join_tables(one, other)?),
        (Value::List(mut items), Value::List(more)) => {
            items.extend(more);
            Value::List(items)
        }
        // `[kill.a.when]` below `[[kill.a]]`: of the last one.
        (Value::List(mut items), Value::Table(table)) => {
            let value = Value::Table(table);
            let last = join(items.pop()?, Node { place, value })?;
            items.push(last);
            Value::List(items)
        }
        _ => return None,
    };
    Some(Node { place, value })
}

fn join_tables<'t>(one: Table<'t>, other: Table<'t>) -> Option<Table<'t>> {
    let mut entries: BTreeMap<String, Entry<'t>> = BTreeMap::new();
    for entry in one.entries.into_iter().chain(other.entries) {
        let key = entry.key.to_string();
        let entry = match entries.remove(&key) {
            None => entry,
            Some(first) => Entry {
                value: join(first.value, entry.value)?,
                ..entry
            },
        };
        entries.insert(key, entry);
    }
    Some(Table {
        entries: entries.into_values().collect(),
    })
}
