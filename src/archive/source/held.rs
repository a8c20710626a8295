//! Files that stay open: an uploader may remove a segment while it is read, and an open file
//! survives that.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::super::catalog::SegmentInfo;
use super::super::cursor::segments_in;
use super::super::files::{Access, DirectoryLock, Disk, DiskFile};
use super::super::segment::file_name;

/// Open files before the limit of the process is raised.
const FEW: usize = 256;

/// A disk, some files of which are open already.
pub(super) struct Held {
    disk: Arc<dyn Disk>,
    files: HashMap<PathBuf, Handle>,
}

/// One open file, shared by those who read it.
#[derive(Clone)]
struct Handle(Arc<Mutex<Box<dyn DiskFile>>>);

/// The segments of the directories, each with at least one copy held open. A segment that was
/// removed before it could be opened has been uploaded: a list of the store that is made
/// afterwards has it.
pub(super) fn hold(
    disk: Arc<dyn Disk>,
    directories: &[PathBuf],
) -> io::Result<(Held, Vec<SegmentInfo>)> {
    let found = segments_in(&*disk, directories)?;
    if found.iter().map(|info| info.copies.len()).sum::<usize>() > FEW {
        // What the process may not have shows as an error of `open`.
        let _ = rlimit::increase_nofile_limit(u64::MAX);
    }
    let mut held = Held {
        disk,
        files: HashMap::new(),
    };
    let mut segments = Vec::new();
    for info in found {
        let mut copies = Vec::new();
        for copy in info.copies {
            let path = copy.directory.join(file_name(info.id));
            match held.disk.open(&path, Access::Read) {
                Ok(file) => {
                    let handle = Handle(Arc::new(Mutex::new(file)));
                    held.files.insert(path, handle);
                    copies.push(copy);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        if !copies.is_empty() {
            segments.push(SegmentInfo { copies, ..info });
        }
    }
    Ok((held, segments))
}

impl Held {
    /// Closes the files of a segment that was read.
    pub(super) fn release(&mut self, info: &SegmentInfo) {
        for copy in &info.copies {
            self.files.remove(&copy.directory.join(file_name(info.id)));
        }
    }

    /// The files of one segment, as a disk of their own: a cursor outlives `release`.
    pub(super) fn of(&self, info: &SegmentInfo) -> Arc<dyn Disk> {
        let paths = info
            .copies
            .iter()
            .map(|copy| copy.directory.join(file_name(info.id)));
        let files = paths.filter_map(|path| {
            let handle = self.files.get(&path).cloned()?;
            Some((path, handle))
        });
        Arc::new(Held {
            disk: self.disk.clone(),
            files: files.collect(),
        })
    }
}

impl Disk for Held {
    fn prepare(&self, directory: &Path) -> io::Result<()> {
        self.disk.prepare(directory)
    }

    fn lock(&self, directory: &Path) -> io::Result<Box<dyn DirectoryLock>> {
        self.disk.lock(directory)
    }

    fn names(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.disk.names(directory)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.disk.create(path)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>> {
        match (self.files.get(path), access) {
            (Some(handle), Access::Read) => Ok(Box::new(handle.clone())),
            (Some(_) | None, Access::Read | Access::Write) => self.disk.open(path, access),
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        self.disk.sync_directory(directory)
    }
}

impl Handle {
    fn with<T>(&self, act: impl FnOnce(&mut dyn DiskFile) -> io::Result<T>) -> io::Result<T> {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        act(&mut **file)
    }
}

impl DiskFile for Handle {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.with(|file| file.read_at(offset, into))
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        self.with(|file| file.write_at(offset, bytes))
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.with(|file| file.sync_data())
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.with(|file| file.truncate(length))
    }

    fn length(&self) -> io::Result<u64> {
        self.with(|file| file.length())
    }

    fn found(&self) -> io::Result<()> {
        self.with(|file| file.found())
    }
}
