//! The JSON Schema: the shipped one is the one that is printed, it takes what the gateway takes,
//! and it underlines what the gateway refuses wherever a schema can know.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use jsonschema::Validator;
use seawall::config::{
    Settings, SourceFile, json_schema, load, read_switch_entries, read_switches,
};
use serde_json::Value as Json;
use toml::{Table, Value as Toml};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config")
}

static SCHEMA: LazyLock<Json> =
    LazyLock::new(|| serde_json::from_str(&json_schema()).expect("the schema is JSON"));

fn validator() -> Validator {
    jsonschema::draft7::new(&SCHEMA).expect("a schema")
}

/// What an editor sees of a TOML value.
fn as_json(value: &Toml) -> Json {
    match value {
        Toml::String(text) => text.as_str().into(),
        Toml::Integer(number) => (*number).into(),
        Toml::Float(number) => (*number).into(),
        Toml::Boolean(value) => (*value).into(),
        Toml::Datetime(time) => time.to_string().into(),
        Toml::Array(items) => items.iter().map(as_json).collect(),
        Toml::Table(table) => {
            let entries = table.iter();
            entries
                .map(|(key, value)| (key.clone(), as_json(value)))
                .collect()
        }
    }
}

fn parse(text: &str) -> Table {
    text.parse()
        .unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// What the schema says against a file.
fn faults(validator: &Validator, file: &Table) -> Vec<String> {
    let file = as_json(&Toml::Table(file.clone()));
    if validator.is_valid(&file) {
        return Vec::new();
    }
    let errors = validator.iter_errors(&file);
    errors
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect()
}

fn environment(_: &str) -> Option<String> {
    None
}

const ROUTES: &str = r#"
    [upstreams.stats]
    endpoints = ["http://127.0.0.1:9001"]
    [routes.stats]
    path = "/stats/{player}"
    upstream = "stats"
    kill_switch = { mode = "reject" }
    [routes.mock]
    path = "/mock"
    respond = {}
    kill_switch = { mode = "reject" }
    [routes.matched]
    path = "/matched"
    respond = {}
    headers = { x-version = {} }
    [plans.launch]
    kill = { mock = "drop" }
"#;

/// All of it that this release has; the condition of `matched` is for tests to fill in.
fn unfinished() -> Table {
    let mut structure = parse(ROUTES);
    if !known("plans") {
        structure.remove("plans");
    }
    structure
}

/// A structure that is right.
fn structure() -> Table {
    let mut structure = unfinished();
    let routes = structure["routes"].as_table_mut().expect("routes");
    routes.remove("matched");
    structure
}

fn settings() -> Settings {
    let files = [SourceFile::new("seawall.toml", &structure().to_string())];
    load(&files, &environment).expect("right").settings
}

/// Whether the gateway takes a file, whichever of the two it is.
fn taken(file: &Table, settings: &Settings) -> bool {
    if file.contains_key("kill") {
        let file = SourceFile::new("switches.toml", &file.to_string());
        return read_switch_entries(&file, settings).problems.is_empty();
    }
    let files = [SourceFile::new("seawall.toml", &file.to_string())];
    load(&files, &environment).is_ok()
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

/// The text with every comment that is a line of TOML made one.
fn uncommented(text: &str) -> String {
    let line = |line: &str| match line.strip_prefix("# ") {
        Some(inner) if inner.parse::<Table>().is_ok_and(|table| !table.is_empty()) => {
            format!("{inner}\n")
        }
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

/// Values of every kind, right for some keys and wrong for most.
const VALUES: &[&str] = &[
    "0",
    "1",
    "-1",
    "100",
    "101",
    "404",
    "2000",
    "99999999999",
    "1.5",
    "-1.5",
    "true",
    "false",
    "2026-11-06T09:00:00Z",
    "\"\"",
    "\"a\"",
    "\"A\"",
    "\" a \"",
    "\"a b\"",
    "\"é\"",
    "\"/\"",
    "\"/a/{b}\"",
    "\"/stats/{player}\"",
    "\"{\"",
    "\"all\"",
    "\"none\"",
    "\"on\"",
    "\"off\"",
    "\"INFO\"",
    "\"info,seawall=debug\"",
    "\"stdout\"",
    "\"drop\"",
    "\"reject\"",
    "\"archive\"",
    "\"open\"",
    "\"closed\"",
    "\"core\"",
    "\"standard\"",
    "\"sheddable\"",
    "\"upstream\"",
    "\"stats\"",
    "\"stats.example.com\"",
    "\"*.example.com\"",
    "\"[::1]\"",
    "\"[::1]:80\"",
    "\"0.0.0.0:8081\"",
    "\"10.0.0.0/8\"",
    "\"::1\"",
    "\"http://a:1\"",
    "\"https://a\"",
    "\"round-robin\"",
    "\"least-request\"",
    "\"client-ip\"",
    "\"request\"",
    "\"header:x-a\"",
    "\"query:a\"",
    "\"0s\"",
    "\"5s\"",
    "\"250ms\"",
    "\"0.5s\"",
    "\".5s\"",
    "\"2 m\"",
    "\"1d\"",
    "\"5\"",
    "\"5S\"",
    "\"0B\"",
    "\"64KiB\"",
    "\"0.5KiB\"",
    "\"1MB\"",
    "\"1KiB/s\"",
    "\"10/s\"",
    "\"text/plain\"",
    "\"${NONE:-5s}\"",
    "\"${NONE:-core}\"",
    "[]",
    "[1]",
    "[[0]]",
    "[{}]",
    "[\"GET\"]",
    "[\"get\"]",
    "[\"x-a\"]",
    "[\"a b\"]",
    "[\"0.0.0.0:8081\"]",
    "[\"10.0.0.0/8\"]",
    "[\"http://a:1\"]",
    "[\"websocket\"]",
    "[\"client-ip\", \"header:x-a\"]",
    "[{ mode = \"drop\" }]",
    "{}",
    "{ zz = 0 }",
    "{ x-a = \"b\" }",
    "{ x-a = { prefix = \"b\" } }",
    "[\"drop\", \"off\"]",
    "{ headers = { x-a = \"b\" } }",
    "{ client_ip = \"10.0.0.0/8\" }",
    "{ mock = \"drop\" }",
    "{ amy = \"0123456789abcdef\" }",
    "\"header:x-a\"",
    "\"header: x-a\"",
    "{ \"a b\" = \"c\" }",
    "{ mode = \"drop\" }",
    "{ prefix = \"a\" }",
    "{ present = true }",
];
/// Right for no key at all.
const NEVER: &[&str] = &["-1.5", "[[0]]", "{ zz = 0 }"];

/// Every table with known keys, once where several are read alike; those of names that users
/// choose are in `ROUTES`.
const TABLES: [&str; 16] = [
    "server",
    "admin",
    "telemetry",
    "upstreams/stats",
    "upstreams/stats/keepalive",
    "routes/stats",
    "routes/stats/request_headers",
    "routes/stats/kill_switch",
    "routes/mock/respond",
    "routes/matched/headers/x-version",
    "plans/launch",
    "plans/launch/kill",
    "kill",
    "kill/stats",
    "kill/stats/when",
    "kill/plan:launch",
];

/// What the schema says of that key of a table.
fn inside<'s>(table: &'s Json, key: &str) -> &'s Json {
    let known = &table["properties"][key];
    if known["type"].is_string() || known["anyOf"].is_array() {
        return known;
    }
    let patterns = table["patternProperties"].as_object();
    let matching = patterns.into_iter().flatten().find(|(pattern, _)| {
        let pattern = regex::Regex::new(pattern).expect("a pattern");
        pattern.is_match(key)
    });
    matching.map_or(&table["additionalProperties"], |(_, schema)| schema)
}

/// What the schema says of a table or a key, by its path. Where it leaves a choice of kinds, the
/// table.
fn at(path: &str) -> &'static Json {
    let mut at = &*SCHEMA;
    for name in path.split('/') {
        if let Some(kinds) = at["anyOf"].as_array() {
            let table = kinds.iter().find(|schema| schema["type"] == "object");
            at = table.expect("a table");
        }
        at = inside(at, name);
    }
    at
}

/// Whether this release has that key.
fn known(path: &str) -> bool {
    at(path).is_object()
}

/// The keys that the schema knows in that table.
fn properties(table: &str) -> &'static serde_json::Map<String, Json> {
    let at = at(table);
    let kinds = at["anyOf"].as_array().into_iter().flatten();
    let table = kinds.chain([at]).find(|schema| schema["type"] == "object");
    table.expect("a table")["properties"]
        .as_object()
        .expect("known keys")
}

/// The tables of this release.
fn tables() -> impl Iterator<Item = &'static str> {
    TABLES.into_iter().filter(|table| known(table))
}

/// A file that is right but for `key` of `table`, which has that value.
fn with(table: &str, key: &str, value: &Toml) -> Table {
    let mut file = match table {
        switches if switches.starts_with("kill") => parse("[kill]"),
        matched if matched.starts_with("routes/matched") => unfinished(),
        _ => structure(),
    };
    let mut at = &mut file;
    for name in table.split('/') {
        let next = at.entry(name).or_insert_with(|| Table::new().into());
        if !next.is_table() {
            *next = Table::new().into();
        }
        at = next.as_table_mut().expect("a table");
    }
    if key == "respond" {
        at.remove("upstream");
    }
    at.insert(key.to_owned(), value.clone());
    file
}

fn value(text: &str) -> Toml {
    parse(&format!("v = {text}"))["v"].clone()
}

#[test]
fn what_the_gateway_takes_is_never_underlined() {
    let (validator, settings) = (validator(), settings());
    let mut right = 0;
    for table in tables() {
        for key in properties(table).keys() {
            let mut accepted = 0;
            for text in VALUES {
                let file = with(table, key, &value(text));
                let faults = faults(&validator, &file);
                if taken(&file, &settings) {
                    accepted += 1;
                    assert!(faults.is_empty(), "{table} {key} = {text}: {faults:#?}");
                } else if NEVER.contains(text) {
                    assert!(!faults.is_empty(), "{table} {key} = {text} validates");
                }
            }
            assert!(accepted > 0, "no value is right for {key} of {table}");
            assert!(
                accepted < VALUES.len(),
                "any value is right for {key} of {table}"
            );
            right += accepted;
        }
    }
    assert!(right > 400, "{right}");
}

#[test]
fn the_list_of_tables_is_complete() {
    // A table that the schema has and `TABLES` lacks would go unchecked.
    fn collect(schema: &Json, found: &mut Vec<Vec<String>>) {
        if !schema.is_object() {
            return;
        }
        if let Some(properties) = schema["properties"].as_object() {
            let keys: Vec<String> = properties.keys().cloned().collect();
            if !found.contains(&keys) {
                found.push(keys);
            }
        }
        let below = ["properties", "patternProperties"].map(|name| schema[name].as_object());
        let below = below.into_iter().flatten().flat_map(|inner| inner.values());
        let kinds = schema["anyOf"].as_array().into_iter().flatten();
        let rest = [&schema["additionalProperties"], &schema["items"]];
        for schema in below.chain(kinds).chain(rest) {
            collect(schema, found);
        }
    }
    let mut found = Vec::new();
    collect(&SCHEMA, &mut found);
    let checked = tables()
        .map(|table| properties(table).keys().cloned().collect())
        .collect::<Vec<Vec<String>>>();
    let root: Vec<String> = SCHEMA["properties"]
        .as_object()
        .expect("keys")
        .keys()
        .cloned()
        .collect();
    for keys in found {
        assert!(keys == root || checked.contains(&keys), "{keys:?}");
    }
}

#[test]
fn a_default_written_out_changes_nothing() {
    let settings = |file: &Table| {
        let files = [SourceFile::new("seawall.toml", &file.to_string())];
        let loaded = load(&files, &environment).map_err(|problems| format!("{problems:?}"));
        format!("{:?}", loaded.expect("right").settings)
    };
    let mut seen = 0;
    for table in tables().filter(|table| !table.starts_with("kill")) {
        for (key, property) in properties(table) {
            let Some(default) = property.get("default") else {
                continue;
            };
            let file = with(table, key, &value(&default.to_string()));
            let mut without = file.clone();
            let inner = table.split('/').fold(&mut without, |at, name| {
                at[name].as_table_mut().expect("a table")
            });
            inner.remove(key);
            assert_eq!(
                settings(&file),
                settings(&without),
                "{table} {key} = {default}"
            );
            seen += 1;
        }
    }
    assert!(seen > 30, "{seen}");
}
