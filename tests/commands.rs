//! The commands of an incident: `kill`, `restore`, `status` and `explain`, as processes beside a
//! running gateway.

mod support;

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use support::*;

/// What a command said.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("{}\n{}", self.out, self.err))
    }

    #[track_caller]
    fn succeeds(self) -> Said {
        assert_eq!(self.code, Some(0), "{}\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    fn fails_with(self, text: &str) -> Said {
        assert_eq!(self.code, Some(1), "{}\n{}", self.out, self.err);
        assert!(self.err.contains(text), "{}", self.err);
        self
    }
}

/// Runs a command on a directory; the gateway there is at a port of its own choice.
fn command(dir: &Path, admin: Option<&Gateway>, arguments: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_seawall"));
    command.arg("--config").arg(dir).args(arguments);
    if let Some(gateway) = admin {
        command.arg("--admin").arg(gateway.admin.to_string());
    }
    command.env("USER", "amy").env_remove("SUDO_USER");
    let output = command.output().expect("the binary runs");
    Said {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).expect("text"),
        err: String::from_utf8(output.stderr).expect("text"),
    }
}

fn seawall(gateway: &Gateway, arguments: &[&str]) -> Said {
    command(gateway.directory(), Some(gateway), arguments)
}

const SWITCHES: &str = "# who: the game team\n[kill]\n# extra = \"drop\"   # an example\n\n# end\n";

/// Two routes that the gateway answers itself, of which one is sheddable, and a plan.
fn config() -> Config {
    let extra = "path = \"/extra\"\ntier = \"sheddable\"\nrespond = { body = \"extra\" }\n\
                 kill_switch = { mode = \"drop\", body = \"gone\", sticky = \"header:x-player\", restore = \"0s\" }";
    let vital = "path = \"/vital\"\nmethods = [\"POST\"]\nrespond = { body = \"vital\" }";
    Config::new()
        .route("extra", extra)
        .route("vital", vital)
        .switches(SWITCHES)
}

fn switches(gateway: &Gateway) -> String {
    std::fs::read_to_string(gateway.directory().join("switches.toml")).expect("read")
}

fn is_killed(gateway: &Gateway) -> bool {
    gateway.get("/extra").text() == "gone"
}

#[test]
fn kill_returns_once_requests_are_killed_and_restore_once_they_are_not() {
    let gateway = Gateway::start(&config());
    let said = seawall(&gateway, &["kill", "extra"]).succeeds();
    assert!(is_killed(&gateway), "confirmed before it acted");
    assert!(
        said.out
            .contains("extra is killed: drop; routes: extra; until restored (confirmed in ")
    );
    assert!(switches(&gateway).contains("\nextra = { mode = \"drop\", owner = \"amy\" }\n"));
    let said = seawall(&gateway, &["restore", "extra"]).succeeds();
    assert!(!is_killed(&gateway), "confirmed before it acted");
    assert!(said.err.contains("unchanged for 1 s"), "{}", said.err);
    assert!(said.out.contains("extra is restored"), "{}", said.out);
    assert!(said.out.contains("traffic is back at once"), "{}", said.out);
    assert_eq!(switches(&gateway), SWITCHES, "comments and all");
}

#[test]
fn every_option_becomes_a_key_of_the_entry() {
    let gateway = Gateway::start(&config());
    let options = [
        "kill",
        "extra",
        "--mode",
        "reject",
        "--percent",
        "12.5",
        "--when-header",
        "x-v=1.0*",
        "--when-header",
        "x-beta",
        "--for",
        "2h",
        "--reason",
        "INC-42",
        "--owner",
        "bob",
        "--dry-run",
        "--json",
    ];
    let said = seawall(&gateway, &options).succeeds();
    let text = switches(&gateway);
    let line = text
        .lines()
        .find(|line| line.starts_with("extra"))
        .expect("a line");
    for part in [
        "mode = \"reject\", percent = 12.5, when = { headers = { x-v = { prefix = \"1.0\" }, \
         x-beta = { present = true } } }, until = 2",
        "Z, reason = \"INC-42\", owner = \"bob\", dry_run = true }",
    ] {
        assert!(line.contains(part), "{line}");
    }
    let document = said.json();
    assert_eq!(
        (&document["confirmed"], &document["key"]),
        (&true.into(), &"extra".into())
    );
    let switch = &document["switches"][0];
    assert_eq!(switch["state"], "dry_run");
    assert_eq!(
        (&switch["percent"], &switch["owner"]),
        (&12.5.into(), &"bob".into())
    );
    assert_eq!(
        document["digest"],
        gateway.status()["switches_file"]["digest"]
    );
    // A second kill takes the place of the first, and says what was there.
    let said = seawall(&gateway, &["kill", "extra"]).succeeds();
    assert!(
        said.err.contains("was: extra = { mode = \"reject\""),
        "{}",
        said.err
    );
}

#[test]
fn what_cannot_be_thrown_is_said_and_nothing_is_written() {
    let gateway = Gateway::start(&config());
    let kill = |arguments: &[&str]| seawall(&gateway, &[&["kill"], arguments].concat());
    kill(&["extar"]).fails_with("there is no route `extar`; did you mean `extra`?");
    kill(&["tier:shedable"]).fails_with("did you mean `sheddable`?");
    kill(&["plan:launch"]).fails_with("plan");
    kill(&["vital"]).fails_with("--mode drop");
    kill(&["extra", "--mode", "dorp"]).fails_with("did you mean `drop`?");
    kill(&["plan:"]).fails_with("write plan:NAME");
    for usage in [
        &["extra", "--percent", "101"][..],
        &["extra", "--percent", "-1"],
        &["extra", "--for", "2 hours"],
        &["extra", "--until", "2001-01-01T00:00:00Z"],
        &["extra", "--for", "2h", "--until", "2999-01-01T00:00:00Z"],
        &["extra", "--when-header", "x-v=*"],
        &[],
    ] {
        assert_eq!(kill(usage).code, Some(2), "{usage:?}");
    }
    seawall(&gateway, &["restore", "extar"]).fails_with("did you mean `extra`?");
    assert_eq!(switches(&gateway), SWITCHES);
}

#[test]
fn eight_processes_that_kill_at_once_all_succeed() {
    let route = |n: usize| format!("path = \"/{n}\"\nrespond = {{ body = \"up\" }}");
    let mut config = Config::new().switches(SWITCHES);
    for n in 0..8 {
        config = config.route(&format!("r{n}"), &route(n));
    }
    let gateway = Gateway::start(&config);
    std::thread::scope(|scope| {
        for n in 0..8 {
            let gateway = &gateway;
            scope.spawn(move || {
                let key = format!("r{n}");
                seawall(gateway, &["kill", &key, "--mode", "drop"]).succeeds();
                assert_eq!(gateway.get(&format!("/{n}")).text(), "", "{key}");
            });
        }
    });
    let text = switches(&gateway);
    for n in 0..8 {
        let lines = text
            .lines()
            .filter(|line| line.starts_with(&format!("r{n} ")));
        assert_eq!(lines.count(), 1, "{text}");
    }
    assert!(SWITCHES.lines().all(|line| text.contains(line)), "{text}");
    let files = std::fs::read_dir(gateway.directory()).expect("a directory");
    let names: Vec<String> = files
        .map(|file| {
            file.expect("a file")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .filter(|name| !name.ends_with(".toml") && name != ".switches.lock")
        .collect();
    assert!(names.is_empty(), "left behind: {names:?}");
}

#[test]
fn a_broken_file_can_still_throw_and_says_why_it_does_not_restore() {
    let gateway = Gateway::start(&config().switches("[kill]\nextra = \"drop\"\n"));
    gateway.write_switches("[kill]\nextra = \"drop\"\nvital = { mode = \n");
    seawall(&gateway, &["kill", "tier:core", "--mode", "reject"]).succeeds();
    let said = seawall(&gateway, &["restore", "extra"]);
    let said = said.fails_with("what was thrown stays thrown");
    assert!(said.err.contains("switches.toml:2:17"), "{}", said.err);
    assert!(is_killed(&gateway));
    let told = seawall(&gateway, &["status"]).succeeds();
    assert!(told.out.contains("error "), "{}", told.out);
    assert!(told.out.contains("thrown, held"), "{}", told.out);
}

#[test]
fn a_file_without_its_table_gets_one_and_the_command_says_what_that_ends() {
    let gateway = Gateway::start(&config().switches("# nothing left\n"));
    let said = seawall(&gateway, &["kill", "extra"]).succeeds();
    assert!(switches(&gateway).contains("[kill]\n"), "{}", said.err);
    assert!(said.err.contains("the file had no [kill]"), "{}", said.err);
    let said = seawall(&gateway, &["kill", "vital", "--mode", "drop"]).succeeds();
    assert!(!said.err.contains("no [kill]"), "{}", said.err);
}

#[test]
fn a_linked_file_keeps_its_link_and_a_mounted_one_is_refused_with_the_line_to_add() {
    let directory = tempfile::tempdir().expect("a directory");
    let (dir, elsewhere) = (
        directory.path().join("config"),
        directory.path().join("real"),
    );
    for path in [&dir, &elsewhere] {
        std::fs::create_dir(path).expect("made");
    }
    config().write(&dir);
    let link = dir.join("switches.toml");
    std::fs::rename(&link, elsewhere.join("switches.toml")).expect("moved");
    std::os::unix::fs::symlink("../real/switches.toml", &link).expect("linked");
    let gateway = Gateway::start_in(directory, dir.clone(), &[]);
    seawall(&gateway, &["kill", "extra"]).succeeds();
    assert!(link.is_symlink() && is_killed(&gateway));

    // As Kubernetes lays a ConfigMap out.
    let data = dir.join("..2026");
    std::fs::create_dir(&data).expect("made");
    std::fs::write(data.join("switches.toml"), SWITCHES).expect("written");
    std::os::unix::fs::symlink("..2026", dir.join("..data")).expect("linked");
    std::fs::remove_file(&link).expect("removed");
    std::os::unix::fs::symlink("..data/switches.toml", &link).expect("linked");
    let said = seawall(&gateway, &["kill", "tier:sheddable"]).fails_with("ConfigMap");
    assert!(said.err.contains("\"tier:sheddable\" = "), "{}", said.err);
    assert_eq!(switches(&gateway), SWITCHES);
}

#[test]
fn without_a_gateway_the_file_is_written_and_not_confirmed() {
    let directory = tempfile::tempdir().expect("a directory");
    let address = free_address();
    config()
        .admin("listen", &format!("\"{address}\""))
        .write(directory.path());
    let run = |arguments: &[&str]| command(directory.path(), None, arguments);
    // Trying again makes no gateway confirm, although the line is there.
    for _ in 0..2 {
        run(&["kill", "extra"]).fails_with(&format!("no answer from {address}"));
    }
    let said = run(&["kill", "extra", "--json"]).fails_with("no gateway has confirmed");
    assert!(said.out.contains("\"confirmed\": false"), "{}", said.out);
    let text = std::fs::read_to_string(directory.path().join("switches.toml")).expect("read");
    assert!(text.contains("\nextra = "), "{text}");
    let said = run(&["restore", "extra", "--no-wait"]).succeeds();
    assert!(said.out.contains("not confirmed"), "{}", said.out);
    let said = run(&["restore", "extra"]).fails_with("no gateway has confirmed");
    assert!(said.err.contains("says so already"), "{}", said.err);
    run(&["restore", "extra", "--no-wait"]).succeeds();
    run(&["status"]).fails_with("no answer from");
}

#[test]
fn commands_need_not_know_the_tokens_of_the_gateway() {
    let admin = format!("\"{}\"", free_address());
    let config = config().admin("listen", &admin);
    let gateway = Gateway::start(&config);
    let unset = "{ amy = \"${SEAWALL_TEST_TOKEN_THAT_IS_NOT_SET}\" }";
    gateway.write_structure(&config.admin("tokens", unset));
    let run = |arguments: &[&str]| command(gateway.directory(), None, arguments).succeeds();
    run(&["kill", "extra"]);
    assert!(is_killed(&gateway));
    assert!(run(&["status"]).out.contains("extra"));
    assert!(run(&["explain", "GET", "/extra"]).out.contains("KILLED"));
    run(&["restore", "extra", "--exempt"]);
}

#[test]
fn restore_says_what_still_kills_the_route() {
    let gateway = Gateway::start(&config());
    let said = seawall(&gateway, &["restore", "extra"]).succeeds();
    assert!(said.out.contains("extra is not thrown in "), "{}", said.out);
    seawall(&gateway, &["kill", "tier:sheddable"]).succeeds();
    seawall(&gateway, &["kill", "extra", "--mode", "reject"]).succeeds();
    let said = seawall(&gateway, &["restore", "extra", "--json"]).succeeds();
    assert_eq!(
        said.json()["still_killed"],
        serde_json::json!([{ "route": "extra", "by": ["tier:sheddable (drop)"] }])
    );
    assert!(is_killed(&gateway));
    let said = seawall(&gateway, &["restore", "extra", "--exempt"]).succeeds();
    assert!(said.out.contains("extra is exempt"), "{}", said.out);
    assert!(!is_killed(&gateway));
    let said = seawall(&gateway, &["kill", "tier:sheddable"]).succeeds();
    assert!(
        said.out.contains("not extra: extra (off) decides"),
        "{}",
        said.out
    );
}

#[test]
fn a_plan_is_thrown_and_ended_by_its_name() {
    let plan = "[plans.launch]\nkill = { extra = \"drop\", \"tier:core\" = \"reject\" }\n";
    let config = config();
    let directory = tempfile::tempdir().expect("a directory");
    config.write(directory.path());
    let structure = directory.path().join("seawall.toml");
    std::fs::write(&structure, config.structure() + plan).expect("written");
    let path = directory.path().to_owned();
    let gateway = Gateway::start_in(directory, path, &[]);
    seawall(&gateway, &["kill", "plan:launch", "--percent", "5"]).fails_with("is a plan");
    let said = seawall(&gateway, &["kill", "plan:launch", "--reason", "queue"]).succeeds();
    assert!(
        said.out
            .contains("plan:launch is killed: on; routes: extra"),
        "{}",
        said.out
    );
    assert!(
        said.out.contains("\n  extra is killed: drop"),
        "{}",
        said.out
    );
    assert!(is_killed(&gateway));
    let status = seawall(&gateway, &["status"]).succeeds();
    assert!(
        status.out.contains("  extra (plan:launch)"),
        "{}",
        status.out
    );
    seawall(&gateway, &["restore", "plan:launch", "--exempt"]).succeeds();
    assert!(!is_killed(&gateway));
}

#[test]
fn status_shows_switches_errors_and_the_ledger() {
    let gateway = Gateway::start(&config());
    let said = seawall(&gateway, &["status"]).succeeds();
    assert!(said.out.contains("no switch is thrown"), "{}", said.out);
    seawall(&gateway, &["kill", "extra", "--reason", "INC-42"]).succeeds();
    assert!(is_killed(&gateway));
    gateway.wait_metric("seawall_killed_requests_total", &[], 1.0);
    let said = seawall(&gateway, &["status"]).succeeds();
    let row = said
        .out
        .lines()
        .find(|line| line.starts_with("extra"))
        .expect("a row");
    for word in ["thrown", "drop", "100 %", "amy", "file", "INC-42"] {
        assert!(row.contains(word), "{row}");
    }
    assert!(
        said.out
            .contains("killed requests since the start: 1 = dropped 1")
    );
    let json = seawall(&gateway, &["status", "--json"]).succeeds().json();
    assert_eq!(json["switches"][0]["key"], "extra");
}

#[test]
fn explain_says_what_the_gateway_does() {
    let entry = "[kill]\nextra = { mode = \"drop\", percent = 50 }\nvital = \"reject\"\n";
    let gateway = Gateway::start(&config().switches(entry));
    let explain = |arguments: &[&str]| {
        let arguments = [&["explain", "--json"], arguments].concat();
        command(gateway.directory(), None, &arguments)
            .succeeds()
            .json()
    };
    let mut verdicts = std::collections::BTreeSet::new();
    for player in 0..20 {
        let header = format!("x-player: {player}");
        let said = explain(&["GET", "/extra", "-H", &header]);
        let verdict = said["kill"]["verdict"]
            .as_str()
            .expect("a verdict")
            .to_owned();
        let request = format!("GET /extra HTTP/1.1\r\nhost: test\r\n{header}\r\n\r\n");
        let killed = gateway.ask(request).text() == "gone";
        assert_eq!(killed, verdict == "killed", "player {player}: {verdict}");
        verdicts.insert(verdict);
    }
    assert_eq!(verdicts.len(), 2, "{verdicts:?}");
    let refused = explain(&["GET", "/vital"]);
    assert_eq!(refused["refusal"]["status"], gateway.get("/vital").status);
    assert_eq!(refused["refusal"]["allow"], serde_json::json!(["POST"]));
    gateway.write_switches("[kill]\nextra = \"off\"\n\"tier:sheddable\" = \"drop\"\n");
    let said = explain(&["GET", "/extra"]);
    assert_eq!(said["kill"]["verdict"], "passes");
    assert_eq!(said["kill"]["entries"][0]["mode"], "off");
    for target in ["/none", "/x/..%5cextra", "/%00", "//extra"] {
        let said = explain(&["GET", target]);
        assert_eq!(
            said["refusal"]["status"],
            gateway.get(target).status,
            "{target}"
        );
    }
    gateway.write_switches(entry);
    let vital = command(gateway.directory(), None, &["explain", "post", "/vital"]).succeeds();
    assert!(vital.out.contains("switches  KILLED"), "{}", vital.out);
    assert!(
        vital.out.contains("vital = reject, 503: takes it"),
        "{}",
        vital.out
    );
}
