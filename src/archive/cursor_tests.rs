use std::path::Path;
use std::time::Duration;

use super::super::files::write_all_at;
use super::super::segment::Head;
use super::super::sim::{Condition, Leaves};
use super::super::trial::{self, Bench, LATER, options};
use super::super::{Event, Options};
use super::*;

#[test]
fn a_torn_tail_is_cut_and_reported() {
    let mut bench = Bench::new(options(1));
    bench.commit(&[10, 10]);
    let path = bench.files("/0")[0].clone();
    bench.disk.append(&path, &[7; 999]);
    let bench = bench.restart(Leaves::All, LATER);
    assert!(bench.has_event(|e| matches!(e, Event::TornTail { bytes: 999, .. })));
    assert_eq!(bench.content().numbers(), [0, 1]);
    let info = &bench.segments()[0];
    assert!(info.copies[0].sealed);
    assert_eq!(bench.disk.length_of(&path) as u64, info.copies[0].bytes);
    // Zeroes behind the end are no frames either.
    let bench = bench.restart(Leaves::All, LATER);
    assert_eq!(bench.content().numbers(), [0, 1]);
}

#[test]
fn what_a_directory_will_not_give_now_is_not_cut_off() {
    let mut bench = Bench::new(options(1));
    bench.commit(&[10; 30]);
    bench.disk.crash_after(0);
    let disk = bench.disk.clone();
    drop(bench);
    disk.restart(Leaves::Nothing);
    // Gone at start: neither read nor changed, and taken over once it is back.
    disk.set_condition(Path::new("/0"), Condition::Gone);
    let mut bench = Bench::on(disk, options(1), LATER);
    assert_eq!(bench.content().numbers(), Vec::<u64>::new());
    bench.disk.set_condition(Path::new("/0"), Condition::Sound);
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.content().numbers(), (0..30).collect::<Vec<_>>());
}

#[test]
fn a_file_of_a_later_version_is_left_alone_and_reported() {
    let mut bench = Bench::new(options(1));
    bench.commit(&[10]);
    let path = bench.files("/0")[0].clone();
    let mut head = Head {
        segment: bench.segments()[0].id,
        previous: None,
    }
    .encode();
    head[8] = 9;
    let check = crc32c::crc32c(&head[..60]);
    head[60..].copy_from_slice(&check.to_le_bytes());
    bench.disk.crash_after(0);
    bench.disk.restart(Leaves::Nothing);
    let mut file = bench.disk.open(&path, Access::Write).unwrap();
    write_all_at(&mut *file, 0, &head).unwrap();
    file.sync_data().unwrap();
    let length = bench.disk.length_of(&path);
    let bench = bench.restart(Leaves::Nothing, LATER);
    assert!(bench.has_event(|e| matches!(e, Event::Foreign { version: 9, .. })));
    assert!(bench.segments().is_empty());
    assert_eq!(bench.disk.length_of(&path), length);
}

#[test]
fn another_process_sees_the_same_segments_without_changing_them() {
    let mut options = options(2);
    options.segment_bytes = 2000;
    let mut bench = Bench::new(options);
    for _ in 0..5 {
        bench.commit(&[700, 10]);
    }
    let directories = bench.options.directories.clone();
    let seen = segments_in(&bench.disk, &directories[..1]).unwrap();
    let known = bench.segments();
    assert_eq!(seen.len(), known.len());
    for (seen, known) in seen.iter().zip(&known) {
        assert_eq!(seen.summary, known.summary);
        assert_eq!(seen.copies[0].end, known.copies[0].end);
        assert_eq!(seen.copies[0].sealed, known.copies[0].sealed);
    }
    assert_eq!(
        trial::read(&bench.disk, seen).numbers(),
        (0..10).collect::<Vec<_>>()
    );

    // News of the live segment are read from where the last reading ended.
    let disk: Arc<dyn Disk> = Arc::new(bench.disk.clone());
    let live = known.last().unwrap().clone();
    let end = live.copies[0].end;
    bench.commit(&[1]);
    let grown = bench.segments().pop().unwrap();
    assert_eq!(grown.id, live.id);
    let mut cursor = Cursor::from(disk, grown, end).unwrap();
    let line = cursor.next_line().unwrap().unwrap();
    assert_eq!(line.offset, end);
    assert!(cursor.next_line().unwrap().is_none());
}

#[test]
fn a_check_tells_whole_spoiled_and_unsealed_copies_apart() {
    let mut bench = Bench::new(options(1));
    let disk: Arc<dyn Disk> = Arc::new(bench.disk.clone());
    bench.commit(&[10; 5]);
    let check = |bench: &Bench| verify(&disk, &bench.segments()[0]).unwrap().remove(0);
    assert_eq!(check(&bench).checksum, Checksum::Unsealed);
    bench.writer.seal(bench.at);
    let whole = check(&bench);
    assert_eq!(
        (whole.checksum, whole.records, whole.damaged),
        (Checksum::Holds, 5, 0)
    );
    bench.disk.spoil(&bench.files("/0")[0], 500..501);
    let spoiled = check(&bench);
    assert_eq!((spoiled.checksum, spoiled.records), (Checksum::Differs, 4));
    assert!(spoiled.damaged > 0);
}

#[test]
fn damage_in_one_copy_is_read_from_the_other() {
    let mut bench = Bench::new(Options {
        copies: 3,
        ..options(3)
    });
    bench.commit(&[300; 20]);
    bench.writer.seal(bench.at);
    let disk: Arc<dyn Disk> = Arc::new(bench.disk.clone());
    for (directory, at) in [("/0", 1000..4000), ("/1", 1500..1600), ("/2", 3500..9000)] {
        bench.disk.spoil(&bench.files(directory)[0], at);
    }
    let content = bench.content();
    assert_eq!(content.numbers(), (0..20).collect::<Vec<_>>());
    assert_eq!(content.damaged, 0);
    let segments = bench.segments();
    let verified = verify(&disk, &segments[0]).unwrap();
    assert!(
        verified
            .iter()
            .all(|copy| copy.damaged > 0 && copy.records < 20)
    );

    // The same place in all of them is lost, and counted.
    bench.disk.spoil(&bench.files("/2")[0], 1500..1600);
    // Spoiling twice mends.
    bench.disk.spoil(&bench.files("/0")[0], 1000..4000);
    bench.disk.spoil(&bench.files("/0")[0], 1500..1600);
    let content = bench.content();
    assert!(
        content.damaged >= 100 && content.damaged < 3000,
        "{content:?}"
    );
    assert!(content.records.len() >= 17, "{content:?}");
}
