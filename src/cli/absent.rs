//! Directories in which a running gateway has its journal, and which are not found here.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::amount::count;
use super::ask::{self, Gateway};

/// A directory of a running gateway: it is no empty journal, whatever is found under its name.
#[derive(Debug)]
pub(super) struct Absent {
    path: PathBuf,
    /// Who has it.
    gateway: String,
    /// What the whole journal of that gateway holds.
    records: u64,
}

impl Absent {
    /// Of directories that are not there those in which the gateway of this configuration has its
    /// journal. None, if no gateway answers at the address that the configuration names.
    pub(super) fn missing(dir: &Path, directories: &[PathBuf]) -> Vec<Absent> {
        Absent::among(dir, directories, |_| true)
    }

    /// The same of directories that nobody has locked: a gateway that can use its own has.
    pub(super) fn replaced(dir: &Path, directories: &[PathBuf]) -> Vec<Absent> {
        Absent::among(dir, directories, |used| used["usable"] == true)
    }

    fn among(dir: &Path, directories: &[PathBuf], is: impl Fn(&Value) -> bool) -> Vec<Absent> {
        if directories.is_empty() {
            return Vec::new();
        }
        let Ok(answer) = ask::get(Gateway::Admin(dir), "/api/v1/status") else {
            return Vec::new();
        };
        let status: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let archive = &status["archive"];
        let used = archive["directories"].as_array().into_iter().flatten();
        let used = used.filter(|used| is(used));
        let used: Vec<&str> = used.filter_map(|used| used["path"].as_str()).collect();
        let is_used = |path: &&PathBuf| used.contains(&&*path.display().to_string());
        let absent = directories.iter().filter(is_used).map(|path| Absent {
            path: path.clone(),
            gateway: answer.from.clone(),
            records: archive["records"].as_u64().unwrap_or_default(),
        });
        absent.collect()
    }
}

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: the gateway at {} has its journal there ({} in all), and this directory is not \
             found: ",
            self.path.display(),
            self.gateway,
            count(self.records, "record")
        )?;
        f.write_str(match self.path.is_relative() {
            true => "run the command in the directory in which the gateway was started; or mount",
            false => "mount",
        })?;
        f.write_str(" its disk, or put it back if it was removed")
    }
}
