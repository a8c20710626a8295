//! A simulated disk, for tests: it loses what was not synced, and fails as told.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::files::{Access, DirectoryLock, Disk, DiskFile};
pub(crate) use super::sim_world::{Chances, Condition, Leaves};
use super::sim_world::{Change, Inode, Kind, World, apply, name_of, parent};

/// A disk in memory; clones share it.
#[derive(Clone, Default)]
pub(crate) struct SimDisk {
    world: Arc<Mutex<World>>,
}

impl SimDisk {
    pub(crate) fn new(seed: u64) -> SimDisk {
        let disk = SimDisk::default();
        disk.world().random = seed.wrapping_mul(2) + 1;
        disk
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    pub(crate) fn set_chances(&self, chances: Chances) {
        self.world().chances = chances;
    }

    pub(crate) fn set_condition(&self, directory: &Path, condition: Condition) {
        let mut world = self.world();
        let entry = world.directories.entry(directory.to_owned());
        entry.or_default().condition = condition;
    }

    /// Bytes that all files together may have.
    pub(crate) fn set_capacity(&self, capacity: Option<u64>) {
        self.world().capacity = capacity;
    }

    /// After this many more operations each one fails, until `restart`.
    pub(crate) fn crash_after(&self, operations: u64) {
        let mut world = self.world();
        world.crash_at = Some(world.operations + operations);
    }

    pub(crate) fn has_crashed(&self) -> bool {
        self.world().has_crashed()
    }

    /// Nothing returns from the disk until the guard is dropped.
    pub(crate) fn stall(&self) -> impl Drop + '_ {
        self.world()
    }

    /// Puts bytes behind the end of a file, as a torn write does.
    pub(crate) fn append(&self, path: &Path, bytes: &[u8]) {
        let mut world = self.world();
        let inode = world.inode(path).unwrap();
        let inode = &mut world.inodes[inode];
        inode.bytes.extend_from_slice(bytes);
        inode.durable.extend_from_slice(bytes);
    }

    pub(crate) fn operations(&self) -> u64 {
        self.world().operations
    }

    /// The machine comes up again, without faults and with what the crash left.
    pub(crate) fn restart(&self, leaves: Leaves) {
        let mut world = self.world();
        world.life += 1;
        world.crash_at = None;
        world.chances = Chances::default();
        world.capacity = None;
        world.locks.clear();
        if leaves == Leaves::All {
            return;
        }
        let mut inodes = std::mem::take(&mut world.inodes);
        for inode in &mut inodes {
            for change in std::mem::take(&mut inode.pending) {
                let kept = match leaves {
                    Leaves::Some => world.part(&change),
                    Leaves::Nothing | Leaves::All => None,
                };
                if let Some(change) = kept {
                    apply(&mut inode.durable, &change);
                }
            }
            inode.bytes = inode.durable.clone();
        }
        world.inodes = inodes;
        let mut directories = std::mem::take(&mut world.directories);
        for directory in directories.values_mut() {
            directory.condition = Condition::Sound;
            let now = std::mem::take(&mut directory.names);
            let names: BTreeSet<&String> = now.keys().chain(directory.durable.keys()).collect();
            let mut kept = BTreeMap::new();
            for name in names {
                let newer = leaves == Leaves::Some && world.chance(500);
                let side = if newer { &now } else { &directory.durable };
                if let Some(inode) = side.get(name) {
                    kept.insert(name.clone(), *inode);
                }
            }
            directory.names = kept.clone();
            directory.durable = kept;
        }
        world.directories = directories;
    }

    /// Flips bits of a file, on the disk and in memory.
    pub(crate) fn spoil(&self, path: &Path, range: std::ops::Range<usize>) {
        let mut world = self.world();
        let inode = world.inode(path).unwrap();
        let inode = &mut world.inodes[inode];
        for side in [&mut inode.bytes, &mut inode.durable] {
            for byte in side.iter_mut().take(range.end).skip(range.start) {
                *byte ^= 0x55;
            }
        }
    }

    /// Somebody removes a directory and all in it. What is open stays open.
    pub(crate) fn remove_directory(&self, directory: &Path) {
        let mut world = self.world();
        world.directories.remove(directory);
        world.locks.remove(directory);
    }

    /// Somebody removes a file.
    pub(crate) fn remove_file(&self, path: &Path) {
        let mut world = self.world();
        let directory = world.directories.get_mut(parent(path)).unwrap();
        directory.names.remove(&name_of(path));
        directory.durable.remove(&name_of(path));
    }

    pub(crate) fn length_of(&self, path: &Path) -> usize {
        let world = self.world();
        world.inodes[world.inode(path).unwrap()].bytes.len()
    }

    pub(crate) fn files_in(&self, directory: &Path) -> Vec<PathBuf> {
        let world = self.world();
        let names = world.directories.get(directory).map(|d| d.names.keys());
        let names = names.into_iter().flatten();
        let segments = names.filter(|name| name.ends_with(".seg"));
        segments.map(|name| directory.join(name)).collect()
    }
}

struct SimFile {
    disk: SimDisk,
    inode: usize,
    directory: PathBuf,
    name: String,
    access: Access,
    life: u64,
}

impl SimFile {
    fn world(&self, kind: Kind) -> io::Result<MutexGuard<'_, World>> {
        let mut world = self.disk.world();
        if world.life != self.life {
            return Err(io::Error::other("opened before the crash"));
        }
        world.operation(&self.directory, kind)?;
        Ok(world)
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let world = self.world(Kind::Read)?;
        let bytes = &world.inodes[self.inode].bytes;
        let from = (offset as usize).min(bytes.len());
        let length = into.len().min(bytes.len() - from);
        into[..length].copy_from_slice(&bytes[from..from + length]);
        Ok(length)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        assert_eq!(self.access, Access::Write);
        let mut world = self.world(Kind::Change)?;
        let chances = world.chances;
        world.fault(chances.write)?;
        let mut length = bytes.len();
        if length > 1 && world.chance(chances.short_write) {
            length = 1 + world.below(length as u64 - 1) as usize;
        }
        // A crash in the middle of a write.
        if world.crash_at == Some(world.operations) {
            length = world.below(length as u64 + 1) as usize;
        }
        if let Some(capacity) = world.capacity {
            let have = world.inodes[self.inode].bytes.len() as u64;
            let room = capacity.saturating_sub(world.used()) + have.saturating_sub(offset);
            length = length.min(room as usize);
            if length == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
        }
        let change = Change::Write(offset as usize, bytes[..length].to_vec());
        let inode = &mut world.inodes[self.inode];
        apply(&mut inode.bytes, &change);
        inode.pending.push(change);
        Ok(length)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        let mut world = self.world(Kind::Change)?;
        let chances = world.chances;
        let failed = world.fault(chances.sync);
        let pending = std::mem::take(&mut world.inodes[self.inode].pending);
        for change in pending {
            // As Linux has it: after a failed sync the pages count as clean. What did not reach
            // the disk never will, although it can still be read until the next crash.
            let kept = match failed {
                Ok(()) => Some(change),
                Err(_) => world.part(&change),
            };
            if let Some(change) = kept {
                apply(&mut world.inodes[self.inode].durable, &change);
            }
        }
        failed
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        assert_eq!(self.access, Access::Write);
        let mut world = self.world(Kind::Change)?;
        let chances = world.chances;
        world.fault(chances.truncate)?;
        let inode = &mut world.inodes[self.inode];
        let change = Change::Cut(length as usize);
        apply(&mut inode.bytes, &change);
        inode.pending.push(change);
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        let world = self.world(Kind::Read)?;
        Ok(world.inodes[self.inode].bytes.len() as u64)
    }

    fn found(&self) -> io::Result<()> {
        let world = self.disk.world();
        match world.inode(&self.directory.join(&self.name))? == self.inode {
            true => Ok(()),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

struct SimLock {
    disk: SimDisk,
    directory: PathBuf,
    life: u64,
}

impl DirectoryLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut world = self.disk.world();
        if world.life == self.life {
            world.locks.remove(&self.directory);
        }
    }
}

impl Disk for SimDisk {
    fn prepare(&self, directory: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.operation(directory, Kind::Read)?;
        world.directories.entry(directory.to_owned()).or_default();
        Ok(())
    }

    fn lock(&self, directory: &Path) -> io::Result<Box<dyn DirectoryLock>> {
        let mut world = self.world();
        world.operation(directory, Kind::Change)?;
        if !world.locks.insert(directory.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(SimLock {
            disk: self.clone(),
            directory: directory.to_owned(),
            life: world.life,
        }))
    }

    fn names(&self, directory: &Path) -> io::Result<Vec<String>> {
        let mut world = self.world();
        world.operation(directory, Kind::Read)?;
        let directory = world.directories.get(directory);
        let directory = directory.ok_or(io::ErrorKind::NotFound)?;
        Ok(directory.names.keys().cloned().collect())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut world = self.world();
        world.operation(parent(path), Kind::Change)?;
        let chances = world.chances;
        world.fault(chances.create)?;
        let inode = world.inodes.len();
        let directory = world.directories.get_mut(parent(path));
        let directory = directory.ok_or(io::ErrorKind::NotFound)?;
        if directory.names.contains_key(&name_of(path)) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        directory.names.insert(name_of(path), inode);
        world.inodes.push(Inode::default());
        let life = world.life;
        Ok(Box::new(SimFile {
            disk: self.clone(),
            inode,
            directory: parent(path).to_owned(),
            name: name_of(path),
            access: Access::Write,
            life,
        }))
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>> {
        let mut world = self.world();
        world.operation(
            parent(path),
            match access {
                Access::Read => Kind::Read,
                Access::Write => Kind::Change,
            },
        )?;
        let inode = world.inode(path)?;
        Ok(Box::new(SimFile {
            disk: self.clone(),
            inode,
            directory: parent(path).to_owned(),
            name: name_of(path),
            access,
            life: world.life,
        }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.operation(parent(path), Kind::Change)?;
        let chances = world.chances;
        world.fault(chances.remove)?;
        world.inode(path)?;
        let directory = world.directories.get_mut(parent(path)).unwrap();
        directory.names.remove(&name_of(path));
        Ok(())
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.operation(directory, Kind::Change)?;
        let chances = world.chances;
        world.fault(chances.sync_directory)?;
        let directory = world.directories.get_mut(directory);
        let directory = directory.ok_or(io::ErrorKind::NotFound)?;
        directory.durable = directory.names.clone();
        Ok(())
    }
}
