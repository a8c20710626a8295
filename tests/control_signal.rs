//! SIGHUP, in a process of its own: the signal reaches every gateway in it.

#![allow(clippy::unwrap_used)]

mod control_support;

use control_support::{Gateway, route, wait_for};

#[test]
fn a_hangup_forces_a_look_and_counts_it_although_nothing_changed() {
    let gateway = Gateway::start(&route("hup-a", "core"), "[kill]\n");
    let counted = |result: &str, n: u32| {
        let line = format!("seawall_config_reloads_total{{result=\"{result}\"}} {n}\n");
        gateway.live.metrics.exposition().contains(&line)
    };
    let hang_up = || {
        let id = std::process::id().to_string();
        let sent = std::process::Command::new("kill")
            .args(["-HUP", &id])
            .status();
        assert!(sent.unwrap().success());
    };
    hang_up();
    wait_for("the count", || counted("unchanged", 1));
    gateway.write("seawall.toml", "not toml");
    wait_for("the rejection", || counted("rejected", 1));
    hang_up();
    wait_for("the second rejection", || counted("rejected", 2));
    assert!(counted("unchanged", 1) && counted("applied", 0));
}
