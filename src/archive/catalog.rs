//! The segments that the journal has, and what they take.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use super::id::{SegmentId, Ulid};
use super::segment::{HEAD_BYTES, RouteShare, Summary};

/// One file of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentCopy {
    /// Its directory.
    pub directory: Arc<Path>,
    /// Where its acknowledged frames end.
    pub end: u64,
    /// The file's length, as far as known.
    pub bytes: u64,
    /// True when it has a trailer.
    pub sealed: bool,
}

/// Whether a segment still grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth {
    /// The writer appends to it.
    Live,
    /// It never gets another record.
    Closed,
}

/// A segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its name.
    pub id: SegmentId,
    /// Whether it still grows.
    pub growth: Growth,
    /// Its files; the one with the most records first.
    pub copies: Vec<SegmentCopy>,
    /// What it holds.
    pub summary: Summary,
}

impl SegmentInfo {
    /// Bytes of all copies.
    pub fn bytes(&self) -> u64 {
        self.copies.iter().map(|copy| copy.bytes).sum()
    }
}

/// All segments by name. Written by the writer alone.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    segments: BTreeMap<SegmentId, SegmentInfo>,
    bytes: u64,
    /// Bytes by route, each copy counted.
    routes: HashMap<Arc<str>, u64>,
}

/// Records of one route that were stored, for the count.
pub(crate) struct Counted<'a> {
    /// The first and the last.
    pub(crate) ids: (Ulid, Ulid),
    pub(crate) route: &'a Arc<str>,
    pub(crate) share: RouteShare,
}

impl Catalog {
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn route_bytes(&self, route: &str) -> u64 {
        self.routes.get(route).copied().unwrap_or_default()
    }

    pub(crate) fn get(&self, segment: SegmentId) -> Option<&SegmentInfo> {
        self.segments.get(&segment)
    }

    pub(crate) fn all(&self) -> impl DoubleEndedIterator<Item = &SegmentInfo> {
        self.segments.values()
    }

    /// A new segment without records, in these directories.
    pub(crate) fn open(&mut self, id: SegmentId, directories: Vec<Arc<Path>>) {
        let copies = directories.into_iter().map(|directory| SegmentCopy {
            directory,
            end: HEAD_BYTES,
            bytes: HEAD_BYTES,
            sealed: false,
        });
        self.insert(SegmentInfo {
            id,
            growth: Growth::Live,
            copies: copies.collect(),
            summary: Summary::default(),
        });
    }

    /// A file that was found at start, or in a directory that came back.
    pub(crate) fn found(&mut self, id: SegmentId, copy: SegmentCopy, summary: Summary) {
        let mut info = self.take(id).unwrap_or(SegmentInfo {
            id,
            growth: Growth::Closed,
            copies: Vec::new(),
            summary: Summary::default(),
        });
        info.copies
            .retain(|known| known.directory != copy.directory);
        // The longer copy may have records that no one was told of; never fewer.
        let position = if summary.records > info.summary.records {
            info.summary = summary;
            0
        } else {
            info.copies.len()
        };
        info.copies.insert(position, copy);
        self.insert(info);
    }

    /// Counts the records of a commit; the segment's frames now end at `end`.
    pub(crate) fn committed<'a>(
        &mut self,
        id: SegmentId,
        end: u64,
        checksum: u32,
        records: impl Iterator<Item = Counted<'a>>,
    ) {
        let Some(info) = self.segments.get_mut(&id) else {
            return;
        };
        let copies = info.copies.len() as u64;
        for copy in &mut info.copies {
            self.bytes += end - copy.end;
            copy.end = end;
            copy.bytes = end;
        }
        info.summary.checksum = checksum;
        for Counted { ids, route, share } in records {
            info.summary.count_all(ids, route, share);
            *self.routes.entry(route.clone()).or_default() += share.bytes * copies;
        }
    }

    /// A directory has these segments and no others. How many it should have besides, and how many
    /// records were in no other directory.
    pub(crate) fn only(&mut self, directory: &Path, there: &BTreeSet<SegmentId>) -> (u64, u64) {
        let copied = |info: &&SegmentInfo| {
            let mut copies = info.copies.iter();
            !there.contains(&info.id) && copies.any(|copy| *copy.directory == *directory)
        };
        let gone: Vec<SegmentId> = self.all().filter(copied).map(|info| info.id).collect();
        let mut records = 0;
        for id in &gone {
            let Some(mut info) = self.take(*id) else {
                continue;
            };
            info.copies.retain(|copy| *copy.directory != *directory);
            match info.copies.is_empty() {
                true => records += info.summary.records,
                false => self.insert(info),
            }
        }
        (gone.len() as u64, records)
    }

    pub(crate) fn close(&mut self, id: SegmentId) {
        if let Some(info) = self.segments.get_mut(&id) {
            info.growth = Growth::Closed;
        }
    }

    /// The copy in `directory` now has a trailer.
    pub(crate) fn sealed(&mut self, id: SegmentId, directory: &Path, bytes: u64) {
        let Some(info) = self.segments.get_mut(&id) else {
            return;
        };
        for copy in &mut info.copies {
            if *copy.directory == *directory {
                self.bytes = self.bytes - copy.bytes + bytes;
                copy.bytes = bytes;
                copy.sealed = true;
            }
        }
    }

    pub(crate) fn take(&mut self, id: SegmentId) -> Option<SegmentInfo> {
        let info = self.segments.remove(&id)?;
        self.bytes -= info.bytes();
        let copies = info.copies.len() as u64;
        for (route, share) in &info.summary.routes {
            if let Some(bytes) = self.routes.get_mut(route.as_str()) {
                *bytes = bytes.saturating_sub(share.bytes * copies);
            }
        }
        Some(info)
    }

    fn insert(&mut self, info: SegmentInfo) {
        self.bytes += info.bytes();
        let copies = info.copies.len() as u64;
        for (route, share) in &info.summary.routes {
            *self.routes.entry(route.as_str().into()).or_default() += share.bytes * copies;
        }
        self.segments.insert(info.id, info);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(directory: &str, end: u64) -> SegmentCopy {
        SegmentCopy {
            directory: Path::new(directory).into(),
            end,
            bytes: end,
            sealed: true,
        }
    }

    fn summary(records: u64) -> Summary {
        let mut summary = Summary::default();
        for id in 0..records {
            summary.count(Ulid(u128::from(id)), "r", 10);
        }
        summary
    }

    #[test]
    fn bytes_are_counted_for_each_copy_and_given_back() {
        let mut catalog = Catalog::default();
        let id = SegmentId(Ulid(1));
        catalog.open(id, vec![Path::new("a").into(), Path::new("b").into()]);
        assert_eq!(catalog.bytes(), 2 * HEAD_BYTES);
        let route: Arc<str> = "r".into();
        let record = Counted {
            ids: (Ulid(9), Ulid(9)),
            route: &route,
            share: RouteShare {
                records: 1,
                bytes: 10,
            },
        };
        catalog.committed(id, HEAD_BYTES + 10, 7, std::iter::once(record));
        assert_eq!(catalog.bytes(), 2 * (HEAD_BYTES + 10));
        assert_eq!(catalog.route_bytes("r"), 20);
        catalog.close(id);
        catalog.sealed(id, Path::new("a"), HEAD_BYTES + 30);
        assert_eq!(catalog.bytes(), 2 * HEAD_BYTES + 40);
        assert_eq!(catalog.get(id).unwrap().growth, Growth::Closed);
        catalog.take(id);
        assert_eq!((catalog.bytes(), catalog.route_bytes("r")), (0, 0));
    }

    #[test]
    fn the_copy_with_the_most_records_speaks_for_a_segment() {
        let mut catalog = Catalog::default();
        let id = SegmentId(Ulid(1));
        catalog.found(id, copy("a", 100), summary(1));
        catalog.found(id, copy("b", 110), summary(2));
        catalog.found(id, copy("c", 100), summary(1));
        let info = catalog.get(id).unwrap();
        assert_eq!(info.summary.records, 2);
        assert_eq!(&*info.copies[0].directory, Path::new("b"));
        assert_eq!(info.copies.len(), 3);
        assert_eq!(catalog.bytes(), 310);
        assert_eq!(catalog.route_bytes("r"), 60);
    }
}
