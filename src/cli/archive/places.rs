//! Where the command reads: the journal's directories and the store.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::{Found, Stop};
use crate::archive::store::{Existence, Store, StoreError, StoreUrl, environment};
use crate::archive::{Disk, RealDisk};
use crate::config::{ArchiveSettings, examine, process_environment, read_structure};

/// What can be read.
pub(super) struct Places {
    pub(super) journals: Vec<PathBuf>,
    pub(super) store: Option<Store>,
    /// Whether everything that was asked for can be.
    pub(super) found: Found,
}

/// Who names a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    /// An option: it must be there.
    Option,
    /// The configuration: before the first record, and the first upload, it is not there.
    Configuration,
}

impl Places {
    /// What the options name, else what the configuration does. A place that cannot be read is
    /// told; the others are used.
    pub(super) fn find(
        dir: &Path,
        journals: &[PathBuf],
        store: Option<&StoreUrl>,
    ) -> Result<Places, Stop> {
        if journals.is_empty() && store.is_none() {
            let settings = configured(dir)?;
            let named = Named::Configuration;
            return Places::open(&settings.journal, settings.store.as_ref(), named);
        }
        Places::open(journals, store, Named::Option)
    }

    fn open(journals: &[PathBuf], url: Option<&StoreUrl>, named: Named) -> Result<Places, Stop> {
        let mut places = Places {
            journals: Vec::new(),
            store: None,
            found: Found::Whole,
        };
        let mut missing = Vec::new();
        for directory in journals {
            match RealDisk.names(directory) {
                Ok(_) => places.journals.push(directory.clone()),
                Err(error) => {
                    let text = format!("{}: {error}", directory.display());
                    match (error.kind(), named) {
                        (ErrorKind::NotFound, Named::Configuration) => missing.push(text),
                        _ => places.found.fault(text),
                    }
                }
            }
        }
        if let Some(url) = url {
            match (url.open(&environment(), Existence::Required), named) {
                (Ok(store), _) => places.store = Some(store),
                (Err(error), Named::Configuration) if is_missing(&error) => {
                    missing.push(error.to_string());
                }
                (Err(error), Named::Option | Named::Configuration) => places.found.fault(error),
            }
        }
        if places.journals.is_empty() && places.store.is_none() {
            for text in missing {
                eprintln!("seawall: {text}");
            }
            return Err(Stop::Nothing);
        }
        Ok(places)
    }
}

fn is_missing(error: &StoreError) -> bool {
    matches!(error, StoreError::Directory { source, .. } if source.kind() == ErrorKind::NotFound)
}

/// What a configuration names; errors elsewhere in it do not matter here.
fn configured(dir: &Path) -> Result<ArchiveSettings, Stop> {
    let hint = "; give --journal DIR or --store URL";
    let files = read_structure(dir).map_err(|problems| {
        let first = problems.first().map(ToString::to_string);
        Stop::Configuration(first.unwrap_or_default() + hint)
    })?;
    let examined = examine(&files, &*process_environment());
    let mut errors = examined.errors.iter();
    match errors.find(|problem| problem.key.starts_with("archive") || problem.key.is_empty()) {
        Some(problem) => Err(Stop::Configuration(format!("{problem}{hint}"))),
        None => Ok(examined.settings.archive),
    }
}
