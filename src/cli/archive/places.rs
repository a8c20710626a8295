//! Where the command reads: the journal's directories and the store.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::super::absent::Absent;
use super::{Found, Stop};
use crate::archive::store::{Existence, Store, StoreError, StoreUrl, environment};
use crate::archive::{Disk, RealDisk};
use crate::config::{Settings, examine, process_environment, read_structure};

/// What can be read.
pub(super) struct Places {
    pub(super) journals: Vec<PathBuf>,
    pub(super) store: Option<Store>,
    /// The configured routes; `None`: options name the places, or not every route is known.
    pub(super) routes: Option<Vec<String>>,
    /// Whether everything that was asked for can be.
    pub(super) found: Found,
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
            return Places::configured(dir);
        }
        let mut places = Places::none();
        let missing = places.open(journals, store);
        for missing in missing {
            places.found.fault(missing.text);
        }
        match places.is_nothing() {
            true => Err(Stop::Nothing),
            false => Ok(places),
        }
    }

    /// Before the first record, and the first upload, what a configuration names is not there.
    fn configured(dir: &Path) -> Result<Places, Stop> {
        let (settings, routes) = configured(dir)?;
        let mut places = Places::none();
        places.routes = routes;
        let missing = places.open(&settings.archive.journal, settings.archive.store.as_ref());
        let journals = missing.iter().filter_map(|missing| missing.journal.clone());
        for absent in Absent::missing(dir, &journals.collect::<Vec<_>>()) {
            places.found.fault(absent);
        }
        match (places.is_nothing(), places.found) {
            (true, Found::Faulty) => return Err(Stop::Nothing),
            (true, Found::Whole) => {
                let names: Vec<&str> = missing.iter().map(|missing| &*missing.name).collect();
                let names = names.join(", ");
                eprintln!("seawall: nothing was archived yet, none of these is there: {names}");
            }
            (false, Found::Whole | Found::Faulty) => {}
        }
        Ok(places)
    }

    fn none() -> Places {
        Places {
            journals: Vec::new(),
            store: None,
            routes: None,
            found: Found::Whole,
        }
    }

    fn is_nothing(&self) -> bool {
        self.journals.is_empty() && self.store.is_none()
    }

    /// Opens what is there, tells what cannot be, and gives what is not there.
    fn open(&mut self, journals: &[PathBuf], url: Option<&StoreUrl>) -> Vec<Missing> {
        let mut missing = Vec::new();
        for directory in journals {
            match RealDisk.names(directory) {
                Ok(_) => self.journals.push(directory.clone()),
                Err(error) => {
                    let text = format!("{}: {error}", directory.display());
                    match error.kind() {
                        ErrorKind::NotFound => missing.push(Missing {
                            journal: Some(directory.clone()),
                            name: directory.display().to_string(),
                            text,
                        }),
                        _ => self.found.fault(text),
                    }
                }
            }
        }
        let Some(url) = url else {
            return missing;
        };
        match url.open(&environment(), Existence::Required) {
            Ok(store) => self.store = Some(store),
            Err(error) if is_missing(&error) => missing.push(Missing {
                journal: None,
                name: url.as_str().to_owned(),
                text: error.to_string(),
            }),
            Err(error) => self.found.fault(error),
        }
        missing
    }
}

/// A place that is not there.
struct Missing {
    /// `None`: it is the store.
    journal: Option<PathBuf>,
    /// As it was named.
    name: String,
    /// What is wrong, if it should be there.
    text: String,
}

/// Whether the store's directory is not there.
pub(in crate::cli) fn is_missing(error: &StoreError) -> bool {
    matches!(error, StoreError::Directory { source, .. } if source.kind() == ErrorKind::NotFound)
}

/// What a configuration names, and its routes if all are known; errors elsewhere in it do not
/// matter here.
fn configured(dir: &Path) -> Result<(Settings, Option<Vec<String>>), Stop> {
    let hint = "; give --journal DIR or --store URL";
    let files = read_structure(dir).map_err(|problems| {
        let first = problems.first().map(ToString::to_string);
        Stop::Configuration(first.unwrap_or_default() + hint)
    })?;
    let examined = examine(&files, &*process_environment());
    let mut errors = examined.errors.iter();
    if let Some(problem) =
        errors.find(|problem| problem.key.starts_with("archive") || problem.key.is_empty())
    {
        return Err(Stop::Configuration(format!("{problem}{hint}")));
    }
    let routes = examined.settings.routes.iter();
    let routes = routes.map(|route| route.name.to_string()).collect();
    Ok((
        examined.settings,
        examined.errors.is_empty().then_some(routes),
    ))
}
