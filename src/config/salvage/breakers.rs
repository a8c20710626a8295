//! `[breaker]`, line by line.

use super::{Extent, Found, Scanner, Section, Trust};
use crate::config::breakers::WORDS;
use crate::config::report::Complaint;
use crate::config::tree::{Entry, Place, Value};
use crate::config::value::none_of;

impl<'t> Scanner<'t, '_> {
    /// `[breaker]`; `[breaker.NAME]` and `[[breaker]]` are none. Gives the line after it.
    pub(super) fn breaker_header(&mut self, line: usize, entry: Entry<'t>) -> usize {
        let Some(table) = entry.value.as_table() else {
            let complaint = Complaint::new("is one table, not a list of tables");
            let key = entry.key.into_owned();
            self.report
                .error(entry.key_place, key, complaint.hint("write [breaker]"));
            self.section = Section::Damaged;
            return line + 1;
        };
        self.document.has_breaker_table = true;
        self.section = match table.entries.first() {
            None => Section::Breaker,
            Some(below) => {
                let key = format!("breaker.{}", below.key);
                let complaint = none_of(&WORDS, &below.value);
                self.report.error(below.key_place, key, complaint);
                self.push_broken_breaker(&below.key, below.key_place);
                Section::Other
            }
        };
        line + 1
    }

    /// `breaker = { a = "tripped" }`.
    pub(super) fn take_breaker_table(&mut self, value: Value<'t>) {
        if let Value::Table(table) = value {
            self.document.has_breaker_table = true;
            table
                .entries
                .into_iter()
                .for_each(|entry| self.push_breaker(entry));
        }
    }

    pub(super) fn push_breaker(&mut self, entry: Entry<'t>) {
        self.document.breakers.push(Found {
            key: entry.key.to_string(),
            key_place: entry.key_place,
            entry: Some(entry),
            trust: Trust::Sound,
            extent: Extent::Closed,
        });
    }

    pub(super) fn push_broken_breaker(&mut self, key: &str, key_place: Place) {
        self.document.breakers.push(Found {
            key: key.to_owned(),
            key_place,
            entry: None,
            trust: Trust::Sound,
            extent: Extent::Closed,
        });
    }
}
