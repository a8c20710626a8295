//! The gate against a model, and under threads.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::task::Wake;
use std::thread::{self, Thread};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn spec(max: u32, queue: u32) -> ConcurrencySpec {
    ConcurrencySpec {
        max,
        queue,
        queue_timeout: Duration::from_millis(100),
    }
}

fn gate(max: u32, queue: u32) -> Arc<Gate> {
    Arc::new(Gate::new(&spec(max, queue)))
}

fn enter(gate: &Arc<Gate>) -> Entry<Arc<Gate>> {
    Gate::enter(Arc::clone(gate))
}

fn admitted(gate: &Arc<Gate>) -> Permit<Arc<Gate>> {
    match enter(gate) {
        Entry::Admitted(permit) => permit,
        other => panic!("{other:?}"),
    }
}

fn queued(gate: &Arc<Gate>) -> Ticket<Arc<Gate>> {
    match enter(gate) {
        Entry::Queued(ticket) => ticket,
        other => panic!("{other:?}"),
    }
}

fn load(in_flight: u32, waiting: u32) -> Load {
    Load { in_flight, waiting }
}

/// Counts how often it was woken.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

fn poll<G: Deref<Target = Gate> + Unpin>(
    ticket: &mut Ticket<G>,
    bell: &Arc<Bell>,
) -> Poll<Permit<G>> {
    let waker = Waker::from(Arc::clone(bell));
    Pin::new(ticket).poll(&mut Context::from_waker(&waker))
}

#[test]
fn it_lets_in_then_in_line_then_neither() {
    let gate = gate(2, 1);
    let _first = admitted(&gate);
    let second = admitted(&gate);
    let mut third = queued(&gate);
    assert!(matches!(enter(&gate), Entry::Full(load) if load == Load { in_flight: 2, waiting: 1 }));
    let bell = Arc::default();
    assert!(poll(&mut third, &bell).is_pending());
    drop(second);
    assert_eq!(bell.0.load(SeqCst), 1);
    assert_eq!(gate.load(), load(2, 0));
    let permit = poll(&mut third, &bell);
    assert!(permit.is_ready());
    assert!(poll(&mut third, &bell).is_pending());
    drop(third);
    assert_eq!(gate.load(), load(2, 0));
    drop(permit);
    assert_eq!(gate.load(), load(1, 0));
}

#[test]
fn without_a_line_it_is_full_at_once() {
    let gate = gate(1, 0);
    let permit = admitted(&gate);
    assert!(matches!(enter(&gate), Entry::Full(_)));
    drop(permit);
    drop(admitted(&gate));
    assert_eq!(gate.load(), load(0, 0));
}

#[test]
fn who_leaves_the_line_frees_the_place() {
    let gate = gate(1, 2);
    let permit = admitted(&gate);
    let (first, mut second) = (queued(&gate), queued(&gate));
    drop(first);
    assert_eq!(gate.load(), load(1, 1));
    let third = queued(&gate);
    drop(permit);
    assert!(poll(&mut second, &Arc::default()).is_ready());
    assert_eq!(
        gate.load(),
        load(1, 0),
        "the permit was dropped, and is the third's"
    );
    drop(third);
    assert_eq!(gate.load(), load(0, 0));
}

#[test]
fn a_ticket_dropped_after_it_was_admitted_passes_the_permit_on() {
    let gate = gate(1, 2);
    let permit = admitted(&gate);
    let (first, mut second) = (queued(&gate), queued(&gate));
    drop(permit);
    assert_eq!(gate.load(), load(1, 1));
    drop(first);
    assert!(poll(&mut second, &Arc::default()).is_ready());
}

#[test]
fn other_limits_keep_who_is_there() {
    let gate = gate(2, 5);
    let (first, second) = (admitted(&gate), admitted(&gate));
    let mut waiting: Vec<_> = (0..4).map(|_| queued(&gate)).collect();
    gate.adopt(&spec(1, 1));
    assert_eq!(gate.load(), load(2, 4));
    assert!(matches!(enter(&gate), Entry::Full(_)));
    drop(first);
    assert_eq!(gate.load(), load(1, 4), "two were one too many");
    drop(second);
    assert_eq!(gate.load(), load(1, 3));
    let bell: Arc<Bell> = Arc::default();
    assert!(poll(&mut waiting[1], &bell).is_pending());
    assert!(poll(&mut waiting[2], &bell).is_pending());
    gate.adopt(&spec(3, 1));
    assert_eq!(gate.load(), load(3, 1));
    assert_eq!(bell.0.load(SeqCst), 2);
    waiting.clear();
    assert_eq!(gate.load(), load(0, 0));
}

#[test]
fn a_part_of_a_gate_is_narrower_than_the_gate() {
    let gate = gate(3, 2);
    let within = |part| Gate::enter_within(Arc::clone(&gate), part);
    let Entry::Admitted(first) = within(load(1, 0)) else {
        panic!("it is empty");
    };
    assert!(matches!(within(load(1, 0)), Entry::Full(at) if at == load(1, 0)));
    let Entry::Queued(mut second) = within(load(1, 1)) else {
        panic!("one may wait");
    };
    assert!(matches!(within(load(1, 1)), Entry::Full(_)));
    assert!(matches!(enter(&gate), Entry::Queued(_)), "nobody overtakes");
    drop(first);
    assert!(poll(&mut second, &Arc::default()).is_ready());
}

#[derive(Clone, Debug)]
enum Step {
    Enter,
    /// Drops a permit, or a ticket; which one, as a number modulo how many there are.
    Leave(usize),
    GiveUp(usize),
    Adopt(u32, u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => Just(Step::Enter),
        4 => any::<usize>().prop_map(Step::Leave),
        2 => any::<usize>().prop_map(Step::GiveUp),
        1 => (1..6_u32, 0..6_u32).prop_map(|(max, queue)| Step::Adopt(max, queue)),
    ];
    vec(step, 1..200)
}

/// What a gate should do, with requests by number.
struct Model {
    max: usize,
    queue: usize,
    inside: Vec<usize>,
    line: VecDeque<usize>,
}

impl Model {
    fn settle(&mut self) {
        while self.inside.len() < self.max {
            let Some(next) = self.line.pop_front() else {
                return;
            };
            self.inside.push(next);
        }
    }

    fn enter(&mut self, number: usize) {
        if self.line.is_empty() && self.inside.len() < self.max {
            self.inside.push(number);
        } else if self.line.len() < self.queue {
            self.line.push_back(number);
        }
    }
}

proptest! {
    #[test]
    fn it_lets_in_as_a_line_of_people_would(max in 1..5_u32, queue in 0..5_u32, steps in steps()) {
        let gate = gate(max, queue);
        let mut model = Model {
            max: max as usize,
            queue: queue as usize,
            inside: Vec::new(),
            line: VecDeque::new(),
        };
        let (mut permits, mut tickets) = (Vec::new(), Vec::new());
        let bell = Arc::default();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Enter => {
                    model.enter(number);
                    match enter(&gate) {
                        Entry::Admitted(permit) => permits.push((number, permit)),
                        Entry::Queued(ticket) => tickets.push((number, ticket)),
                        Entry::Full(_) => {}
                    }
                }
                Step::Leave(which) if !permits.is_empty() => {
                    let (number, permit) = permits.swap_remove(which % permits.len());
                    drop(permit);
                    model.inside.retain(|inside| *inside != number);
                    model.settle();
                }
                Step::GiveUp(which) if !tickets.is_empty() => {
                    let (number, ticket) = tickets.remove(which % tickets.len());
                    drop(ticket);
                    model.line.retain(|waiting| *waiting != number);
                }
                Step::Adopt(max, queue) => {
                    gate.adopt(&spec(max, queue));
                    (model.max, model.queue) = (max as usize, queue as usize);
                    model.settle();
                }
                Step::Leave(_) | Step::GiveUp(_) => {}
            }
            tickets.retain_mut(|(number, ticket)| match poll(ticket, &bell) {
                Poll::Ready(permit) => {
                    permits.push((*number, permit));
                    false
                }
                Poll::Pending => true,
            });
            let mut inside: Vec<_> = permits.iter().map(|(number, _)| *number).collect();
            let line: Vec<_> = tickets.iter().map(|(number, _)| *number).collect();
            inside.sort_unstable();
            model.inside.sort_unstable();
            prop_assert_eq!(&inside, &model.inside);
            prop_assert_eq!(&model.line, &line);
            prop_assert_eq!(gate.load(), load(inside.len() as u32, line.len() as u32));
        }
    }
}

/// Wakes a thread.
struct Call(Thread);

impl Wake for Call {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a permit as a runtime would; `None` after it was asked `patience` times.
fn wait(mut ticket: Ticket<&Gate>, patience: u32) -> Option<Permit<&Gate>> {
    let waker = Waker::from(Arc::new(Call(thread::current())));
    for _ in 0..patience {
        match Pin::new(&mut ticket).poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(permit) => return Some(permit),
            Poll::Pending if patience == u32::MAX => thread::park(),
            Poll::Pending => thread::yield_now(),
        }
    }
    None
}

/// Threads enter, wait, now and then give up. Returns how many were refused.
fn crowd(gate: &Gate, threads: u32, rounds: u32, inside: &(AtomicU32, u32)) -> u32 {
    let barrier = Barrier::new(threads as usize);
    let refused = AtomicU32::new(0);
    let round = |turn: u32| {
        let permit = match Gate::enter(gate) {
            Entry::Admitted(permit) => Some(permit),
            Entry::Queued(ticket) => {
                let patience = if turn.is_multiple_of(3) {
                    turn % 7
                } else {
                    u32::MAX
                };
                wait(ticket, patience)
            }
            Entry::Full(_) => {
                refused.fetch_add(1, SeqCst);
                None
            }
        };
        if let Some(permit) = permit {
            assert!(inside.0.fetch_add(1, SeqCst) < inside.1);
            if turn.is_multiple_of(5) {
                thread::yield_now();
            }
            inside.0.fetch_sub(1, SeqCst);
            drop(permit);
        }
    };
    thread::scope(|scope| {
        for thread in 0..threads {
            let (barrier, round) = (&barrier, &round);
            scope.spawn(move || {
                barrier.wait();
                (0..rounds).for_each(|turn| round(turn + thread));
            });
        }
    });
    refused.into_inner()
}

#[test]
fn threads_never_exceed_the_limit_and_nobody_is_forgotten() {
    for (max, queue) in [(1, 8), (2, 8), (3, 8), (2, 2), (1, 0)] {
        let gate = Gate::new(&spec(max, queue));
        let refused = crowd(&gate, 6, 4_000, &(AtomicU32::new(0), max));
        assert_eq!(gate.load(), load(0, 0));
        assert!(gate.lock().places.is_empty());
        assert!(queue < 8 || refused == 0, "six fit in a line of eight");
    }
}

#[test]
fn limits_may_change_under_threads() {
    let gate = Gate::new(&spec(1, 8));
    thread::scope(|scope| {
        let busy = scope.spawn(|| crowd(&gate, 5, 4_000, &(AtomicU32::new(0), 4)));
        let mut turn = 0;
        while !busy.is_finished() {
            gate.adopt(&spec(turn % 4 + 1, 8));
            turn += 1;
            thread::yield_now();
        }
    });
    assert_eq!(gate.load(), load(0, 0));
}
