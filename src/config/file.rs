//! The files of a configuration directory, and the environment their strings name.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::Problem;

/// One file, read whole.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// As shown to people, such as `config/seawall.toml`.
    pub path: PathBuf,
    /// What it says.
    pub text: Arc<str>,
    /// Changes when its bytes change.
    pub digest: u64,
}

/// Looks up `${NAME}`.
pub type Environment = dyn Fn(&str) -> Option<String> + Send + Sync;

/// The environment of this process. A variable that is not Unicode counts as unset.
pub fn process_environment() -> Box<Environment> {
    Box::new(|name| std::env::var(name).ok())
}

const STRUCTURE: &str = "seawall.toml";
const ROUTES: &str = "routes.d";
const SWITCHES: &str = "switches.toml";
/// Read by editors alone: the first line of the other files names it.
const SCHEMA: &str = "schema.json";
const DIR_HINT: &str = "`--config DIR` names the directory that holds seawall.toml";

impl SourceFile {
    /// A file of that name and content.
    pub fn new(path: impl Into<PathBuf>, text: &str) -> SourceFile {
        SourceFile {
            path: path.into(),
            text: text.into(),
            digest: digest(text.as_bytes()),
        }
    }

    /// A file of that name and these bytes. Those that are not UTF-8 become U+FFFD, which
    /// [`super::read_switch_entries`] reports: one bad byte must not refuse the entries beside it.
    pub fn of_bytes(path: impl Into<PathBuf>, bytes: &[u8]) -> SourceFile {
        SourceFile {
            path: path.into(),
            digest: digest(bytes),
            text: String::from_utf8_lossy(bytes).into(),
        }
    }
}

/// Length and checksum: two edits that collide would need both to agree.
fn digest(bytes: &[u8]) -> u64 {
    (bytes.len() as u64) << 32 | u64::from(crc32c::crc32c(bytes))
}

/// Reads `seawall.toml`, then `routes.d/*.toml` by name.
///
/// # Errors
/// Every file that is not there, cannot be read or is not UTF-8, with what to do about it.
pub fn read_structure(dir: &Path) -> Result<Vec<SourceFile>, Vec<Problem>> {
    if let Some(problem) = no_directory(dir) {
        return Err(vec![problem]);
    }
    let mut problems = Vec::new();
    let mut files = Vec::new();
    let paths = route_files(dir).unwrap_or_else(|problem| {
        problems.push(*problem);
        Vec::new()
    });
    for path in std::iter::once(dir.join(STRUCTURE)).chain(paths) {
        match read_text(&path) {
            Ok(file) => files.push(file),
            Err(problem) => problems.push(*problem),
        }
    }
    if problems.is_empty() {
        Ok(files)
    } else {
        Err(problems)
    }
}

/// Says once that the directory is not one, and not for each file that is not in it.
fn no_directory(dir: &Path) -> Option<Problem> {
    let message = match fs::metadata(dir) {
        Ok(found) if found.is_dir() => return None,
        Ok(_) => "is a file, not a directory".to_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            "there is no such directory".to_owned()
        }
        // Reading the files says which of them is meant.
        Err(_) => return None,
    };
    Some(Problem::placeless(dir, message).with_hint(DIR_HINT))
}

fn route_files(dir: &Path) -> Result<Vec<PathBuf>, Box<Problem>> {
    let routes = dir.join(ROUTES);
    match names(&routes) {
        Ok(names) => Ok(names
            .iter()
            .filter(|name| name.ends_with(".toml"))
            .map(|name| routes.join(name))
            .filter(|path| !path.is_dir())
            .collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(unreadable(&routes, &error)),
    }
}

/// Names in a directory, sorted, without those that begin with a dot (editors' files, and the
/// `..data` of Kubernetes).
fn names(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn read_text(path: &Path) -> Result<SourceFile, Box<Problem>> {
    let bytes = fs::read(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => missing(path),
        _ => unreadable(path, &error),
    })?;
    let digest = digest(&bytes);
    match String::from_utf8(bytes) {
        Ok(text) => Ok(SourceFile {
            path: path.to_owned(),
            text: text.into(),
            digest,
        }),
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            let line = 1 + memchr::memchr_iter(b'\n', &error.as_bytes()[..valid]).count();
            let message = format!("line {line} is not UTF-8");
            let problem = Problem::placeless(path, message);
            Err(Box::new(problem.with_hint("save the file as UTF-8")))
        }
    }
}

fn missing(path: &Path) -> Box<Problem> {
    let problem = Problem::placeless(path, "there is no such file");
    let dangling = path.is_symlink();
    let hint = if dangling {
        "it is a symlink to nothing; mend it or remove it"
    } else {
        DIR_HINT
    };
    Box::new(problem.with_hint(hint))
}

fn unreadable(path: &Path, error: &io::Error) -> Box<Problem> {
    let problem = Problem::placeless(path, format!("cannot be read: {error}"));
    Box::new(problem.with_hint(unreadable_hint(error)))
}

/// What to do about a file that cannot be read.
pub fn unreadable_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::IsADirectory => "put a file in the place of this directory",
        io::ErrorKind::NotADirectory => "put a directory in the place of this file",
        io::ErrorKind::PermissionDenied => "the gateway's user must be allowed to read it",
        _ => "look at the disk and the path to the file",
    }
}

/// Files of the directory that no part of the configuration is read from, the schema aside.
pub fn ignored_files(dir: &Path) -> Vec<PathBuf> {
    let top = names(dir).unwrap_or_default();
    let routes = dir.join(ROUTES);
    let below = names(&routes).unwrap_or_default();
    let top = top
        .into_iter()
        .filter(|name| ![STRUCTURE, ROUTES, SWITCHES, SCHEMA].contains(&name.as_str()))
        .map(|name| dir.join(name));
    let below = below
        .into_iter()
        .filter(|name| !name.ends_with(".toml"))
        .map(|name| routes.join(name));
    top.chain(below).collect()
}

/// Reads `switches.toml`; `None` when there is no such file.
///
/// Bytes that are not UTF-8 are read as [`SourceFile::of_bytes`] says.
///
/// # Errors
/// Whatever keeps it from being read.
pub fn read_switches(dir: &Path) -> io::Result<Option<SourceFile>> {
    let path = dir.join(SWITCHES);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(Some(SourceFile::of_bytes(path, &bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, name: &str, bytes: &[u8]) {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    #[test]
    fn structure_comes_first_and_route_files_by_name() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "seawall.toml", b"");
        write(dir.path(), "routes.d/b.toml", b"");
        write(dir.path(), "routes.d/a.toml", b"");
        write(dir.path(), "routes.d/.a.toml.swp", b"");
        write(dir.path(), "routes.d/README", b"");
        write(dir.path(), "..data/seawall.toml", b"");
        write(dir.path(), "switches.toml", b"");
        write(dir.path(), "schema.json", b"");
        write(dir.path(), "old.toml", b"");
        let names = |paths: Vec<PathBuf>| -> Vec<String> {
            let relative = |path: &PathBuf| path.strip_prefix(dir.path()).unwrap().to_owned();
            paths
                .iter()
                .map(|path| relative(path).display().to_string())
                .collect()
        };
        let files = read_structure(dir.path()).unwrap();
        assert_eq!(
            names(files.into_iter().map(|file| file.path).collect()),
            ["seawall.toml", "routes.d/a.toml", "routes.d/b.toml"]
        );
        assert_eq!(
            names(ignored_files(dir.path())),
            ["old.toml", "routes.d/README"]
        );
    }

    #[test]
    fn every_file_that_cannot_be_read_is_named() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "routes.d/a.toml", b"x = 1\ny = \"\xff\"\n");
        let problems = read_structure(dir.path()).unwrap_err();
        let text: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert!(
            text[0].contains("seawall.toml: there is no such file"),
            "{text:?}"
        );
        assert!(text[1].contains("line 2 is not UTF-8"), "{text:?}");
    }

    #[test]
    fn what_stands_in_the_place_of_another_kind_is_said_in_one_line() {
        let dir = tempfile::tempdir().unwrap();
        let said = |path: &Path| {
            let problems = read_structure(path).unwrap_err();
            assert_eq!(problems.len(), 1, "{problems:?}");
            problems[0].to_string()
        };
        let absent = said(&dir.path().join("nosuch"));
        assert!(absent.contains("there is no such directory; `--config DIR`"));
        write(dir.path(), "seawall.toml", b"");
        let file = said(&dir.path().join("seawall.toml"));
        assert!(file.contains("is a file, not a directory; `--config DIR`"));
        fs::create_dir_all(dir.path().join("routes.d")).unwrap();
        let dangling = dir.path().join("routes.d/x.toml");
        std::os::unix::fs::symlink("nowhere", &dangling).unwrap();
        assert!(said(dir.path()).contains("a symlink to nothing"));
        fs::remove_file(dangling).unwrap();
        fs::remove_file(dir.path().join("seawall.toml")).unwrap();
        fs::create_dir(dir.path().join("seawall.toml")).unwrap();
        assert!(said(dir.path()).contains("put a file in the place of this directory"));
    }

    #[test]
    fn switches_are_read_whatever_their_bytes() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read_switches(dir.path()).unwrap().is_none());
        write(
            dir.path(),
            "switches.toml",
            b"[kill]\n# \xff\na = \"drop\"\n",
        );
        let one = read_switches(dir.path()).unwrap().unwrap();
        assert!(one.text.contains("a = \"drop\""));
        write(
            dir.path(),
            "switches.toml",
            b"[kill]\n# \xfe\na = \"drop\"\n",
        );
        let two = read_switches(dir.path()).unwrap().unwrap();
        assert_ne!(one.digest, two.digest);
    }
}
