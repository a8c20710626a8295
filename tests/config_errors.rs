//! One snapshot for each kind of configuration error, as `check` prints it.

use seawall::config::{
    Loaded, Problem, Settings, SourceFile, load, read_structure, read_switch_entries, read_switches,
};

fn environment(name: &str) -> Option<String> {
    (name == "HOSTNAME").then(|| "gateway-1".to_owned())
}

fn render(problems: &[Problem]) -> String {
    let texts: Vec<String> = problems
        .iter()
        .map(|problem| problem.render(false))
        .collect();
    texts.join("\n\n")
}

/// What is said of a `seawall.toml`.
fn structure(text: &str) -> String {
    let files = [SourceFile::new("config/seawall.toml", text)];
    match load(&files, &environment) {
        Ok(loaded) => panic!("no error, warnings: {}", render(&loaded.warnings)),
        Err(problems) => render(&problems),
    }
}

const ROUTES: &str = r#"
    [routes.stats]
    path = "/stats"
    methods = ["POST"]
    respond = {}
    kill_switch = { mode = "drop" }
    [routes.ping]
    path = "/ping"
    respond = {}
    [routes."v1.board"]
    path = "/board"
    respond = {}
    [plans.launch]
    kill = { stats = "drop" }
"#;

fn settings() -> Settings {
    let files = [SourceFile::new("config/seawall.toml", ROUTES)];
    load(&files, &environment).expect("routes").settings
}

/// What is said of a `switches.toml`, and what takes effect.
fn switches(text: &str) -> String {
    let file = SourceFile::new("config/switches.toml", text);
    let read = read_switch_entries(&file, &settings());
    let keys: Vec<String> = read.entries.keys().map(ToString::to_string).collect();
    let broken: Vec<String> = read.in_error.iter().map(ToString::to_string).collect();
    let problems = [read.problems, read.warnings].concat();
    let (taken, kept) = (keys.join(", "), broken.join(", "));
    format!(
        "{}\n\ntaken: {taken}\nkept as they were: {kept}",
        render(&problems)
    )
}

#[test]
fn shipped_configuration_has_no_errors_and_no_warnings() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let files = read_structure(&dir).expect("shipped files");
    let Loaded { settings, warnings } = load(&files, &environment).expect("shipped configuration");
    assert_eq!(render(&warnings), "");
    assert_eq!(&*settings.server.instance, "gateway-1");
    assert!(settings.routes.len() >= 7);
    let file = read_switches(&dir)
        .expect("readable")
        .expect("shipped switches.toml");
    let read = read_switch_entries(&file, &settings);
    assert_eq!(render(&[read.problems, read.warnings].concat()), "");
    assert!(read.has_kill_table && read.parsed && read.entries.is_empty());
    // The examples in its comments are right, too.
    let thrown = file.text.replace("\n# ", "\n#").replace("\n#", "\n");
    let (_, examples) = thrown.split_once("[kill]\n").expect("[kill]");
    let file = SourceFile::new("switches.toml", &format!("[kill]\n{examples}"));
    let read = read_switch_entries(&file, &settings);
    assert_eq!(render(&[read.problems, read.warnings].concat()), "");
    assert_eq!(read.entries.len(), 7);
}

#[test]
fn a_key_of_two_files_is_an_error_that_names_both() {
    let files = [
        SourceFile::new(
            "config/seawall.toml",
            "[routes.x]\npath = \"/x\"\nrespond = {}\n",
        ),
        SourceFile::new(
            "config/routes.d/a.toml",
            "[server]\nworkers = 1\n\n[routes.x]\npath = \"/y\"\n",
        ),
    ];
    insta::assert_snapshot!(render(&load(&files, &environment).unwrap_err()));
}

#[test]
fn structure_files_that_cannot_be_read_are_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let problems = read_structure(dir.path()).unwrap_err();
    let text = render(&problems).replace(&dir.path().display().to_string(), "config");
    insta::assert_snapshot!(text);
}

#[test]
fn warnings_say_what_to_look_at() {
    let text = r#"
[admin]
listen = "0.0.0.0:9901"
[routes.x]
path = "/x"
respond = {}
tier = "core"
kill_switch = { mode = "drop" }
observe = ["client-ip", "header:Authorization"]
"#;
    let files = [SourceFile::new("config/seawall.toml", text)];
    let loaded = load(&files, &environment).expect("only warnings");
    insta::assert_snapshot!(render(&loaded.warnings));
}

#[test]
fn syntax() {
    insta::assert_snapshot!(structure(
        r#"server = 
[routes.x
"#
    ));
}

#[test]
fn string_without_end() {
    insta::assert_snapshot!(structure(
        r#"[server]
instance = "a
workers = "b"
"#
    ));
}

#[test]
fn unknown_section() {
    insta::assert_snapshot!(structure(
        r#"[sevrer]
"#
    ));
}

#[test]
fn unknown_key() {
    insta::assert_snapshot!(structure(
        r#"[server]
listen_adress = "0.0.0.0:1"
wokers = 3
"#
    ));
}

#[test]
fn section_is_no_table() {
    insta::assert_snapshot!(structure(
        r#"server = 5
routes = "x"
"#
    ));
}

#[test]
fn key_twice() {
    insta::assert_snapshot!(structure(
        r#"[server]
workers = 1
workers = 2
"#
    ));
}

#[test]
fn kill_in_structure() {
    insta::assert_snapshot!(structure(
        r#"[kill]
all = "drop"
"#
    ));
}

#[test]
fn later_sections() {
    insta::assert_snapshot!(structure(
        r#"[telemetry]
otlp = "http://127.0.0.1:4317"
"#
    ));
}

#[test]
fn archive_store() {
    for (name, value) in [
        ("a_path", "\"data/archive\""),
        ("case", "\"S3://bucket/prefix\""),
        ("of", "\"of\""),
        ("azure", "\"abfss://container/prefix\""),
        ("no_bucket", "\"s3:bucket\""),
        ("secret", "\"s3://id:hunter2@bucket\""),
        ("query", "\"az://container?sig=hunter2\""),
        ("number", "7"),
    ] {
        let text = format!("[archive]\nstore = {value}\n");
        insta::assert_snapshot!(format!("archive_store_{name}"), structure(&text));
    }
    for (name, value) in [("ever", "\"ever\""), ("zero", "\"0d\""), ("days", "30")] {
        let text = format!("[archive]\nretain = {value}\n");
        insta::assert_snapshot!(format!("archive_retain_{name}"), structure(&text));
    }
}

#[test]
fn archive() {
    insta::assert_snapshot!(structure(
        r#"[archive]
journal = ["a", "a", ""]
copies = 3
durability = "fsyn"
max_bytes = "0B"
max_buffer = 64
seal_after = "0s"
redact_headers = ["a b"]
redact_query = [""]
stor = 1
"#
    ));
}

#[test]
fn a_journal_without_room_for_a_record() {
    let copies = "journal = [\"a\", \"b\"]\ncopies = 2\n";
    for (name, text) in [
        ("one", "max_bytes = \"1KiB\"\n".to_owned()),
        ("two", format!("{copies}max_bytes = \"8191B\"\n")),
    ] {
        let text = format!("[archive]\n{text}");
        insta::assert_snapshot!(format!("archive_without_room_{name}"), structure(&text));
    }
    let enough = format!("[archive]\n{copies}max_bytes = \"8KiB\"\n");
    assert!(
        load(
            &[SourceFile::new("config/seawall.toml", &enough)],
            &environment
        )
        .is_ok()
    );
}

#[test]
fn archive_of_a_route() {
    insta::assert_snapshot!(structure(
        r#"[routes.x]
path = "/x"
respond = {}
kill_switch = { mode = "archiv", when_full = "rejct", archive_quota = 25 }
[routes.y]
path = "/y"
respond = {}
kill_switch = { when_full = true, archive_quota = "0%" }
[routes.z]
path = "/z"
respond = {}
kill_switch = { archive_quota = "101%" }
"#
    ));
}

#[test]
fn later_keys() {
    insta::assert_snapshot!(structure(
        r#"[server]
tls = { cert = "a" }
[telemetry]
otlp = "http://a"
[upstreams.up]
endpoints = ["http://a"]
"#
    ));
}

#[test]
fn tokens() {
    insta::assert_snapshot!(structure(
        r#"[admin]
listen = "0.0.0.0:9901"
tokens = { amy = "hunter2-hunter2!", bob = "short", carl = "hunter2-hunter2!" }
"#
    ));
}

#[test]
fn later_route_keys() {
    insta::assert_snapshot!(structure(
        r#"[upstreams.up]
endpoints = ["http://127.0.0.1:9001"]
[routes.x]
path = "/x"
upstream = "up"
upgrade = 1
allow = 1
deny = 1
auth = 1
"#
    ));
}

#[test]
fn observe() {
    insta::assert_snapshot!(structure(
        r#"[upstreams.up]
endpoints = ["http://127.0.0.1:9001"]
[defaults]
upstream = "up"
observe = ["client"]
[routes.number]
path = "/a"
observe = 1
[routes.slip]
path = "/b"
observe = ["client-pi", "x-client-version", "heder:x-a", "header:", "header:a b", 7]
[routes.twice]
path = "/c"
observe = ["header:x-a", "header:X-A"]
[routes.many]
path = "/d"
observe = ["client-ip", "header:a", "header:b", "header:c", "header:d"]
"#
    ));
}

#[test]
fn later_values() {
    insta::assert_snapshot!(structure(
        r#"[upstreams.a]
endpoints = ["https://a"]
"#
    ));
}

#[test]
fn variable_unset() {
    insta::assert_snapshot!(structure(
        r#"[server]
instance = "${NOT_SET}"
"#
    ));
}

#[test]
fn variable_malformed() {
    insta::assert_snapshot!(structure(
        r#"[server]
instance = "${A B}"
listen = "${PORT"
"#
    ));
}

#[test]
fn address() {
    insta::assert_snapshot!(structure(
        r#"[server]
listen = [":8080", "localhost:80", "10.0.0.1"]
[admin]
listen = 9901
"#
    ));
}

#[test]
fn address_twice() {
    insta::assert_snapshot!(structure(
        r#"[server]
listen = ["0.0.0.0:1", "0.0.0.0:1"]
[admin]
listen = "0.0.0.0:1"
"#
    ));
}

#[test]
fn no_address() {
    insta::assert_snapshot!(structure(
        r#"[server]
listen = []
"#
    ));
}

#[test]
fn instance() {
    insta::assert_snapshot!(structure(
        r#"[server]
instance = "a/b"
"#
    ));
}

#[test]
fn number() {
    insta::assert_snapshot!(structure(
        r#"[server]
workers = -1
max_headers = "many"
max_connections = 99999999999999999999
"#
    ));
}

#[test]
fn duration() {
    insta::assert_snapshot!(structure(
        r#"[server]
header_timeout = "3 parsecs"
idle_timeout = 75
write_timeout = "0s"
"#
    ));
}

#[test]
fn size_and_rate() {
    insta::assert_snapshot!(structure(
        r#"[server]
max_header_bytes = "32KB"
min_body_rate = "256B"
"#
    ));
}

#[test]
fn range() {
    insta::assert_snapshot!(structure(
        r#"[server]
trusted_proxies = ["10.0.0.0/99", 5]
"#
    ));
}

#[test]
fn resolvers() {
    insta::assert_snapshot!(structure(
        r#"[server]
resolvers = ["10.0.0.2", "[::1]:5353", "ns.internal", "10.0.0.2:0", 5]
"#
    ));
}

#[test]
fn log_filter() {
    insta::assert_snapshot!(structure(
        r#"[telemetry]
log = "inof"
"#
    ));
}

#[test]
fn access_log() {
    insta::assert_snapshot!(structure(
        r#"[telemetry]
access_log = ""
log_headers = ["a b"]
"#
    ));
}

#[test]
fn upstream_name() {
    insta::assert_snapshot!(structure(
        r#"[upstreams.all]
endpoints = ["http://a"]
[upstreams."a:b"]
endpoints = ["http://a"]
"#
    ));
}

#[test]
fn no_endpoints() {
    insta::assert_snapshot!(structure(
        r#"[upstreams.a]
[upstreams.b]
endpoints = []
[upstreams.c]
endpoints = "http://a"
"#
    ));
}

#[test]
fn endpoint() {
    insta::assert_snapshot!(structure(
        r#"[upstreams.a]
endpoints = ["127.0.0.1:9001", "http://a/path", "http://u@a", "http://a:0", "http://a:x", "ftp://a"]
"#
    ));
}

#[test]
fn endpoint_twice() {
    insta::assert_snapshot!(structure(
        r#"[upstreams.a]
endpoints = ["http://a", "http://a:80"]
"#
    ));
}

#[test]
fn keepalive() {
    insta::assert_snapshot!(structure(
        r#"[upstreams.a]
endpoints = ["http://a"]
keepalive = { max_idel = 5, max_idle_time = "0s" }
connect_timeout = "0ms"
balance = "random"
"#
    ));
}

#[test]
fn route_name() {
    insta::assert_snapshot!(structure(
        r#"[routes.none]
[routes."a b"]
"#
    ));
}

#[test]
fn route_is_no_table() {
    insta::assert_snapshot!(structure(
        r#"[routes]
x = "y"
"#
    ));
}

#[test]
fn route_without_match() {
    insta::assert_snapshot!(structure(
        r#"[upstreams.up]
endpoints = ["http://127.0.0.1:9001"]
[routes.x]
upstream = "up"
"#
    ));
}

#[test]
fn route_without_target() {
    insta::assert_snapshot!(structure(
        r#"[routes.x]
path = "/x"
"#
    ));
}

#[test]
fn route_with_both_targets() {
    insta::assert_snapshot!(structure(
        r#"[upstreams.up]
endpoints = ["http://127.0.0.1:9001"]
[routes.x]
path = "/x"
upstream = "up"
respond = {}
"#
    ));
}

#[test]
fn no_such_upstream() {
    insta::assert_snapshot!(structure(
        r#"[upstreams.up]
endpoints = ["http://127.0.0.1:9001"]
[routes.x]
path = "/x"
upstream = "upp"
[routes.y]
path = "/y"
upstream = "elsewhere"
"#
    ));
}

#[test]
fn same_match() {
    insta::assert_snapshot!(structure(
        r#"[upstreams.up]
endpoints = ["http://127.0.0.1:9001"]
[routes.x]
path = "/p/{a}"
methods = ["GET", "PUT"]
upstream = "up"
[routes.y]
path = "/p/{b}"
methods = ["PUT", "GET"]
upstream = "up"
"#
    ));
}

#[test]
fn methods() {
    insta::assert_snapshot!(structure(
        r#"[upstreams.up]
endpoints = ["http://127.0.0.1:9001"]
[routes.x]
path = "/x"
upstream = "up"
methods = ["post", "A B", 5]
[routes.y]
path = "/y"
upstream = "up"
methods = []
"#
    ));
}

#[test]
fn tier() {
    insta::assert_snapshot!(structure(
        r#"[upstreams.up]
endpoints = ["http://127.0.0.1:9001"]
[routes.x]
path = "/x"
upstream = "up"
tier = "sheddible"
"#
    ));
}

#[test]
fn empty_words() {
    insta::assert_snapshot!(structure(
        r#"[upstreams.up]
endpoints = ["http://127.0.0.1:9001"]
[routes.x]
path = "/x"
upstream = "up"
owner = ""
runbook = 5
"#
    ));
}

#[test]
fn timeouts() {
    insta::assert_snapshot!(structure(
        r#"[upstreams.up]
endpoints = ["http://127.0.0.1:9001"]
[routes.x]
path = "/x"
upstream = "up"
timeout = "1s"
attempt_timeout = "2s"
stream_idle_timeout = "0s"
"#
    ));
}

#[test]
fn max_body() {
    insta::assert_snapshot!(structure(
        r#"[upstreams.up]
endpoints = ["http://127.0.0.1:9001"]
[routes.x]
path = "/x"
upstream = "up"
max_body = "all"
"#
    ));
}

#[test]
fn host_rewrite() {
    insta::assert_snapshot!(structure(
        r#"[upstreams.up]
endpoints = ["http://127.0.0.1:9001"]
[routes.x]
path = "/x"
upstream = "up"
host_rewrite = "a b"
"#
    ));
}

#[test]
fn on_failure() {
    insta::assert_snapshot!(structure(
        r#"[upstreams.up]
endpoints = ["http://127.0.0.1:9001"]
[routes.x]
path = "/x"
upstream = "up"
on_failure = "ajar"
[routes.y]
path = "/y"
upstream = "up"
on_failure = "open"
[routes.z]
path = "/z"
upstream = "up"
on_failure = "open"
kill_switch = { mode = "archive" }
"#
    ));
}

#[test]
fn on_failure_by_default_needs_the_mode_in_each_route() {
    insta::assert_snapshot!(structure(
        r#"[upstreams.up]
endpoints = ["http://127.0.0.1:9001"]
[defaults]
on_failure = "open"
[routes.x]
path = "/x"
upstream = "up"
kill_switch = { mode = "drop" }
[routes.y]
path = "/y"
upstream = "up"
kill_switch = { mode = "archive" }
[routes.z]
path = "/z"
respond = { body = "z" }
"#
    ));
}

#[test]
fn header_match() {
    insta::assert_snapshot!(structure(
        r#"[upstreams.up]
endpoints = ["http://127.0.0.1:9001"]
[routes.x]
path = "/x"
upstream = "up"
headers = { "a b" = "x", b = 5, c = { prefix = "a", suffix = "b" }, d = { perfix = "a" }, e = { regex = "(" }, f = { present = "yes" }, g = "x", G = "x" }
"#
    ));
}

#[test]
fn header_edits() {
    insta::assert_snapshot!(structure(
        r#"[upstreams.up]
endpoints = ["http://127.0.0.1:9001"]
[routes.x]
path = "/x"
upstream = "up"
request_headers = { set = { host = "a", "x y" = "b", x-a = "b ", x-seawall-a = "c" }, add = { content-length = "1" }, remove = ["connection", 5], delete = [] }
response_headers = { set = { transfer-encoding = "x" } }
"#
    ));
}

#[test]
fn respond() {
    insta::assert_snapshot!(structure(
        r#"[routes.x]
path = "/x"
respond = { status = 99, body = 5, content_type = "json" }
[routes.y]
path = "/y"
respond = { status = 204, body = "x" }
"#
    ));
}

#[test]
fn kill_switch() {
    insta::assert_snapshot!(structure(
        r#"[upstreams.up]
endpoints = ["http://127.0.0.1:9001"]
[routes.x]
path = "/x"
upstream = "up"
kill_switch = { mode = "off", status = 700, body = 1, content_type = "x", retry_after = "1s" }
"#
    ));
}

#[test]
fn kill_switch_return_and_share() {
    insta::assert_snapshot!(structure(
        r#"[routes.x]
path = "/x"
respond = {}
kill_switch = { restore = 30, sticky = "client_ip", close_tunnels = "yes" }
[routes.y]
path = "/y"
respond = {}
kill_switch = { sticky = "header x-player" }
[routes.z]
path = "/z"
respond = {}
kill_switch = { sticky = "header:x player" }
"#
    ));
}

#[test]
fn plans() {
    insta::assert_snapshot!(structure(
        r#"[routes.stats]
path = "/stats"
methods = ["POST"]
respond = {}
[plans.launch]
kill = { stat = "drop", "tier:shedable" = "drop", "plan:calm" = "on", stats = {} }
[plans.calm]
kil = {}
[plans.night]
kill = { stats = { mode = "drop", until = 2036-11-06, percent = 120 } }
[plans.all]
kill = {}
[plans.day]
kill = "drop"
description = "x"
[plans]
noon = "on"
"#
    ));
}

#[test]
fn a_plan_of_two_files_is_an_error_that_names_both() {
    let plan = "[plans.x]\nkill = { all = \"drop\" }\n";
    let files = [
        SourceFile::new("config/seawall.toml", plan),
        SourceFile::new("config/routes.d/a.toml", plan),
    ];
    insta::assert_snapshot!(render(&load(&files, &environment).unwrap_err()));
}

#[test]
fn defaults_once() {
    insta::assert_snapshot!(structure(
        r#"[upstreams.up]
endpoints = ["http://127.0.0.1:9001"]
[defaults]
timeout = "soon"
teir = "core"
[routes.x]
path = "/x"
upstream = "up"
[routes.y]
path = "/y"
upstream = "up"
"#
    ));
}

#[test]
fn switch_syntax() {
    insta::assert_snapshot!(switches(
        r#"[kill]
stats = 
ping = "drop
"#
    ));
}

#[test]
fn switch_no_such_key() {
    insta::assert_snapshot!(switches(
        r#"[kill]
stat = "drop"
"tier:shedable" = "drop"
"plan:lunch" = "on"
"plan:christmas" = "on"
elsewhere = "drop"
"#
    ));
}

#[test]
fn switch_value() {
    insta::assert_snapshot!(switches(
        r#"[kill]
stats = "archive"
ping = "drp"
all = true
"tier:standard" = "on"
v1.board = "drop"
"#
    ));
}

#[test]
fn switch_table() {
    insta::assert_snapshot!(switches(
        r#"[kill]
stats = { mode = "dorp", reason = 5, retry_after = "soon", percentage = 5 }
ping = { mode = "drop", dry_run = 1, client_ip = "::1" }
"#
    ));
}

#[test]
fn switch_percent() {
    insta::assert_snapshot!(switches(
        r#"[kill]
stats = { mode = "drop", percent = 101 }
ping = { mode = "reject", percent = "50%" }
"v1.board" = { mode = "off", percent = 50 }
all = { mode = "reject", percent = nan }
"tier:core" = { mode = "reject", percent = -0.5 }
"#
    ));
}

#[test]
fn switch_when() {
    insta::assert_snapshot!(switches(
        r#"[kill]
stats = { mode = "drop", when = {} }
ping = { mode = "reject", when = { header = { x-v = "1" } } }
all = { mode = "reject", when = { client_ip = [], query = { a = { prefix = "1", suffix = "2" } } } }
"tier:core" = { mode = "reject", when = { client_ip = "10.0.0.0/33", headers = { "a b" = "1", x = { regex = "(" } } } }
"tier:standard" = { mode = "reject", when = { client_ip = [], headers = {} } }
"v1.board" = { mode = "reject", when = "always" }
"#
    ));
}

#[test]
fn switch_until() {
    insta::assert_snapshot!(switches(
        r#"[kill]
stats = { mode = "drop", until = 2036-11-06T09:00:00 }
ping = { mode = "reject", until = "2036-11-06T09:00:00Z" }
all = { mode = "reject", until = 2036-11-06 }
"tier:core" = { mode = "reject", until = "30m" }
"v1.board" = { mode = "reject", until = 09:00:00 }
"#
    ));
}

#[test]
fn switch_list() {
    insta::assert_snapshot!(switches(
        r#"[kill]
stats = [
  { mode = "drop", when = { client_ip = "10.0.0.0/8" } },
  { mode = "dorp" },
]
ping = []
all = ["reject", 5]
"#
    ));
}

#[test]
fn switch_plan() {
    insta::assert_snapshot!(switches(
        r#"[kill]
"plan:launch" = "drop"
"#
    ));
    insta::assert_snapshot!(switches(
        r#"[kill]
"plan:launch" = { mode = "onn", percent = 50, until = 2036-11-06 }
"#
    ));
}

#[test]
fn switch_warnings() {
    insta::assert_snapshot!(switches(
        r#"[kill]
stats = [
  { mode = "drop", percent = 50 },
  { mode = "reject", when = { client_ip = "10.0.0.0/8" } },
]
ping = { mode = "reject", percent = 0 }
"v1.board" = { mode = "reject", until = 2001-01-01T00:00:00Z }
"plan:launch" = { mode = "on", until = 2001-01-01T00:00:00Z }
"tier:core" = "reject"
"#
    ));
}

#[test]
fn switch_without_mode() {
    insta::assert_snapshot!(switches(
        r#"[kill]
stats = {}
ping = {}
all = { reason = "x" }
"#
    ));
}

#[test]
fn switch_body_on_204() {
    insta::assert_snapshot!(switches(
        r#"[kill]
stats = { mode = "drop", status = 204, body = "x" }
"#
    ));
}

#[test]
fn switch_repeated() {
    insta::assert_snapshot!(switches(
        r#"[kill]
stats = "drop"
stats = "reject"
"#
    ));
}

#[test]
fn switch_outside() {
    insta::assert_snapshot!(switches(
        r#"stats = "drop"
[observe]
x = 1
[kil]
ping = "drop"
"#
    ));
}

#[test]
fn switch_list_of_tables() {
    insta::assert_snapshot!(switches(
        r#"[[kill]]
stats = "drop"
"#
    ));
}

#[test]
fn switch_not_utf8() {
    insta::assert_snapshot!(switches("[kill]\n# \u{fffd}\nstats = \"drop\"\n"));
}

#[test]
fn switch_hollow() {
    insta::assert_snapshot!(switches(
        r#"[kill]
ping = "drop"
all = "drop"
"#
    ));
}

#[test]
fn table_twice() {
    insta::assert_snapshot!(structure(
        r#"[routes.x]
path = "/x"
respond = {}

[routes.x]
path = "/y"
"#
    ));
}

#[test]
fn array_left_open() {
    insta::assert_snapshot!(structure(
        r#"[upstreams.up]
endpoints = ["http://a"
[routes.x]
path = "/x"
upstream = "up"
"#
    ));
}
