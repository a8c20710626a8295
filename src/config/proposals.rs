//! Texts in which a key says something else, the best first.
//!
//! They are proposals: [`super::edit`] takes the first that reads as meant.

use std::ops::Range;

use super::edit::entry_line;
use super::editor::{Editor, Mention, Section, is_kill};
use super::entry_text::{EntryText, key_text};
use super::statements::{Form, Kind, Pair, comma};

/// What else goes with a line that is taken out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// Nothing.
    Line,
    /// What seems to be the rest of an entry left open.
    Rest,
}

/// What stays of a line that is taken out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leave {
    Comment,
    Nothing,
}

/// Where a new entry goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spot {
    AfterLast,
    BelowHeader,
    OwnTable,
}

/// A part of the text and what is written in its place.
type Splice = (Range<usize>, String);

impl Editor<'_> {
    /// Texts in which the key has this value.
    pub(super) fn set(&self, value: &EntryText) -> Vec<String> {
        let line = entry_line(self.key, value);
        let own = self.own_place();
        let mut proposals = Vec::new();
        if let Some(own) = own {
            let replaced = self.replaced(own, value);
            let mut all = self.without(Some(own), Extent::Rest, Leave::Comment);
            all.extend(replaced.clone());
            proposals.push(all);
            proposals.push(replaced);
        }
        for spot in [Spot::AfterLast, Spot::BelowHeader, Spot::OwnTable] {
            if let Some(inserted) = self.inserted(spot, &line, value) {
                let mut all = self.without(None, Extent::Rest, Leave::Comment);
                all.push(inserted.clone());
                proposals.push(all);
                proposals.push(vec![inserted]);
            }
        }
        proposals
            .into_iter()
            .map(|splices| self.apply(splices))
            .collect()
    }

    /// Texts that do not mention the key.
    pub(super) fn remove(&self) -> Vec<String> {
        let mut texts = Vec::new();
        for extent in [Extent::Rest, Extent::Line] {
            let text = self.apply(self.without(None, extent, Leave::Nothing));
            // Without any table `kill` what is absent would keep what it had.
            let mut with_table = text.clone();
            if !self.ends_with_line(&text) {
                with_table.push_str(self.end_of_line);
            }
            with_table.push_str("[kill]");
            with_table.push_str(self.end_of_line);
            texts.extend([text, with_table]);
        }
        texts
    }

    fn ends_with_line(&self, text: &str) -> bool {
        text.is_empty() || text.ends_with('\n')
    }

    /// The mention that can say it in its place; of several the one that is read last.
    fn own_place(&self) -> Option<usize> {
        let can = |mention: &&Mention| match **mention {
            Mention::Line { at, .. } | Mention::Broken { at } => {
                let kill = self.sections[at] == Section::Kill;
                kill || matches!(&self.statements[at].kind, Kind::Pair { pair, .. }
                    if is_kill(&pair.path))
            }
            Mention::Inner { .. } => true,
            // Only where there is no `[kill]` that it could be moved to.
            Mention::Table { .. } => self.container().is_none(),
        };
        let mut places = (0..self.mentions.len()).filter(|index| can(&&self.mentions[*index]));
        match self.form {
            Form::Whole => places.next(),
            Form::Broken => places.next_back(),
        }
    }

    fn replaced(&self, own: usize, value: &EntryText) -> Vec<Splice> {
        match self.mentions[own] {
            Mention::Line { at, parts } => {
                let Kind::Pair { pair, .. } = &self.statements[at].kind else {
                    return Vec::new();
                };
                vec![self.pair(pair, parts, value)]
            }
            Mention::Inner { at, index, parts } => {
                let Kind::Pair { inner, .. } = &self.statements[at].kind else {
                    return Vec::new();
                };
                vec![self.pair(&inner[index], parts, value)]
            }
            Mention::Table { at } => {
                let Kind::Header { span, .. } = &self.statements[at].kind else {
                    return Vec::new();
                };
                let line = entry_line(self.key, value);
                let below = self.statements[at].lines.end;
                vec![
                    (span.clone(), "[kill]".to_owned()),
                    (below..below, self.on_a_line_of_its_own(below, &line)),
                ]
            }
            Mention::Broken { at } => {
                let lines = self.statements[at].lines.clone();
                let old = &self.text[lines.clone()];
                let indent = &old[..old.len() - old.trim_start().len()];
                let comment = match old.trim_end().rfind(" #") {
                    Some(begin) => old[begin..].trim_end(),
                    None => "",
                };
                let line = entry_line(self.key, value);
                let end = &old[old.trim_end_matches(['\r', '\n']).len()..];
                vec![(lines, format!("{indent}{line}{comment}{end}"))]
            }
        }
    }

    /// The value alone where the key stands by itself; else also what the key goes on with.
    fn pair(&self, pair: &Pair, (first, end): (usize, usize), value: &EntryText) -> Splice {
        if end == pair.path.len() && end - first == 1 {
            return (pair.value.clone(), value.to_string());
        }
        let start = match first {
            0 => pair.start,
            _ => pair.path[first].span.start,
        };
        (start..pair.value.end, entry_line(self.key, value))
    }

    /// Takes out every mention but one.
    fn without(&self, except: Option<usize>, extent: Extent, leave: Leave) -> Vec<Splice> {
        let mut splices = Vec::new();
        let mut inner = Vec::new();
        for (index, mention) in self.mentions.iter().enumerate() {
            let stays = except == Some(index);
            match *mention {
                Mention::Inner { at, index, .. } if !stays => inner.push((at, index)),
                Mention::Line { at, .. } if !stays => splices.push(self.line_out(at, leave)),
                Mention::Broken { at } => {
                    let statement = &self.statements[at];
                    if !stays {
                        splices.push(self.line_out(at, leave));
                    }
                    if let Kind::Broken { rest, .. } = statement.kind
                        && extent == Extent::Rest
                    {
                        splices.push((statement.lines.end..rest, String::new()));
                    }
                }
                Mention::Table { at } => {
                    if !stays {
                        splices.push(self.line_out(at, leave));
                    }
                    splices.extend(self.table_body(at).map(|at| self.line_out(at, leave)));
                }
                Mention::Inner { .. } | Mention::Line { .. } => {}
            }
        }
        if let Some((at, _)) = inner.first() {
            let gone: Vec<usize> = inner.iter().map(|(_, index)| *index).collect();
            splices.extend(self.inner_out(*at, &gone));
        }
        splices
    }

    fn line_out(&self, at: usize, leave: Leave) -> Splice {
        let lines = self.statements[at].lines.clone();
        let end = match &self.statements[at].kind {
            Kind::Pair { pair, .. } => pair.value.end,
            Kind::Header { span, .. } => span.end,
            Kind::Idle | Kind::BrokenHeader | Kind::Broken { .. } => lines.end,
        };
        let behind = self.text[end..lines.end].trim_start();
        let comment = behind.starts_with('#') && leave == Leave::Comment;
        let left = if comment {
            behind.to_owned()
        } else {
            String::new()
        };
        (lines, left)
    }

    /// Takes pairs out of an inline table, each with one comma.
    fn inner_out(&self, at: usize, gone: &[usize]) -> Vec<Splice> {
        let Kind::Pair { pair: table, inner } = &self.statements[at].kind else {
            return Vec::new();
        };
        let start = |index: usize| inner[index].start;
        let next = |index: usize| {
            inner
                .get(index + 1)
                .map_or(table.value.end, |_| start(index + 1))
        };
        let mut splices = Vec::new();
        for &index in gone {
            let own = start(index)..inner[index].value.end;
            let first = (0..index).all(|before| gone.contains(&before));
            let gap = match first {
                true => own.end..next(index),
                false => inner[index - 1].value.end..own.start,
            };
            match (
                comma(self.text, gap.clone()),
                self.text[gap.clone()].contains(['\n', '#']),
            ) {
                (Some(_), false) if first => splices.push((own.start..gap.end, String::new())),
                (Some(_), false) => splices.push((gap.start..own.end, String::new())),
                (Some(comma), true) => {
                    splices.push((comma..comma + 1, String::new()));
                    splices.push((own, String::new()));
                }
                (None, _) => splices.push((own, String::new())),
            }
        }
        splices
    }

    fn inserted(&self, spot: Spot, line: &str, value: &EntryText) -> Option<Splice> {
        let container = match spot {
            Spot::OwnTable => None,
            Spot::AfterLast | Spot::BelowHeader => self.container(),
        };
        let Some(at) = container else {
            return (spot != Spot::BelowHeader).then(|| self.own_table(line));
        };
        let place = match &self.statements[at].kind {
            Kind::Pair { pair, inner } if pair.path.len() == 1 => {
                return Some(match inner.last() {
                    Some(last) => (last.value.end..last.value.end, format!(", {line}")),
                    None => {
                        let begin = pair.value.start + 1;
                        (begin..begin, format!(" {line} "))
                    }
                });
            }
            Kind::Pair { .. } => {
                let below = self.statements[at].lines.end;
                let line = format!("kill.{} = {value}", key_text(self.key));
                return Some((below..below, self.on_a_line_of_its_own(below, &line)));
            }
            Kind::Header { .. } => match spot {
                Spot::AfterLast => self.last_entry(at),
                Spot::BelowHeader | Spot::OwnTable => at,
            },
            Kind::Idle | Kind::BrokenHeader | Kind::Broken { .. } => return None,
        };
        let below = if let Kind::Broken { rest, .. } = self.statements[place].kind {
            rest
        } else {
            self.statements[place].lines.end
        };
        let old = &self.text[self.statements[place].lines.clone()];
        let indent = match place == at {
            true => "",
            false => &old[..old.len() - old.trim_start().len()],
        };
        let line = format!("{indent}{line}");
        Some((below..below, self.on_a_line_of_its_own(below, &line)))
    }

    fn own_table(&self, line: &str) -> Splice {
        let end = self.text.len();
        let eol = self.end_of_line;
        let table = self.on_a_line_of_its_own(end, &format!("[kill]{eol}{line}"));
        let is_empty = self.text.trim_start_matches('\u{feff}').is_empty();
        let blank = if is_empty { "" } else { eol };
        (end..end, format!("{blank}{table}"))
    }

    /// The line with its end, and the end of the line before it where that has none.
    fn on_a_line_of_its_own(&self, at: usize, line: &str) -> String {
        let before = self.text[..at].trim_start_matches('\u{feff}');
        let eol = self.end_of_line;
        let first = if self.ends_with_line(before) { "" } else { eol };
        format!("{first}{line}{eol}")
    }

    fn apply(&self, mut splices: Vec<Splice>) -> String {
        splices.sort_by_key(|(range, _)| (range.start, range.end));
        let mut out = String::with_capacity(self.text.len() + 256);
        let mut done = 0;
        for (range, new) in splices {
            out.push_str(self.text.get(done..range.start).unwrap_or_default());
            out.push_str(&new);
            done = done.max(range.end);
        }
        out.push_str(&self.text[done..]);
        out
    }
}
