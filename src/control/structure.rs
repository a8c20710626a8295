//! The files of the structure: whether they changed, and when that counts.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::switches::CALM;
use super::watch::{Depth, Stamp};
use crate::config::{Problem, RouteSettings, Settings, SourceFile, read_structure};

/// The structure on disk as far as it was looked at.
#[derive(Debug)]
pub(super) struct StructureFiles {
    dir: PathBuf,
    stamps: Vec<(PathBuf, Option<Stamp>)>,
    seen: Identity,
    since: Instant,
    settled: bool,
    due: Option<Instant>,
}

/// Which files there were, or why there were none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    /// Path and digest of each.
    Files(Vec<(PathBuf, u64)>),
    /// They cannot be read.
    Unreadable(Vec<Problem>),
}

impl Identity {
    /// The identity of files that were read.
    pub(super) fn of(files: &[SourceFile]) -> Identity {
        let files = files.iter();
        Identity::Files(files.map(|file| (file.path.clone(), file.digest)).collect())
    }

    /// Names of the files that are not the same in `other`.
    pub(super) fn differing(&self, other: &Identity) -> Vec<String> {
        let (Identity::Files(mine), Identity::Files(theirs)) = (self, other) else {
            return Vec::new();
        };
        let mine: BTreeSet<_> = mine.iter().collect();
        let theirs: BTreeSet<_> = theirs.iter().collect();
        let paths = mine.symmetric_difference(&theirs).map(|(path, _)| path);
        let names = paths.map(|path| path.file_name().unwrap_or_default().to_string_lossy());
        let names: BTreeSet<_> = names.map(std::borrow::Cow::into_owned).collect();
        names.into_iter().collect()
    }
}

/// Files whose meaning is to be decided.
pub(super) struct Unsettled {
    /// What was read.
    pub(super) files: Result<Vec<SourceFile>, Vec<Problem>>,
    /// The identity of that.
    pub(super) identity: Identity,
    /// Unchanged for so long that what they leave out is meant to be gone.
    pub(super) calm: bool,
}

impl StructureFiles {
    /// The files that the first load read.
    pub(super) fn new(dir: &Path, files: &[SourceFile], now: Instant) -> StructureFiles {
        StructureFiles {
            dir: dir.to_owned(),
            // Empty, so that the first look reads again what changed since the first load.
            stamps: Vec::new(),
            seen: Identity::of(files),
            since: now,
            settled: true,
            due: None,
        }
    }

    /// When to look again although nothing may have changed.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Looks at the files. `None`: they are what was decided about before. `asked` brings
    /// them up even so.
    pub(super) fn look(&mut self, depth: Depth, asked: bool, now: Instant) -> Option<Unsettled> {
        let due = self.due.is_some_and(|due| due <= now);
        let stamps = stamps(&self.dir);
        if depth == Depth::Stamp && stamps == self.stamps && !due && !asked {
            return None;
        }
        self.stamps = stamps;
        let files = read_structure(&self.dir);
        let identity = match &files {
            Ok(files) => Identity::of(files),
            Err(problems) => Identity::Unreadable(problems.clone()),
        };
        if identity != self.seen {
            self.seen = identity.clone();
            self.since = now;
            self.settled = false;
        }
        if self.settled && !asked {
            return None;
        }
        Some(Unsettled {
            files,
            identity,
            calm: now >= self.since + CALM,
        })
    }

    /// What the last look brought up is decided.
    pub(super) fn settle(&mut self) {
        self.settled = true;
        self.due = None;
    }

    /// What the last look brought up is decided once the files are calm.
    pub(super) fn wait(&mut self) {
        self.due = Some(self.since + CALM);
    }
}

/// Whether a route or an upstream of `before` is missing in `after`.
pub(super) fn removes(before: &Settings, after: &Settings) -> bool {
    let kept: BTreeSet<&str> = after.routes.iter().map(|route| &*route.name).collect();
    let routes = before.routes.iter();
    let mut upstreams = before.upstreams.keys();
    routes
        .map(|route| &*route.name)
        .any(|name| !kept.contains(name))
        || upstreams.any(|name| !after.upstreams.contains_key(name))
}

/// Whether requests would be told apart otherwise: by another client address, or by routes that
/// take others. What a switch takes then changes although no switch does.
pub(super) fn redirects(before: &Settings, after: &Settings) -> bool {
    let differs = |(a, b): (&RouteSettings, &RouteSettings)| {
        let (old, new) = (&a.matches, &b.matches);
        a.name != b.name
            || (&old.host, &old.path) != (&new.host, &new.path)
            || (&old.methods, &old.headers) != (&new.methods, &new.headers)
    };
    before.server.trusted_proxies != after.server.trusted_proxies
        || before.routes.len() != after.routes.len()
        || before.routes.iter().zip(&after.routes).any(differs)
}

fn stamps(dir: &Path) -> Vec<(PathBuf, Option<Stamp>)> {
    let routes = dir.join("routes.d");
    let mut paths = vec![dir.join("seawall.toml")];
    // A directory that cannot be listed differs from one that can, by its own stamp.
    if let Ok(entries) = fs::read_dir(&routes) {
        let found = entries.flatten().map(|entry| entry.path());
        paths.extend(found.filter(|path| path.extension().is_some_and(|ext| ext == "toml")));
    }
    paths.push(routes);
    paths.sort();
    let stamped = paths.into_iter().map(|path| {
        let stamp = Stamp::of(&path);
        (path, stamp)
    });
    stamped.collect()
}
