//! One entry of `switches.toml` changed on disk: what the commands and the admin listener share.

use std::collections::BTreeSet;
use std::path::Path;

use super::switchwriter::{WriteError, Written, rewrite};
use crate::config::{
    Change, EditError, EntryText, Settings, SourceFile, SwitchesRead, edit, read_switch_entries,
};
use crate::policy::kill::{KillKey, Mode};

/// A change of one key.
#[derive(Clone, Copy, Debug)]
pub struct SwitchEdit<'a> {
    /// The configuration directory.
    pub dir: &'a Path,
    /// What keys are read under.
    pub settings: &'a Settings,
    /// The key, as written below `[kill]`.
    pub key: &'a str,
    /// What becomes of it.
    pub change: &'a Change,
}

/// A change that is on disk.
#[derive(Clone, Debug)]
pub struct Done {
    /// The file, and what is different in it.
    pub written: Written,
    /// What the file said before.
    pub before: SwitchesRead,
    /// What it says now.
    pub after: SwitchesRead,
}

impl SwitchEdit<'_> {
    /// Writes the file. `announce` hears the digest of the new file before it is in place.
    /// Blocks, see [`rewrite`].
    ///
    /// # Errors
    /// When the entry is not valid, or the file cannot be written.
    pub fn write(&self, announce: impl Fn(u64)) -> Result<Done, WriteError<EditError>> {
        let mut read = None;
        let written = rewrite(self.dir, |file| {
            let edited = edit(file, self.key, self.change, self.settings)?;
            announce(SourceFile::new(&file.path, &edited.text).digest);
            read = Some((edited.before, edited.after));
            Ok(edited.text)
        })?;
        let (before, after) = read.unwrap_or_default();
        Ok(Done {
            written,
            before,
            after,
        })
    }

    /// Whether a file says about the key what this edit made it say.
    pub fn agrees(&self, file: &SourceFile, done: &Done) -> bool {
        let read = read_switch_entries(file, self.settings);
        let key = self.settings.kill_key(self.key).ok();
        key.is_none_or(|key| read.entries.get(&key) == done.after.entries.get(&key))
    }
}

/// The mode that every route of a key has by itself, if they agree: a line that names it says
/// what it does without a second file at night.
pub fn own_mode(key: &KillKey, settings: &Settings) -> Option<Mode> {
    let routes = settings.routes_of(key);
    let modes: BTreeSet<Option<Mode>> = routes.iter().map(|r| r.kill_switch.mode).collect();
    match (key, modes.first()) {
        (KillKey::Plan(_), _) => None,
        (KillKey::Route(_) | KillKey::Tier(_) | KillKey::All, Some(mode)) if modes.len() == 1 => {
            *mode
        }
        (KillKey::Route(_) | KillKey::Tier(_) | KillKey::All, _) => None,
    }
}

/// The entry of a key of which nothing is said but that it is thrown.
pub fn plain_entry(key: &KillKey, settings: &Settings) -> EntryText {
    match (key, own_mode(key, settings)) {
        (KillKey::Plan(_), _) => EntryText::word("on"),
        (_, Some(mode)) => EntryText::word(mode.as_str()),
        (_, None) => EntryText::table(Vec::new()),
    }
}
