//! `archive` in the status.

use serde::Serialize;

use super::super::status::rfc3339;
use super::uploads::{Progress, Uploads};
use crate::archive::DirectoryState;
use crate::snapshot::Live;
use crate::vocab::Clock;

/// `archive` in the status, while a journal is open.
#[derive(Debug, Serialize)]
pub(in crate::control) struct ArchiveReport {
    directories: Vec<DirectoryReport>,
    copies: usize,
    journal_bytes: u64,
    max_bytes: u64,
    segments: u64,
    records: u64,
    oldest_seconds: f64,
    buffered_bytes: u64,
    max_buffer: u64,
    /// `null` with `archive.store = "off"`.
    store: Option<StoreReport>,
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

#[derive(Debug, Serialize)]
struct StoreReport {
    url: String,
    /// Sealed, and not all in the store.
    waiting_segments: u64,
    waiting_bytes: u64,
    /// The age of the oldest record among them.
    lag_seconds: f64,
    /// Tries in a row that failed.
    failures: u32,
    /// Uploads that may run side by side.
    window: u64,
    last_error: Option<String>,
    last_error_time: Option<String>,
}

impl StoreReport {
    fn of(progress: Progress) -> StoreReport {
        let figures = progress.figures;
        let age = |oldest| Clock::unix().saturating_sub(oldest).as_secs_f64();
        let (time, error) = progress.last_error.unzip();
        StoreReport {
            url: progress.url,
            waiting_segments: figures.waiting,
            waiting_bytes: figures.bytes,
            lag_seconds: figures.oldest.map_or(0.0, age),
            failures: figures.failures,
            window: figures.window,
            last_error: error,
            last_error_time: time.map(rfc3339),
        }
    }
}

impl ArchiveReport {
    /// `None` while no journal is open.
    pub(in crate::control) fn of(live: &Live, uploads: &Uploads) -> Option<ArchiveReport> {
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
            store: uploads.progress().map(StoreReport::of),
        })
    }
}
