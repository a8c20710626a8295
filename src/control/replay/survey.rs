//! The first pass over the records: what there is, and whether all of it can be sent. Nothing is
//! sent before it is through.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::request::{Given, Lacking, lacking};
use super::selected::{Picked, Selected, Selection};
use super::target::NoTarget;
use crate::archive::source::{Damage, SourceError, Sourced};

/// More clients are not told apart.
const MOST_CLIENTS: usize = 10_000;

/// What a run would send.
#[derive(Debug, Default)]
pub struct Survey {
    /// Records to be sent.
    pub records: u64,
    /// Of them those that an upstream may have seen.
    pub maybe_processed: u64,
    /// Of them by route.
    pub routes: BTreeMap<String, u64>,
    /// When the first and the last of them came.
    pub times: Option<(Timestamp, Timestamp)>,
    /// Records that an earlier run's target has.
    pub skipped: u64,
    /// Copies of a record in several places.
    pub duplicates: u64,
    /// What cannot be read, and its bytes.
    pub damage: Vec<Damage>,
    /// Bytes of it.
    pub damaged_bytes: u64,
    /// Objects of the store's history that cannot be understood: what they say was accepted is
    /// sent again.
    pub unreadable_history: Vec<String>,
    /// Values that were left out of records and are not given: of how many records.
    pub lacking: BTreeMap<Lacking, u64>,
    /// Routes whose records cannot be sent, and how many there are.
    pub without_target: BTreeMap<String, (NoTarget, u64)>,
    /// Records that came into the archive behind this run's back: from amid what it had read
    /// already. They count as settled until the run has ended.
    pub late: u64,
    /// Records to be sent, skipped or settled before, by instance.
    pub(super) instances: BTreeMap<String, u64>,
    clients: BTreeSet<std::net::IpAddr>,
    covered: BTreeMap<String, u64>,
}

impl Survey {
    /// Reads everything once.
    pub(super) async fn of(selection: &Selection, given: &Given) -> Result<Survey, SourceError> {
        let mut survey = Survey::default();
        let mut selected = Selected::open(selection.clone()).await?;
        while let Some(picked) = selected.next().await? {
            match picked {
                Picked::Record(sourced) => survey.record(selection, given, &sourced),
                Picked::Skipped(sourced) => {
                    survey.skipped += 1;
                    survey.add(&sourced.record.instance);
                }
                Picked::Covered(sourced) => {
                    let covered = survey.covered.entry(sourced.record.instance);
                    *covered.or_default() += 1;
                }
            }
        }
        survey.damage = selected.take_damage();
        survey.unreadable_history = selected.unreadable_history();
        let figures = selected.figures();
        survey.duplicates = figures.duplicates;
        survey.damaged_bytes = figures.damaged_bytes;
        for (instance, covered) in std::mem::take(&mut survey.covered) {
            let settled = selection.before.settled(&instance);
            survey.late += covered.saturating_sub(settled);
        }
        for (instance, settled) in selection.before.settled_by_instance() {
            *survey.instances.entry(instance).or_default() += settled;
        }
        Ok(survey)
    }

    /// How many clients sent them; `None` for very many.
    pub fn clients(&self) -> Option<usize> {
        let clients = self.clients.len();
        (clients < MOST_CLIENTS).then_some(clients)
    }

    fn record(&mut self, selection: &Selection, given: &Given, sourced: &Sourced) {
        let record = &sourced.record;
        self.add(&record.instance);
        self.records += 1;
        self.maybe_processed += u64::from(record.maybe_processed);
        *self.routes.entry(record.route.clone()).or_default() += 1;
        let (first, last) = self.times.unwrap_or((record.time, record.time));
        self.times = Some((first.min(record.time), last.max(record.time)));
        if self.clients.len() < MOST_CLIENTS {
            self.clients.insert(record.client);
        }
        for lacking in lacking(record, given) {
            *self.lacking.entry(lacking).or_default() += 1;
        }
        if let Err(why) = selection.destinations.of(&record.route) {
            let entry = self.without_target.entry(record.route.clone());
            entry.or_insert((why, 0)).1 += 1;
        }
    }

    fn add(&mut self, instance: &str) {
        match self.instances.get_mut(instance) {
            Some(records) => *records += 1,
            None => drop(self.instances.insert(instance.to_owned(), 1)),
        }
    }
}
