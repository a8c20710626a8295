//! Names that others rely on: scripts call the commands and their options, dashboards and alerts
//! the metrics and their labels. A snapshot makes a change of one an act, not an accident.

#[path = "../benches/setup/mod.rs"]
mod setup;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::process::Command;

fn help(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_seawall"))
        .args(arguments)
        .arg("--help")
        .output()
        .expect("the binary runs");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    assert!(output.stderr.is_empty(), "help is data: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// The names under "Commands:", without clap's own `help`.
fn commands(help: &str) -> Vec<&str> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let listed = lines.take_while(|line| !line.is_empty());
    let names = listed.filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").collect()
}

#[test]
fn the_command_line_is_as_documented() {
    let top = help(&[]);
    let commands = commands(&top);
    assert!(commands.contains(&"run"), "{top}");
    insta::assert_snapshot!("help", top);
    for command in commands {
        insta::assert_snapshot!(format!("help_{command}"), help(&[command]));
    }
}

/// Types and label names by family, as the text format has them.
#[derive(Default)]
struct Family {
    kind: String,
    labels: BTreeSet<String>,
}

fn families(exposition: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    for line in exposition.lines() {
        if let Some(typed) = line.strip_prefix("# TYPE ") {
            let (name, kind) = typed.split_once(' ').expect("a type");
            families.entry(name.to_owned()).or_default().kind = kind.to_owned();
        }
    }
    for line in exposition.lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').expect("a sample");
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let suffixes = ["_bucket", "_sum", "_count"].into_iter();
        let stems = suffixes.filter_map(|suffix| name.strip_suffix(suffix));
        let owner = stems
            .chain([name])
            .find(|stem| families.contains_key(*stem));
        let family = owner.and_then(|stem| families.get_mut(stem));
        let family = family.unwrap_or_else(|| panic!("{name} has no type"));
        // Values here are names from the configuration and numbers: no comma, no quote.
        let pairs = labels.trim_end_matches('}').split(',');
        let keys = pairs.filter_map(|pair| pair.split_once('='));
        family.labels.extend(keys.map(|(key, _)| key.to_owned()));
    }
    families
}

#[test]
fn the_metrics_of_a_fresh_gateway_are_as_documented() {
    let structure = "[upstreams.u]\nendpoints = [\"http://127.0.0.1:1\"]\n\
         [routes.r]\npath = \"/{*rest}\"\nupstream = \"u\"\n";
    let exposition = setup::live(structure, "[kill]\n").metrics.exposition();
    let mut text = String::new();
    for (name, family) in families(&exposition) {
        // Those are another crate's, and differ between operating systems.
        if name.starts_with("process_") {
            continue;
        }
        let labels: Vec<_> = family.labels.iter().map(String::as_str).collect();
        let _ = writeln!(text, "{name} {} {{{}}}", family.kind, labels.join(", "));
    }
    insta::assert_snapshot!(text);
}
