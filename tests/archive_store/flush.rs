//! `archive flush`: what the journal holds goes into the store now.

use super::support::*;
use super::{flush, numbered, payloads, send, stop, uploading};

#[test]
fn flush_brings_everything_in_while_the_gateway_runs() {
    let (upstream, shelf) = (Upstream::echo(), Shelf::new());
    let gateway = Gateway::start(&uploading(&upstream, &shelf));
    let exit = flush(&gateway, &[]);
    assert_eq!(
        (exit.code, exit.output.trim()),
        (Some(0), "the journal holds nothing")
    );
    send(&gateway, numbered(0..30));
    let exit = flush(&gateway, &["--json"]);
    assert_eq!(exit.code, Some(0), "{}", exit.output);
    let said: serde_json::Value = serde_json::from_str(&exit.output).expect("JSON");
    assert_eq!(
        (&said["records"], &said["segments"], &said["left"]),
        (&30.into(), &1.into(), &0.into())
    );
    assert_eq!(payloads(&shelf), numbered(0..30).collect());
    assert!(!shelf.path("a/flush").exists());
    // The connection and the switch go on.
    send(&gateway, numbered(30..31));
    let exit = flush(&gateway, &["--wait"]);
    assert!(
        exit.output
            .contains("sealed 1 record in 1 segment; 1 went to file:"),
        "{}",
        exit.output
    );
    stop(gateway);
    assert_eq!(payloads(&shelf).len(), 31);
}

#[test]
fn flush_says_what_is_left_and_why() {
    let (upstream, shelf) = (Upstream::echo(), Shelf::new());
    std::fs::write(shelf.path("store"), "").expect("written");
    let config = uploading(&upstream, &shelf).admin("listen", &format!("\"{}\"", free_address()));
    let mut gateway = Gateway::start(&config);
    send(&gateway, numbered(0..3));
    let exit = flush(&gateway, &["--timeout", "2s"]);
    assert_eq!(exit.code, Some(1), "{}", exit.output);
    assert!(
        exit.output
            .contains("1 segment left in the journal: archive.store"),
        "{}",
        exit.output
    );
    gateway.signal("TERM");
    assert_eq!(
        gateway.wait_exit(),
        Some(0),
        "an end without the store is no failure"
    );
    assert_eq!(
        gateway
            .events("segments stay in the journal; they go to the store after the next start")
            .len(),
        1
    );
    // The same without the gateway.
    let exit = flush(&gateway, &["--timeout", "2s"]);
    assert_eq!(exit.code, Some(1), "{}", exit.output);
    assert!(
        exit.output.contains("must be able to make the directory"),
        "{}",
        exit.output
    );
    assert_eq!(shelf.records().len(), 3);
}

#[test]
fn flush_brings_in_the_journal_of_a_gateway_that_is_gone() {
    let (upstream, shelf) = (Upstream::echo(), Shelf::new());
    let mut gateway = Gateway::start(&uploading(&upstream, &shelf));
    send(&gateway, numbered(0..25));
    gateway.signal("KILL");
    gateway.wait_exit();
    assert_eq!(shelf.records().len(), 25);
    let exit = flush(&gateway, &[]);
    assert_eq!(exit.code, Some(0), "{}", exit.output);
    assert!(
        exit.output.contains("sealed 25 records in 1 segment"),
        "{}",
        exit.output
    );
    assert_eq!(payloads(&shelf), numbered(0..25).collect());
    assert!(segments(&shelf.path("a")).is_empty());
    // A directory that never was is not made.
    let nowhere = shelf.path("nowhere");
    let exit = flush(&gateway, &["--journal", nowhere.to_str().expect("a path")]);
    assert_eq!(
        (exit.code, exit.output.trim()),
        (Some(0), "the journal holds nothing")
    );
    assert!(!nowhere.exists());
}

#[test]
fn flush_takes_no_directory_that_a_gateway_lost_for_an_empty_journal() {
    let (upstream, shelf) = (Upstream::echo(), Shelf::new());
    let config = uploading(&upstream, &shelf).admin("listen", &format!("\"{}\"", free_address()));
    let config = config.archive("seal_after", "\"1h\"");
    let gateway = Gateway::start(&config);
    send(&gateway, numbered(0..4));
    let (directory, aside) = (shelf.path("a"), shelf.path("aside"));
    std::fs::rename(&directory, &aside).expect("renamed");
    // As after a command in the wrong directory, and as without the disk that is mounted there.
    for is_there in [false, true] {
        if is_there {
            std::fs::create_dir(&directory).expect("a directory");
        }
        let exit = flush(&gateway, &[]);
        assert_eq!(exit.code, Some(1), "{}", exit.output);
        for text in ["has its journal there (4 records in all)", "mount its disk"] {
            assert!(exit.output.contains(text), "{}", exit.output);
        }
        assert!(!exit.output.contains("holds nothing"), "{}", exit.output);
    }
    assert!(segments(&directory).is_empty());
    std::fs::remove_dir_all(&directory).expect("removed");
    std::fs::rename(&aside, &directory).expect("renamed");
    let exit = flush(&gateway, &[]);
    assert_eq!(exit.code, Some(0), "{}", exit.output);
    assert_eq!(payloads(&shelf), numbered(0..4).collect());
}
