//! What the log says to whoever breaks and mends files while the gateway runs.

mod support;

use support::*;

fn base() -> Config {
    Config::new().respond("ping", "/ping", "pong")
}

#[test]
fn the_log_says_when_a_broken_structure_is_mended() {
    let gateway = Gateway::start(&base());
    gateway.write_file("seawall.toml", "[server\n");
    let rejected = "configuration rejected; the one before stays";
    wait_for("the error", || !gateway.events(rejected).is_empty());
    gateway.write_structure(&base());
    let mended = "configuration is free of errors again, and as it was before them";
    wait_for("the all-clear", || !gateway.events(mended).is_empty());
}

#[test]
fn sighup_is_answered_in_the_log_although_nothing_changed() {
    let gateway = Gateway::start(&base());
    gateway.signal("HUP");
    wait_for("an answer", || {
        !gateway.events("configuration unchanged").is_empty()
    });
}

#[test]
fn a_structure_that_loses_every_route_is_rejected() {
    let gateway = Gateway::start(&base());
    gateway.write_file("seawall.toml", "");
    wait_for("the rejection", || {
        gateway.status()["last_reload"]["result"] == "rejected"
    });
    let errors = gateway.status()["last_reload"]["errors"].clone();
    assert_eq!(errors[0]["message"], "no route is left", "{errors}");
    assert!(errors[0]["hint"].is_string(), "{errors}");
    assert_eq!(gateway.get("/ping").text(), "pong");
}

#[test]
fn emptied_switches_restore_nothing_and_the_log_says_why() {
    let gateway = Gateway::start(&base().switches("[kill]\nping = \"reject\"\n"));
    gateway.write_switches("");
    let warning = "has no table [kill]: what is thrown stays thrown";
    wait_for("the warning", || !gateway.events(warning).is_empty());
    assert_refusal(&gateway.get("/ping"), 503, "killed");
    assert_eq!(gateway.status()["switches"][0]["held"], true);
}

#[test]
fn errors_of_the_switches_end_with_what_they_mean() {
    let gateway = Gateway::start(&base());
    gateway.write_switches("[kill]\nping = drop\n\"tier:cor\" = \"drop\"\n");
    let summary =
        "switches.toml has errors; entries without one hold, what was thrown stays thrown";
    wait_for("the summary", || !gateway.events(summary).is_empty());
    assert_eq!(gateway.events(summary)[0]["errors"], 2);
    let errors = gateway.status()["switch_errors"].clone();
    let hints = ["write \"...\" around the value", "did you mean `core`?"];
    for (error, hint) in errors.as_array().expect("a list").iter().zip(hints) {
        let said = error["hint"].as_str().unwrap_or_default();
        assert!(said.contains(hint), "{hint}: {errors}");
    }
}

#[test]
fn the_readme_has_the_table_of_refusals() {
    let readme = include_str!("../README.md");
    let rows: Vec<&str> = seawall::vocab::Reason::TABLE
        .iter()
        .map(|row| row.name)
        .collect();
    let mut written = Vec::new();
    for line in readme.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let name = cells[0].trim_matches('`');
        if cells.len() == 3 && rows.contains(&name) {
            written.push(line.to_owned());
        }
    }
    let table: Vec<String> = seawall::vocab::Reason::TABLE
        .iter()
        .map(|row| format!("| `{}` | {} | {} |", row.name, row.status, row.title))
        .collect();
    assert_eq!(written, table);
}
