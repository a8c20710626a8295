//! A line that is no TOML: what is said of it, and which keys it seems to be about.

use toml::de::DeTable;

use super::{Extent, Scanner, Section, Trust};
use crate::config::damage::{key_of_line, leading_key, leaves_open};
use crate::config::report::Complaint;
use crate::config::tree::Place;

impl Scanner<'_, '_> {
    /// A line that is no TOML: says so, and keeps the keys it seems to be about.
    pub(super) fn broken(&mut self, line: usize, text: &str) {
        // The rest of a list whose beginning is reported needs no report of its own.
        if !(self.open && text.starts_with(['{', '}', ']'])) {
            self.report_broken(line);
        }
        self.damaged.push(self.with_next(line));
        self.open |= leaves_open(text) || text.contains("kill.");
        let place = self.place(line);
        match self.section {
            Section::Other => return,
            Section::Breaker => return self.push_broken_breaker(leading_key(text), place),
            Section::Top | Section::Kill | Section::Damaged => {}
        }
        let top = self.section == Section::Top && text.starts_with("kill");
        for part in text
            .split(['{', ',', '='])
            .take(if top { usize::MAX } else { 1 })
        {
            let key = leading_key(part);
            let key = key.strip_prefix("kill.").filter(|_| top).unwrap_or(key);
            if !key.is_empty() {
                self.push(key, place, None, (Trust::Sound, Extent::Closed));
            }
            // `a.percent = ` is a part of `a`, unless the route is called so.
            if let Some((first, _)) = key.split_once('.')
                && !part.trim_start().starts_with(['"', '\''])
            {
                self.push(first, place, None, (Trust::Sound, Extent::Part));
            }
        }
    }

    pub(super) fn place(&self, line: usize) -> Place {
        Place {
            file: 0,
            start: self.lines[line] as u32,
            end: self.lines[line + 1] as u32,
        }
    }

    pub(super) fn report_broken(&self, line: usize) {
        let text = self.slice(line, line + 1);
        let base = self.lines[line];
        let key = key_of_line(self.text, base);
        if let Some(at) = text.find(char::REPLACEMENT_CHARACTER) {
            let place = Place {
                file: 0,
                start: (base + at) as u32,
                end: (base + at + char::REPLACEMENT_CHARACTER.len_utf8()) as u32,
            };
            let complaint = Complaint::new("a character that is not UTF-8");
            self.report
                .error(place, key, complaint.hint("save the file as UTF-8"));
            return;
        }
        match DeTable::parse_recoverable(text).1.first() {
            Some(error) => self.report.syntax_of_key(0, base, (key, error)),
            None => {
                let complaint = Complaint::new("cannot be read together with the lines around it");
                let place = Place {
                    file: 0,
                    start: base as u32,
                    end: (base + text.trim_end().len()) as u32,
                };
                self.report.error(place, key, complaint);
            }
        }
    }
}
