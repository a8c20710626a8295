//! A run from its selection to its ledger.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::accepted::Fresh;
use super::book::Book;
use super::checkpoint::{self, Checkpoint, CheckpointError, Identity, State, VERSION};
use super::ending::{Ending, Watch};
use super::engine::Engine;
use super::feed;
use super::ledger::Ledger;
use super::request::Given;
use super::saver::{Places, Saver};
use super::selected::Selection;
use super::survey::Survey;
use super::target::Destinations;
use crate::archive::source::{SourceError, SourceOptions};
use crate::archive::store::Store;
use crate::policy::pace::ReplayRate;
use crate::vocab::Clock;

/// How records are sent.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Records a second.
    pub rate: ReplayRate,
    /// Most records under way; at most 400, so that it is less than a batch.
    pub concurrency: usize,
    /// Longest wait for an answer head.
    pub timeout: Duration,
    /// The run ends when the target did nothing but fail for so long.
    pub give_up_after: Duration,
    /// Most records that are sent twice when the process is killed.
    pub batch: u64,
}

impl Terms {
    /// The batch of a rate: what it sends in a second, and at least 500 records.
    pub fn batch_of(rate: ReplayRate) -> u64 {
        // Rates are at most a million.
        (rate.per_second() as u64).max(500)
    }
}

/// What is replayed.
#[derive(Debug)]
pub struct Options {
    /// Where records are read from, and which.
    pub source: SourceOptions,
    /// Where they go.
    pub destinations: Destinations,
    /// What the operator adds.
    pub given: Given,
    /// How they are sent.
    pub terms: Terms,
    /// The run's words.
    pub identity: Identity,
    /// The checkpoint.
    pub checkpoint: PathBuf,
    /// The file of refused records.
    pub refused: PathBuf,
    /// The store whose history says what earlier runs got accepted.
    pub history: Option<Store>,
    /// Whether anything is sent.
    pub kind: Kind,
}

/// What a run is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// To send.
    Real,
    /// To say what would be sent: no file is made, and it must not be run.
    Rehearsal,
}

/// Why a run does not begin.
#[derive(Debug)]
pub enum ReplayError {
    /// The checkpoint.
    Checkpoint(CheckpointError),
    /// The records cannot be read.
    Source(SourceError),
    /// A thread cannot be started.
    Thread(std::io::Error),
}

impl std::fmt::Display for ReplayError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ReplayError::Checkpoint(error) => error.fmt(f),
            ReplayError::Source(error) => error.fmt(f),
            ReplayError::Thread(error) => write!(f, "no thread for reading: {error}"),
        }
    }
}

impl std::error::Error for ReplayError {}

/// An earlier part of the same run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Earlier {
    /// When it was begun.
    pub begun: Timestamp,
    /// What it got accepted.
    pub accepted: u64,
    /// What it got refused.
    pub refused: u64,
}

/// A run that is known to be possible.
pub struct Prepared {
    terms: Terms,
    given: Arc<Given>,
    selection: Selection,
    checkpoint: Checkpoint,
    state: State,
    places: Places,
    /// What would be sent.
    pub survey: Survey,
    /// The part that was interrupted, if any.
    pub earlier: Option<Earlier>,
}

/// What became of a run.
#[derive(Debug)]
pub struct Report {
    /// Why it ended.
    pub ending: Ending,
    /// What became of the records.
    pub ledger: Ledger,
    /// Of this process.
    pub took: Duration,
    /// Why the store's history lacks something that was accepted; the checkpoint has it still.
    pub unrecorded: Option<String>,
    /// The checkpoint, unless all is done.
    pub checkpoint: Option<PathBuf>,
}

impl Prepared {
    /// Opens the checkpoint and reads all records once.
    ///
    /// # Errors
    /// When nothing can be begun.
    pub async fn new(mut options: Options) -> Result<Prepared, ReplayError> {
        let opened = match options.kind {
            Kind::Real => Checkpoint::open(&options.checkpoint, &options.identity),
            Kind::Rehearsal => Checkpoint::look(&options.checkpoint, &options.identity),
        };
        let (checkpoint, found) = opened.map_err(ReplayError::Checkpoint)?;
        let mut earlier = None;
        let state = match found {
            Some(state) => {
                let total = state.book.total();
                earlier = Some(Earlier {
                    begun: state.begun,
                    accepted: total.accepted,
                    refused: total.refused,
                });
                State {
                    book: state.book.reopened(),
                    ..state
                }
            }
            None => State {
                version: VERSION,
                identity: options.identity,
                begun: checkpoint::now(),
                since: options.source.wanted.since,
                // What comes from now on belongs to another run.
                until: options.source.wanted.until.or(Some(checkpoint::now())),
                book: Book::default(),
                fresh: Fresh::default(),
            },
        };
        options.source.wanted.since = state.since;
        options.source.wanted.until = state.until;
        let selection = Selection {
            source: options.source,
            destinations: Arc::new(options.destinations),
            before: Arc::new(state.book.clone()),
            history: options.history.clone().filter(|_| !state.identity.again),
        };
        let survey = Survey::of(&selection, &options.given).await;
        Ok(Prepared {
            survey: survey.map_err(ReplayError::Source)?,
            terms: options.terms,
            given: Arc::new(options.given),
            selection,
            places: Places {
                checkpoint: checkpoint.path().to_owned(),
                refused: options.refused,
                store: options.history,
            },
            checkpoint,
            state,
            earlier,
        })
    }

    /// The requests received before then are replayed.
    pub fn until(&self) -> Option<Timestamp> {
        self.state.until
    }

    /// Where records of the routes go.
    pub fn destinations(&self) -> &Destinations {
        &self.selection.destinations
    }

    /// Sends everything, until it is settled or `stop` comes.
    ///
    /// # Errors
    /// When no thread can be started.
    pub async fn run(
        self,
        watch: &mut dyn Watch,
        stop: impl Future<Output = ()>,
    ) -> Result<Report, ReplayError> {
        let start = Clock::now();
        let feed = feed::start(self.selection, self.given).map_err(ReplayError::Thread)?;
        let saver = Saver::new(self.places, self.state, start);
        let mut engine = Engine::new(&self.terms, feed, saver);
        let mut ending = engine.run(watch, stop).await;
        let failed = engine.saver.finish(Clock::now()).await;
        if let (Some(why), Ending::Done | Ending::Interrupted) = (failed, &ending) {
            ending = Ending::Checkpoint(why);
        }
        let mut ledger = match ending {
            // Everything was read: what the survey saw is of no use any more.
            Ending::Done => engine.book().ledger(&Default::default()),
            _ => engine.book().ledger(&self.survey.instances),
        };
        ledger.duplicates = self.survey.duplicates;
        ledger.damaged_bytes = self.survey.damaged_bytes;
        if let Some(figures) = engine.read {
            ledger.duplicates = figures.duplicates;
            ledger.damaged_bytes = figures.damaged_bytes;
        }
        let unrecorded = engine.saver.unrecorded.take();
        let complete = ending == Ending::Done && engine.saver.is_recorded();
        let path = self.checkpoint.path().to_owned();
        if complete {
            self.checkpoint.remove();
        }
        Ok(Report {
            ending,
            ledger,
            took: Clock::now().saturating_duration_since(start),
            unrecorded,
            checkpoint: (!complete).then_some(path),
        })
    }
}
