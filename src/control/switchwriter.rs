//! Writes `switches.toml`: one writer at a time, whole or not at all, and never over what
//! somebody else wrote in between.
//!
//! The new text goes into a hidden file beside the real one, to the disk, and is renamed into
//! place. The watch takes no notice of hidden files, so that readers see one change.

use std::error::Error;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::switchdisk::{Disk, Lock, LockError, MachineDisk, Way, locate};
use crate::config::{Difference, SourceFile};

/// Longest wait for another writer.
pub const LOCK_WAIT: Duration = Duration::from_secs(5);

/// How often to start over because somebody without our lock changed the file.
const MOST_STARTS: usize = 10;

/// Where the file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// As the user knows it: `switches.toml` in the configuration directory.
    pub path: PathBuf,
    /// What links lead to.
    pub real: PathBuf,
}

/// How the text came into the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// It was there already; nothing was written.
    Unchanged,
    /// By a rename: readers see the old file or the new one.
    Replaced,
    /// Into the file itself, because it cannot be replaced (a mount of this one file): a reader
    /// may have seen it half written.
    InPlace,
}

/// The file says what it should, on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Where it is.
    pub location: Location,
    /// Digest of its bytes, as [`SourceFile::digest`]: the gateway that has read this has read
    /// exactly them.
    pub digest: u64,
    /// How it was written.
    pub manner: Manner,
    /// The lines that changed.
    pub difference: Difference,
}

/// Why the file does not say what it should. `difference` is what has to be done by hand.
#[derive(Debug)]
pub enum WriteError<E> {
    /// The text could not be made.
    Edit(E),
    /// Kubernetes serves the file from a ConfigMap and would undo any change.
    Mounted {
        /// Where it is.
        location: Location,
        /// What has to change in the ConfigMap.
        difference: Difference,
    },
    /// The file or its directory may not be written.
    ReadOnly {
        /// Where it is.
        location: Location,
        /// What has to change.
        difference: Difference,
        /// What the system said.
        error: io::Error,
    },
    /// Another writer holds the lock for too long.
    Busy {
        /// The lock.
        lock: PathBuf,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The file changed each time just before it was to be replaced.
    Unsettled {
        /// Where it is.
        location: Location,
    },
    /// Anything else that the system refused; the file is as it was, unless it was being written
    /// in place.
    Failed {
        /// What was being done, such as `reading`.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// Gives `switches.toml` in `dir` the text that `change` makes of the present one. A file that is
/// not there counts as empty, and is created.
///
/// `change` is called again when somebody else wrote meanwhile, and also when the file turns out
/// not to be writable: what it says is then part of the error. Blocks, for at most [`LOCK_WAIT`]
/// and the time of the disk.
///
/// # Errors
/// See [`WriteError`].
pub fn rewrite<E>(
    dir: &Path,
    change: impl FnMut(&SourceFile) -> Result<String, E>,
) -> Result<Written, WriteError<E>> {
    rewrite_on(&MachineDisk, dir, change)
}

fn rewrite_on<E>(
    disk: &impl Disk,
    dir: &Path,
    mut change: impl FnMut(&SourceFile) -> Result<String, E>,
) -> Result<Written, WriteError<E>> {
    let path = dir.join("switches.toml");
    let found = locate(&path).map_err(|error| failed("reading", &path, error))?;
    let location = Location {
        path,
        real: found.real,
    };
    if found.mounted {
        let difference = Plan::make(&location, &mut change)?.difference;
        return Err(WriteError::Mounted {
            location,
            difference,
        });
    }
    let lock = match Lock::take(disk, &location.real, LOCK_WAIT) {
        Ok(lock) => lock,
        Err(LockError::Busy(lock)) => {
            let waited = LOCK_WAIT;
            return Err(WriteError::Busy { lock, waited });
        }
        Err(LockError::Refused(lock, error)) => {
            let plan = Plan::make(&location, &mut change)?;
            return Err(plan.refused(location, ("locking", &lock), error));
        }
    };
    for _ in 0..MOST_STARTS {
        let plan = Plan::make(&location, &mut change)?;
        if plan.new == plan.old {
            return Ok(plan.written(location, Manner::Unchanged));
        }
        let way = if lock.is_the_file() {
            Way::InPlace
        } else {
            Way::Rename
        };
        match plan.carry_out(disk, &location.real, way) {
            Ok(Outcome::Done(manner)) => return Ok(plan.written(location, manner)),
            Ok(Outcome::Stale) => {}
            Err((doing, error)) => {
                let real = location.real.clone();
                return Err(plan.refused(location, (doing, &real), error));
            }
        }
    }
    Err(WriteError::Unsettled { location })
}

fn failed<E>(doing: &'static str, path: &Path, error: io::Error) -> WriteError<E> {
    let path = path.to_owned();
    WriteError::Failed { doing, path, error }
}

/// The bytes of a file that may be missing.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// One reading of the file, and what it is to become.
struct Plan {
    old: Option<Vec<u8>>,
    new: Option<Vec<u8>>,
    difference: Difference,
}

enum Outcome {
    Done(Manner),
    /// Somebody else wrote meanwhile.
    Stale,
}

impl Plan {
    fn make<E>(
        location: &Location,
        change: &mut impl FnMut(&SourceFile) -> Result<String, E>,
    ) -> Result<Plan, WriteError<E>> {
        let real = &location.real;
        let old = read(real).map_err(|error| failed("reading", real, error))?;
        let file = SourceFile::of_bytes(&location.path, old.as_deref().unwrap_or_default());
        let text = change(&file).map_err(WriteError::Edit)?;
        let difference = Difference::between(&file.text, &text);
        let new = match difference.is_empty() {
            true => old.clone(),
            false => Some(spliced(old.as_deref().unwrap_or_default(), &difference)),
        };
        Ok(Plan {
            old,
            new,
            difference,
        })
    }

    fn new_bytes(&self) -> &[u8] {
        self.new.as_deref().unwrap_or_default()
    }

    fn carry_out(
        &self,
        disk: &impl Disk,
        real: &Path,
        way: Way,
    ) -> Result<Outcome, (&'static str, io::Error)> {
        let new = self.new_bytes();
        let temporary = match way {
            Way::InPlace => None,
            Way::Rename => Some(
                disk.prepare(real, new)
                    .map_err(|error| ("writing beside", error))?,
            ),
        };
        if read(real).map_err(|error| ("reading", error))? != self.old {
            return Ok(Outcome::Stale);
        }
        let refusal = match &temporary {
            None => None,
            Some(temporary) => match disk.rename(temporary.path(), real) {
                Ok(()) => {
                    temporary.renamed();
                    // It is in effect by now: a directory that cannot be synced (some file
                    // systems refuse it) must not make this look like a failure.
                    let _ = disk.sync_directory(real);
                    return Ok(Outcome::Done(Manner::Replaced));
                }
                Err(error) => Some(error),
            },
        };
        // A mount of one file stays in its place whatever is renamed over it.
        let is_mount = |error: &io::Error| {
            let kind = error.kind();
            matches!(
                kind,
                io::ErrorKind::ResourceBusy | io::ErrorKind::CrossesDevices
            )
        };
        match refusal {
            Some(error) if !is_mount(&error) => Err(("replacing", error)),
            Some(_) | None => {
                disk.overwrite(real, new)
                    .map_err(|error| ("writing", error))?;
                Ok(Outcome::Done(Manner::InPlace))
            }
        }
    }

    fn written(self, location: Location, manner: Manner) -> Written {
        let digest = SourceFile::of_bytes(&location.path, self.new_bytes()).digest;
        Written {
            location,
            digest,
            manner,
            difference: self.difference,
        }
    }

    fn refused<E>(
        self,
        location: Location,
        (doing, path): (&'static str, &Path),
        error: io::Error,
    ) -> WriteError<E> {
        match error.kind() {
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
                WriteError::ReadOnly {
                    location,
                    difference: self.difference,
                    error,
                }
            }
            _ => failed(doing, path, error),
        }
    }
}

/// The old bytes but for the lines that differ: those that are not UTF-8 stay what they are.
fn spliced(old: &[u8], difference: &Difference) -> Vec<u8> {
    let lines: Vec<&[u8]> = old.split_inclusive(|byte| *byte == b'\n').collect();
    let begin = difference.line - 1;
    let end = begin + difference.removed.split_inclusive('\n').count();
    let mut new = lines[..begin].concat();
    new.extend_from_slice(difference.added.as_bytes());
    new.extend(lines[end..].concat());
    new
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if self.real.ends_with(&self.path) {
            return Ok(());
        }
        write!(f, " (that is {})", self.real.display())
    }
}

impl<E: fmt::Display> fmt::Display for WriteError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WriteError::Edit(error) => error.fmt(f),
            WriteError::Mounted {
                location,
                difference,
            } => write!(
                f,
                "{location}: Kubernetes mounts this file from a ConfigMap and would undo a change; \
                 in the ConfigMap, {difference}"
            ),
            WriteError::ReadOnly {
                location,
                difference,
                error,
            } => write!(
                f,
                "{location}: may not be written: {error}; by hand, {difference}"
            ),
            WriteError::Busy { lock, waited } => write!(
                f,
                "{}: another command has held this lock for {} seconds; nothing was changed",
                lock.display(),
                waited.as_secs()
            ),
            WriteError::Unsettled { location } => write!(
                f,
                "{location}: somebody else keeps changing this file; nothing was changed"
            ),
            WriteError::Failed { doing, path, error } => {
                write!(f, "{doing} {}: {error}", path.display())
            }
        }
    }
}

impl<E: Error + 'static> Error for WriteError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            WriteError::Edit(error) => error.source(),
            WriteError::ReadOnly { error, .. } | WriteError::Failed { error, .. } => Some(error),
            WriteError::Mounted { .. } | WriteError::Busy { .. } | WriteError::Unsettled { .. } => {
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
