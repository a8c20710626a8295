//! `seawall check`: every error of a configuration at once.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

use crate::archive::store::environment;
use crate::config::{
    Problem, Settings, Severity, SourceFile, examine, ignored_files, process_environment,
    read_structure, read_switch_entries, read_switches, unreadable_hint, warn_of_journal,
};

/// What `check` found; its JSON form.
#[derive(Debug, Default, Serialize)]
struct Findings {
    valid: bool,
    routes: usize,
    upstreams: usize,
    /// Entries of `switches.toml` that throw a switch.
    switches: usize,
    /// Breakers that it holds by hand.
    breakers: usize,
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
    /// Files of the directory that nothing is read from.
    ignored: Vec<PathBuf>,
}

/// Validates the directory and says what is wrong: in words on stderr, or with `json` as one
/// document on stdout. The exit code is 1 if there is any error.
pub fn run(dir: &Path, json: bool) -> ExitCode {
    let findings = inspect(dir);
    // A closed pipe is no reason for another exit code.
    let _ = if json {
        write_json(&findings)
    } else {
        write_words(&findings)
    };
    if findings.valid {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn inspect(dir: &Path) -> Findings {
    let mut findings = Findings {
        ignored: ignored_files(dir),
        ..Findings::default()
    };
    match read_structure(dir) {
        Ok(files) => structure(dir, &files, &mut findings),
        Err(problems) => findings.errors = problems,
    }
    findings.valid = findings.errors.is_empty();
    findings
}

fn structure(dir: &Path, files: &[SourceFile], findings: &mut Findings) {
    let environment = process_environment();
    let examined = examine(files, &*environment);
    findings.routes = examined.settings.routes.len();
    findings.upstreams = examined.settings.upstreams.len();
    findings.errors = examined.errors;
    findings.warnings = examined.warnings;
    findings.warnings.extend(store(dir, &examined.settings));
    for journal in &examined.settings.archive.journal {
        let in_the_way = file_at(journal).filter(|_| examined.settings.may_archive());
        findings.warnings.extend(in_the_way.and_then(|file| {
            let message = format!("{} is a file, and no directory", file.display());
            let hint = "name a directory, which may be one that is not there yet";
            warn_of_journal((files, &*environment), journal, (message, hint))
        }));
    }
    let path = dir.join("switches.toml");
    let file = match read_switches(dir) {
        Ok(Some(file)) => file,
        Ok(None) => {
            let problem = Problem::placeless(path, "there is no such file");
            let hint = "create it with the line `[kill]`: nothing is thrown then";
            findings.errors.push(problem.with_hint(hint));
            return;
        }
        Err(error) => {
            let problem = Problem::placeless(path, format!("cannot be read: {error}"));
            findings
                .errors
                .push(problem.with_hint(unreadable_hint(&error)));
            return;
        }
    };
    let read = read_switch_entries(&file, &examined.settings);
    let settings = read.entries.values();
    findings.switches = settings.filter(|setting| setting.throws()).count();
    findings.breakers = read.breakers.entries.len();
    findings.errors.extend(read.problems);
    findings.warnings.extend(read.warnings);
}

/// What of the archive's store can be seen to fail without asking it.
fn store(dir: &Path, settings: &Settings) -> Option<Problem> {
    let store = settings.archive.store.as_ref();
    let store = store.filter(|_| settings.may_archive())?;
    let error = store.try_here(&environment()).err()?;
    let mut problem = Problem::placeless(dir.join("seawall.toml"), error.to_string());
    problem.severity = Severity::Warning;
    Some(problem)
}

/// What is no directory, at a path or above it.
fn file_at(path: &Path) -> Option<PathBuf> {
    let there = path.ancestors().find(|path| path.exists())?;
    (!there.is_dir()).then(|| there.to_owned())
}

fn write_json(findings: &Findings) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, findings)?;
    writeln!(out)
}

fn write_words(findings: &Findings) -> io::Result<()> {
    let mut err = io::stderr().lock();
    let colour = err.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    for problem in findings.errors.iter().chain(&findings.warnings) {
        writeln!(err, "{}\n", problem.render(colour))?;
    }
    for path in &findings.ignored {
        writeln!(
            err,
            "ignored: {}: no configuration is read from it",
            path.display()
        )?;
    }
    if findings.valid {
        return writeln!(io::stdout().lock(), "{}", summary(findings));
    }
    let warnings = match findings.warnings.len() {
        0 => String::new(),
        number => format!(", {}", count(number, "warning")),
    };
    let errors = count(findings.errors.len(), "error");
    writeln!(err, "config is not valid: {errors}{warnings}")
}

fn summary(findings: &Findings) -> String {
    let switches = match findings.switches {
        1 => "1 switch thrown".to_owned(),
        number => format!("{number} switches thrown"),
    };
    let breakers = match findings.breakers {
        0 => String::new(),
        number => format!(", {} held by hand", count(number, "breaker")),
    };
    format!(
        "config is valid: {}, {}, {switches}{breakers}",
        count(findings.routes, "route"),
        count(findings.upstreams, "upstream"),
    )
}

fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(structure: &str, switches: Option<&str>) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("seawall.toml"), structure).unwrap();
        if let Some(switches) = switches {
            std::fs::write(dir.path().join("switches.toml"), switches).unwrap();
        }
        dir
    }

    const STRUCTURE: &str = r#"
        [routes.ping]
        path = "/ping"
        methods = ["POST"]
        respond = { body = "pong" }
    "#;

    #[test]
    fn a_valid_directory_is_summed_up_in_one_line() {
        let dir = directory(STRUCTURE, Some("[kill]\nping = \"drop\"\n"));
        let findings = inspect(dir.path());
        assert_eq!(
            summary(&findings),
            "config is valid: 1 route, 0 upstreams, 1 switch thrown"
        );
        assert!(findings.warnings.is_empty(), "{findings:?}");
        assert_eq!(run(dir.path(), true), ExitCode::SUCCESS);
    }

    #[test]
    fn breakers_that_are_held_by_hand_are_counted() {
        let structure = "[upstreams.u]\nendpoints = [\"http://127.0.0.1:1\"]\n\
                         [routes.a]\npath = \"/a\"\nupstream = \"u\"\n";
        let dir = directory(structure, Some("[kill]\n[breaker]\na = \"tripped\"\n"));
        assert_eq!(
            summary(&inspect(dir.path())),
            "config is valid: 1 route, 1 upstream, 0 switches thrown, 1 breaker held by hand"
        );
    }

    #[test]
    fn the_shipped_directory_is_valid() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
        let findings = inspect(&dir);
        assert_eq!(
            summary(&findings),
            "config is valid: 7 routes, 5 upstreams, 0 switches thrown"
        );
        assert!(findings.warnings.is_empty() && findings.ignored.is_empty());
    }

    #[test]
    fn errors_of_structure_and_switches_are_found_together() {
        let structure = "[routes.ping]\npath = \"/ping\"\nupstream = \"no\"\ntimeout = 3\n";
        let dir = directory(structure, Some("[kill]\nping = \"drp\"\npong = \"drop\"\n"));
        let findings = inspect(dir.path());
        let keys: Vec<&str> = findings
            .errors
            .iter()
            .map(|error| error.key.as_str())
            .collect();
        assert_eq!(
            keys,
            [
                "routes.ping.upstream",
                "routes.ping.timeout",
                "kill.ping",
                "kill.pong"
            ]
        );
        assert_eq!(run(dir.path(), false), ExitCode::FAILURE);
    }

    #[test]
    fn missing_switches_are_an_error_and_other_files_are_named() {
        let dir = directory(STRUCTURE, None);
        std::fs::write(dir.path().join("switches.toml.bak"), "").unwrap();
        let findings = inspect(dir.path());
        assert_eq!(findings.errors.len(), 1);
        assert!(findings.ignored[0].ends_with("switches.toml.bak"));
    }

    #[test]
    fn a_store_that_cannot_work_is_a_warning_once_something_may_archive() {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::write(scratch.path().join("file"), "").unwrap();
        let place = scratch.path().join("file/archive");
        let store = format!("[archive]\nstore = \"file:{}\"\n", place.display());
        let dir = directory(&format!("{STRUCTURE}{store}"), Some("[kill]\n"));
        let findings = inspect(dir.path());
        let [warning] = &findings.warnings[..] else {
            panic!("{:?}", findings.warnings);
        };
        assert!(findings.valid && warning.message.starts_with("archive.store"));
        let off = format!("{STRUCTURE}[archive]\nstore = \"off\"\n");
        let dir = directory(&off, Some("[kill]\n"));
        assert!(inspect(dir.path()).warnings.is_empty());
    }

    #[test]
    fn a_journal_that_is_a_file_is_a_warning_where_it_is_written() {
        let scratch = tempfile::tempdir().unwrap();
        let path = |name: &str| scratch.path().join(name).display().to_string();
        std::fs::write(path("file"), "").unwrap();
        let journal = |paths: &str| {
            let archive = format!("[archive]\nstore = \"off\"\njournal = {paths}\n");
            directory(&format!("{archive}{STRUCTURE}"), Some("[kill]\n"))
        };
        let (good, file, below) = (path("good"), path("file"), path("file/below"));
        let dir = journal(&format!("[{good:?},\n {file:?},\n {below:?}]"));
        let findings = inspect(dir.path());
        assert!(findings.valid);
        let found: Vec<_> = findings
            .warnings
            .iter()
            .map(|w| (w.line, w.column, &*w.key))
            .collect();
        assert_eq!(
            found,
            [(4, 2, "archive.journal"), (5, 2, "archive.journal")]
        );
        for warning in &findings.warnings {
            assert_eq!(
                warning.message,
                format!("{file} is a file, and no directory")
            );
        }
        let dir = journal(&format!("{good:?}"));
        assert!(inspect(dir.path()).warnings.is_empty());
    }

    #[test]
    fn switches_without_a_kill_table_are_a_warning() {
        let dir = directory(STRUCTURE, Some("# nothing\n"));
        let findings = inspect(dir.path());
        assert!(findings.valid && findings.warnings.len() == 1);
    }
}
