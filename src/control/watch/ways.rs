//! Where links lead: files of the configuration that really are in other folders.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::super::switchdisk::locate;
use super::{Look, place};

/// What leads to `seawall.toml` and `switches.toml` where they are links: each link on the way,
/// the real file, and what a change of it asks for. Links in `routes.d` are left to the poll:
/// thousands of files there would have to be followed at each look.
#[derive(Debug, Default)]
pub(super) struct Ways(BTreeMap<PathBuf, Look>);

/// A folder, and which one it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    place: (u64, u64),
}

impl Ways {
    /// As the links are now.
    pub(super) fn of(dir: &Path) -> Ways {
        let mut ways = Ways::default();
        for (name, look) in [
            ("seawall.toml", Look::STRUCTURE),
            ("switches.toml", Look::SWITCHES),
        ] {
            let found = fs::symlink_metadata(dir.join(name));
            if !found.is_ok_and(|found| found.is_symlink()) {
                continue;
            }
            // Links on the way to the directory itself are not followed here: it is told when
            // another directory takes its place.
            let path = fs::canonicalize(dir).map(|dir| dir.join(name));
            // A link that leads nowhere is looked at once a second.
            let Ok(found) = path.and_then(|path| locate(&path)) else {
                continue;
            };
            for step in found.steps {
                let asked = ways.0.entry(step).or_default();
                *asked = asked.or(look);
            }
        }
        ways
    }

    /// What a change of the path asks for, if it is on the way.
    pub(super) fn look(&self, path: &Path) -> Option<Look> {
        self.0.get(path).copied()
    }

    /// The folders to watch besides those at `own` places. Each once, because the system has one
    /// watch for a folder, whatever its names.
    pub(super) fn folders(&self, own: &[Option<(u64, u64)>]) -> Vec<Folder> {
        let mut folders: Vec<Folder> = Vec::new();
        for path in self.0.keys().filter_map(|step| step.parent()) {
            let Some(place) = fs::metadata(path).ok().map(|found| place(&found)) else {
                continue;
            };
            let known = own.contains(&Some(place));
            if !known && folders.iter().all(|folder| folder.place != place) {
                let path = path.to_owned();
                folders.push(Folder { path, place });
            }
        }
        folders
    }
}
