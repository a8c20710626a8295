//! Which events ask for which files.

use super::*;
use std::io::Write as _;
use std::time::Duration;

/// What events ask for until none comes for a while.
fn settle(watch: &mut Watch) -> Option<Look> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().build().unwrap();
    let events = watch.events();
    let mut found = None;
    runtime.block_on(async {
        let wait = Duration::from_millis(100);
        while tokio::time::timeout(wait, events.next()).await.is_ok() {
            found = Some(watch.take().or(found.unwrap_or_default()));
        }
    });
    found
}

fn look(structure: Depth, switches: Depth) -> Option<Look> {
    Some(Look {
        structure,
        switches,
    })
}

#[test]
fn reads_opens_and_partial_writes_are_no_change_and_closes_are() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("switches.toml");
    fs::write(&path, "[kill]").unwrap();
    let mut watch = Watch::start(dir.path());
    assert_eq!(settle(&mut watch), None);
    for _ in 0..3 {
        fs::read(&path).unwrap();
        fs::read_dir(dir.path()).unwrap().count();
    }
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"\n").unwrap();
    assert_eq!(settle(&mut watch), None);
    drop(file);
    assert_eq!(settle(&mut watch), look(Depth::Stamp, Depth::Digest));
    fs::write(dir.path().join("access.log"), "a line").unwrap();
    assert_eq!(settle(&mut watch), None);
}

#[test]
fn each_event_asks_for_the_files_that_it_concerns() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let mut watch = Watch::start(dir.path());
    fs::write(at("new"), "").unwrap();
    fs::rename(at("new"), at("seawall.toml")).unwrap();
    assert_eq!(settle(&mut watch), look(Depth::Digest, Depth::Stamp));
    fs::create_dir(at("routes.d")).unwrap();
    assert_eq!(settle(&mut watch), Some(Look::FULL));
    fs::write(at("routes.d/switches.toml"), "").unwrap();
    assert_eq!(settle(&mut watch), look(Depth::Digest, Depth::Stamp));
    std::os::unix::fs::symlink("seawall.toml", at("switches.toml")).unwrap();
    assert_eq!(settle(&mut watch), look(Depth::Stamp, Depth::Digest));
    fs::remove_file(at("switches.toml")).unwrap();
    assert_eq!(settle(&mut watch), look(Depth::Stamp, Depth::Digest));
    fs::remove_dir_all(at("routes.d")).unwrap();
    assert_eq!(settle(&mut watch), Some(Look::FULL));
}

#[test]
fn the_hidden_files_of_a_writer_ask_for_nothing() {
    use std::convert::Infallible;
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("switches.toml"), "[kill]\n").unwrap();
    let mut watch = Watch::start(dir.path());
    let mut rewrite = |more: &str| {
        let text =
            |file: &crate::config::SourceFile| Ok::<_, Infallible>(format!("{}{more}", file.text));
        crate::control::rewrite(dir.path(), text).unwrap();
        settle(&mut watch)
    };
    // Creates the lock, takes it, and gives it back.
    assert_eq!(rewrite(""), None);
    assert_eq!(rewrite("# more\n"), look(Depth::Stamp, Depth::Digest));
}

/// A change of a file outside, by a rename as editors and commands do it.
fn replace(path: &Path) {
    let beside = path.with_extension("new");
    fs::write(&beside, "[kill]\n# anew\n").unwrap();
    fs::rename(&beside, path).unwrap();
}

#[test]
fn what_links_lead_to_is_watched_wherever_it_is() {
    use std::os::unix::fs::symlink;

    let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let switches = dir.path().join("switches.toml");
    let at = |name: &str| outside.path().join(name);
    for version in ["v1", "v2"] {
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("night.toml"), "[kill]\n").unwrap();
    }
    symlink("v1", at("current")).unwrap();
    symlink(at("current/night.toml"), &switches).unwrap();
    let mut watch = Watch::start(dir.path());
    assert_eq!(settle(&mut watch), None);
    let found = look(Depth::Stamp, Depth::Digest);

    replace(&at("v1/night.toml"));
    assert_eq!(settle(&mut watch), found);
    fs::write(at("v1/night.toml"), "[kill]\n").unwrap();
    assert_eq!(settle(&mut watch), found);
    // What else is there is nobody's business.
    fs::write(at("v1/other.toml"), "").unwrap();
    fs::remove_file(at("v1/other.toml")).unwrap();
    replace(&at("v2/night.toml"));
    assert_eq!(settle(&mut watch), None);

    symlink("v2", at("next")).unwrap();
    fs::rename(at("next"), at("current")).unwrap();
    assert_eq!(settle(&mut watch), Some(Look::FULL));
    replace(&at("v2/night.toml"));
    assert_eq!(settle(&mut watch), found);
    replace(&at("v1/night.toml"));
    assert_eq!(settle(&mut watch), None);

    // The link gives way to a file: the folder outside is left alone again.
    replace(&switches);
    assert!(settle(&mut watch).is_some());
    replace(&at("v2/night.toml"));
    assert_eq!(settle(&mut watch), None);
}
