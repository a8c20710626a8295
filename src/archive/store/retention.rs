//! `retain`: deletes what is old from the store, once an hour or more often.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use object_store::path::Path;

use super::error::StoreError;
use super::name::Hour;
use super::pace;
use super::put::Store;
use super::walk::Selection;
use super::watch::{StoreEvent, StoreWatch};
use crate::vocab::{Clock, QuantityError, parse_duration};

/// Time between passes; shorter where `retain` is.
const EVERY: Duration = Duration::from_secs(3600);
const SHORTEST: Duration = Duration::from_secs(1);
/// The same after a pass that ended at its bound.
const AGAIN: Duration = Duration::from_secs(60);
/// The first pass comes within this time, spread so that a fleet does not list as one.
const FIRST_WITHIN: Duration = Duration::from_secs(600);
/// Objects that one pass deletes.
const MOST_DELETED: u64 = 10_000;

/// How much longer than records the store says that they were accepted.
const SPENT_AFTER: Duration = Duration::from_secs(86_400);

/// How long objects stay in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retain {
    /// Nothing is deleted.
    Forever,
    /// Counted from the end of an object's hour, and from its upload if that was later.
    For(Duration),
}

impl Retain {
    /// Reads `"forever"` or a duration.
    ///
    /// # Errors
    /// Anything else.
    pub fn parse(text: &str) -> Result<Retain, QuantityError> {
        match text {
            "forever" => Ok(Retain::Forever),
            text => parse_duration(text).map(Retain::For),
        }
    }
}

/// What a pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retained {
    /// Objects deleted.
    pub deleted: u64,
    /// True when the pass ended at its bound.
    pub more: bool,
}

/// Deletes what is old.
pub(super) struct Retention {
    store: Store,
    retain: Retain,
}

impl Retention {
    pub(super) fn new(store: Store, retain: Retain) -> Retention {
        Retention { store, retain }
    }

    /// Passes, for ever.
    pub(super) async fn run(&self, watch: &dyn StoreWatch) -> Infallible {
        let every = match self.retain {
            Retain::Forever => EVERY,
            // What is kept for minutes does not stay for an hour.
            Retain::For(kept) => kept.clamp(SHORTEST, EVERY),
        };
        let mut wait = FIRST_WITHIN.min(every).mul_f64(pace::random());
        loop {
            tokio::time::sleep(wait).await;
            wait = every;
            let pass = self.store.retain(self.retain, Clock::unix(), MOST_DELETED);
            match pass.await {
                Ok(Retained { deleted: 0, .. }) => {}
                Ok(Retained { deleted, more }) => {
                    wait = if more { AGAIN.min(every) } else { every };
                    watch.happened(&StoreEvent::Retained { deleted, more });
                }
                Err(error) => watch.happened(&StoreEvent::RetainFailed(Arc::new(error))),
            }
        }
    }
}

impl Store {
    /// Deletes up to `most` objects that are older than `retain`, the oldest first. `unix` is
    /// the time now, since the Unix epoch.
    ///
    /// # Errors
    /// The store's; what was deleted before it stays deleted.
    pub async fn retain(
        &self,
        retain: Retain,
        unix: Duration,
        most: u64,
    ) -> Result<Retained, StoreError> {
        let mut retained = Retained::default();
        let Retain::For(kept) = retain else {
            return Ok(retained);
        };
        let Some(before) = unix.checked_sub(kept) else {
            return Ok(retained);
        };
        let old = Selection {
            until: Some(before),
            ..Selection::default()
        };
        let mut walk = self.walk(old);
        let mut paths = Vec::new();
        while let Some(object) = walk.next().await? {
            // Both: a gateway whose clock was wrong files today's records under 1970.
            if object.name.partition.hour.end() > before || object.modified > before {
                continue;
            }
            if paths.len() as u64 == most {
                retained.more = true;
                break;
            }
            paths.push(object.path);
        }
        if !retained.more {
            paths.extend(self.spent(before, most - paths.len() as u64).await?);
        }
        retained.deleted = self.delete(paths).await?;
        Ok(retained)
    }

    /// What says that records were accepted, once those records are deleted too: a day later,
    /// for a record is filed by when it came and named by when it was stored.
    async fn spent(&self, before: Duration, most: u64) -> Result<Vec<Path>, StoreError> {
        let mut paths = Vec::new();
        for (last, object) in self.accepted_below(&self.replayed_root()).await? {
            let stored = Duration::from_millis(last.timestamp_ms());
            let put = u64::try_from(object.last_modified.timestamp()).unwrap_or_default();
            let old = Hour::of_unix(stored).end() + SPENT_AFTER <= before;
            if old && Duration::from_secs(put) <= before && (paths.len() as u64) < most {
                paths.push(object.location);
            }
        }
        Ok(paths)
    }
}
