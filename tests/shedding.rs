//! An upstream that is full: who is shed first, who waits, and how the limit follows latency.

mod support;

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use support::*;

/// One route for each tier to one upstream with this limit.
fn tiers(upstream: &Upstream, concurrency: &str) -> Config {
    let keys = format!("concurrency = {concurrency}");
    let config = Config::new().endpoints("u", &[upstream.url()], &keys);
    ["core", "standard", "sheddable"]
        .into_iter()
        .fold(config, |config, tier| {
            let keys = format!(
                "path = \"/{tier}/{{*rest}}\"\nupstream = \"u\"\ntier = \"{tier}\"\n\
                 timeout = \"60s\"\nowner = \"o\""
            );
            config.route(tier, &keys)
        })
}

/// An upstream whose answers wait while it is closed, as it is at first.
#[derive(Default)]
struct Valve {
    open: Mutex<bool>,
    changed: Condvar,
}

impl Valve {
    fn close(&self) {
        *self.open.lock().expect("valve") = false;
    }

    fn open(&self) {
        *self.open.lock().expect("valve") = true;
        self.changed.notify_all();
    }

    fn wait(&self) {
        let open = self.open.lock().expect("valve");
        let waited = self
            .changed
            .wait_timeout_while(open, PATIENCE, |open| !*open);
        drop(waited.expect("valve"));
    }
}

fn valved(valve: &Arc<Valve>) -> Upstream {
    let valve = Arc::clone(valve);
    Upstream::serving(move |_| {
        valve.wait();
        answer(200, "done")
    })
}

fn limit(gateway: &Gateway) -> f64 {
    gateway
        .metrics()
        .one("seawall_upstream_concurrency_limit", &[("upstream", "u")])
}

fn begun(gateway: &Gateway, target: &str) -> Client {
    let mut client = gateway.connect();
    client.send(get(target));
    client
}

#[test]
fn the_lowest_tier_is_shed_first_and_core_last() {
    let valve = Arc::default();
    let upstream = valved(&valve);
    let gateway = Gateway::start(&tiers(&upstream, "5"));
    assert_eq!(limit(&gateway), 5.0);
    let mut held = Vec::new();
    let mut places = 0;
    for (tier, more) in [("sheddable", 3), ("standard", 1), ("core", 1)] {
        for _ in 0..more {
            held.push(begun(&gateway, &format!("/{tier}/a")));
            places += 1;
            upstream.wait_heads(places);
        }
        // Full for this tier, and for all below it.
        let response = gateway.get(&format!("/{tier}/b"));
        assert_refusal(&response, 503, "overloaded");
        assert!(response.head.has("retry-after"));
        assert_refusal(&gateway.get("/sheddable/b"), 503, "overloaded");
    }
    gateway.wait_metric("seawall_upstream_in_flight", &[("upstream", "u")], 5.0);
    assert_eq!(upstream.heads(), 5);
    valve.open();
    for client in &mut held {
        assert_passed(&client.read());
    }
    gateway.wait_metric("seawall_requests_in_flight", &[], 0.0);
    for tier in ["sheddable", "standard", "core"] {
        assert_passed(&gateway.get(&format!("/{tier}/c")));
    }
}

#[test]
fn core_waits_a_moment_for_a_place() {
    let valve = Arc::<Valve>::default();
    let upstream = valved(&valve);
    let gateway = Gateway::start(&tiers(&upstream, "1"));
    // The moment is 100 ms, which a busy machine may miss now and then.
    wait_for("core requests that waited and were served", || {
        valve.close();
        let before = upstream.heads();
        let mut waiting = [gateway.connect(), gateway.connect()];
        let mut first = begun(&gateway, "/core/first");
        upstream.wait_heads(before + 1);
        // Both are sent while the only place is taken, so that they have to wait.
        waiting
            .iter_mut()
            .for_each(|client| client.send(get("/core/waits")));
        valve.open();
        assert_passed(&first.read());
        let answers = waiting.map(|mut client| client.read());
        let labels = [("route", "core")];
        gateway.wait_metric("seawall_requests_in_flight", &labels, 0.0);
        let refused = answers.iter().filter(|answer| !answer.is_from_upstream());
        refused
            .map(|answer| assert_refusal(answer, 503, "overloaded"))
            .count()
            == 0
    });
}

#[test]
fn a_switch_that_is_thrown_takes_core_from_the_line() {
    let valve = Arc::default();
    let upstream = valved(&valve);
    let gateway = Gateway::start(&tiers(&upstream, "1"));
    let core = [("route", "core")];
    let in_flight = || gateway.metric("seawall_requests_in_flight", &core);
    let refused = || gateway.metric("seawall_refusals_total", &core);
    let mut first = begun(&gateway, "/core/first");
    upstream.wait_heads(1);
    // The line is 100 ms long, which a busy machine may miss now and then.
    wait_for("a request that was killed in line", || {
        gateway.write_switches("[kill]\ncore = \"off\"\n");
        wait_for("the route to be back", || {
            gateway.get("/core/x").status == 503
        });
        wait_for("the line to be empty", || in_flight() == 1.0);
        let before = refused();
        let mut waiting = begun(&gateway, "/core/waits");
        wait_for("it to be in line", || {
            in_flight() == 2.0 || refused() > before
        });
        gateway.write_switches("[kill]\ncore = \"drop\"\n");
        let answer = waiting.read();
        if answer.status != 200 {
            assert_refusal(&answer, 503, "overloaded");
            return false;
        }
        assert_killed(&answer);
        true
    });
    assert_eq!(upstream.heads(), 1);
    valve.open();
    assert_passed(&first.read());
}

#[test]
fn an_attempt_that_times_out_gives_its_place_back() {
    let upstream = Upstream::hanging();
    let keys = "path = \"/{*rest}\"\nupstream = \"u\"\ntimeout = \"100ms\"";
    let config = Config::new()
        .endpoints("u", &[upstream.url()], "concurrency = 1")
        .route("any", keys);
    let gateway = Gateway::start(&config);
    for turn in 1..4 {
        assert_refusal(&gateway.get("/"), 504, "upstream_timeout");
        gateway.wait_metric("seawall_requests_in_flight", &[], 0.0);
        assert_eq!(upstream.heads(), turn);
    }
}

#[test]
fn a_client_that_leaves_gives_its_place_at_the_upstream_back() {
    let valve = Arc::default();
    let upstream = valved(&valve);
    let gateway = Gateway::start(&tiers(&upstream, "1"));
    for turn in 1..4 {
        let client = begun(&gateway, "/sheddable/a");
        upstream.wait_heads(turn);
        assert_refusal(&gateway.get("/sheddable/b"), 503, "overloaded");
        drop(client);
        gateway.wait_metric("seawall_requests_in_flight", &[], 0.0);
    }
    valve.open();
}

#[test]
fn without_a_limit_none_is_shown_and_none_holds() {
    let valve = Arc::default();
    let upstream = valved(&valve);
    let gateway = Gateway::start(&tiers(&upstream, "\"off\""));
    assert_eq!(limit(&gateway), f64::INFINITY);
    let text = gateway.admin("/metrics").text();
    let line = "seawall_upstream_concurrency_limit{upstream=\"u\"} +Inf\n";
    assert!(text.contains(line), "{text}");
    let held: Vec<Client> = (0..30).map(|_| begun(&gateway, "/sheddable/a")).collect();
    upstream.wait_heads(30);
    // A limit that comes counts who comes from then on.
    gateway.write_structure(&tiers(&upstream, "10"));
    wait_for("the limit", || limit(&gateway) == 10.0);
    valve.open();
    for mut client in held {
        assert_passed(&client.read());
    }
}

/// So many servers, each busy for a fixed time with each request; the others queue.
#[derive(Default)]
struct Servers {
    free: Mutex<(usize, VecDeque<u64>, u64)>,
    changed: Condvar,
}

impl Servers {
    fn new(count: usize) -> Arc<Servers> {
        let servers = Servers::default();
        servers.free.lock().expect("servers").0 = count;
        Arc::new(servers)
    }

    /// First come, first served.
    fn serve(&self, time: Duration) {
        let mut state = self.free.lock().expect("servers");
        let number = state.2;
        state.2 += 1;
        state.1.push_back(number);
        while state.0 == 0 || state.1.front() != Some(&number) {
            state = self.changed.wait(state).expect("servers");
        }
        state.0 -= 1;
        state.1.pop_front();
        drop(state);
        std::thread::sleep(time);
        self.free.lock().expect("servers").0 += 1;
        self.changed.notify_all();
    }
}

#[test]
fn an_adaptive_limit_shrinks_when_the_upstream_queues_and_a_reload_keeps_it() {
    let servers = Servers::new(2);
    let upstream = Upstream::serving(move |_| {
        servers.serve(Duration::from_millis(5));
        answer(200, "done")
    });
    let config = tiers(&upstream, "\"adaptive\"");
    let gateway = Gateway::start(&config);
    assert_eq!(limit(&gateway), 20.0);
    // What its latency is when nothing queues.
    let mut client = gateway.connect();
    for _ in 0..300 {
        assert_passed(&client.ask(get("/core/a")));
    }
    assert_eq!(limit(&gateway), 20.0, "an upstream at rest says nothing");
    let stop = std::sync::atomic::AtomicBool::new(false);
    let stopped = || stop.load(std::sync::atomic::Ordering::SeqCst);
    std::thread::scope(|scope| {
        for _ in 0..30 {
            scope.spawn(|| {
                let mut client = gateway.connect();
                while !stopped() {
                    let _ = client.ask(get("/core/a"));
                }
            });
        }
        let _ends = StopAtEnd(&stop);
        wait_for("the limit to shrink", || limit(&gateway) <= 10.0);
    });
    let before = limit(&gateway);
    gateway.write_structure(&config.defaults("timeout", "\"7s\""));
    gateway.wait_metric(
        "seawall_config_reloads_total",
        &[("result", "applied")],
        1.0,
    );
    assert!(limit(&gateway) <= before + 1.0, "the reload kept it");
}
