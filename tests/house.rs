//! The house stands: imports point down only, and siblings of one floor do not meet.
//!
//! The text of every source file is read for `crate::`, in `use` lines and in paths alike;
//! modules under `#[cfg(test)]` are no exception.

use std::path::{Path, PathBuf};

/// Each top module and its floor.
const FLOORS: [(&str, u8); 12] = [
    ("cli", 10),
    ("server", 9),
    ("control", 9),
    ("proxy", 8),
    ("snapshot", 7),
    ("config", 6),
    ("upstream", 5),
    ("archive", 5),
    ("policy", 4),
    ("matching", 3),
    ("telemetry", 2),
    ("vocab", 1),
];

fn floor(module: &str) -> Option<u8> {
    let found = FLOORS.iter().find(|(name, _)| *name == module);
    found.map(|(_, floor)| *floor)
}

/// Without line comments: prose may name any module.
fn code(text: &str) -> String {
    text.lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}

fn word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
    &text[..end.unwrap_or(text.len())]
}

/// The first word of each element of a group: `{a::{b, c}, d}` gives `a` and `d`.
fn group(text: &str) -> Vec<&str> {
    let mut depth = 0;
    let mut words = Vec::new();
    for (position, sign) in text.char_indices() {
        match sign {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
        if depth == 1 && matches!(sign, '{' | ',') {
            words.push(word(text[position + 1..].trim_start()));
        }
    }
    words
}

/// The top modules that a file names behind `crate::`.
fn imports(text: &str) -> Vec<String> {
    let code = code(text);
    let mut modules = Vec::new();
    for (position, mark) in code.match_indices("crate::") {
        let before = code[..position].chars().next_back();
        // `$crate` of a macro counts as well; another identifier that ends so does not.
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let after = code[position + mark.len()..].trim_start();
        if after.starts_with('{') {
            modules.extend(group(after).into_iter().map(str::to_owned));
        } else {
            modules.push(word(after).to_owned());
        }
    }
    modules.retain(|module| !module.is_empty());
    modules
}

/// What is wrong with the imports of a file of `module`.
fn faults(module: &str, text: &str) -> Vec<String> {
    let Some(own) = floor(module) else {
        return vec![format!("`{module}` has no floor")];
    };
    let mut faults = Vec::new();
    for import in imports(text) {
        let fault = match floor(&import) {
            _ if import == module => continue,
            Some(theirs) if theirs < own => continue,
            Some(theirs) if theirs == own => "a sibling",
            Some(_) => "a floor above",
            None => "not a module with a floor",
        };
        faults.push(format!("`{module}` imports `{import}`, {fault}"));
    }
    faults
}

fn rust_files(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn sources() -> (PathBuf, Vec<PathBuf>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&root, &mut files);
    (root, files)
}

#[test]
fn imports_point_down_only_and_siblings_do_not_meet() {
    let (root, files) = sources();
    let mut found = Vec::new();
    for path in &files {
        let relative = path.strip_prefix(&root).expect("below src");
        let first = relative.components().next().expect("a name");
        let first = first.as_os_str().to_string_lossy();
        let module = first.strip_suffix(".rs").unwrap_or(&first);
        // The roof: it names every floor.
        if matches!(module, "lib" | "main") {
            continue;
        }
        let text = std::fs::read_to_string(path).expect("a text");
        let faults = faults(module, &text).into_iter();
        found.extend(faults.map(|fault| format!("{}: {fault}", relative.display())));
    }
    assert!(files.len() > 10, "the sources were not found");
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn modules_are_not_merely_folders_of_other_names() {
    let (_, files) = sources();
    for path in files {
        let stem = path.file_stem().expect("a name").to_string_lossy();
        let vague = matches!(&*stem, "util" | "utils" | "common" | "helper" | "helpers");
        assert!(!vague, "{} says nothing", path.display());
    }
}

#[test]
fn the_check_itself_sees_upward_and_sideways_imports() {
    for (module, text, count) in [
        ("policy", "use crate::vocab::Tier;", 0),
        ("policy", "use crate::policy::kill::Mode;", 0),
        ("policy", "use crate::upstream::Pool;", 1),
        (
            "policy",
            "use crate::{vocab::Tier, upstream::{self, Pool}};",
            1,
        ),
        (
            "policy",
            "use crate::{\n    config::{A, B},\n    proxy,\n};",
            2,
        ),
        ("policy", "fn f() { crate::server::run() }", 1),
        ("policy", "pub(in crate::server) fn f() {}", 1),
        ("server", "use crate::control::admin;", 1),
        ("upstream", "use crate::archive::Record;", 1),
        (
            "upstream",
            "#[cfg(test)]\nmod tests { use crate::proxy::X; }",
            1,
        ),
        ("vocab", "use crate::nowhere::X;", 1),
        ("vocab", "//! See [`crate::proxy`].\n// crate::server\n", 0),
        ("vocab", "use mycrate::proxy;", 0),
        ("nowhere", "", 1),
    ] {
        let faults = faults(module, text);
        assert_eq!(faults.len(), count, "{module}: {text}: {faults:?}");
    }
}
