//! One entry of `switches.toml` set or removed; everything else stays as it is, byte for byte.
//!
//! A file that is broken can be edited too. Where the entry goes is decided on the statements of
//! the text, and nothing is believed about them: whatever comes out is read as the gateway reads
//! it, and taken only if the entry says what it should and every other key what it did.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::editor::Editor;
use super::entry_text::{EntryText, key_text};
use super::error::Problem;
use super::file::SourceFile;
use super::settings::Settings;
use super::statements::{Form, form};
use super::switches::{SwitchesRead, read_switch_entries};

/// What is to become of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It says this, whatever it said before.
    Set(EntryText),
    /// It is no longer there.
    Remove,
}

/// An edit that was read again and does what it should.
#[derive(Clone, Debug)]
pub struct Edited {
    /// The whole file as it is to be.
    pub text: String,
    /// What is different in it.
    pub difference: Difference,
    /// What the file said before.
    pub before: SwitchesRead,
    /// What it says now. While it has problems, or no table `kill`, what is absent keeps what it
    /// had, so that a removal restores nothing.
    pub after: SwitchesRead,
}

/// The lines in which two texts differ, from the first to the last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// The first of them, from 1, in both texts.
    pub line: usize,
    /// What they say in the old text; empty when lines are only added.
    pub removed: String,
    /// What they say in the new text; empty when lines are only removed.
    pub added: String,
}

/// Why an entry cannot be edited.
#[derive(Clone, Debug)]
pub enum EditError {
    /// The entry itself is wrong: there is no such route, no such mode, and so on.
    Invalid(Vec<Problem>),
    /// No way was found to write it that leaves the other keys as they are.
    WouldDisturb {
        /// The line that was to be written; `None` for a removal.
        line: Option<String>,
        /// Keys that would say something else. Empty: the entry itself would not be read as meant.
        others: Vec<String>,
        /// What is wrong with the file already.
        problems: Vec<Problem>,
    },
}

/// Sets or removes the entry of `key` in a `switches.toml`.
///
/// # Errors
/// When the entry is not valid, or nothing that was tried leaves every other key as it is.
pub fn edit(
    file: &SourceFile,
    key: &str,
    change: &Change,
    settings: &Settings,
) -> Result<Edited, EditError> {
    let before = read_switch_entries(file, settings);
    let intended = match change {
        Change::Set(value) => Some(intended(file, (key, value), settings)?),
        Change::Remove => None,
    };
    let check = Check {
        file,
        key,
        settings,
        form: form(&file.text),
        before,
        intended,
    };
    let editor = Editor::new(&file.text, check.form, key);
    let texts = match change {
        Change::Set(value) => editor.set(value),
        Change::Remove => editor.remove(),
    };
    let mut disturbed = None;
    for text in texts {
        match check.judge(&text) {
            Verdict::Sound(after) => {
                return Ok(Edited {
                    difference: Difference::between(&file.text, &text),
                    text,
                    before: check.before,
                    after,
                });
            }
            Verdict::Disturbs(others) => {
                disturbed.get_or_insert(others);
            }
        }
    }
    let line = match change {
        Change::Set(value) => Some(entry_line(key, value)),
        Change::Remove => None,
    };
    Err(EditError::WouldDisturb {
        line,
        others: disturbed.unwrap_or_default(),
        problems: check.before.problems,
    })
}

/// The line of an entry below `[kill]`.
pub(super) fn entry_line(key: &str, value: &EntryText) -> String {
    format!("{} = {value}", key_text(key))
}

/// The entry as a file with nothing else in it would say it.
fn intended(
    file: &SourceFile,
    (key, value): (&str, &EntryText),
    settings: &Settings,
) -> Result<SwitchesRead, EditError> {
    let alone = format!("[kill]\n{}\n", entry_line(key, value));
    let alone = read_switch_entries(&SourceFile::new(&file.path, &alone), settings);
    if alone.problems.is_empty() && said(&alone.entries, key).is_some() {
        return Ok(alone);
    }
    // Said at the place where the entry would stand.
    let editor = Editor::new(&file.text, form(&file.text), key);
    let place = editor.set(value).first().map(|text| {
        let line = Difference::between(&file.text, text).line;
        let read = read_switch_entries(&SourceFile::new(&file.path, text), settings);
        let own = format!("kill.{key}");
        let concerns = |problem: &Problem| {
            let rest = problem.key.strip_prefix(&own);
            problem.line == line
                || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        read.problems.into_iter().filter(concerns).collect()
    });
    match place {
        Some::<Vec<Problem>>(problems) if !problems.is_empty() => Err(EditError::Invalid(problems)),
        _ => Err(EditError::Invalid(alone.problems)),
    }
}

fn said<'m, K: fmt::Display, V>(entries: &'m BTreeMap<K, V>, key: &str) -> Option<&'m V> {
    let mut entries = entries.iter();
    let found = entries.find(|(name, _)| name.to_string() == key);
    found.map(|(_, entry)| entry)
}

/// Whether a text may take the place of the old one.
enum Verdict {
    Sound(SwitchesRead),
    /// These keys would say something else.
    Disturbs(Vec<String>),
}

struct Check<'a> {
    file: &'a SourceFile,
    key: &'a str,
    settings: &'a Settings,
    form: Form,
    before: SwitchesRead,
    /// A file that says only what is meant; `None` for a removal.
    intended: Option<SwitchesRead>,
}

impl Check<'_> {
    fn judge(&self, text: &str) -> Verdict {
        let read = read_switch_entries(&SourceFile::new(&self.file.path, text), self.settings);
        let (mut before, mut after) = (
            outcomes(&self.before.entries, &self.before.in_error),
            outcomes(&read.entries, &read.in_error),
        );
        before.remove(self.key);
        let own = after.remove(self.key);
        let intended = self.intended.as_ref();
        let meant = own == intended.map(|alone| said(&alone.entries, self.key));
        let differs = |key: &&String| before.get(*key) != after.get(*key);
        let mut others: Vec<String> = before
            .keys()
            .chain(after.keys())
            .filter(differs)
            .cloned()
            .collect();
        others.dedup();
        others.extend(self.disturbed_breakers(&read));
        if meant && others.is_empty() && self.no_worse(text, &read) {
            return Verdict::Sound(read);
        }
        others.sort();
        others.dedup();
        Verdict::Disturbs(others)
    }

    /// Routes whose breaker would be held otherwise.
    fn disturbed_breakers(&self, read: &SwitchesRead) -> Vec<String> {
        let (before, after) = (&self.before.breakers, &read.breakers);
        let entries = before.entries.keys().chain(after.entries.keys());
        let all = entries.chain(&before.in_error).chain(&after.in_error);
        let differs = |route: &&Arc<str>| {
            before.entries.get(*route) != after.entries.get(*route)
                || before.in_error.contains(*route) != after.in_error.contains(*route)
        };
        all.filter(differs)
            .map(|route| format!("breaker.{route}"))
            .collect()
    }

    /// Whether the file as a whole can do what it could.
    fn no_worse(&self, text: &str, read: &SwitchesRead) -> bool {
        let before = &self.before;
        let whole = match self.form {
            Form::Whole => {
                form(text) == Form::Whole && read.problems.len() <= before.problems.len()
            }
            Form::Broken => true,
        };
        whole
            && read.breakers.has_table == before.breakers.has_table
            && (read.has_kill_table || !before.has_kill_table)
            && (read.parsed || !before.parsed)
    }
}

/// What each key says; `None` for a key in error.
fn outcomes<'m, K: fmt::Display, V>(
    entries: &'m BTreeMap<K, V>,
    in_error: &BTreeSet<K>,
) -> BTreeMap<String, Option<&'m V>> {
    let sound = entries.iter();
    let sound = sound.map(|(key, entry)| (key.to_string(), Some(entry)));
    let broken = in_error.iter().map(|key| (key.to_string(), None));
    sound.chain(broken).collect()
}

impl Difference {
    /// The difference between two texts.
    pub fn between(old: &str, new: &str) -> Difference {
        let old: Vec<&str> = old.split_inclusive('\n').collect();
        let new: Vec<&str> = new.split_inclusive('\n').collect();
        let same = |(one, other): &(&&str, &&str)| one == other;
        let before = old.iter().zip(&new).take_while(same).count();
        let (old, new) = (&old[before..], &new[before..]);
        let after = old.iter().rev().zip(new.iter().rev());
        let after = after.take_while(same).count();
        Difference {
            line: before + 1,
            removed: old[..old.len() - after].concat(),
            added: new[..new.len() - after].concat(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.added.is_empty()
    }
}

/// What somebody would do by hand, ready to be shown below the name of the file.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = |f: &mut fmt::Formatter<'_>, text: &str| {
            text.lines().try_for_each(|line| write!(f, "\n    {line}"))
        };
        let line = self.line;
        match (self.removed.is_empty(), self.added.is_empty()) {
            (true, true) => f.write_str("nothing to change"),
            (true, false) => {
                match line {
                    1 => f.write_str("add at the top:")?,
                    _ => write!(f, "add below line {}:", line - 1)?,
                }
                lines(f, &self.added)
            }
            (false, true) => {
                write!(f, "remove from line {line}:")?;
                lines(f, &self.removed)
            }
            (false, false) => {
                write!(f, "replace from line {line}:")?;
                lines(f, &self.removed)?;
                f.write_str("\nwith:")?;
                lines(f, &self.added)
            }
        }
    }
}

impl fmt::Display for EditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EditError::Invalid(problems) => {
                let problems: Vec<String> = problems.iter().map(Problem::to_string).collect();
                f.write_str(&problems.join("\n"))
            }
            EditError::WouldDisturb {
                line,
                others,
                problems,
            } => {
                match line {
                    Some(line) => write!(f, "cannot write the line `{line}`")?,
                    None => f.write_str("cannot remove the entry")?,
                }
                match &others[..] {
                    [] => {
                        f.write_str(": the file is so broken that it would not be read as meant")?
                    }
                    others => write!(f, " without changing {}", others.join(", "))?,
                }
                let first = problems.first();
                first.map_or(Ok(()), |first| {
                    write!(f, "; correct the file first: {first}")
                })
            }
        }
    }
}

impl std::error::Error for EditError {}

#[cfg(test)]
mod tests;
