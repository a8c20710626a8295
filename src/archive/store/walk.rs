//! Lists objects, oldest first, reading only the partitions that are asked for.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use std::time::Duration;

use futures_util::StreamExt as _;
use object_store::ObjectMeta;
use object_store::path::Path;

use super::error::{Act, StoreError};
use super::fetch::{Attempts, PATIENCE};
use super::name::{Hour, ObjectName, date_of_part, join, route_part};
use super::put::Store;

/// Which objects. Hours are taken whole: a record's own time is the caller's to check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Of these routes; empty: of all.
    pub routes: Vec<String>,
    /// With records from this time on, since the Unix epoch.
    pub from: Option<Duration>,
    /// With records up to this time.
    pub until: Option<Duration>,
}

/// An object in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredObject {
    /// What its path says.
    pub name: ObjectName,
    /// Its length, compressed.
    pub bytes: u64,
    /// When it was put, since the Unix epoch.
    pub modified: Duration,
    /// Its path, with the store's prefix.
    pub(super) path: Path,
}

impl StoredObject {
    fn of(prefix: &Path, found: ObjectMeta) -> Option<StoredObject> {
        let seconds = u64::try_from(found.last_modified.timestamp()).unwrap_or_default();
        Some(StoredObject {
            name: ObjectName::parse(prefix, &found.location)?,
            bytes: found.size,
            modified: Duration::from_secs(seconds),
            path: found.location,
        })
    }

    /// Whether it has the records of a route; also true for a name that was too long for a path.
    pub fn is_of(&self, route: &str) -> bool {
        let part = route_part(route);
        self.path.parts().any(|found| found.as_ref() == part)
    }

    /// Its path in the store.
    pub fn path(&self) -> &str {
        self.path.as_ref()
    }
}

impl Store {
    /// Lists objects hour by hour, and in an hour by id. What has not the name of an object is
    /// left out.
    pub fn walk(&self, selection: Selection) -> Walk {
        let from = selection.from.map_or(Hour::FIRST, Hour::of_unix);
        let until = selection.until.map_or(Hour::LAST, Hour::of_unix);
        Walk {
            store: self.clone(),
            routes: selection.routes,
            hours: from..=until,
            days: None,
            objects: VecDeque::new(),
        }
    }

    /// The parts directly below a path, with the paths.
    async fn below(&self, path: &Path) -> Result<Vec<(String, Path)>, StoreError> {
        let prefix = (!path.as_ref().is_empty()).then_some(path);
        let listed = self.timely(Act::List, self.client.list_with_delimiter(prefix));
        let listed = match listed.await? {
            Ok(listed) => listed.common_prefixes,
            // A directory that is not there has nothing below it.
            Err(object_store::Error::NotFound { .. }) => Vec::new(),
            Err(source) => return Err(self.failed(Act::List, source)),
        };
        let part = |path: Path| Some((path.filename()?.to_owned(), path));
        Ok(listed.into_iter().filter_map(part).collect())
    }
}

/// A list of objects. Holds the objects of one day.
pub struct Walk {
    store: Store,
    routes: Vec<String>,
    hours: RangeInclusive<Hour>,
    /// By the day's first hour, the paths of the routes that have it. `None` before the start.
    days: Option<BTreeMap<Hour, Vec<Path>>>,
    objects: VecDeque<StoredObject>,
}

impl Walk {
    /// The next object.
    ///
    /// # Errors
    /// The store's. The walk may be asked again, and then tries the same day again.
    pub async fn next(&mut self) -> Result<Option<StoredObject>, StoreError> {
        loop {
            if let Some(object) = self.objects.pop_front() {
                return Ok(Some(object));
            }
            if self.days.is_none() {
                self.days = Some(self.find_days().await?);
            }
            let days = self.days.as_ref().and_then(BTreeMap::first_key_value);
            let Some((_, paths)) = days else {
                return Ok(None);
            };
            self.objects = self.read_day(paths).await?.into();
            self.days.as_mut().map(BTreeMap::pop_first);
        }
    }

    /// As `next`, after several tries.
    ///
    /// # Errors
    /// As those of `next`.
    pub async fn next_patiently(&mut self) -> Result<Option<StoredObject>, StoreError> {
        let mut attempts = Attempts::new(PATIENCE);
        loop {
            match self.next().await {
                Ok(object) => return Ok(object),
                Err(error) => attempts.again(error).await?,
            }
        }
    }

    async fn find_days(&self) -> Result<BTreeMap<Hour, Vec<Path>>, StoreError> {
        let prefix = &self.store.prefix;
        let routes: Vec<Path> = if self.routes.is_empty() {
            let below = self.store.below(prefix).await?.into_iter();
            let mine = below.filter(|(part, _)| part.starts_with("route="));
            mine.map(|(_, path)| path).collect()
        } else {
            let parts = self.routes.iter().map(|route| route_part(route));
            parts.map(|part| join(prefix, &part)).collect()
        };
        let mut days: BTreeMap<Hour, Vec<Path>> = BTreeMap::new();
        for route in routes {
            for (part, path) in self.store.below(&route).await? {
                let Some((first, last)) = date_of_part(&part) else {
                    continue;
                };
                if first <= *self.hours.end() && last >= *self.hours.start() {
                    days.entry(first).or_default().push(path);
                }
            }
        }
        Ok(days)
    }

    async fn read_day(&self, paths: &[Path]) -> Result<Vec<StoredObject>, StoreError> {
        let mut objects = Vec::new();
        for path in paths {
            let mut listed = self.store.client.list(Some(path));
            while let Some(found) = self.store.timely(Act::List, listed.next()).await? {
                let found = match found {
                    Ok(found) => found,
                    // Deleted while it was listed.
                    Err(object_store::Error::NotFound { .. }) => continue,
                    Err(source) => return Err(self.store.failed(Act::List, source)),
                };
                let object = StoredObject::of(&self.store.prefix, found);
                objects.extend(object.filter(|o| self.hours.contains(&o.name.partition.hour)));
            }
        }
        objects.sort_by(|a, b| {
            let key = |o: &StoredObject| (o.name.partition.hour, o.name.id);
            key(a).cmp(&key(b)).then_with(|| a.path.cmp(&b.path))
        });
        Ok(objects)
    }
}

#[cfg(test)]
#[path = "walk_tests.rs"]
mod tests;
