//! The steps on disk of writing `switches.toml`: finding the real file, the lock, the temporary
//! file. Behind a trait, so that tests can make each of them fail.

use std::cell::Cell;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Component, Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::vocab::Clock;

/// Hidden, so that neither `check` nor the watch takes notice.
const LOCK: &str = ".switches.lock";
const TEMPORARY: &str = ".seawall-switches.";

/// A temporary file this old belongs to a process that was killed.
const LEFT_BEHIND: Duration = Duration::from_secs(3600);

/// Most links on the way to the file, as the kernel has it.
const MOST_LINKS: usize = 40;

/// Where a path leads.
pub(super) struct Found {
    pub(super) real: PathBuf,
    /// Each link on the way, and what it leads to in the end.
    pub(super) steps: Vec<PathBuf>,
    /// The way goes through the `..data` of a volume of Kubernetes.
    pub(super) mounted: bool,
}

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Rename,
    InPlace,
}

/// Follows the links of a path, one by one. The last part may be missing.
pub(super) fn locate(path: &Path) -> io::Result<Found> {
    let mut rest = parts(&std::path::absolute(path)?);
    let mut real = PathBuf::from("/");
    let mut mounted = false;
    let mut steps = Vec::new();
    while let Some(part) = rest.pop() {
        if part == ".." {
            real.pop();
            continue;
        }
        mounted |= part == "..data";
        real.push(&part);
        let is_link = match fs::symlink_metadata(&real) {
            Ok(found) => found.is_symlink(),
            Err(error) if error.kind() == io::ErrorKind::NotFound && rest.is_empty() => false,
            Err(error) => return Err(error),
        };
        if is_link {
            steps.push(real.clone());
            if steps.len() > MOST_LINKS {
                return Err(io::Error::other("too many links"));
            }
            let target = fs::read_link(&real)?;
            match target.is_absolute() {
                true => real = PathBuf::from("/"),
                false => _ = real.pop(),
            }
            rest.extend(parts(&target));
        }
    }
    steps.push(real.clone());
    Ok(Found {
        real,
        steps,
        mounted,
    })
}

/// The parts of a path, the last first.
fn parts(path: &Path) -> Vec<OsString> {
    let named = |part: &Component<'_>| matches!(part, Component::Normal(_) | Component::ParentDir);
    let parts = path.components().filter(named);
    parts
        .rev()
        .map(|part| part.as_os_str().to_owned())
        .collect()
}

fn directory(real: &Path) -> &Path {
    real.parent().unwrap_or(Path::new("/"))
}

/// What writing needs of the file system.
pub(super) trait Disk {
    /// Opens the file that is locked, and creates it if it is not there.
    fn open_lock(&self, path: &Path) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        match options.mode(0o644).open(path) {
            // Another user's; to lock it, reading is enough.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => File::open(path),
            other => other,
        }
    }

    /// Writes the bytes to disk, into a file of their own beside the real one.
    fn prepare(&self, real: &Path, bytes: &[u8]) -> io::Result<Temporary> {
        sweep(directory(real));
        let (temporary, mut file) = Temporary::create(directory(real))?;
        file.write_all(bytes)?;
        match fs::metadata(real) {
            Ok(old) => resemble(&file, &old)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                file.set_permissions(fs::Permissions::from_mode(0o644))?;
            }
            Err(error) => return Err(error),
        }
        file.sync_all()?;
        Ok(temporary)
    }

    /// Puts a prepared file into its place.
    fn rename(&self, temporary: &Path, real: &Path) -> io::Result<()> {
        fs::rename(temporary, real)
    }

    /// Makes a rename last.
    fn sync_directory(&self, real: &Path) -> io::Result<()> {
        File::open(directory(real))?.sync_all()
    }

    /// Writes into the file itself. It is never empty meanwhile; what is too long goes last.
    fn overwrite(&self, real: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(real)?;
        file.write_all(bytes)?;
        file.set_len(bytes.len() as u64)?;
        file.sync_all()
    }
}

/// The disks of this machine.
pub(super) struct MachineDisk;

impl Disk for MachineDisk {}

/// Mode and owner as the old file has them, as far as the system lets us.
fn resemble(file: &File, old: &fs::Metadata) -> io::Result<()> {
    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (old.uid(), old.gid()) {
        // Who may not give a file away may still leave it to the group.
        let _ = fchown(file, Some(old.uid()), Some(old.gid()))
            .or_else(|_| fchown(file, None, Some(old.gid())));
    }
    file.set_permissions(fs::Permissions::from_mode(old.mode() & 0o7777))
}

/// Removes what processes left behind that were killed while they wrote.
fn sweep(directory: &Path) {
    let now = Clock::unix();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(TEMPORARY);
        let written = entry.metadata().ok().filter(|_| is_ours);
        let written = written.and_then(|found| u64::try_from(found.mtime()).ok());
        let old = |seconds| now.saturating_sub(Duration::from_secs(seconds)) > LEFT_BEHIND;
        if written.is_some_and(old) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// A file that is removed unless it was renamed.
pub(super) struct Temporary {
    path: PathBuf,
    renamed: Cell<bool>,
}

impl Temporary {
    fn create(directory: &Path) -> io::Result<(Temporary, File)> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        loop {
            let (process, number) = (process::id(), NEXT.fetch_add(1, Relaxed));
            let path = directory.join(format!("{TEMPORARY}{process}.{number}"));
            let mut options = OpenOptions::new();
            match options.write(true).create_new(true).mode(0o600).open(&path) {
                Ok(file) => {
                    let renamed = Cell::new(false);
                    return Ok((Temporary { path, renamed }, file));
                }
                // Left behind by a process of the same number, perhaps in another container.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// It has become the file.
    pub(super) fn renamed(&self) {
        self.renamed.set(true);
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.renamed.get() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Held by the one who writes; the system takes it from a process that ends.
pub(super) struct Lock {
    /// Closing it gives the lock back.
    _file: File,
    is_the_file: bool,
}

/// Why there is no lock.
pub(super) enum LockError {
    /// Somebody else has this one.
    Busy(PathBuf),
    /// This file cannot be opened or locked.
    Refused(PathBuf, io::Error),
}

impl Lock {
    /// Waits for the lock beside the real file. Where nothing can be created beside it although it
    /// can itself be written, it is a mount of its own, and is itself the lock.
    pub(super) fn take(disk: &impl Disk, real: &Path, wait: Duration) -> Result<Lock, LockError> {
        let path = directory(real).join(LOCK);
        let (path, file, is_the_file) = match disk.open_lock(&path) {
            Ok(file) => (path, file, false),
            Err(error) => {
                let own = OpenOptions::new().write(true).open(real);
                match own {
                    Ok(file) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                        (real.to_owned(), file, true)
                    }
                    Ok(_) | Err(_) => return Err(LockError::Refused(path, error)),
                }
            }
        };
        match acquire(file, wait) {
            Ok(Some(file)) => Ok(Lock {
                _file: file,
                is_the_file,
            }),
            Ok(None) => Err(LockError::Busy(path)),
            Err(error) => Err(LockError::Refused(path, error)),
        }
    }

    /// Whether the file itself is what is locked: nothing can be created beside it.
    pub(super) fn is_the_file(&self) -> bool {
        self.is_the_file
    }
}

/// The file, locked; `None` when that takes too long.
fn acquire(file: File, wait: Duration) -> io::Result<Option<File>> {
    match file.try_lock() {
        Ok(()) => return Ok(Some(file)),
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(error)) => return Err(error),
    }
    // The system has no lock with a time limit. Trying again and again would starve beside
    // those who wait; a thread that comes too late gives the lock back at once.
    let (tell, told) = mpsc::sync_channel(1);
    let waiter = move || {
        let locked = file.lock().map(|()| file);
        let _ = tell.send(locked);
    };
    thread::Builder::new()
        .name("switches-lock".to_owned())
        .spawn(waiter)?;
    match told.recv_timeout(wait) {
        Ok(locked) => locked.map(Some),
        Err(_) => Ok(None),
    }
}
