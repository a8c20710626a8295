//! `switches.toml` on disk: read when it changed, parsed when it or the structure changed.

use std::path::PathBuf;
use std::time::Instant;

use super::switches::{CALM, Seen};
use super::watch::{Depth, Stamp};
use crate::config::{
    Problem, Settings, SourceFile, SwitchesRead, read_switch_entries, read_switches,
    unreadable_hint,
};

/// The file as it was last looked at.
#[derive(Debug)]
pub(super) struct SwitchFile {
    dir: PathBuf,
    stamp: Option<Stamp>,
    content: Content,
    since: Instant,
    /// It may be missing: the gateway runs without, and there was none so far.
    optional: bool,
}

#[derive(Debug)]
enum Content {
    Missing,
    /// Why, and what to do about it.
    Unreadable(String, &'static str),
    Read(SourceFile, SwitchesRead),
}

impl SwitchFile {
    /// Reads it for the first time.
    pub(super) fn open(
        dir: PathBuf,
        optional: bool,
        settings: &Settings,
        now: Instant,
    ) -> SwitchFile {
        let mut file = SwitchFile {
            dir,
            stamp: None,
            content: Content::Missing,
            since: now,
            optional,
        };
        file.look(Depth::Digest, settings, now);
        file
    }

    /// Its path.
    pub(super) fn path(&self) -> PathBuf {
        self.dir.join("switches.toml")
    }

    /// Reads and parses it if it changed; says whether it did.
    pub(super) fn look(&mut self, depth: Depth, settings: &Settings, now: Instant) -> bool {
        let stamp = Stamp::of(&self.path());
        if depth == Depth::Stamp && stamp == self.stamp {
            return false;
        }
        self.stamp = stamp;
        let content = match (read_switches(&self.dir), &self.content) {
            (Ok(Some(file)), Content::Read(before, _)) if before.digest == file.digest => {
                return false;
            }
            (Ok(Some(file)), _) => {
                self.optional = false;
                let read = read_switch_entries(&file, settings);
                Content::Read(file, read)
            }
            (Ok(None), Content::Missing) => return false,
            (Ok(None), _) => Content::Missing,
            (Err(error), Content::Unreadable(before, _)) if *before == error.to_string() => {
                return false;
            }
            (Err(error), _) => Content::Unreadable(error.to_string(), unreadable_hint(&error)),
        };
        self.content = content;
        self.since = now;
        true
    }

    /// Parses it again, under another structure.
    pub(super) fn restate(&mut self, settings: &Settings) {
        if let Content::Read(file, read) = &mut self.content {
            *read = read_switch_entries(file, settings);
        }
    }

    /// What it would say under another structure, and the digest of its bytes.
    pub(super) fn under(&self, settings: &Settings) -> Option<(u64, SwitchesRead)> {
        match &self.content {
            Content::Read(file, _) => Some((file.digest, read_switch_entries(file, settings))),
            Content::Missing | Content::Unreadable(..) => None,
        }
    }

    /// What it says, if it can be read.
    pub(super) fn seen(&self) -> Option<Seen<'_>> {
        match &self.content {
            Content::Read(file, read) => Some(Seen {
                digest: file.digest,
                read,
            }),
            Content::Missing | Content::Unreadable(..) => None,
        }
    }

    /// Its bytes, for the hash; empty while it cannot be read.
    pub(super) fn text(&self) -> &str {
        match &self.content {
            Content::Read(file, _) => &file.text,
            Content::Missing | Content::Unreadable(..) => "",
        }
    }

    /// What is wrong with it. Editors take a file away for a moment when they save it, so that
    /// it is missing is said only once it has been so for [`CALM`].
    pub(super) fn problems(&self, now: Instant) -> Vec<Problem> {
        const HINT: &str = "what was thrown stays thrown; to restore everything, \
                            put the file back with an empty [kill]";
        let message = match &self.content {
            Content::Read(_, read) => return read.problems.clone(),
            Content::Missing | Content::Unreadable(..) if now < self.since + CALM => {
                return Vec::new();
            }
            Content::Missing if self.optional => return Vec::new(),
            Content::Missing => "there is no such file".to_owned(),
            Content::Unreadable(error, hint) => {
                let problem = Problem::placeless(self.path(), format!("cannot be read: {error}"));
                return vec![problem.with_hint(format!("{hint}; what was thrown stays thrown"))];
            }
        };
        vec![Problem::placeless(self.path(), message).with_hint(HINT)]
    }

    /// What somebody should look at although it is no error.
    pub(super) fn warnings(&self) -> &[Problem] {
        match &self.content {
            Content::Read(_, read) => &read.warnings,
            Content::Missing | Content::Unreadable(..) => &[],
        }
    }

    /// Why the gateway cannot start with it, if it cannot; one line that says what to do.
    pub(super) fn refusal(&self) -> Option<String> {
        let path = self.path();
        let path = path.display();
        match &self.content {
            Content::Missing if self.optional => None,
            Content::Missing => Some(format!(
                "{path}: there is no such file; create it with an empty [kill] table, \
                 or start with --no-switches"
            )),
            Content::Unreadable(error, hint) => {
                Some(format!("{path}: cannot be read: {error}; {hint}"))
            }
            Content::Read(_, read) if read.parsed => None,
            Content::Read(_, read) => {
                let first = read.problems.first().map(ToString::to_string);
                let first = first.unwrap_or_else(|| path.to_string());
                Some(format!(
                    "{first}; correct the file, or empty it but for [kill] to start with nothing thrown"
                ))
            }
        }
    }
}
