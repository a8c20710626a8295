//! Waits until the gateway has acted on an edit of `switches.toml`, as its status tells.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::vocab::Clock;

/// Longest wait. What restores traffic waits one second by itself.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// How long the status is asked without a pause worth the name, and how often.
const EAGER: (Duration, Duration) = (Duration::from_millis(200), Duration::from_millis(1));

/// How often after that.
const CALM: Duration = Duration::from_millis(20);

/// How long a key may be held without a time at which that ends, before it is believed: a status
/// may be told between two looks.
const DOUBT: Duration = Duration::from_millis(1500);

/// What is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Edited<'a> {
    /// The key, as written below `[kill]`.
    pub key: &'a str,
    /// Of the file as written.
    pub digest: u64,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The gateway acted on the edit; its elements of `switches` for the key.
    Acted(Vec<Value>),
    /// The gateway has read the edit, and the key keeps what it had while the file has errors.
    Held(Vec<Value>),
    /// Somebody else has changed the key meanwhile.
    Overtaken,
    /// The gateway answers, and has not read the file.
    Unread,
    /// Nobody answers.
    Silent,
}

/// Waits, blocking. `status` gives the body of `/api/v1/status?only=switches` as of now, if there is one;
/// `agreeing` the digest of the file as it is now, if it still says of the key what was written.
pub fn wait(
    edited: Edited<'_>,
    mut status: impl FnMut() -> Option<Value>,
    agreeing: impl Fn() -> Option<u64>,
) -> Outcome {
    let begun = Clock::now();
    let mut digests = vec![hex(edited.digest)];
    let mut other = None;
    loop {
        let waited = Clock::now() - begun;
        let Some(told) = status() else {
            return Outcome::Silent;
        };
        let file = &told["switches_file"];
        let read = file["digest"].as_str();
        // Another edit may come right after, so that these very bytes are never read.
        if let Some(digest) = read
            && !digests.iter().any(|known| known == digest)
            && other.as_deref() != Some(digest)
        {
            other = Some(digest.to_owned());
            match agreeing() {
                Some(now) => digests.push(hex(now)),
                None => return Outcome::Overtaken,
            }
        }
        if read.is_some_and(|read| digests.iter().any(|digest| digest == read)) {
            let held = file["held"].as_array();
            let held = held.is_some_and(|keys| keys.iter().any(|key| key == edited.key));
            let settles = !file["settles_in_ms"].is_null();
            if !held {
                return Outcome::Acted(elements(&told, edited.key));
            }
            if !settles && waited > DOUBT {
                return Outcome::Held(elements(&told, edited.key));
            }
        }
        if waited > PATIENCE {
            return Outcome::Unread;
        }
        std::thread::sleep(pause(begun));
    }
}

fn pause(begun: Instant) -> Duration {
    let (time, pause) = EAGER;
    match Clock::now() - begun < time {
        true => pause,
        false => CALM,
    }
}

/// A digest as the status writes it.
fn hex(digest: u64) -> String {
    format!("{digest:016x}")
}

/// The elements of `switches` that a key under `[kill]` brought: for a plan also its entries.
pub fn elements(status: &Value, key: &str) -> Vec<Value> {
    let plan = key.strip_prefix("plan:");
    let concerns = |element: &&Value| match element["plan"].as_str() {
        Some(name) => Some(name) == plan,
        None => element["key"] == key,
    };
    let all = status["switches"].as_array();
    all.into_iter()
        .flatten()
        .filter(concerns)
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use serde_json::json;

    use super::*;

    const EDITED: Edited<'_> = Edited {
        key: "a",
        digest: 0xab,
    };

    fn status(digest: u64, held: &[&str]) -> Value {
        json!({
            "switches_file": { "digest": hex(digest), "held": held, "settles_in_ms": 10 },
            "switches": [
                { "key": "a", "plan": null }, { "key": "b", "plan": null },
                { "key": "a", "plan": "p" }, { "key": "plan:p", "plan": null },
            ],
        })
    }

    #[test]
    fn the_answer_comes_when_the_bytes_are_read_and_the_key_is_not_held() {
        let looks = Cell::new(0);
        let told = || {
            looks.set(looks.get() + 1);
            Some(match looks.get() {
                1 => status(0xaa, &[]),
                2 => status(0xab, &["a"]),
                _ => status(0xab, &["b"]),
            })
        };
        let outcome = wait(EDITED, told, || Some(0xab));
        assert_eq!(
            outcome,
            Outcome::Acted(vec![json!({ "key": "a", "plan": null })])
        );
        assert_eq!(looks.get(), 3);
    }

    #[test]
    fn an_edit_of_another_key_right_after_confirms_too() {
        let outcome = wait(EDITED, || Some(status(0xcd, &[])), || Some(0xcd));
        assert!(matches!(outcome, Outcome::Acted(_)));
        let outcome = wait(EDITED, || Some(status(0xcd, &[])), || None);
        assert_eq!(outcome, Outcome::Overtaken);
        assert_eq!(wait(EDITED, || None, || None), Outcome::Silent);
    }

    #[test]
    fn the_elements_of_a_plan_are_its_own_and_those_of_its_entries() {
        let found = elements(&status(0, &[]), "plan:p");
        assert_eq!(found.len(), 2);
        assert_eq!(elements(&status(0, &[]), "b").len(), 1);
    }
}
