use super::super::sim::SimDisk;
use super::super::trial::{self, open, options, run, store, stored};
use super::super::{Answer, Busy, Disk, Event, Failed, Journal, Options, Watch};
use super::*;

/// All traffic is dense to it.
fn always_dense() -> Options {
    Options {
        dense: 1,
        ..options(1)
    }
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

fn tasks(
    journal: &Journal,
    numbers: std::ops::Range<u64>,
    body: usize,
) -> Vec<tokio::task::JoinHandle<Answer>> {
    let task = |number| {
        let submission = trial::submission(journal, number, body);
        let journal = journal.clone();
        tokio::spawn(async move { journal.store(submission).await })
    };
    numbers.map(task).collect()
}

#[test]
fn what_comes_during_a_commit_is_the_next_one() {
    run(async {
        let disk = SimDisk::new(1);
        let (journal, heard) = open(&disk, &always_dense());
        stored(store(&journal, 0, 10).await);
        let stalled = disk.stall();
        let first = tasks(&journal, 1..2, 10);
        wait_for("the disk", || stalled.is_waited_for()).await;
        let others = tasks(&journal, 2..32, 10);
        tokio::task::yield_now().await;
        drop(stalled);
        for task in first.into_iter().chain(others) {
            stored(task.await.unwrap());
        }
        journal.close().await;
        let commits = heard.commits.lock().unwrap();
        let sizes: Vec<u64> = commits.iter().map(|commit| commit.stored).collect();
        assert_eq!(sizes, [1, 1, 30]);
        let content = trial::read(&disk, journal.segments());
        assert_eq!(content.numbers(), (0..32).collect::<Vec<_>>());
    });
}
