//! Which records a replay got accepted, kept in the store beside the records.
//!
//! ```text
//! _seawall/replayed/ROUTE/TARGET/FIRST-LAST-DIGEST.json
//! ```
//!
//! Each object names exact ids, not a span between two: a segment of another gateway, or one
//! that was late, may come into the store afterwards with ids from amid that span, and nobody
//! was sent those records. The target is part of it: what a test system accepted was not
//! accepted by the real one. The names are no names of objects with records, so that neither
//! `Walk` nor `**/*.ndjson.zst` finds them.

use std::collections::HashMap;

use bytes::Bytes;
use futures_util::StreamExt as _;
use jiff::Timestamp;
use object_store::ObjectMeta;
use object_store::ObjectStoreExt as _;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use super::super::id::Ulid;
use super::error::{Act, StoreError};
use super::fetch::{Attempts, PATIENCE};
use super::ids::IdSet;
use super::name::{encode, fnv1a, join};
use super::put::{PutOutcome, Store};

/// Runs of ids in one object: about 1.5 MB.
const MOST_RUNS: usize = 50_000;
const VERSION: u32 = 1;
const SUFFIX: &str = ".json";

/// Records of one route that a target accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedBatch {
    /// The route.
    pub route: String,
    /// What accepted them, as the run names it; compared byte by byte.
    pub target: String,
    /// When the run began.
    pub run: Timestamp,
    /// Which.
    pub ids: IdSet,
}

/// Whether a record was accepted before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It was.
    Accepted,
    /// Nothing says so.
    Open,
}

/// An object's text.
#[derive(Deserialize, Serialize)]
struct Text {
    version: u32,
    route: String,
    target: String,
    run: Timestamp,
    records: u64,
    ids: Vec<String>,
}

/// What earlier runs got accepted by one target. Holds the sets that span the last id asked
/// for, so that memory does not grow with the number of runs.
pub struct Accepted {
    store: Store,
    target: String,
    routes: HashMap<String, Listed>,
    unreadable: Vec<String>,
}

/// The objects of one route, by first id.
#[derive(Default)]
struct Listed {
    names: Vec<Name>,
    /// How many of them begin before the last id asked for.
    passed: usize,
    last: Ulid,
    loaded: Vec<(Ulid, IdSet)>,
}

struct Name {
    first: Ulid,
    last: Ulid,
    path: Path,
}

impl Store {
    /// Records in the store what a run got accepted. Calling it again with the same batch does
    /// no harm.
    ///
    /// # Errors
    /// The store's; call it again with the same batch.
    pub async fn record_accepted(&self, batch: &AcceptedBatch) -> Result<(), StoreError> {
        for ids in batch.ids.parts(MOST_RUNS) {
            let Some((first, last)) = ids.ends() else {
                continue;
            };
            let texts = ids.to_texts();
            let name = format!("{first}-{last}-{:016x}{SUFFIX}", fnv1a(&texts));
            let path = join(&self.replayed(&batch.route, &batch.target), &name);
            let text = Text {
                version: VERSION,
                route: batch.route.clone(),
                target: batch.target.clone(),
                run: batch.run,
                records: ids.len(),
                ids: texts,
            };
            let body = serde_json::to_vec(&text).map_err(|error| StoreError::Object {
                path: path.to_string(),
                source: error.into(),
            })?;
            match self.put_new(&path, Bytes::from(body)).await? {
                PutOutcome::Uploaded | PutOutcome::Exists => {}
            }
            self.settle(std::iter::once(path)).await?;
        }
        Ok(())
    }

    /// Where all that was accepted is recorded.
    pub(super) fn replayed_root(&self) -> Path {
        join(&join(&self.prefix, "_seawall"), "replayed")
    }

    fn replayed(&self, route: &str, target: &str) -> Path {
        join(
            &join(&self.replayed_root(), &encode(route)),
            &encode(target),
        )
    }

    /// The names below a path, and what a listing says of each.
    pub(super) async fn accepted_below(
        &self,
        path: &Path,
    ) -> Result<Vec<(Ulid, ObjectMeta)>, StoreError> {
        let mut found = Vec::new();
        let mut listed = self.client.list(Some(path));
        while let Some(next) = self.timely(Act::List, listed.next()).await? {
            match next {
                Ok(object) => {
                    let last = ends(&object.location).map(|(_, last)| last);
                    found.extend(last.map(|last| (last, object)));
                }
                Err(object_store::Error::NotFound { .. }) => {}
                Err(source) => return Err(self.failed(Act::List, source)),
            }
        }
        Ok(found)
    }

    async fn read_accepted(&self, path: &Path) -> Result<Option<Text>, StoreError> {
        let body = self.timely(Act::Get, async {
            self.client.get(path).await?.bytes().await
        });
        match body.await? {
            Ok(body) => Ok(serde_json::from_slice(&body).ok()),
            // Deleted by `retain`.
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(self.failed(Act::Get, source)),
        }
    }
}

/// The ends that a name tells.
fn ends(path: &Path) -> Option<(Ulid, Ulid)> {
    let mut parts = path.filename()?.strip_suffix(SUFFIX)?.split('-');
    let first = Ulid::from_string(parts.next()?).ok()?;
    let last = Ulid::from_string(parts.next()?).ok()?;
    Some((first, last))
}

impl Accepted {
    /// What is known of a target. Nothing is read before it is asked for.
    pub fn by(store: Store, target: &str) -> Accepted {
        Accepted {
            store,
            target: target.to_owned(),
            routes: HashMap::new(),
            unreadable: Vec::new(),
        }
    }

    /// Whether a record was accepted. Cheap when ids rise from call to call, as a source gives
    /// them.
    ///
    /// # Errors
    /// The store's, after several tries.
    pub async fn standing(&mut self, route: &str, id: Ulid) -> Result<Standing, StoreError> {
        if !self.routes.contains_key(route) {
            let names = self.list(route).await?;
            let listed = Listed {
                names,
                ..Listed::default()
            };
            self.routes.insert(route.to_owned(), listed);
        }
        let Some(listed) = self.routes.get_mut(route) else {
            return Ok(Standing::Open);
        };
        if id < listed.last {
            listed.passed = 0;
            listed.loaded.clear();
        }
        listed.last = id;
        listed.loaded.retain(|(last, _)| *last >= id);
        while let Some(name) = listed.names.get(listed.passed)
            && name.first <= id
        {
            if name.last >= id {
                match load(&self.store, name, (route, &self.target)).await? {
                    Some(ids) => listed.loaded.push((name.last, ids)),
                    None => self.unreadable.push(name.path.to_string()),
                }
            }
            listed.passed += 1;
        }
        let accepted = listed.loaded.iter().any(|(_, ids)| ids.contains(id));
        Ok(if accepted {
            Standing::Accepted
        } else {
            Standing::Open
        })
    }

    /// Objects that could not be understood: what they say was accepted counts as open.
    pub fn unreadable(&self) -> &[String] {
        &self.unreadable
    }

    async fn list(&self, route: &str) -> Result<Vec<Name>, StoreError> {
        let below = self.store.replayed(route, &self.target);
        let mut attempts = Attempts::new(PATIENCE);
        let found = loop {
            match self.store.accepted_below(&below).await {
                Ok(found) => break found,
                Err(error) => attempts.again(error).await?,
            }
        };
        let names = found.into_iter().filter_map(|(_, object)| {
            let (first, last) = ends(&object.location)?;
            let path = object.location;
            Some(Name { first, last, path })
        });
        let mut names: Vec<Name> = names.collect();
        names.sort_by_key(|name| name.first);
        Ok(names)
    }
}

/// The ids of one object; `None` where it is damaged, of a later version, or of another route
/// or target, which long names that were cut do not tell.
async fn load(
    store: &Store,
    name: &Name,
    (route, target): (&str, &str),
) -> Result<Option<IdSet>, StoreError> {
    let mut attempts = Attempts::new(PATIENCE);
    let text = loop {
        match store.read_accepted(&name.path).await {
            Ok(text) => break text,
            Err(error) => attempts.again(error).await?,
        }
    };
    let text =
        text.filter(|text| text.version == VERSION && text.route == route && text.target == target);
    let Some(text) = text else {
        return Ok(None);
    };
    let ids = IdSet::from_texts(text.ids.iter().map(String::as_str));
    Ok(ids.filter(|ids| ids.len() == text.records))
}

#[cfg(test)]
#[path = "replayed_tests.rs"]
mod tests;
