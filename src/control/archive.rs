//! Opens the journal when something may archive, keeps its limits as configured, logs what it does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use serde::Serialize;

use crate::archive::{Commit, DirectoryState, Event, Journal, Limits, Options, RealDisk, Watch};
use crate::config::ArchiveSettings;
use crate::snapshot::{Live, Opened};
use crate::telemetry::GatewayMetrics;
use crate::vocab::Clock;

/// Looks after the process's one journal, beside the requests.
pub(super) struct Keeper {
    live: Arc<Live>,
    /// A journal is open, or a thread is at it.
    begun: Arc<AtomicBool>,
    /// The limits that the journal knows.
    limits: Option<Limits>,
}

impl Keeper {
    pub(super) fn new(live: Arc<Live>) -> Keeper {
        Keeper {
            live,
            begun: Arc::default(),
            limits: None,
        }
    }

    /// Opens the journal if something may archive now, and hands on changed limits. Touches no
    /// disk itself. The receiver hears when a journal that this call began to open is there.
    pub(super) fn look(&mut self) -> Option<Receiver<()>> {
        let snapshot = self.live.load();
        if let Some(opened) = self.live.archive.opened() {
            adjust(&mut self.limits, opened, &snapshot.settings().archive);
            return None;
        }
        if !snapshot.may_archive() || self.begun.swap(true, Relaxed) {
            return None;
        }
        let (done, opened) = sync_channel(1);
        let opening = Opening {
            live: Arc::clone(&self.live),
            begun: Arc::clone(&self.begun),
            settings: snapshot.settings().archive.clone(),
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
    begun: Arc<AtomicBool>,
    settings: ArchiveSettings,
    done: SyncSender<()>,
}

impl Opening {
    fn run(self) {
        let start = Clock::now();
        let mut options = Options::new(self.settings.journal.clone());
        options.copies = self.settings.copies;
        options.limits = self.settings.limits;
        let teller = Teller {
            metrics: Arc::clone(&self.live.metrics),
        };
        match Journal::open(options, Arc::new(RealDisk), Arc::new(teller)) {
            Ok(journal) => {
                let took = Clock::now().saturating_duration_since(start);
                self.tell(&journal, took);
                let settings = self.settings;
                // There is never a second one: only one thread is at it.
                let _ = self.live.archive.put(Opened { journal, settings });
            }
            Err(error) => {
                tracing::error!(%error, "the journal cannot be opened; trying again");
                self.begun.store(false, Relaxed);
            }
        }
        let _ = self.done.send(());
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
            } => tracing::info!(%segment, records, bytes, "segment sealed"),
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

/// `archive` in the status, while a journal is open.
#[derive(Debug, Serialize)]
pub(super) struct ArchiveReport {
    directories: Vec<DirectoryReport>,
    copies: usize,
    journal_bytes: u64,
    max_bytes: u64,
    segments: u64,
    records: u64,
    oldest_seconds: f64,
    buffered_bytes: u64,
    max_buffer: u64,
}

#[derive(Debug, Serialize)]
struct DirectoryReport {
    path: String,
    usable: bool,
    fault: Option<String>,
}

impl DirectoryReport {
    fn of(state: &DirectoryState) -> DirectoryReport {
        DirectoryReport {
            path: state.path.display().to_string(),
            usable: state.fault.is_none(),
            fault: state.fault.map(|fault| fault.to_string()),
        }
    }
}

impl ArchiveReport {
    /// `None` while no journal is open.
    pub(super) fn of(live: &Live) -> Option<ArchiveReport> {
        let opened = live.archive.opened()?;
        let figures = opened.journal.figures();
        let snapshot = live.load();
        let limits = snapshot.settings().archive.limits;
        let age = |oldest| Clock::unix().saturating_sub(oldest).as_secs_f64();
        Some(ArchiveReport {
            directories: figures
                .directories
                .iter()
                .map(DirectoryReport::of)
                .collect(),
            copies: opened.settings.copies,
            journal_bytes: figures.bytes,
            max_bytes: limits.max_bytes,
            segments: figures.segments,
            records: figures.records,
            oldest_seconds: figures.oldest.map_or(0.0, age),
            buffered_bytes: figures.buffered,
            max_buffer: limits.max_buffer,
        })
    }
}
