//! The objects of a store by the first id in them, in bounded memory.

use std::collections::BTreeMap;

use super::super::id::Ulid;
use super::super::options::Backoff;
use super::super::store::{Attempts, Selection, Store, StoreError, StoredObject};

/// Names held at once: about 50 MB of them. A store that has more is listed once for each such
/// number.
const MOST: usize = 100_000;

/// What objects are ordered by. The time part of the id is that of the first record, so no
/// record of an object comes before it.
type Key = (Ulid, String);

/// A list of the objects that are wanted, the one with the earliest record first. The store
/// itself lists by hour of arrival, which is another order where requests took long or clocks
/// were set.
pub(super) struct Names {
    store: Store,
    selection: Selection,
    backoff: Backoff,
    most: usize,
    ready: BTreeMap<Key, StoredObject>,
    /// The last one that was ever in `ready`, where the store has more behind it.
    behind: Option<Key>,
    /// All of the store, as it was at first.
    total: Listed,
}

/// What a list adds up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) objects: u64,
    pub(super) bytes: u64,
}

/// The earliest id that a record of an object can have.
pub(super) fn floor(object: &StoredObject) -> Ulid {
    Ulid::from_parts(object.name.id.timestamp_ms(), 0)
}

impl Names {
    pub(super) async fn list(
        store: Store,
        selection: Selection,
        backoff: Backoff,
    ) -> Result<Names, StoreError> {
        Names::with_most(store, selection, (backoff, MOST)).await
    }

    pub(super) async fn with_most(
        store: Store,
        selection: Selection,
        (backoff, most): (Backoff, usize),
    ) -> Result<Names, StoreError> {
        let mut names = Names {
            store,
            selection,
            backoff,
            most,
            ready: BTreeMap::new(),
            behind: None,
            total: Listed::default(),
        };
        names.total = names.pass(None).await?;
        Ok(names)
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    pub(super) fn total(&self) -> Listed {
        self.total
    }

    /// The next object; it stays the next one until `advance`.
    pub(super) async fn next(&mut self) -> Result<Option<&StoredObject>, StoreError> {
        if self.ready.is_empty()
            && let Some(behind) = self.behind.clone()
        {
            self.pass(Some(&behind)).await?;
        }
        Ok(self.ready.first_key_value().map(|(_, object)| object))
    }

    pub(super) fn advance(&mut self) {
        self.ready.pop_first();
    }

    /// Lists the whole store, and keeps the first names after `after`.
    async fn pass(&mut self, after: Option<&Key>) -> Result<Listed, StoreError> {
        let mut walk = self.store.walk(self.selection.clone());
        let mut ready: BTreeMap<Key, StoredObject> = BTreeMap::new();
        let mut more = false;
        let mut listed = Listed::default();
        let mut attempts = Attempts::new(self.backoff);
        loop {
            let object = match walk.next().await {
                Ok(Some(object)) => object,
                Ok(None) => break,
                Err(error) => {
                    attempts.again(error).await?;
                    continue;
                }
            };
            attempts = Attempts::new(self.backoff);
            listed.objects += 1;
            listed.bytes += object.bytes;
            let key = (object.name.id, object.path().to_owned());
            if after.is_some_and(|after| key <= *after) {
                continue;
            }
            ready.insert(key, object);
            if ready.len() > self.most {
                ready.pop_last();
                more = true;
            }
        }
        let last = ready.last_key_value().map(|(key, _)| key.clone());
        self.behind = last.filter(|_| more);
        self.ready = ready;
        Ok(listed)
    }
}

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;
