//! The file system as the journal uses it, behind a trait: tests put a simulated disk there.

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::options::Durability;

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading only.
    Read,
    /// Cutting and appending too.
    Write,
}

/// One open file. Offsets are always given: there is no position that an error could leave
/// unknown.
pub trait DiskFile: Send {
    /// Reads at an offset; may read less. 0 is the end of the file.
    ///
    /// # Errors
    /// As the operating system gives them.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize>;

    /// Writes at an offset; may write less.
    ///
    /// # Errors
    /// As the operating system gives them.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<usize>;

    /// Returns when the file's bytes and length are on the disk.
    ///
    /// # Errors
    /// After one, nothing written since the last success may be on the disk, ever.
    fn sync_data(&mut self) -> io::Result<()>;

    /// Cuts the file.
    ///
    /// # Errors
    /// As the operating system gives them.
    fn truncate(&mut self, length: u64) -> io::Result<()>;

    /// The file's length.
    ///
    /// # Errors
    /// As the operating system gives them.
    fn length(&self) -> io::Result<u64>;

    /// Whether the file is still found by its name. What is written to one that was removed, or
    /// whose disk was unmounted, is lost with the last handle, and no write and no sync tells.
    ///
    /// # Errors
    /// `NotFound`: it is not.
    fn found(&self) -> io::Result<()>;

    /// What follows the last write of a commit: a sync if `durability` asks for it, and a look
    /// whether the file is [`found`](Self::found).
    ///
    /// # Errors
    /// As `sync_data` and `found`.
    fn confirm(&mut self, durability: Durability) -> io::Result<()> {
        match durability {
            Durability::Fsync => self.sync_data()?,
            Durability::Written => {}
        }
        self.found()
    }
}

/// Held while a process owns a directory; released on drop, also by the end of the process.
pub trait DirectoryLock: Send {}

/// A file system.
pub trait Disk: Send + Sync {
    /// Makes the directory, and those above it, where missing.
    ///
    /// # Errors
    /// As the operating system gives them.
    fn prepare(&self, directory: &Path) -> io::Result<()>;

    /// Takes a directory for this process.
    ///
    /// # Errors
    /// `WouldBlock` when another process has it.
    fn lock(&self, directory: &Path) -> io::Result<Box<dyn DirectoryLock>>;

    /// The names in a directory, in no order.
    ///
    /// # Errors
    /// As the operating system gives them.
    fn names(&self, directory: &Path) -> io::Result<Vec<String>>;

    /// Makes a new file for writing and reading.
    ///
    /// # Errors
    /// `AlreadyExists`, or as the operating system gives them.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Opens a file.
    ///
    /// # Errors
    /// As the operating system gives them.
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>>;

    /// Removes a file.
    ///
    /// # Errors
    /// As the operating system gives them.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Returns when the names in a directory are on the disk.
    ///
    /// # Errors
    /// As the operating system gives them.
    fn sync_directory(&self, directory: &Path) -> io::Result<()>;
}

/// Writes all bytes, however short the single writes are.
pub(crate) fn write_all_at(file: &mut dyn DiskFile, offset: u64, bytes: &[u8]) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        match file.write_at(offset + done as u64, &bytes[done..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => done += written,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads until `into` is full or the file ends; the number of bytes read.
pub(crate) fn read_full_at(file: &dyn DiskFile, offset: u64, into: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < into.len() {
        match file.read_at(offset + done as u64, &mut into[done..]) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// True for errors that say that there is no room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// The operating system's file system. Files are made with mode 0600, directories with 0700.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

struct RealFile {
    file: File,
    path: PathBuf,
    /// Of the file: its device and its number there.
    identity: (u64, u64),
}

impl RealFile {
    fn new(file: File, path: &Path) -> io::Result<RealFile> {
        let identity = identity(&file.metadata()?);
        Ok(RealFile {
            file,
            path: path.to_owned(),
            identity,
        })
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

struct RealLock {
    _file: File,
}

impl DirectoryLock for RealLock {}

impl DiskFile for RealFile {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(into, offset)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_at(bytes, offset)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn found(&self) -> io::Result<()> {
        match identity(&fs::metadata(&self.path)?) == self.identity {
            true => Ok(()),
            // Another file has the name, or another disk is mounted there.
            false => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl Disk for RealDisk {
    fn prepare(&self, directory: &Path) -> io::Result<()> {
        let missing: Vec<&Path> = directory.ancestors().take_while(|d| !d.exists()).collect();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
        // Synced files in a directory whose own name is lost would be lost with it.
        for made in missing.iter().filter(|made| !made.as_os_str().is_empty()) {
            let above = made.parent().filter(|above| !above.as_os_str().is_empty());
            self.sync_directory(above.unwrap_or(Path::new(".")))?;
        }
        Ok(())
    }

    fn lock(&self, directory: &Path) -> io::Result<Box<dyn DirectoryLock>> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(directory.join("lock"))?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(RealLock { _file: file })),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn names(&self, directory: &Path) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(directory)?;
        let names = entries.map(|entry| Ok(entry?.file_name().into_string().ok()));
        // A name that is not UTF-8 is none of ours.
        names.filter_map(Result::transpose).collect()
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        Ok(Box::new(RealFile::new(file, path)?))
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>> {
        let write = access == Access::Write;
        let file = OpenOptions::new().read(true).write(write).open(path)?;
        Ok(Box::new(RealFile::new(file, path)?))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        File::open(directory)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn files_are_for_their_owner_alone_and_a_directory_has_one_owner() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path().join("a/b");
        RealDisk.prepare(&directory).unwrap();
        let path = directory.join("x");
        let mut file = RealDisk.create(&path).unwrap();
        write_all_at(&mut *file, 3, b"abc").unwrap();
        file.sync_data().unwrap();
        RealDisk.sync_directory(&directory).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let mode = fs::metadata(&directory).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let mut read = [9; 8];
        assert_eq!(read_full_at(&*file, 0, &mut read).unwrap(), 6);
        assert_eq!(&read[..6], b"\0\0\0abc");
        assert_eq!(
            RealDisk.create(&path).err().unwrap().kind(),
            io::ErrorKind::AlreadyExists
        );

        assert!(file.found().is_ok());
        fs::rename(&path, directory.join("y")).unwrap();
        let kind = |found: io::Result<()>| found.unwrap_err().kind();
        assert_eq!(kind(file.found()), io::ErrorKind::NotFound);
        drop(RealDisk.create(&path).unwrap());
        assert_eq!(kind(file.found()), io::ErrorKind::NotFound);
        fs::rename(directory.join("y"), &path).unwrap();
        assert!(file.confirm(Durability::Fsync).is_ok());

        let lock = RealDisk.lock(&directory).unwrap();
        let second = RealDisk.lock(&directory).err().unwrap();
        assert_eq!(second.kind(), io::ErrorKind::WouldBlock);
        drop(lock);
        drop(RealDisk.lock(&directory).unwrap());
        let mut names = RealDisk.names(&directory).unwrap();
        names.sort();
        assert_eq!(names, ["lock", "x"]);
    }
}
