//! What the simulated disk consists of, and how it fails.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

/// Chances of faults, in 1,000.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Chances {
    pub(crate) short_write: u64,
    pub(crate) write: u64,
    pub(crate) sync: u64,
    pub(crate) truncate: u64,
    pub(crate) create: u64,
    pub(crate) remove: u64,
    pub(crate) sync_directory: u64,
}

/// How a directory is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Condition {
    #[default]
    Sound,
    /// Every change fails; reading works.
    ReadOnly,
    /// Everything fails.
    Gone,
}

/// What a crash leaves of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaves {
    Nothing,
    /// Some changes, whole or in part, in no order.
    Some,
    /// All: the process alone was killed.
    All,
}

#[derive(Default)]
pub(super) struct World {
    pub(super) random: u64,
    pub(super) directories: BTreeMap<PathBuf, Directory>,
    pub(super) inodes: Vec<Inode>,
    pub(super) locks: BTreeSet<PathBuf>,
    pub(super) chances: Chances,
    pub(super) capacity: Option<u64>,
    pub(super) operations: u64,
    pub(super) crash_at: Option<u64>,
    /// Counts restarts: what was opened before one is dead.
    pub(super) life: u64,
}

#[derive(Default)]
pub(super) struct Directory {
    pub(super) names: BTreeMap<String, usize>,
    pub(super) durable: BTreeMap<String, usize>,
    pub(super) condition: Condition,
}

#[derive(Default)]
pub(super) struct Inode {
    pub(super) bytes: Vec<u8>,
    pub(super) durable: Vec<u8>,
    pub(super) pending: Vec<Change>,
}

#[derive(Clone)]
pub(super) enum Change {
    Write(usize, Vec<u8>),
    Cut(usize),
}

pub(super) enum Kind {
    Read,
    Change,
}

pub(super) fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write(offset, written) => {
            let end = offset + written.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[*offset..end].copy_from_slice(written);
        }
        Change::Cut(length) => bytes.resize(*length, 0),
    }
}

impl World {
    pub(super) fn next(&mut self) -> u64 {
        // xorshift64*
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    pub(super) fn chance(&mut self, in_thousand: u64) -> bool {
        in_thousand > 0 && self.below(1000) < in_thousand
    }

    pub(super) fn has_crashed(&self) -> bool {
        self.crash_at.is_some_and(|at| self.operations > at)
    }

    pub(super) fn operation(&mut self, directory: &Path, kind: Kind) -> io::Result<()> {
        self.operations += 1;
        if self.has_crashed() {
            return Err(io::Error::other("crashed"));
        }
        let condition = self.directories.get(directory).map(|d| d.condition);
        match (condition.unwrap_or_default(), kind) {
            (Condition::Gone, _) => Err(io::Error::from_raw_os_error(5)),
            (Condition::ReadOnly, Kind::Change) => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
            (Condition::Sound | Condition::ReadOnly, _) => Ok(()),
        }
    }

    pub(super) fn fault(&mut self, in_thousand: u64) -> io::Result<()> {
        if self.chance(in_thousand) {
            return Err(io::Error::from_raw_os_error(5));
        }
        Ok(())
    }

    pub(super) fn used(&self) -> u64 {
        let names = self.directories.values().flat_map(|d| d.names.values());
        names
            .map(|inode| self.inodes[*inode].bytes.len() as u64)
            .sum()
    }

    pub(super) fn inode(&self, path: &Path) -> io::Result<usize> {
        let name = name_of(path);
        let directory = self.directories.get(parent(path));
        let inode = directory.and_then(|d| d.names.get(&name).copied());
        inode.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// The part of a change that reached the disk.
    pub(super) fn part(&mut self, change: &Change) -> Option<Change> {
        match (self.below(3), change) {
            (0, _) => None,
            (1, Change::Write(offset, bytes)) => {
                let length = self.below(bytes.len() as u64 + 1) as usize;
                // By sector: the end may be there and the beginning not.
                let from = match self.chance(300) {
                    true => (self.below(length as u64 + 1) as usize) & !511,
                    false => 0,
                };
                Some(Change::Write(offset + from, bytes[from..length].to_vec()))
            }
            _ => Some(change.clone()),
        }
    }
}

pub(super) fn parent(path: &Path) -> &Path {
    path.parent().unwrap()
}

pub(super) fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}
