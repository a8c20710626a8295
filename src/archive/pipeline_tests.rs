use super::super::sim::SimDisk;
use super::super::trial::{self, open, options, run, store, stored};
use super::super::{Answer, Busy, Disk, Event, Failed, Journal, Limits, Options, Watch};
use super::*;
use tokio::task::JoinHandle;

/// All traffic is dense to it.
fn always_dense() -> Options {
    Options {
        dense: 1,
        ..options(1)
    }
}

/// Hands a record over; `None` when there was no room for it for a while.
async fn submit(journal: &Journal, number: u64) -> Option<JoinHandle<Answer>> {
    for _ in 0..200 {
        let answer = journal.submit(trial::submission(journal, number, 100), None);
        let mut answer = tokio::spawn(answer);
        match tokio::time::timeout(Duration::from_millis(1), &mut answer).await {
            Ok(Ok(Answer::Busy(Busy))) => {}
            Ok(answered) => panic!("{answered:?} from a disk that does nothing"),
            Err(_) => return Some(answer),
        }
    }
    None
}

#[test]
fn what_comes_during_a_sync_leaves_the_queue_and_is_stored_once() {
    run(async {
        let disk = SimDisk::new(1);
        let options = Options {
            queue: 2,
            ..always_dense()
        };
        let (journal, heard) = open(&disk, &options);
        stored(store(&journal, 0, 10).await);
        let stalled = disk.stall();
        let mut answers = Vec::new();
        for number in 1..40 {
            answers.push(submit(&journal, number).await.expect("room"));
        }
        drop(stalled);
        for answer in answers {
            stored(answer.await.unwrap());
        }
        journal.close().await;
        // The first of them, and those that came while it synced; what came last may be alone.
        let commits = heard.commits.lock().unwrap().len();
        assert!((2..=5).contains(&commits), "{commits}");
        let content = trial::read(&disk, journal.segments());
        assert_eq!(content.numbers(), (0..40).collect::<Vec<_>>());
    });
}

#[test]
fn a_full_batch_holds_the_queue_back() {
    run(async {
        let disk = SimDisk::new(1);
        let options = Options {
            queue: 2,
            batch_bytes: 2000,
            ..always_dense()
        };
        let (journal, _heard) = open(&disk, &options);
        let stalled = disk.stall();
        let mut answers = Vec::new();
        while let Some(answer) = submit(&journal, answers.len() as u64).await {
            answers.push(answer);
            assert!(answers.len() < 100, "more than a batch and the queue hold");
        }
        drop(stalled);
        for answer in answers {
            stored(answer.await.unwrap());
        }
        journal.close().await;
    });
}

#[test]
fn limits_hold_from_the_next_commit_on_whichever_thread_makes_it() {
    run(async {
        let disk = SimDisk::new(1);
        let options = always_dense();
        let (journal, _heard) = open(&disk, &options);
        for (number, durability) in [Durability::Written, Durability::Fsync, Durability::Written]
            .into_iter()
            .enumerate()
        {
            let limits = Limits {
                durability,
                ..options.limits
            };
            journal.adjust(limits).unwrap();
            let records: Vec<_> = (0..20).map(|n| (20 * number as u64 + n, 50)).collect();
            for answer in trial::store_all(&journal, &records).await {
                stored(answer);
            }
            assert!(journal.seal().await.unwrap().is_some());
        }
        journal.close().await;
        let content = trial::read(&disk, journal.segments());
        content.assert_sound();
        assert_eq!(content.records.len(), 60);
    });
}

/// A bug in what hears of commits.
struct Panics;

impl Watch for Panics {
    fn committed(&self, _: &Commit) {
        panic!("as this test wants it");
    }

    fn happened(&self, _: &Event) {}
}

#[test]
fn a_panic_on_either_thread_ends_both_and_is_told_to_all_who_wait() {
    for dense in [1, usize::MAX] {
        run(async {
            let options = Options {
                dense,
                ..options(1)
            };
            let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(1));
            let journal = Journal::open(options, disk.clone(), Arc::new(Panics)).unwrap();
            // It was stored, and told so, before the panic.
            stored(store(&journal, 0, 10).await);
            for number in 1..10 {
                let answer = store(&journal, number, 10).await;
                assert_eq!(answer, Answer::Failed(Failed::Closed));
            }
            journal.close().await;
            assert_eq!(
                store(&journal, 10, 10).await,
                Answer::Failed(Failed::Closed)
            );
            let path = std::path::Path::new("/0");
            for _ in 0..20_000 {
                if disk.lock(path).is_ok() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            panic!("the directory is still locked");
        });
    }
}
