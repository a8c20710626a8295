//! Rate limits under threads.

use std::sync::atomic::Ordering::SeqCst;
use std::thread;

use super::*;

const THREADS: u64 = 4;

/// Runs a job on several threads that begin together, and adds up what they return.
fn together(job: impl Fn(u64) -> u64 + Sync) -> u64 {
    let barrier = std::sync::Barrier::new(THREADS as usize);
    thread::scope(|scope| {
        let run = |number| {
            let (barrier, job) = (&barrier, &job);
            scope.spawn(move || {
                barrier.wait();
                job(number)
            })
        };
        let threads: Vec<_> = (0..THREADS).map(run).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    })
}

#[test]
fn threads_together_pass_exactly_the_burst() {
    for _ in 0..50 {
        let limit = limit("1/h", 1_000);
        let job = |_| {
            (0..500)
                .filter(|_| passes(&limit, Counted::Route, SECOND))
                .count() as u64
        };
        assert_eq!(together(job), 1_000);
    }
}

#[test]
fn threads_that_seat_the_same_keys_give_each_one_seat() {
    for round in 0..2_000 {
        let seats: [AtomicU64; 8] = Default::default();
        // Half of the rounds begin with seats of idle keys instead of empty ones.
        let clock = UNIT * 100;
        for (index, seat) in seats
            .iter()
            .enumerate()
            .take(if round % 2 == 0 { 0 } else { 8 })
        {
            seat.store(
                (index as u64 + 100) << 44 | (index as u64 * 7 % 8 + 1),
                SeqCst,
            );
        }
        let job = |thread| {
            let keys = (0..32).map(|turn| (turn + thread) % 8 + 1);
            let charge = |key| seats::charge(&seats, key, clock, 3 * UNIT).0;
            keys.filter(|key| matches!(charge(*key), Charge::Passed { .. }))
                .count() as u64
        };
        assert_eq!(together(job), 8 * 3, "round {round}");
    }
}

#[test]
fn threads_that_crowd_a_row_pass_no_more_than_it_holds() {
    for _ in 0..500 {
        let seats: [AtomicU64; 8] = Default::default();
        let passed: [AtomicU64; 21] = Default::default();
        let job = |thread: u64| {
            let keys = (0..60_u64).map(|turn| (turn * 7 + thread * 3) % 20 + 1);
            let charge = |key| seats::charge(&seats, key, 0, 3 * UNIT).0;
            let pass = |key: &u64| {
                let passes = matches!(charge(*key), Charge::Passed { .. });
                passed[*key as usize].fetch_add(u64::from(passes), SeqCst);
                passes
            };
            keys.filter(pass).count() as u64
        };
        assert_eq!(together(job), 8 * 3);
        assert!(passed.iter().all(|count| count.load(SeqCst) <= 3));
    }
}

#[test]
fn threads_whose_time_runs_apart_stay_within_the_rate() {
    let limit = limit("1000/s", 10);
    // Each thread is up to 4 ms ahead of or behind the others.
    let job = |thread: u64| {
        let at = |step: u64| Duration::from_micros(step * 10 + thread * 1_000);
        (0..100_000)
            .filter(|step| passes(&limit, Counted::Route, at(*step)))
            .count() as u64
    };
    let passed = together(job);
    assert!((1_000..=1_000 + 10 + 4).contains(&passed), "{passed}");
}
