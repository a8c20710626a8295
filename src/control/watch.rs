//! Notices that the files may have changed.
//!
//! notify says when, and the digests of [`super::reload`] say whether. Only what ends a change
//! is acted on: close after write, rename into place, a created link, removal, overflow. Opens
//! and reads are reported too, our own among them; partial writes are followed by a close.

mod ways;

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::AcqRel, Ordering::Release};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use ways::{Folder, Ways};

/// How closely a file is looked at. Their order is the order of effort.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Depth {
    /// Read again only if its times, size or inode changed.
    #[default]
    Stamp,
    /// Read again.
    Digest,
}

/// What to look at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Look {
    /// `seawall.toml` and `routes.d`.
    pub(super) structure: Depth,
    /// `switches.toml`.
    pub(super) switches: Depth,
}

impl Look {
    /// Reads everything again.
    pub(super) const FULL: Look = Look {
        structure: Depth::Digest,
        switches: Depth::Digest,
    };

    const STRUCTURE: Look = Look {
        structure: Depth::Digest,
        switches: Depth::Stamp,
    };

    const SWITCHES: Look = Look {
        structure: Depth::Stamp,
        switches: Depth::Digest,
    };

    /// What either asks for.
    pub(super) fn or(self, other: Look) -> Look {
        Look {
            structure: self.structure.max(other.structure),
            switches: self.switches.max(other.switches),
        }
    }
}

/// What a file or directory is, without reading it. Links are followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    place: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// The stamp of what is at `path`, if anything is.
    pub(super) fn of(path: &Path) -> Option<Stamp> {
        fs::metadata(path).ok().map(|found| Stamp {
            place: place(&found),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }
}

fn place(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

/// What events have asked for since the last look; bounded, because each bit is set once.
#[derive(Debug, Default)]
struct Dirty {
    any: Notify,
    structure: AtomicBool,
    switches: AtomicBool,
    lost: AtomicBool,
    /// Files elsewhere that are read through links.
    ways: Mutex<Ways>,
}

impl Dirty {
    fn ways(&self) -> MutexGuard<'_, Ways> {
        self.ways.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Watches the configuration directory, its `routes.d`, and the folders that links lead to.
#[derive(Debug)]
pub(super) struct Watch {
    dirty: Arc<Dirty>,
    watcher: Option<RecommendedWatcher>,
    targets: [Target; 2],
    elsewhere: Vec<Folder>,
    complained: bool,
}

/// A directory, and which one was there when it was last watched.
#[derive(Debug)]
struct Target {
    path: PathBuf,
    watched: Option<(u64, u64)>,
    required: bool,
}

/// Waits for events; apart from [`Watch`] because looks happen on another thread.
#[derive(Clone, Debug)]
pub(super) struct Events(Arc<Dirty>);

impl Events {
    /// Returns once something happened since the last call.
    pub(super) async fn next(&self) {
        self.0.any.notified().await;
    }
}

impl Watch {
    /// Begins to watch. Without notify (its limits can be reached) the poll remains.
    pub(super) fn start(dir: &Path) -> Watch {
        let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
        let routes = dir.join("routes.d");
        let dirty = Arc::new(Dirty::default());
        let handler = Handler {
            dirty: Arc::clone(&dirty),
            dir: dir.clone(),
            routes: routes.clone(),
        };
        let target = |path, required| Target {
            path,
            watched: None,
            required,
        };
        let mut watch = Watch {
            dirty,
            watcher: None,
            targets: [target(dir, true), target(routes, false)],
            elsewhere: Vec::new(),
            complained: false,
        };
        match notify::recommended_watcher(move |event| handler.handle(event)) {
            Ok(watcher) => watch.watcher = Some(watcher),
            Err(error) => watch.complain(&error),
        }
        watch.attach();
        watch
    }

    /// Where events are awaited.
    pub(super) fn events(&self) -> Events {
        Events(Arc::clone(&self.dirty))
    }

    /// What events have asked for since the last call. Also watches again what was replaced.
    pub(super) fn take(&mut self) -> Look {
        let depth = |bit: &AtomicBool| {
            if bit.swap(false, AcqRel) {
                Depth::Digest
            } else {
                Depth::Stamp
            }
        };
        let asked = Look {
            structure: depth(&self.dirty.structure),
            switches: depth(&self.dirty.switches),
        };
        asked.or(self.attach())
    }

    /// Watches each directory that is not the one watched before. What happened in it until
    /// then went unseen, so it is to be read.
    fn attach(&mut self) -> Look {
        let Some(watcher) = &mut self.watcher else {
            return Look::default();
        };
        let lost = self.dirty.lost.swap(false, AcqRel);
        let mut look = Look::default();
        let mut failure = None;
        for target in &mut self.targets {
            let there = fs::metadata(&target.path).ok().map(|found| place(&found));
            if there == target.watched && !lost {
                continue;
            }
            // Fails when the directory took its watch along; either way it is gone.
            let _ = watcher.unwatch(&target.path);
            target.watched = None;
            look = Look::FULL;
            if there.is_none() && !target.required {
                continue;
            }
            match watcher.watch(&target.path, RecursiveMode::NonRecursive) {
                Ok(()) => target.watched = there,
                Err(error) => failure = Some(error),
            }
        }
        let own = self.targets.each_ref().map(|target| target.watched);
        let ways = Ways::of(&self.targets[0].path);
        let elsewhere = ways.folders(&own);
        *self.dirty.ways() = ways;
        if elsewhere != self.elsewhere || lost {
            look = Look::FULL;
            for folder in &self.elsewhere {
                let _ = watcher.unwatch(&folder.path);
            }
            for folder in &elsewhere {
                if let Err(error) = watcher.watch(&folder.path, RecursiveMode::NonRecursive) {
                    failure = Some(error);
                }
            }
            self.elsewhere = elsewhere;
        }
        match failure {
            Some(error) => self.complain(&error),
            None => self.complained = false,
        }
        look
    }

    fn complain(&mut self, error: &notify::Error) {
        if !self.complained {
            self.complained = true;
            let dir = self.targets[0].path.display();
            tracing::warn!(%dir, %error, "the configuration cannot be watched; it is polled every second instead");
        }
    }
}

/// Runs on notify's thread.
struct Handler {
    dirty: Arc<Dirty>,
    dir: PathBuf,
    routes: PathBuf,
}

impl Handler {
    fn handle(&self, event: notify::Result<Event>) {
        let Ok(event) = event else {
            return self.mark(Look::FULL);
        };
        if event.need_rescan() {
            return self.mark(Look::FULL);
        }
        let replaces = matches!(
            event.kind,
            EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))
        );
        for path in &event.paths {
            if !ends_a_change(&event.kind, path) {
                continue;
            }
            if replaces && (*path == self.dir || *path == self.routes) {
                self.dirty.lost.store(true, Release);
            }
            match self.concerns(path) {
                Some(look) => self.mark(look),
                // A link that files are read through may have any name: look, but not closely.
                None if self.is_own(path) && !matches!(event.kind, EventKind::Access(_)) => {
                    self.mark(Look::default());
                }
                None => {}
            }
        }
    }

    /// Whether it is part of the configuration directory, not of a folder elsewhere.
    fn is_own(&self, path: &Path) -> bool {
        let is_in = |dir: &Path| path == dir || path.parent() == Some(dir);
        is_in(&self.dir) || is_in(&self.routes)
    }

    /// Which files a path is, or is on the way to.
    fn concerns(&self, path: &Path) -> Option<Look> {
        if path == self.dir {
            return Some(Look::FULL);
        }
        if !self.is_own(path) {
            return self.dirty.ways().look(path);
        }
        if path == self.routes || path.parent() == Some(&self.routes) {
            return Some(Look::STRUCTURE);
        }
        match path.file_name()?.to_str()? {
            "switches.toml" => Some(Look::SWITCHES),
            "seawall.toml" => Some(Look::STRUCTURE),
            // Kubernetes swaps this link, through which it serves the files.
            "..data" => Some(Look::FULL),
            _ => None,
        }
    }

    fn mark(&self, look: Look) {
        if look.structure == Depth::Digest {
            self.dirty.structure.store(true, Release);
        }
        if look.switches == Depth::Digest {
            self.dirty.switches.store(true, Release);
        }
        self.dirty.any.notify_one();
    }
}

fn ends_a_change(kind: &EventKind, path: &Path) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Modify(ModifyKind::Name(_)) | EventKind::Remove(_) => true,
        // A file that is written comes to its close; a link or a directory is there at once.
        EventKind::Create(_) => {
            fs::symlink_metadata(path).is_ok_and(|found| !found.is_file() || found.nlink() > 1)
        }
        EventKind::Access(_) | EventKind::Modify(_) => false,
        EventKind::Any | EventKind::Other => false,
    }
}

#[cfg(test)]
mod tests;
