//! Opens the journal when something may archive, keeps its limits as configured, logs what it does.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use super::requests;
use super::uploads::Uploads;
use crate::archive::{Commit, Event, Journal, Limits, Options, RealDisk, Watch, segment_names};
use crate::config::ArchiveSettings;
use crate::snapshot::{Live, Opened};
use crate::telemetry::GatewayMetrics;
use crate::vocab::Clock;

/// Looks after the process's one journal, beside the requests.
pub(in crate::control) struct Keeper {
    live: Arc<Live>,
    uploads: Arc<Uploads>,
    /// A journal is open, or a thread is at it.
    begun: Arc<AtomicBool>,
    /// The limits that the journal knows.
    limits: Option<Limits>,
    /// Why a journal would be opened although nothing may archive.
    leftover: Option<Cause>,
}

/// Why the journal is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// Something may archive.
    Wanted,
    /// At start: to bring what an earlier process left there into the store, if it left anything.
    Leftover,
}

impl Keeper {
    pub(in crate::control) fn new(live: Arc<Live>, uploads: Arc<Uploads>) -> Keeper {
        Keeper {
            live,
            uploads,
            begun: Arc::default(),
            limits: None,
            leftover: Some(Cause::Leftover),
        }
    }

    /// Opens the journal if something may archive now, and hands on what changed in the
    /// configuration. Touches no disk itself. The receiver hears when a journal that this call
    /// began to open is there.
    pub(in crate::control) fn look(&mut self) -> Option<Receiver<()>> {
        let snapshot = self.live.load();
        if let Some(opened) = self.live.archive.opened() {
            let settings = &snapshot.settings().archive;
            adjust(&mut self.limits, opened, settings);
            self.uploads.follow(&opened.journal, settings);
            return None;
        }
        let leftover = self.leftover.take();
        let cause = match snapshot.may_archive() {
            true => Cause::Wanted,
            false => leftover?,
        };
        if self.begun.swap(true, Relaxed) {
            return None;
        }
        let (done, opened) = sync_channel(1);
        let opening = Opening {
            live: Arc::clone(&self.live),
            begun: Arc::clone(&self.begun),
            uploads: Arc::clone(&self.uploads),
            settings: snapshot.settings().archive.clone(),
            cause,
            done,
        };
        let spawned = thread::Builder::new()
            .name("journal-open".to_owned())
            .spawn(move || opening.run());
        if let Err(error) = spawned {
            tracing::error!(%error, "the journal cannot be opened; trying again");
            self.begun.store(false, Relaxed);
            return None;
        }
        Some(opened)
    }
}

/// What a full queue does not take is handed on with the next look.
fn adjust(known: &mut Option<Limits>, opened: &Opened, settings: &ArchiveSettings) {
    let known = known.get_or_insert(opened.settings.limits);
    if *known != settings.limits && opened.journal.adjust(settings.limits).is_ok() {
        *known = settings.limits;
    }
}

/// Reading what the directories hold takes its time, and a disk may hang: a thread of its own.
struct Opening {
    live: Arc<Live>,
    uploads: Arc<Uploads>,
    begun: Arc<AtomicBool>,
    settings: ArchiveSettings,
    cause: Cause,
    done: SyncSender<()>,
}

impl Opening {
    fn run(self) {
        if self.cause == Cause::Leftover && !self.is_left_over() {
            self.begun.store(false, Relaxed);
            let _ = self.done.send(());
            return;
        }
        let opened = self.open();
        let _ = self.done.send(());
        if let Some(journal) = opened {
            // The thread goes on as the one that listens to `archive flush`.
            let Opening {
                live,
                uploads,
                settings,
                ..
            } = self;
            let gateway = Arc::downgrade(&live);
            drop(live);
            requests::follow(&gateway, &settings.journal, &journal, &uploads);
        }
    }

    /// Whether there is something to upload although nothing may archive.
    fn is_left_over(&self) -> bool {
        let holds = |directory| segment_names(&RealDisk, directory).is_ok_and(|s| !s.is_empty());
        self.settings.store.is_some() && self.settings.journal.iter().any(|d| holds(d))
    }

    fn open(&self) -> Option<Journal> {
        let start = Clock::now();
        let mut options = Options::new(self.settings.journal.clone());
        options.copies = self.settings.copies;
        options.limits = self.settings.limits;
        let teller = Teller {
            metrics: Arc::clone(&self.live.metrics),
            uploads: Arc::downgrade(&self.uploads),
        };
        match Journal::open(options, Arc::new(RealDisk), Arc::new(teller)) {
            Ok(journal) => {
                let took = Clock::now().saturating_duration_since(start);
                self.tell(&journal, took);
                let opened = Opened {
                    journal: journal.clone(),
                    settings: self.settings.clone(),
                };
                // There is never a second one: only one thread is at it.
                let _ = self.live.archive.put(opened);
                self.uploads.follow(&journal, &self.settings);
                Some(journal)
            }
            Err(error) => {
                tracing::error!(%error, "the journal cannot be opened; trying again");
                self.begun.store(false, Relaxed);
                None
            }
        }
    }

    fn tell(&self, journal: &Journal, took: Duration) {
        let figures = journal.figures();
        let usable = figures.directories.iter().filter(|d| d.fault.is_none());
        let (usable, copies) = (usable.count(), self.settings.copies);
        if usable < copies {
            tracing::error!(
                usable,
                copies,
                "too few journal directories can be used: mode archive answers as when_full says"
            );
        }
        tracing::info!(
            directories = figures.directories.len(),
            usable,
            records = figures.records,
            bytes = figures.bytes,
            took_ms = took.as_millis() as u64,
            "journal opened"
        );
    }
}

/// Counts and logs what the writer does. It must not block: log lines go through a thread.
struct Teller {
    metrics: Arc<GatewayMetrics>,
    /// Weak: the uploader holds the journal, whose writer holds this.
    uploads: Weak<Uploads>,
}

impl Watch for Teller {
    fn committed(&self, commit: &Commit) {
        self.metrics.archive.committed(commit.took);
    }

    fn happened(&self, event: &Event) {
        match event {
            Event::DirectoryFailed { path, fault } => tracing::error!(
                path = %path.display(),
                %fault,
                "journal directory cannot be used; trying again"
            ),
            Event::DirectoryHealed { path } => {
                tracing::info!(path = %path.display(), "journal directory is used again");
            }
            Event::Sealed {
                segment,
                records,
                bytes,
            } => {
                tracing::info!(%segment, records, bytes, "segment sealed");
                if let Some(uploads) = self.uploads.upgrade() {
                    uploads.nudge();
                }
            }
            Event::TornTail {
                path,
                segment,
                bytes,
            } => tracing::warn!(
                path = %path.display(),
                %segment,
                bytes,
                "cut off what was written but never acknowledged"
            ),
            Event::Damaged {
                path,
                segment,
                bytes,
            } => tracing::error!(
                path = %path.display(),
                %segment,
                bytes,
                "a segment is damaged; its other records are whole"
            ),
            Event::Gone {
                path,
                segments,
                records,
            } => tracing::error!(
                path = %path.display(),
                segments,
                records,
                "segments were removed from a journal directory in use; acknowledged records are lost \
                 unless another place has them"
            ),
            Event::NoRoom { route, full } => tracing::error!(
                %route,
                %full,
                "no room for records of a route: mode archive answers as when_full says"
            ),
            Event::Foreign {
                path,
                segment,
                version,
            } => tracing::error!(
                path = %path.display(),
                %segment,
                version,
                "a segment of a later version is left alone"
            ),
        }
    }
}
