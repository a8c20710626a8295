//! The journal of the process: opened once, when something may archive.

use std::sync::OnceLock;
use std::time::Duration;

use tokio::sync::Notify;

use super::Snapshot;
use crate::archive::{Figures, Journal};
use crate::config::ArchiveSettings;
use crate::policy::kill::{KillEntry, Mode, Position, Setting};

/// Where the journal is, once control has opened it. Workers read one atomic word.
#[derive(Debug, Default)]
pub struct Archive {
    opened: OnceLock<Opened>,
    changed: Notify,
}

/// An open journal.
#[derive(Debug)]
pub struct Opened {
    /// The journal.
    pub journal: Journal,
    /// What it was opened with.
    pub settings: ArchiveSettings,
}

impl Archive {
    /// Puts the journal in place; a second one is given back.
    ///
    /// # Errors
    /// There is one already.
    pub fn put(&self, opened: Opened) -> Result<(), Box<Opened>> {
        let put = self.opened.set(opened).map_err(Box::new);
        self.changed.notify_waiters();
        put
    }

    /// The journal, if it is open.
    pub fn opened(&self) -> Option<&Opened> {
        self.opened.get()
    }

    /// The journal; waits while it is being opened.
    pub async fn journal(&self, patience: Duration) -> Option<&Journal> {
        if self.opened.get().is_none() {
            let changed = self.changed.notified();
            // Seen by `put` from here on; the journal may have come before.
            if self.opened.get().is_none() {
                let _ = tokio::time::timeout(patience, changed).await;
            }
        }
        self.opened.get().map(|opened| &opened.journal)
    }

    /// What the journal holds now; `None` while there is none.
    pub fn figures(&self) -> Option<Figures> {
        self.opened.get().map(|opened| opened.journal.figures())
    }
}

impl Snapshot {
    /// Whether something may archive, now or with one line more in `switches.toml`.
    pub fn may_archive(&self) -> bool {
        let archives = |entry: &KillEntry| entry.position == Position::Thrown(Some(Mode::Archive));
        let thrown = |setting: &Setting| match setting {
            Setting::Entries(entries) => entries.iter().any(archives),
            Setting::Plan(plan) => plan.plan.values().flatten().any(archives),
        };
        self.settings().may_archive() || self.board.settings.values().any(thrown)
    }
}
