use std::path::Path;

use tokio::sync::oneshot;

use super::super::batch::Waiting;
use super::super::desk::Waiter;
use super::super::segment::{FRAME_HEAD, Kind};
use super::super::sim::{Chances, Condition, Leaves};
use super::super::trial::{self, Bench, LATER, options};
use super::super::{Redaction, Submission};
use super::*;

#[test]
fn fifty_records_take_as_many_disk_operations_as_one() {
    let mut bench = Bench::new(options(1));
    bench.commit(&[10]);
    let mut operations = Vec::new();
    for bodies in [vec![10], vec![10; 50]] {
        let before = bench.disk.operations();
        for answer in bench.commit(&bodies) {
            trial::stored(answer);
        }
        operations.push(bench.disk.operations() - before);
    }
    // One write, one sync.
    assert_eq!(operations, [2, 2]);
    assert_eq!(bench.content().numbers(), (0..52).collect::<Vec<_>>());
}

#[test]
fn a_failed_sync_fails_every_waiter_of_its_batch_and_a_new_file_follows() {
    let mut bench = Bench::new(options(1));
    trial::stored(bench.commit(&[10])[0]);
    bench.disk.set_chances(Chances {
        sync: 1000,
        ..Chances::default()
    });
    let failed = Answer::Failed(Failed::NoDirectory);
    assert_eq!(bench.commit(&[10, 20, 30]), [failed; 3]);
    // While the directory is left out, answers come without touching the disk.
    let before = bench.disk.operations();
    assert_eq!(bench.commit(&[10]), [failed]);
    assert_eq!(bench.disk.operations(), before);
    bench.disk.set_chances(Chances::default());
    bench.pass(Duration::from_secs(1));
    trial::stored(bench.commit(&[10])[0]);
    assert_eq!(bench.content().numbers(), [0, 5]);
    assert_eq!(bench.files("/0").len(), 2);
    assert!(bench.has_event(|e| matches!(e, Event::DirectoryFailed { .. })));
    assert!(bench.has_event(|e| matches!(e, Event::DirectoryHealed { .. })));

    let bench = bench.restart(Leaves::Nothing, LATER);
    assert_eq!(bench.content().numbers(), [0, 5]);
}

#[test]
fn what_could_not_be_cut_off_is_not_read_because_the_next_head_states_the_end() {
    let mut bench = Bench::new(options(2));
    trial::stored(bench.commit(&[10])[0]);
    let first = bench.files("/0")[0].clone();
    bench
        .disk
        .set_condition(Path::new("/0"), Condition::ReadOnly);
    trial::stored(bench.commit(&[10])[0]);
    let info = bench.segments()[0].clone();
    let (segment, end) = (info.id, info.copies[0].end);
    assert!(!info.copies[0].sealed);
    // What a batch that was not acknowledged leaves there: a whole record.
    let mut frame = vec![0; FRAME_HEAD];
    let id = Ulid::from_parts(1_500_000, 0);
    let lost = trial::record(77, 5);
    lost.encode(id, &Redaction::default(), &mut frame).unwrap();
    Frames::of(segment).stamp(&mut frame, end, Kind::Record);
    bench.disk.append(&first, &frame);

    let bench = bench.restart(Leaves::Nothing, LATER);
    assert_eq!(bench.content().numbers(), [0, 1]);
    let sealed = bench.segments()[0].copies[0].clone();
    assert_eq!((sealed.end, sealed.sealed), (end, true));
    assert_eq!(bench.disk.length_of(&first) as u64, sealed.bytes);
}

#[test]
fn directories_are_taken_in_order_and_again_once_they_heal() {
    let mut bench = Bench::new(options(2));
    trial::stored(bench.commit(&[10])[0]);
    bench
        .disk
        .set_condition(Path::new("/0"), Condition::ReadOnly);
    // The batch that meets the failure is stored in the next directory.
    trial::stored(bench.commit(&[10])[0]);
    assert_eq!((bench.files("/0").len(), bench.files("/1").len()), (1, 1));
    bench.disk.set_condition(Path::new("/0"), Condition::Sound);
    bench.pass(Duration::from_secs(1));
    bench.writer.seal(bench.at);
    trial::stored(bench.commit(&[10])[0]);
    assert_eq!((bench.files("/0").len(), bench.files("/1").len()), (2, 1));
    assert_eq!(bench.content().numbers(), [0, 1, 2]);
    // What could not be sealed when its directory failed is sealed now.
    assert!(bench.segments()[0].copies[0].sealed);
}

#[test]
fn a_directory_that_is_removed_while_in_use_gets_no_more_records_and_is_made_anew() {
    let mut bench = Bench::new(options(1));
    trial::stored(bench.commit(&[10, 10])[0]);
    bench.disk.remove_directory(Path::new("/0"));
    let failed = Answer::Failed(Failed::NoDirectory);
    assert_eq!(bench.commit(&[10, 10]), [failed; 2]);
    bench.pass(Duration::from_secs(1));
    trial::stored(bench.commit(&[10])[0]);
    assert_eq!(bench.content().numbers(), [4]);
    let gone = |event: &Event| {
        matches!(
            event,
            Event::Gone {
                segments: 1,
                records: 2,
                ..
            }
        )
    };
    assert!(bench.has_event(gone));
    let taken = bench.disk.lock(Path::new("/0")).err().unwrap();
    assert_eq!(taken.kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn a_segment_that_is_removed_while_in_use_is_missed_and_its_copy_kept() {
    let mut bench = Bench::new(Options {
        copies: 2,
        ..options(2)
    });
    trial::stored(bench.commit(&[10])[0]);
    bench.writer.seal(bench.at);
    trial::stored(bench.commit(&[10])[0]);
    let open = bench.files("/0").pop().unwrap();
    bench.disk.remove_file(&open);
    let failed = Answer::Failed(Failed::NoDirectory);
    assert_eq!(bench.commit(&[10]), [failed]);
    bench.pass(Duration::from_secs(1));
    trial::stored(bench.commit(&[10])[0]);
    assert_eq!(bench.content().numbers(), [0, 1, 3]);
    let gone = |event: &Event| {
        matches!(
            event,
            Event::Gone {
                segments: 1,
                records: 0,
                ..
            }
        )
    };
    assert!(bench.has_event(gone));
    let copies = bench
        .segments()
        .iter()
        .map(|info| info.copies.len())
        .collect::<Vec<_>>();
    assert_eq!(copies, [2, 1, 2]);
    let bench = bench.restart(Leaves::Nothing, LATER);
    assert_eq!(bench.content().numbers(), [0, 1, 3]);
}

#[test]
fn another_directory_takes_over_from_one_that_is_removed() {
    let mut bench = Bench::new(options(2));
    for _ in 0..2 {
        trial::stored(bench.commit(&[10])[0]);
        bench.disk.remove_directory(Path::new("/0"));
        trial::stored(bench.commit(&[10])[0]);
        assert_eq!(bench.files("/1").len(), 1);
        bench.pass(Duration::from_secs(1));
        bench.writer.seal(bench.at);
        for info in bench.segments() {
            bench.writer.remove(info.id, bench.at);
        }
    }
    assert_eq!(bench.shared.catalog().bytes(), 0);
}

#[test]
fn with_too_few_directories_for_the_copies_nothing_is_kept() {
    let mut bench = Bench::new(Options {
        copies: 2,
        ..options(2)
    });
    trial::stored(bench.commit(&[10])[0]);
    bench.disk.set_condition(Path::new("/1"), Condition::Gone);
    let failed = Answer::Failed(Failed::NoDirectory);
    assert_eq!(bench.commit(&[10, 10]), [failed; 2]);
    assert_eq!(bench.content().numbers(), [0]);
    bench.disk.set_condition(Path::new("/1"), Condition::Sound);
    bench.pass(Duration::from_secs(1));
    trial::stored(bench.commit(&[10])[0]);
    assert_eq!(bench.content().numbers(), [0, 3]);
    let bench = bench.restart(Leaves::Nothing, LATER);
    assert_eq!(bench.content().numbers(), [0, 3]);
    assert!(bench.segments().iter().all(|info| info.copies.len() == 2));
}

#[test]
fn max_bytes_and_quotas_refuse_and_a_removed_segment_gives_its_room_back() {
    let mut options = options(1);
    options.limits.max_bytes = 4000;
    let mut bench = Bench::new(options);
    let answers = bench.commit(&[1000, 1000, 1000, 1000]);
    let full = Answer::Full(Full::Journal);
    trial::stored(answers[0]);
    trial::stored(answers[1]);
    assert_eq!(answers[3], full);
    assert_eq!(bench.commit(&[2000]), [full]);
    let quota = Answer::Full(Full::Quota);
    assert_eq!(bench.commit_with(&[10], 100), [quota]);
    let segment = bench.writer.seal(bench.at).unwrap();
    assert_eq!(bench.writer.remove(segment, bench.at), Removal::Done);
    assert_eq!(bench.writer.remove(segment, bench.at), Removal::Unknown);
    assert_eq!(bench.shared.catalog().bytes(), 0);
    // Of each route one is within the quota and two are not, also in one group.
    let mut fresh = Bench::new(self::options(1));
    let answers = fresh.commit_with(&[300; 6], 1000);
    trial::stored(answers[0]);
    trial::stored(answers[1]);
    assert_eq!(answers[2..], [quota; 4]);
    trial::stored(bench.commit(&[10])[0]);
    let live = bench.segments().last().unwrap().id;
    assert_eq!(bench.writer.remove(live, bench.at), Removal::Live);
}

#[test]
fn what_is_used_up_is_told_once_a_minute_for_each_route() {
    let mut bench = Bench::new(options(1));
    let told = |bench: &Bench| {
        let events = bench.heard.events.lock().unwrap();
        let matching = |event: &&Event| {
            matches!(
                event,
                Event::NoRoom {
                    full: Full::Quota,
                    ..
                }
            )
        };
        events.iter().filter(matching).count()
    };
    // Of three records two are of one route and one is of another.
    bench.commit_with(&[300; 6], 100);
    assert_eq!(told(&bench), 2);
    bench.pass(Duration::from_secs(59));
    bench.commit_with(&[300; 3], 100);
    assert_eq!(told(&bench), 2);
    bench.pass(Duration::from_secs(1));
    bench.commit_with(&[300; 3], 100);
    assert_eq!(told(&bench), 4);
}

#[test]
fn a_segment_is_sealed_by_size_and_by_age() {
    let mut options = options(1);
    options.segment_bytes = 3500;
    let mut bench = Bench::new(options);
    for _ in 0..4 {
        trial::stored(bench.commit(&[1000])[0]);
    }
    assert_eq!(bench.files("/0").len(), 2);
    assert_eq!(
        bench.writer.next_tick(),
        Some(bench.at.now + Duration::from_secs(60))
    );
    bench.pass(Duration::from_secs(59));
    assert!(!bench.segments()[1].copies[0].sealed);
    bench.pass(Duration::from_secs(1));
    assert!(bench.segments()[1].copies[0].sealed);
    assert_eq!(bench.writer.next_tick(), None);
    assert!(bench.writer.seal(bench.at).is_none(), "nothing to seal");
    // One longer than a segment goes alone.
    trial::stored(bench.commit(&[9000])[0]);
    assert_eq!(bench.content().numbers(), [0, 1, 2, 3, 4]);
}

#[test]
fn ids_rise_over_restarts_and_clock_steps_even_when_all_was_removed() {
    let mut bench = Bench::new(options(1));
    let mut last = Ulid::nil();
    for round in 0..6 {
        for answer in bench.commit(&[10, 10]) {
            let id = trial::stored(answer);
            assert!(id > last, "round {round}");
            last = id;
        }
        if round % 2 == 1 {
            let segment = bench.writer.seal(bench.at).unwrap();
            for info in bench.segments() {
                bench.writer.remove(info.id, bench.at);
            }
            assert!(bench.files("/0").is_empty(), "{segment} is still there");
        }
        bench = bench.restart(Leaves::All, Duration::from_secs(900 - round * 100));
    }
}

#[test]
fn a_withdrawn_record_is_not_written() {
    let mut bench = Bench::new(options(1));
    let (waiter, answer) = oneshot::channel();
    drop(answer);
    let waiting = Waiting {
        submission: Submission {
            record: trial::record(9, 9),
            redaction: Arc::new(Redaction::default()),
            quota: u64::MAX,
            reservation: bench.shared.buffer.reserve(9).unwrap(),
        },
        waiter: Waiter::new(waiter, None),
    };
    let mut batch = Batch::default();
    batch.add(waiting);
    assert_eq!(bench.writer.commit(&mut batch, bench.at), Tally::default());
    assert!(bench.files("/0").is_empty());
    assert_eq!(bench.shared.buffer.taken(), 0);
}
