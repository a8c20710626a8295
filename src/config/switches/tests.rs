use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::Range;

use proptest::prelude::*;

use super::*;
use crate::config::{load, read_structure};
use crate::policy::kill::{KillEntry, Mode};
use crate::vocab::Tier;

fn settings(text: &str) -> Settings {
    let files = [SourceFile::new("seawall.toml", text)];
    load(&files, &|_| None).unwrap().settings
}

fn shipped() -> Settings {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    load(&read_structure(&dir).unwrap(), &|_| None)
        .unwrap()
        .settings
}

/// As from disk: what is not UTF-8 is replaced.
fn read(bytes: &[u8], settings: &Settings) -> SwitchesRead {
    let text = String::from_utf8_lossy(bytes);
    read_switch_entries(&SourceFile::new("switches.toml", &text), settings)
}

/// The shipped file with its examples in effect, and more of every form.
fn launch_night() -> String {
    let shipped = include_str!("../../../config/switches.toml");
    let (head, examples) = shipped.split_once("[kill]\n").unwrap();
    let examples = examples.replace("# ", "");
    format!(
        "{head}[kill]\n{examples}
# by the runbook
all = {{ mode = \"reject\", retry_after = \"1m\", reason = \"\"\"several
lines = \"off\"
\"\"\", owner = 'amy' }}   # trailing
\"tier:core\" = {{
  mode = \"reject\",
  reason = \"on its own lines\",
  when = {{
    query = {{ beta = {{ present = true }}, \"v\" = {{ regex = \"1|2\" }} }},
    client_ip = [
      \"10.0.0.0/8\",
      \"2001:db8::/32\"
    ],
  }},
  until = 2036-11-06T10:00:00.5+01:00,
}}
\"tier:standard\" = {{ mode = \"reject\", status = 429 }}

[[kill.submit-stats]]
mode = \"off\"
[kill.submit-stats.when]
client_ip = \"192.0.2.0/24\"
[kill.submit-stats.when.headers.x-client-version]
suffix = \".9\"
[[kill.submit-stats]]
percent = 10
[[kill.submit-stats]]
mode = \"reject\"
dry_run = true

[kill.ping]
mode = \"reject\"
owner = \"bob\"
[kill.ping.when.headers]
x-a = \"1\"
"
    )
}

type Owners = Vec<(KillKey, Setting, Range<usize>)>;

/// Each entry with the bytes of its own lines.
fn owners(text: &str, settings: &Settings) -> Owners {
    let read = read(text.as_bytes(), settings);
    assert_eq!(read.problems, [], "the text under test is free of errors");
    let range = |name: &str| {
        let closed = [format!("\n{name} ="), format!("\n\"{name}\" =")];
        let start = closed.iter().find_map(|form| text.find(form.as_str()));
        if let Some(start) = start {
            let lines = text[start + 1..].split_inclusive('\n');
            let mut end = start + 1;
            for line in lines {
                end += line.len();
                if text[start + 1..end].parse::<toml::Table>().is_ok() {
                    break;
                }
            }
            return start + 1..end;
        }
        let own = |line: &str| {
            line.trim_start_matches('[')
                .starts_with(&format!("kill.{name}"))
        };
        let start = text.find(&format!("\n[kill.{name}]"));
        let start = start
            .or_else(|| text.find(&format!("\n[[kill.{name}]]")))
            .unwrap()
            + 1;
        let lines = text[start..].split_inclusive('\n');
        let lines = lines.take_while(|line| !line.starts_with('[') || own(line));
        start..start + lines.map(str::len).sum::<usize>()
    };
    let entries = read.entries.into_iter();
    entries
        .map(|(key, setting)| {
            let range = range(&key.to_string());
            (key, setting, range)
        })
        .collect()
}

/// What must hold when only the bytes of `damage` changed.
fn holds(bytes: &[u8], original: &str, damage: Range<usize>, owned: &(Settings, Owners)) {
    let (settings, owners) = owned;
    let read = read(bytes, settings);
    let valid = String::from_utf8_lossy(bytes)
        .parse::<toml::Table>()
        .is_ok();
    // The lines the damage is in: what they now say is theirs.
    let begin = original[..damage.start].rfind('\n').map_or(0, |at| at + 1);
    let end = original[damage.end..]
        .find('\n')
        .map_or(original.len(), |at| damage.end + at + 1);
    let header = original.find("\n[kill]\n").unwrap() + 1;
    for (key, setting, lines) in owners {
        let got = read.entries.get(key);
        let show = || format!("{:#?}\n{}", read.problems, String::from_utf8_lossy(bytes));
        let intact = lines.end <= begin || lines.start >= end;
        let named =
            String::from_utf8_lossy(&bytes[begin..end.min(bytes.len())]).contains(&key.to_string());
        if !intact || (named && lines.start >= end) {
            let weaker = got.is_some_and(exempts);
            assert!(!weaker || exempts(setting), "{key} became weaker");
            assert!(
                valid || got.is_none_or(|got| got == setting),
                "{key} became {got:#?}; {}",
                show()
            );
            continue;
        }
        let header_gone = begin <= header && header < end;
        if header_gone && exempts(setting) {
            assert!(read.in_error.contains(key) || got.is_some());
            continue;
        }
        if lines.start < end && named {
            continue;
        }
        assert_eq!(got, Some(setting), "{key} is lost; {}", show());
    }
}

#[test]
fn every_truncation_keeps_the_entries_before_it() {
    let settings = shipped();
    let text = launch_night();
    let owners = owners(&text, &settings);
    for cut in 0..text.len() {
        let read = read(&text.as_bytes()[..cut], &settings);
        let valid = text[..cut].parse::<toml::Table>().is_ok();
        for (key, setting, lines) in &owners {
            let got = read.entries.get(key);
            let below = text.get(lines.end..cut).unwrap_or_default().trim();
            let header = below.strip_prefix('[');
            // `[ki` may have been the condition of the entry above it.
            let in_doubt = header.is_some_and(|header| format!("kill.{key}").starts_with(header));
            if lines.end <= cut + 1 && !in_doubt {
                assert_eq!(got, Some(setting), "{key} at {cut}: {:#?}", read.problems);
                continue;
            }
            let may = exempts(setting) || !got.is_some_and(exempts);
            assert!(may, "{key} at {cut}");
            let whole = got.is_none_or(|got| got == setting);
            assert!(valid || whole, "{key} at {cut}: {got:#?}");
        }
    }
}

#[test]
fn a_thousand_corruptions_refuse_no_neighbour() {
    let settings = shipped();
    let text = launch_night();
    let owners = owners(&text, &settings);
    let owned = (settings, owners);
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below as u64) as usize
    };
    const NASTY: &[u8] = b"\"'[]{}=,#\n\r\\\0\xff .:x-";
    for _ in 0..1_000 {
        let at = random(text.len());
        let mut bytes = text.clone().into_bytes();
        bytes[at] = match random(2) {
            0 => NASTY[random(NASTY.len())],
            _ => random(256) as u8,
        };
        holds(&bytes, &text, at..at + 1, &owned);
    }
}

/// Each in the place of a character, and between two.
#[test]
fn a_line_break_within_a_header_costs_no_entry_its_condition() {
    let settings = shipped();
    let text = launch_night();
    let owners = owners(&text, &settings);
    let owned = (settings, owners);
    let begin = text.find("[[kill.").unwrap();
    let mut cut = 0;
    let headers = text.match_indices("\n[").map(|(end, _)| end + 1);
    for start in headers.filter(|start| *start >= begin) {
        let header = text[start..].lines().next().unwrap_or_default();
        for at in start..start + header.len() {
            for taken in 0..2 {
                let damaged = [&text[..at], "\n", &text[at + taken..]].concat();
                holds(damaged.as_bytes(), &text, at..at + taken, &owned);
                cut += 1;
            }
        }
    }
    assert!(cut > 200, "{cut}");
}

#[test]
fn the_shipped_file_survives_the_same() {
    let settings = shipped();
    let text = include_str!("../../../config/switches.toml");
    for cut in 0..=text.len() {
        let read = read(&text.as_bytes()[..cut], &settings);
        assert!(read.entries.values().all(|setting| !exempts(setting)));
    }
}

#[test]
fn line_by_line_reads_what_the_parser_reads() {
    let settings = shipped();
    let text = launch_night();
    let whole = read(text.as_bytes(), &settings);
    let broken = text.replacen("[kill]\n", "[kill]\n!!\n", 1);
    let salvaged = read(broken.as_bytes(), &settings);
    assert_eq!(salvaged.entries, whole.entries);
    assert_eq!(salvaged.in_error.len(), 0);
    assert_eq!(salvaged.problems.len(), 1, "{:#?}", salvaged.problems);
    assert!(salvaged.has_kill_table && salvaged.parsed);
}

const THREE: &str = r#"
    [routes.a]
    path = "/a"
    methods = ["POST"]
    respond = {}
    [routes.b]
    path = "/b"
    methods = ["POST"]
    respond = {}
    [routes."v1.c"]
    path = "/c"
    methods = ["POST"]
    respond = {}
    [plans.p]
    kill = { a = "drop" }
"#;

fn in_words(setting: &Setting) -> String {
    let entries = match setting {
        Setting::Entries(entries) => entries,
        Setting::Plan(plan) => return if plan.on { "on" } else { "off" }.to_owned(),
    };
    let words = entries.iter().map(|entry| {
        let word = match entry.position {
            Position::Off => "off",
            Position::Thrown(Some(mode)) => mode.as_str(),
            Position::Thrown(None) => "thrown",
        };
        let conditional = if entry.when.is_always() { "" } else { "?" };
        match entry.share.percent() {
            100.0 => format!("{word}{conditional}"),
            percent => format!("{word}{percent}{conditional}"),
        }
    });
    words.collect::<Vec<_>>().join("|")
}

fn sum_up(text: &str) -> String {
    let read = read(text.as_bytes(), &settings(THREE));
    let mut out = String::new();
    for (key, entry) in &read.entries {
        write!(out, "{key}={} ", in_words(entry)).unwrap();
    }
    for key in &read.in_error {
        write!(out, "{key}=? ").unwrap();
    }
    let errors = read.problems.len();
    write!(
        out,
        "errors={errors} kill={} parsed={}",
        read.has_kill_table, read.parsed
    )
    .unwrap();
    out
}

#[test]
fn broken_files_are_read_entry_by_entry() {
    let cases: BTreeMap<&str, &str> = [
        ("", "errors=0 kill=false parsed=true"),
        ("[kill]\n", "errors=0 kill=true parsed=true"),
        ("kill = {}\n", "errors=0 kill=true parsed=true"),
        ("!!!\n", "errors=1 kill=false parsed=false"),
        (
            "kill = { a = \"drop\", b = \n",
            "a=? b=? errors=1 kill=false parsed=false",
        ),
        (
            "[kill]\na = \"drop\nb = \"drop\"\n",
            "b=drop a=? errors=1 kill=true parsed=true",
        ),
        (
            "[kill]\na\nb = \"drop\"\n",
            "b=drop a=? errors=1 kill=true parsed=true",
        ),
        (
            "[kill]\na = [\nb = \"drop\"\n",
            "b=drop a=? errors=1 kill=true parsed=true",
        ),
        (
            "[kill]\na = \"\"\"x\nb = \"off\"\n",
            "b=off a=? errors=1 kill=true parsed=true",
        ),
        (
            "[kill]\na = { mode = \"drop\"\nb = \"off\"\n",
            "b=off a=? errors=1 kill=true parsed=true",
        ),
        (
            "[kill]\na = \"drop\"\na = \"reject\"\n",
            "a=reject errors=1 kill=true parsed=true",
        ),
        (
            "[kill]\na = \"drop\"\na = \"off\"\n",
            "a=off errors=1 kill=true parsed=true",
        ),
        (
            "[kill]\na = \"drop\"\na = \"of\n",
            "a=drop errors=1 kill=true parsed=true",
        ),
        (
            "[kill]\na = \"off\"\na = \"dr\n",
            "a=? errors=1 kill=true parsed=true",
        ),
        (
            "[kill\na = \"drop\"\nb = \"off\"\n",
            "a=drop b=? errors=1 kill=false parsed=true",
        ),
        (
            "[kil]\na = \"drop\"\nb = \"off\"\n",
            "a=drop b=? errors=1 kill=false parsed=true",
        ),
        ("[other]\na = \"drop\"\n", "errors=1 kill=false parsed=true"),
        (
            "[other]\na = \"drop\n[kill]\nb = \"drop\"\n",
            "b=drop errors=2 kill=true parsed=true",
        ),
        (
            "a = \"drop\"\nb = \"off\"\n",
            "a=drop b=? errors=2 kill=false parsed=true",
        ),
        (
            "[kill.a]\nmode = \"drop\"\n[kill]\nb = \"off\"\n",
            "a=drop b=off errors=0 kill=true parsed=true",
        ),
        (
            "[kill.a]\nmode = \"drop\n[kill.b]\nmode = \"drop\"\n",
            "b=drop a=? errors=1 kill=true parsed=true",
        ),
        (
            "[kill]\ntier:core = \"drop\"\nb = \"drop\"\n",
            "b=drop tier:core=? errors=1 kill=true parsed=true",
        ),
        (
            "[kill]\nv1.c = \"drop\"\n",
            "v1.c=? errors=1 kill=true parsed=true",
        ),
        (
            "[kill]\nv1.c = \"drop\"\n!\n",
            "v1.c=? errors=2 kill=true parsed=true",
        ),
        (
            "kill.a = \"drop\"\n!\n",
            "a=drop errors=1 kill=true parsed=true",
        ),
        (
            "\u{feff}[kill]\na = \"drop\"\n!\n",
            "a=drop errors=1 kill=true parsed=true",
        ),
        (
            "[kill]\r\na = \"drop\"\r\nb = \r\n",
            "a=drop b=? errors=1 kill=true parsed=true",
        ),
        // Parts of one entry: `a.mode`, `[[kill.a]]`, `[kill.a.when]`.
        (
            "[kill]\na.mode = \"drop\"\na.percent = 5\n!\n",
            "a=drop5 errors=1 kill=true parsed=true",
        ),
        (
            "[kill]\na.mode = \"drop\"\na.percent = 5x\n",
            "a=? errors=1 kill=true parsed=true",
        ),
        (
            "[kill]\na = \"drop\"\na.percent = 5\n",
            "a=drop errors=1 kill=true parsed=true",
        ),
        (
            "[kill.a]\nmode = \"drop\"\n[kill.a.when]\nclient_ip = \"10.0.0.0/8\"\n[kill]\n!\n",
            "a=drop? errors=1 kill=true parsed=true",
        ),
        (
            "[kill.a]\nmode = \"drop\"\n[kill.a.when\nclient_ip = \"10.0.0.0/8\"\n",
            "a=? errors=1 kill=true parsed=true",
        ),
        (
            "[kill.a.when]\nclient_ip = \"::1\"\n[kill.b]\nmode = \"drop\"\n[kill.a]\nmode = \"reject\"\n!\n",
            "b=drop a=? errors=1 kill=true parsed=true",
        ),
        (
            "[kill.a.when]\nclient_ip = \"::1\"\n[kill.a]\nmode = \"reject\"\n[kill]\n!\n",
            "a=reject? errors=1 kill=true parsed=true",
        ),
        (
            "[[kill.a]]\nmode = \"drop\"\nwhen = { client_ip = \"::1\" }\n[kill.b]\nmode = \"drop\"\n[[kill.a]]\nmode = \"reject\"\n[kill]\n!\n",
            "a=drop?|reject b=drop errors=1 kill=true parsed=true",
        ),
        (
            "[[kill.a]]\nmode = \"drop\"\nwhen = { client_ip = \"::1\" }\n[kill.b]\nmode = \"drop\"\n[[kill.a]]\nmode = reject\n",
            "b=drop a=? errors=1 kill=true parsed=true",
        ),
        (
            "[[kill.a]]\nmode = \"drop\"\nwhen = { client_ip = \"::1\" }\n[[kill.",
            "a=? errors=1 kill=true parsed=true",
        ),
        (
            "[kill.a]\nmode = \"drop\"\n[kill.a]\nmode = \"reject\"\n",
            "a=reject errors=1 kill=true parsed=true",
        ),
        // Lists.
        (
            "[kill]\na = [\n{ mode = \"drop\", when = { client_ip = \"::1\" } },\n\"off\"\n]\n!\n",
            "a=drop?|off errors=1 kill=true parsed=true",
        ),
        (
            "[kill]\na = [\n{ mode = \"drop\", when = { client_ip = \"::1\" } },\n\"off\n]\nb = \"drop\"\n",
            "b=drop a=? errors=2 kill=true parsed=true",
        ),
        (
            "[kill]\na = [{ mode = \"drop\", when = { client_ip = \"::1\" } }, \"of\"]\n",
            "a=? errors=1 kill=true parsed=true",
        ),
        (
            "[kill]\na = [{ mode = \"drop\", percent = 101 }, \"drop\"]\nb = [\"drop\"]\n",
            "b=drop a=? errors=1 kill=true parsed=true",
        ),
        // Plans.
        (
            "[kill]\n\"plan:p\" = \"on\"\n\"plan:q\" = \"off\"\n",
            "plan:p=on errors=1 kill=true parsed=true",
        ),
        (
            "[kill]\n\"plan:p\" = { mode = \"on\", until = 2036-01-01T00:00:00 }\nb = \"drop\"\n",
            "b=drop plan:p=? errors=1 kill=true parsed=true",
        ),
        (
            "\"plan:p\" = \"off\"\n[kill]\n",
            "plan:p=? errors=1 kill=true parsed=true",
        ),
        (
            "[[kill]]\na = \"drop\"\n!\n",
            "a=drop errors=2 kill=false parsed=true",
        ),
    ]
    .into();
    let mut wrong = Vec::new();
    for (text, expected) in cases {
        let got = sum_up(text);
        wrong.extend((got != expected).then(|| format!("{text:?}: {got}, not {expected}")));
    }
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn an_entry_says_everything_an_answer_needs() {
    let text = "[kill]\na = { mode = \"drop\", status = 202, body = \"x\", content_type = \"a/b\", \
                retry_after = \"7s\", reason = \"r\", owner = \"o\" }\n\"tier:core\" = \"off\"\n";
    let read = read(text.as_bytes(), &settings(THREE));
    let Setting::Entries(entries) = &read.entries[&KillKey::Route("a".into())] else {
        panic!("{read:#?}");
    };
    let entry = &entries[0];
    assert_eq!(entry.position, Position::Thrown(Some(Mode::Drop)));
    assert_eq!(entry.answer.status.map(|status| status.as_u16()), Some(202));
    assert_eq!(entry.answer.body.as_deref(), Some(&b"x"[..]));
    assert_eq!(entry.retry_after, Some(std::time::Duration::from_secs(7)));
    assert_eq!(
        (entry.reason.as_deref(), entry.owner.as_deref()),
        (Some("r"), Some("o"))
    );
    assert_eq!(
        read.entries[&KillKey::Tier(Tier::Core)],
        Setting::Entries(vec![KillEntry::word(Position::Off)])
    );
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_fail(text in "(\\[|\\]|\\{|\\}|\"|'|=|,|\\.|#|\n|\r| |kill|a|b|all|tier:core|plan:p|on|drop|off|mode|percent|when|until|client_ip|5|2036-01-01T00:00:00Z|\\\\|é|\u{fffd}){0,60}") {
        let settings = settings(THREE);
        let read = read(text.as_bytes(), &settings);
        prop_assert!(read.entries.keys().all(|key| !read.in_error.contains(key)));
    }

    #[test]
    fn no_bytes_make_the_reader_fail(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        read(&bytes, &settings(THREE));
    }
}
