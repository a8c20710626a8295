//! Which records were accepted and are not in the store's history yet.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::archive::Ulid;
use crate::archive::store::{AcceptedBatch, IdSet, Store, StoreError};

/// Ids by route and target; part of the checkpoint until the store has them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Fresh {
    routes: BTreeMap<String, BTreeMap<String, Vec<Ulid>>>,
    count: usize,
}

impl Fresh {
    pub(super) fn push(&mut self, route: &str, target: &str, id: Ulid) {
        let targets = self.routes.entry(route.to_owned()).or_default();
        targets.entry(target.to_owned()).or_default().push(id);
        self.count += 1;
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Takes in those of another.
    pub(super) fn join(&mut self, other: Fresh) {
        for (route, targets) in other.routes {
            for (target, ids) in targets {
                for id in ids {
                    self.push(&route, &target, id);
                }
            }
        }
    }

    /// Records them in the store. On an error some may be; all may be recorded again.
    pub(super) async fn record(&self, store: &Store, run: Timestamp) -> Result<(), StoreError> {
        for (route, targets) in &self.routes {
            for (target, ids) in targets {
                let mut set = IdSet::default();
                for id in ids {
                    set.insert(*id);
                }
                let batch = AcceptedBatch {
                    route: route.clone(),
                    target: target.clone(),
                    run,
                    ids: set,
                };
                store.record_accepted(&batch).await?;
            }
        }
        Ok(())
    }
}
