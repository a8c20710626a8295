//! The JSON Schema: the shipped one is the one that is printed, shipped files and examples
//! validate, and wrong files do not.

mod schema_support;

use std::path::{Path, PathBuf};
use std::process::Command;

use schema_support::*;
use seawall::config::{json_schema, read_switches};
use toml::Table;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config")
}

#[test]
fn the_shipped_schema_is_the_one_that_is_printed() {
    let output = Command::new(env!("CARGO_BIN_EXE_seawall"))
        .arg("schema")
        .output()
        .expect("the binary runs");
    assert!(output.status.success() && output.stderr.is_empty());
    let shipped = std::fs::read(directory().join("schema.json")).expect("shipped");
    assert!(
        output.stdout == shipped,
        "run: cargo run -- schema > config/schema.json"
    );
}

#[test]
fn it_is_a_schema_of_the_draft_that_it_names() {
    assert!(jsonschema::draft7::meta::is_valid(&SCHEMA));
    assert_eq!(SCHEMA["$schema"], "http://json-schema.org/draft-07/schema#");
    // taplo drops what stands beside a reference.
    assert!(!json_schema().contains("$ref"));
}

fn shipped() -> Vec<PathBuf> {
    let below = std::fs::read_dir(directory().join("routes.d")).expect("routes.d");
    let mut files: Vec<PathBuf> = below.map(|entry| entry.expect("an entry").path()).collect();
    files.extend(["seawall.toml", "switches.toml"].map(|name| directory().join(name)));
    files
}

/// The text with every comment that is a line of TOML made one; indented ones are prose.
fn uncommented(text: &str) -> String {
    let is_toml = |line: &str| line.parse::<Table>().is_ok_and(|table| !table.is_empty());
    let line = |line: &str| match line.strip_prefix("# ") {
        Some(inner) if !inner.starts_with(' ') && is_toml(inner) => format!("{inner}\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

#[test]
fn shipped_files_name_the_schema_and_validate_with_their_examples() {
    let validator = validator();
    for path in shipped() {
        let text = std::fs::read_to_string(&path).expect("text");
        let first = text.lines().next().unwrap_or_default();
        let named = first.strip_prefix("#:schema ").expect("names the schema");
        let folder = path.parent().expect("a folder");
        let found = folder.join(named).canonicalize().expect("is there");
        assert_eq!(
            found,
            directory()
                .join("schema.json")
                .canonicalize()
                .expect("is there")
        );
        // Tombi takes the line for one about the file only before a blank line.
        assert_eq!(text.lines().nth(1), Some(""), "{}", path.display());
        for text in [uncommented(&text), text] {
            let faults = faults(&validator, &parse(&text));
            assert!(faults.is_empty(), "{}: {faults:#?}", path.display());
        }
    }
    let switches = read_switches(&directory())
        .expect("readable")
        .expect("there");
    let examples = parse(&uncommented(&switches.text));
    assert!(
        examples["kill"]
            .as_table()
            .is_some_and(|kill| kill.len() >= 5)
    );
}

#[test]
fn examples_of_the_readme_validate() {
    let validator = validator();
    let readme = include_str!("../README.md");
    let blocks = readme.split("```toml\n").skip(1);
    let blocks: Vec<&str> = blocks
        .filter_map(|block| block.split("```").next())
        .collect();
    assert!(blocks.len() >= 4, "the examples were not found");
    for block in blocks {
        let faults = faults(&validator, &parse(block));
        assert!(faults.is_empty(), "{faults:#?}\n{block}");
    }
}

#[test]
fn wrong_files_do_not_validate() {
    let (validator, settings) = (validator(), settings());
    for text in [
        "servr = {}",
        "[server]\nlisen = \"0.0.0.0:1\"",
        "[server]\nlisten = 8080",
        "[server]\nlisten = [\"8080\"]",
        "[server]\nworkers = \"4\"",
        "[server]\nworkers = 4096",
        "[server]\nheader_timeout = 10",
        "[server]\nheader_timeout = \"10\"",
        "[server]\nheader_timeout = \"0s\"",
        "[server]\nheader_timeout = \"10 seconds\"",
        "[server]\nmax_header_bytes = \"32KB\"",
        "[server]\nmin_body_rate = \"256B\"",
        "[server]\nmin_body_rate = \"256B/m\"",
        "[server]\ninstance = \"a b\"",
        "[server]\ntrusted_proxies = \"10.0.0.0/8\"",
        "[server]\ntls = {}",
        "[admin]\nlisten = \"localhost\"",
        "[telemetry]\nlog = \"inof\"",
        "[telemetry]\nlog_headers = [\"a b\"]",
        "[upstreams.stats]\nendpoints = [\"stats:9001\"]",
        "[upstreams.stats]\nendpoints = [\"http://a/b\"]",
        "[upstreams.all]\nendpoints = [\"http://a\"]",
        "[upstreams.stats]\nendpoints = [\"http://a\"]\nbalance = \"randomly\"",
        "[upstreams.stats]\nendpoints = [\"http://a\"]\nkeepalive = { max = 1 }",
        "[upstreams.stats]\nendpoints = [\"http+srv://a:1\"]",
        "[upstreams.stats]\nendpoints = [\"http://a\"]\nbalance = \"hash:request\"",
        "[upstreams.stats]\nendpoints = [\"http://a\"]\nconcurrency = 0",
        "[upstreams.stats]\nendpoints = [\"http://a\"]\nhealth = { path = \"up\" }",
        "[upstreams.stats]\nendpoints = [\"http://a\"]\noutlier = \"on\"",
        "[defaults]\nrate_limit = \"on\"",
        "[defaults]\nrate_limit = { rate = \"5/d\" }",
        "[defaults]\nconcurrency = { max = 0 }",
        "[defaults]\nretry = { on = [\"500\"] }",
        "[defaults]\nretry = { attempts = 11 }",
        "[defaults]\nretry_budget = \"off\"",
        "[defaults]\nbreaker = { consecutive_failures = \"none\" }",
        "[defaults]\nauto_kill = { for = 5 }",
        "[routes.a]\npath = \"/\"\nsplit = [{ upstream = \"a\", weight = -1 }]",
        "[defaults]\ntimeout = 3",
        "[defaults]\ntier = \"cor\"",
        "[defaults]\nmax_body = \"nothing\"",
        "[defaults]\nretries = 3",
        "[routes.\"a b\"]\npath = \"/\"\nrespond = {}",
        "[routes.a]\npath = \"a\"\nrespond = {}",
        "[routes.a]\npath = \"/\"\nrespond = \"ok\"",
        "[routes.a]\npath = \"/\"\nrespond = { status = 100 }",
        "[routes.a]\npath = \"/\"\nrespond = {}\nmethods = [\"get\"]",
        "[routes.a]\npath = \"/\"\nrespond = {}\nheaders = { x = { prefix = \"a\", suffix = \"b\" } }",
        "[routes.a]\npath = \"/\"\nrespond = {}\nheaders = { x = { prefix = 1 } }",
        "[routes.a]\npath = \"/\"\nrespond = {}\nkill_switch = \"drop\"",
        "[routes.a]\npath = \"/\"\nrespond = {}\nkill_switch = { mode = \"off\" }",
        "[routes.a]\npath = \"/\"\nrespond = {}\nrequest_headers = { set = [\"a\"] }",
        "kill = \"drop\"",
        "[kill]\nstats = \"dorp\"",
        "[kill]\nstats = true",
        "[kill]\nstats = { mode = \"dorp\" }",
        "[kill]\nstats = { mod = \"drop\" }",
        "[kill]\nstats = { mode = \"drop\", status = \"200\" }",
        "[kill]\nstats = { mode = \"reject\", retry_after = 30 }",
        "[kill]\nstats = { mode = \"drop\", reason = 42 }",
        "[kill]\n\"tier:cor\" = \"drop\"",
        "[kill]\n\"plan:launch\" = \"drop\"",
        "[kill]\n\"plan:launch\" = { percent = 50 }",
        "[kill]\nstats = [\"dorp\"]",
        "[kill]\nstats = [[\"drop\"]]",
        "[kill]\nstats = { percent = 150 }",
        "[kill]\nstats = { percent = \"50\" }",
        "[kill]\nstats = { until = \"tomorrow\" }",
        "[kill]\nstats = { until = 2036-01-01T00:00:00 }",
        "[kill]\nstats = { when = { header = { a = \"b\" } } }",
        "[kill]\nstats = { when = { client_ip = \"here\" } }",
        "[plans.launch]\nkil = {}",
        "[plans.launch.kill]\n\"plan:other\" = \"on\"",
        "[admin]\ntokens = { amy = \"short\" }",
        "[kill]\n\"teir:core\" = \"drop\"",
        "[kill]\nstats.mode.x = \"drop\"",
    ] {
        let file = parse(text);
        assert!(!faults(&validator, &file).is_empty(), "validates: {text}");
        assert!(!taken(&file, &settings), "the gateway takes: {text}");
    }
}

#[test]
fn right_files_validate() {
    let (validator, settings) = (validator(), settings());
    let structure = structure().to_string();
    // What some keys allow counts from the release on that knows them.
    let later = RIGHT_WITH.iter().filter(|(key, _)| known(key));
    let texts = RIGHT.iter().chain(later.map(|(_, text)| text));
    for text in texts.copied().chain([structure.as_str()]) {
        let file = parse(text);
        let faults = faults(&validator, &file);
        assert!(faults.is_empty(), "{faults:#?}\n{text}");
        assert!(taken(&file, &settings), "the gateway refuses: {text}");
    }
}

const RIGHT: &[&str] = &[
    "",
    "[server]\nlisten = [\"0.0.0.0:0\", \"[::]:0\"]\ndrain_delay = \"0s\"",
    "[server]\ninstance = \"${HOSTNAME:-here}\"\nheader_timeout = \"${T:-10s}\"",
    "[telemetry]\nlog = \"info,seawall=debug\"\naccess_log = \"/var/log/access\"",
    "[defaults]\ntier = \"${TIER:-core}\"\nmax_body = \"none\"\ntimeout = \"1.5s\"",
    "[routes.\"v1.board\"]\nhost = \"*.example.com\"\nrespond = { status = 204 }",
    "[routes.a]\npath = \"/\"\nrespond = {}\nmethods = [\"PURGE\"]",
    "[routes.a]\npath = \"/\"\nrespond = {}\nheaders = { x = \"1\", y = { present = true } }",
    "[upstreams.a]\nendpoints = [\"http+srv://_a._tcp.b\"]\nbalance = \"hash:header:x\"\nconcurrency = \"adaptive\"",
    "[defaults]\nrate_limit = { key = \"header:x-a\" }\nretry = { on = [502, \"503\"] }\nbreaker = { on = [500, \"timeout\"], failure_percent = \"off\" }",
    "[kill]",
    "[kill]\nstats = \"drop\"\nmock = \"off\"\nall = \"reject\"\n\"tier:core\" = { mode = \"off\" }",
    "[kill.stats]\nmode = \"drop\"\nstatus = 202\nbody = \"\"\ncontent_type = \"a/b\"",
];

const RIGHT_WITH: &[(&str, &str)] = &[
    (
        "admin/tokens",
        "[admin]\ntokens = { amy = \"0123456789abcdef\" }",
    ),
    (
        "routes/stats/kill_switch/sticky",
        "[routes.a]\npath = \"/\"\nrespond = {}\nkill_switch = { sticky = \"header:x-a\", restore = \"0s\" }",
    ),
    (
        "plans",
        "[plans.a]\nkill = { all = \"drop\", \"tier:core\" = [{ mode = \"drop\", percent = 0.5 }, \"off\"] }",
    ),
    ("plans", "[kill]\n\"plan:launch\" = \"on\""),
    (
        "plans",
        "[kill.\"plan:launch\"]\nmode = \"off\"\ndry_run = true\nuntil = 2036-01-01T00:00:00+01:00",
    ),
    (
        "kill/stats/when",
        "[kill]\nall = [{ when = { client_ip = [\"::/0\"] }, mode = \"drop\" }, \"reject\"]",
    ),
    (
        "kill/stats/when",
        "[kill.stats]\npercent = 12.5\nwhen = { headers = { a = { suffix = \"b\" } }, query = { c = \"d\" } }",
    ),
];
