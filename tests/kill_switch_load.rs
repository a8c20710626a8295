//! Flipping a switch under load: its route is killed, and nobody else notices.

mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use support::*;

const FLIPS: usize = 15;

fn base(upstream: &Upstream) -> Config {
    Config::passing(upstream).route("victim", "path = \"/victim\"\nupstream = \"u\"")
}

/// Asks on one kept connection until told to stop; panics at the first answer that is wrong.
fn load(
    mut client: Client,
    target: &str,
    stop: &AtomicBool,
    served: &AtomicUsize,
    right: fn(&Response) -> bool,
) {
    while !stop.load(Ordering::SeqCst) {
        let response = client.ask(post(target, "body"));
        assert!(right(&response), "{target}: {}", response.head.start);
        assert!(!response.closes(), "{target}: loses its connection");
        served.fetch_add(1, Ordering::SeqCst);
    }
}

fn passed(response: &Response) -> bool {
    response.from_upstream() && response.text() == "body"
}

/// Passed or killed, and nothing in between.
fn either(response: &Response) -> bool {
    passed(response) || (response.status == 200 && response.body.is_empty())
}

#[test]
fn no_other_request_fails_or_loses_its_connection_while_a_switch_is_thrown() {
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&base(&upstream));
    let (stop, others, victims) = (
        AtomicBool::new(false),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let (open, victim) = (gateway.connect(), gateway.connect());
            let (stop, others, victims) = (&stop, &others, &victims);
            scope.spawn(move || load(open, "/open", stop, others, passed));
            scope.spawn(move || load(victim, "/victim", stop, victims, either));
        }
        let flips = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| flip(&gateway)));
        // Whatever happened, the clients must end, or the scope would not.
        stop.store(true, Ordering::SeqCst);
        assert!(flips.is_ok());
    });
    let count = |counter: &AtomicUsize| counter.load(Ordering::SeqCst) as f64;
    assert!(count(&others) > 0.0 && count(&victims) > 0.0);
    let labels = [("route", "any"), ("code", "200"), ("by", "upstream")];
    gateway.wait_metric("seawall_requests_total", &labels, count(&others));
    assert_eq!(gateway.metric("seawall_refusals_total", &[]), 0.0);
    assert_eq!(gateway.metric("seawall_panics_total", &[]), 0.0);
}

/// Throws the switch again and again, each time until it is seen to be thrown. `off` lets go of
/// it without the second that a vanished key would take, so the flips come close together.
fn flip(gateway: &Gateway) {
    let victim = || gateway.ask(post("/victim", "body"));
    for number in 0..FLIPS {
        gateway.write_switches(format!("[kill]\nvictim = \"drop\"\n# {number}\n"));
        wait_for("the switch to be thrown", || !victim().from_upstream());
        gateway.write_switches(format!("[kill]\nvictim = \"off\"\n# {number}\n"));
        wait_for("the switch to be let go", || victim().from_upstream());
    }
}
