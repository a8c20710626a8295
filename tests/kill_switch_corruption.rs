//! No truncation and no corruption of `switches.toml` restores a switch within its second, or
//! costs a valid entry its effect.
//!
//! Each damaged file begins with a sound entry whose status is new: once a request is answered
//! with it, the gateway has read the file, damage and all.

mod support;

use std::time::Duration;

use support::*;

const BODY: &str = r#"alpha = "drop"
bravo = { mode = "reject", reason = "INC-42: IOPS limit", owner = "amy" }
"tier:sheddable" = "drop"
charlie = { mode = "drop", body = '{"ok":true}', content_type = "application/json" }
delta = "reject"
"#;

const THROWN: [&str; 5] = ["/alpha", "/bravo", "/charlie", "/delta", "/extra"];

/// Within this the second of an unchanged file has not passed, whatever the file says.
const SAFE: Duration = Duration::from_millis(900);

struct Probe {
    gateway: Gateway,
    client: Client,
    turn: u16,
}

impl Probe {
    fn start(upstream: &Upstream) -> Probe {
        let mut config = Config::new().upstream("u", upstream);
        for name in ["alpha", "bravo", "charlie", "delta", "mark", "open"] {
            let keys = format!("path = \"/{name}\"\nupstream = \"u\"");
            config = config.route(name, &keys);
        }
        let extra = "path = \"/extra\"\nupstream = \"u\"\ntier = \"sheddable\"";
        let config = config.route("extra", extra);
        let gateway = Gateway::start(&config.switches(&format!("[kill]\n{BODY}")));
        let client = gateway.connect();
        Probe {
            gateway,
            client,
            turn: 0,
        }
    }

    /// Writes `[kill]`, the mark and then `rest`; returns once the gateway has read it.
    fn write(&mut self, rest: &[u8]) {
        self.turn += 1;
        // Statuses that nothing else answers with, each used again only after all others.
        let status = 410 + self.turn % 80;
        let mark = format!("[kill]\nmark = {{ mode = \"drop\", status = {status} }}\n");
        self.gateway
            .write_switches([mark.as_bytes(), rest].concat());
        let client = &mut self.client;
        wait_for("the file to be read", || {
            client.ask(get("/mark")).status == status
        });
    }

    fn restored(&mut self) -> Vec<&'static str> {
        let client = &mut self.client;
        let mut restored = THROWN.to_vec();
        restored.retain(|target| client.ask(get(target)).from_upstream());
        restored
    }

    /// Whether everything thrown stays thrown under this damage.
    fn judge(&mut self, rest: &[u8]) {
        for _ in 0..5 {
            let start = now();
            self.write(rest);
            let restored = self.restored();
            if restored.is_empty() {
                return;
            }
            assert!(
                start.elapsed() >= SAFE,
                "{restored:?} restored by:\n{}",
                String::from_utf8_lossy(rest)
            );
            // The machine stood still for a second: the file may have meant what it said.
            self.write(BODY.as_bytes());
        }
        panic!("no attempt was fast enough to say anything");
    }
}

#[test]
fn no_truncation_restores_anything() {
    let upstream = Upstream::echo();
    let mut probe = Probe::start(&upstream);
    assert!(probe.restored().is_empty());
    // Every point of the last two entries, and every third before them.
    let dense = BODY.len() - 40;
    for length in (0..BODY.len()).filter(|length| length % 3 == 0 || *length > dense) {
        probe.judge(&BODY.as_bytes()[..length]);
    }
    assert!(probe.client.ask(get("/open")).from_upstream());
}

/// A small generator, seeded, so that a failure comes again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap_or(0) % sides
    }
}

fn corrupted(dice: &mut Dice) -> Vec<u8> {
    let mut bytes = BODY.as_bytes().to_vec();
    for _ in 0..=dice.roll(3) {
        let at = dice.roll(bytes.len());
        match dice.roll(4) {
            0 => bytes[at] = u8::try_from(dice.roll(256)).unwrap_or(0),
            1 => bytes[at] ^= 1 << dice.roll(8),
            2 => {
                bytes.remove(at);
            }
            _ => {
                let end = (at + dice.roll(20)).min(bytes.len());
                bytes.drain(at..end);
            }
        }
    }
    bytes
}

#[test]
fn no_corruption_restores_anything() {
    let upstream = Upstream::echo();
    let mut probe = Probe::start(&upstream);
    let mut dice = Dice(0x5ea_3a11);
    for _ in 0..200 {
        let damaged = corrupted(&mut dice);
        probe.judge(&damaged);
    }
    assert!(probe.client.ask(get("/open")).from_upstream());
}
