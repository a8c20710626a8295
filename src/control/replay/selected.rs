//! The records of a run, oldest first, without those that are settled.

use std::collections::HashMap;
use std::sync::Arc;

use super::book::Book;
use super::target::Destinations;
use crate::archive::RealDisk;
use crate::archive::source::{Damage, Source, SourceError, SourceFigures, SourceOptions, Sourced};
use crate::archive::store::{Accepted, Standing, Store};

/// What is read, and by what it is judged.
#[derive(Clone, Debug)]
pub(super) struct Selection {
    pub(super) source: SourceOptions,
    pub(super) destinations: Arc<Destinations>,
    /// What this run settled before it was interrupted.
    pub(super) before: Arc<Book>,
    /// The store that says what earlier runs got accepted; `None`: all is sent.
    pub(super) history: Option<Store>,
}

/// A record, judged.
pub(super) enum Picked {
    /// To be sent.
    Record(Box<Sourced>),
    /// An earlier run's target has it.
    Skipped(Box<Sourced>),
    /// Settled by this run before it was interrupted.
    Covered(Box<Sourced>),
}

/// An open selection.
pub(super) struct Selected {
    selection: Selection,
    source: Source,
    /// By target.
    accepted: HashMap<Arc<str>, Accepted>,
}

impl Selected {
    pub(super) async fn open(selection: Selection) -> Result<Selected, SourceError> {
        let source = Source::open(selection.source.clone(), Arc::new(RealDisk)).await?;
        Ok(Selected {
            selection,
            source,
            accepted: HashMap::new(),
        })
    }

    /// The next record; `None` after the last one.
    pub(super) async fn next(&mut self) -> Result<Option<Picked>, SourceError> {
        let Some(sourced) = self.source.next().await? else {
            return Ok(None);
        };
        let sourced = Box::new(sourced);
        if self
            .selection
            .before
            .covers(&sourced.record.instance, sourced.id)
        {
            return Ok(Some(Picked::Covered(sourced)));
        }
        Ok(Some(match self.standing(&sourced).await? {
            Standing::Accepted => Picked::Skipped(sourced),
            Standing::Open => Picked::Record(sourced),
        }))
    }

    async fn standing(&mut self, sourced: &Sourced) -> Result<Standing, SourceError> {
        let Some(store) = &self.selection.history else {
            return Ok(Standing::Open);
        };
        let route = &sourced.record.route;
        let Ok(destination) = self.selection.destinations.of(route) else {
            return Ok(Standing::Open);
        };
        let known = self.accepted.entry(Arc::clone(&destination.label));
        let known = known.or_insert_with(|| Accepted::by(store.clone(), &destination.label));
        Ok(known.standing(route, sourced.id).await?)
    }

    /// Objects of the history that cannot be understood: what they say was accepted is sent.
    pub(super) fn unreadable_history(&self) -> Vec<String> {
        let all = self.accepted.values();
        all.flat_map(|known| known.unreadable().iter().cloned())
            .collect()
    }

    /// What was read so far.
    pub(super) fn figures(&self) -> SourceFigures {
        self.source.figures()
    }

    /// The damage met since the last call.
    pub(super) fn take_damage(&mut self) -> Vec<Damage> {
        self.source.take_damage()
    }
}
