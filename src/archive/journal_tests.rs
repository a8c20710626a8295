use super::super::sim::{Condition, SimDisk};
use super::super::trial::{self, open, options, run, store, stored};
use super::super::{Fault, Full, Growth, RealDisk};
use super::*;

fn fault(journal: &Journal) -> Option<Fault> {
    journal.figures().directories[0].fault
}

async fn wait_for(what: &str, done: impl Fn() -> bool) {
    for _ in 0..20_000 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("waited in vain for {what}");
}

#[test]
fn a_full_disk_answers_full_at_once_and_heals_without_a_restart() {
    run(async {
        let disk = SimDisk::new(1);
        let (journal, heard) = open(&disk, &options(1));
        stored(store(&journal, 0, 100).await);
        disk.set_capacity(Some(1000));
        for number in 1..20 {
            let answer = store(&journal, number, 2000).await;
            assert_eq!(answer, Answer::Full(Full::Disk));
        }
        // The first small one may come while the directory is still left out.
        disk.set_capacity(None);
        wait_for("the directory", || fault(&journal).is_none()).await;
        stored(store(&journal, 20, 2000).await);
        journal.close().await;
        let content = trial::read(&disk, journal.segments());
        assert_eq!(content.numbers(), [0, 20]);
        let commits = heard.commits.lock().unwrap();
        let refused: u64 = commits.iter().map(|commit| commit.refused).sum();
        let kept: u64 = commits.iter().map(|commit| commit.stored).sum();
        assert_eq!((refused, kept), (19, 2));
    });
}

#[test]
fn a_disk_that_hangs_answers_in_time_and_what_waits_behind_it_is_busy() {
    run(async {
        let disk = SimDisk::new(1);
        let mut options = options(1);
        options.answer_within = Duration::from_millis(50);
        options.queue = 2;
        let (journal, _heard) = open(&disk, &options);
        stored(store(&journal, 0, 10).await);
        let stalled = disk.stall();
        let answers = trial::store_all(&journal, &[(1, 10), (2, 10), (3, 10), (4, 10)]).await;
        let slow = answers
            .iter()
            .filter(|a| **a == Answer::Failed(Failed::Slow));
        let busy = answers.iter().filter(|a| **a == Answer::Busy(Busy));
        let (slow, busy) = (slow.count(), busy.count());
        assert!(slow + busy == 4 && slow >= 2, "{answers:?}");
        drop(stalled);
        // As soon as the disk answers again, so does the journal.
        wait_for("room in the queue", || journal.figures().buffered == 0).await;
        stored(store(&journal, 5, 10).await);
        journal.close().await;
        // What the disk took after all is told apart: two were acknowledged.
        let figures = journal.figures();
        assert_eq!(figures.records, 2 + figures.late);
        assert_eq!(figures.late, 1);
    });
}

#[test]
fn the_buffer_bounds_what_is_on_its_way_and_is_empty_afterwards() {
    run(async {
        let disk = SimDisk::new(1);
        let mut options = options(1);
        options.limits.max_buffer = 10_000;
        let (journal, _heard) = open(&disk, &options);
        let held = journal.reserve(8000).unwrap();
        assert!(journal.reserve(1000).is_err());
        assert_eq!(journal.figures().buffered, 9024);
        drop(held);
        stored(store(&journal, 0, 8000).await);
        let mut limits = options.limits;
        limits.max_buffer = 2000;
        journal.adjust(limits).unwrap();
        journal.close().await;
        assert!(journal.reserve(1000).is_err());
        assert_eq!(journal.figures().buffered, 0);
    });
}

#[test]
fn closing_stores_what_waits_seals_and_frees_the_directory() {
    run(async {
        let disk = SimDisk::new(1);
        let (journal, _heard) = open(&disk, &options(1));
        let records: Vec<_> = (0..40).map(|number| (number, 100)).collect();
        let (answers, ()) = tokio::join!(trial::store_all(&journal, &records), async {
            // Behind those that are already queued.
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
            journal.close().await;
        });
        let kept = answers
            .iter()
            .filter(|a| matches!(a, Answer::Stored { .. }));
        let kept = kept.count();
        let closed = answers
            .iter()
            .filter(|a| **a == Answer::Failed(Failed::Closed));
        assert_eq!(kept + closed.count(), 40, "{answers:?}");
        assert_eq!(store(&journal, 99, 1).await, Answer::Failed(Failed::Closed));
        assert_eq!(journal.seal().await, Err(Unheard::Closed));
        journal.close().await;

        let (next, _heard) = open(&disk, &options(1));
        assert_eq!(fault(&next), None);
        assert!(next.segments().iter().all(|info| info.copies[0].sealed));
        assert_eq!(next.figures().records, kept as u64);
        next.close().await;
    });
}

#[test]
fn sealing_and_removing_by_request_shows_in_the_figures() {
    run(async {
        let disk = SimDisk::new(1);
        let (journal, _heard) = open(&disk, &options(1));
        assert_eq!(journal.seal().await, Ok(None));
        assert_eq!(journal.figures().oldest, None);
        let id = stored(store(&journal, 0, 10).await);
        let figures = journal.figures();
        assert_eq!((figures.segments, figures.records), (1, 1));
        assert_eq!(
            figures.oldest,
            Some(Duration::from_millis(id.timestamp_ms()))
        );
        let live = journal.segments()[0].clone();
        assert_eq!(live.growth, Growth::Live);
        assert_eq!(journal.remove(live.id).await, Ok(Removal::Live));
        assert_eq!(journal.seal().await, Ok(Some(live.id)));
        assert_eq!(journal.segments()[0].growth, Growth::Closed);
        assert_eq!(journal.remove(live.id).await, Ok(Removal::Done));
        assert_eq!(journal.figures().bytes, 0);
        journal.close().await;
    });
}

#[test]
fn a_second_process_waits_for_the_directory_of_the_first() {
    run(async {
        let scratch = tempfile::tempdir().unwrap();
        let mut options = options(1);
        options.directories = vec![scratch.path().join("journal")];
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let open = || Journal::open(options.clone(), disk.clone(), Arc::new(())).unwrap();
        let first = open();
        let one = stored(store(&first, 1, 100_000).await);
        let second = open();
        assert_eq!(fault(&second), Some(Fault::Locked));
        let refused = Answer::Failed(Failed::NoDirectory);
        assert_eq!(store(&second, 2, 1).await, refused);
        let two = stored(store(&first, 3, 0).await);
        first.close().await;
        wait_for("the lock", || fault(&second).is_none()).await;
        let three = stored(store(&second, 4, 3).await);
        assert!(one < two && two < three);
        assert_eq!(second.figures().records, 3);
        second.close().await;
        // A last drop ends the writer as well.
        let third = open();
        assert_eq!(third.figures().records, 3);
        drop(third);
        wait_for("the end of the writer", || {
            RealDisk.lock(&options.directories[0]).is_ok()
        })
        .await;
    });
}

#[test]
fn a_directory_that_comes_and_goes_never_makes_a_record_count_twice() {
    run(async {
        let disk = SimDisk::new(3);
        let (journal, _heard) = open(&disk, &options(2));
        let mut kept = Vec::new();
        for number in 0..60 {
            let condition = match number % 7 {
                2 => Condition::Gone,
                4 => Condition::ReadOnly,
                _ => Condition::Sound,
            };
            disk.set_condition(std::path::Path::new("/0"), condition);
            if let Answer::Stored { .. } = store(&journal, number, 50).await {
                kept.push(number);
            }
        }
        disk.set_condition(std::path::Path::new("/0"), Condition::Sound);
        wait_for("the directory", || fault(&journal).is_none()).await;
        journal.close().await;
        // The second directory was always there.
        assert_eq!(kept, (0..60).collect::<Vec<_>>());
        let content = trial::read(&disk, journal.segments());
        content.assert_sound();
        assert_eq!(content.numbers(), kept);
    });
}

#[test]
fn impossible_copies_are_refused() {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(1));
    for (directories, copies) in [(0, 1), (1, 2), (2, 0)] {
        let mut options = options(directories);
        options.copies = copies;
        let error = Journal::open(options, disk.clone(), Arc::new(())).unwrap_err();
        assert!(error.to_string().contains("copies"), "{error}");
    }
}

#[test]
fn a_desk_answers_each_of_its_waiters_also_when_no_one_hands_out() {
    run(async {
        let disk = SimDisk::new(1);
        let (journal, _heard) = open(&disk, &options(1));
        let (desk, deliveries) = journal.desk();
        let handing_out = tokio::spawn(deliveries.run());
        let mut ids = Vec::new();
        for hand_out in [true, false] {
            if !hand_out {
                handing_out.abort();
                tokio::task::yield_now().await;
            }
            let tasks = (0..300).map(|number| {
                let submission = trial::submission(&journal, number, 10);
                let desk = desk.clone();
                tokio::spawn(async move { desk.store(submission).await })
            });
            for task in tasks.collect::<Vec<_>>() {
                ids.push(stored(task.await.unwrap()));
            }
        }
        assert!(ids.is_sorted_by(|one, other| one < other));
        assert_eq!(desk.journal().figures().buffered, 0);
        journal.close().await;
        let submission = trial::submission(&journal, 999, 10);
        assert_eq!(desk.store(submission).await, Answer::Failed(Failed::Closed));
    });
}
