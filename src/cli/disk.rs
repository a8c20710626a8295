//! The configuration as it is on disk, for commands that need no running gateway.

use std::path::Path;

use crate::config::{
    Problem, Settings, SourceFile, SwitchesRead, examine, process_environment, read_structure,
    read_switch_entries, read_switches, unreadable_hint,
};

/// Structure and switches of a directory.
pub(super) struct Disk {
    /// The structure files.
    pub(super) files: Vec<SourceFile>,
    /// What they say; complete only without errors, but every route that is named is there.
    pub(super) settings: Settings,
    /// What is wrong with them.
    pub(super) errors: Vec<Problem>,
    /// What `switches.toml` says; nothing when it cannot be read.
    pub(super) switches: SwitchesRead,
}

impl Disk {
    /// Reads the directory.
    ///
    /// # Errors
    /// When its structure files cannot even be read.
    pub(super) fn read(dir: &Path) -> Result<Disk, Vec<Problem>> {
        let files = read_structure(dir)?;
        let examined = examine(&files, &*process_environment());
        Ok(Disk {
            switches: switches(dir, &examined.settings),
            settings: examined.settings,
            errors: examined.errors,
            files,
        })
    }
}

/// What `switches.toml` says; that it cannot be read is one of its problems.
fn switches(dir: &Path, settings: &Settings) -> SwitchesRead {
    let path = dir.join("switches.toml");
    let problem = match read_switches(dir) {
        Ok(Some(file)) => return read_switch_entries(&file, settings),
        Ok(None) => Problem::placeless(path, "there is no such file"),
        Err(error) => Problem::placeless(path, format!("cannot be read: {error}"))
            .with_hint(unreadable_hint(&error)),
    };
    SwitchesRead {
        problems: vec![problem],
        ..SwitchesRead::default()
    }
}
