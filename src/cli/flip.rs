//! What `kill` and `restore` share: the file is edited, the running gateway confirms.

use std::cell::RefCell;
use std::fmt::Display;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};

use super::ask::{self, Gateway, reachable};
use super::disk::Disk;
use crate::config::{Change, EditError, read_switches};
use crate::control::confirmation::{self, Edited, Outcome};
use crate::control::{Done, Manner, SwitchEdit, WriteError};
use crate::policy::kill::KillKey;
use crate::vocab::Clock;

/// Options of both.
#[derive(Args, Debug)]
pub(super) struct FlipOptions {
    /// Ask this gateway instead of the one that the configuration names.
    #[arg(long, value_name = "URL")]
    admin: Option<String>,
    /// Only write the file: wait for no gateway to confirm.
    #[arg(long)]
    pub(super) no_wait: bool,
    /// A JSON document on standard output, for scripts.
    #[arg(long)]
    pub(super) json: bool,
}

/// Says on standard error why nothing came of a command.
pub(super) fn complain(why: &dyn Display) -> ExitCode {
    eprintln!("seawall: {why}");
    ExitCode::FAILURE
}

/// What a command is about: the configuration, and the key that its user named.
///
/// # Errors
/// When either cannot be made out; it is said already.
pub(super) fn subject(dir: &Path, key: &str) -> Result<(Disk, KillKey), ExitCode> {
    let disk = Disk::read(dir).map_err(|problems| {
        problems.iter().for_each(|problem| eprintln!("{problem}"));
        complain(&"nothing was written")
    })?;
    match disk.settings.kill_key(key) {
        Ok(key) => Ok((disk, key)),
        Err(unknown) => Err(complain(&unknown)),
    }
}

/// A change of one key, on its way.
pub(super) struct Flip<'a> {
    pub(super) dir: &'a Path,
    pub(super) disk: &'a Disk,
    pub(super) key: &'a str,
    pub(super) change: &'a Change,
    pub(super) options: &'a FlipOptions,
    /// When the command was started.
    pub(super) begun: Instant,
}

/// What became of it.
pub(super) struct Flipped {
    pub(super) done: Done,
    /// `None`: nobody was asked.
    pub(super) outcome: Option<Outcome>,
    /// From the start of the command.
    pub(super) took: Duration,
    /// Who was asked.
    from: String,
    /// Why nobody answered.
    silence: Option<String>,
}

impl Flip<'_> {
    /// Edits the file and waits.
    ///
    /// # Errors
    /// When nothing was written.
    pub(super) fn carry_out(&self) -> Result<Flipped, WriteError<EditError>> {
        let edit = SwitchEdit {
            dir: self.dir,
            settings: &self.disk.settings,
            key: self.key,
            change: self.change,
        };
        let done = edit.write(|_| {})?;
        let from = self.gateway();
        let silence = RefCell::new(None);
        let status = || match status(&from) {
            Ok(status) => Some(status),
            Err(why) => {
                silence.replace(Some(why));
                None
            }
        };
        let agreeing = || {
            let file = read_switches(self.dir).ok().flatten()?;
            edit.agrees(&file, &done).then_some(file.digest)
        };
        let edited = Edited {
            key: self.key,
            digest: done.written.digest,
        };
        let wait = || confirmation::wait(edited, status, agreeing);
        let outcome = (!self.options.no_wait).then(wait);
        Ok(Flipped {
            outcome,
            took: Clock::now() - self.begun,
            silence: silence.take(),
            from,
            done,
        })
    }

    /// A broken structure does not keep a switch from being confirmed: what it says of the admin
    /// listener can still be read.
    fn gateway(&self) -> String {
        match &self.options.admin {
            Some(url) => url.clone(),
            None => reachable(self.disk.settings.admin.listen).to_string(),
        }
    }
}

/// What the status of a gateway says of its switches. One of an older version says all it knows.
fn status(from: &str) -> Result<Value, String> {
    if from.ends_with(":0") {
        let why = "admin.listen has port 0, which the running gateway chose; give --admin URL";
        return Err(why.to_owned());
    }
    let answer = ask::get(Gateway::At(from), "/api/v1/status?only=switches")
        .map_err(|error| error.to_string())?;
    match (answer.status.as_u16(), serde_json::from_slice(&answer.body)) {
        (200, Ok(status)) => Ok(status),
        (code, _) => Err(format!("{from} answers {code}: it is no admin listener")),
    }
}

impl Flipped {
    /// Whether the command did what it should: with `--no-wait` to write, else to be confirmed.
    pub(super) fn succeeded(&self) -> bool {
        match &self.outcome {
            None | Some(Outcome::Acted(_)) => true,
            Some(Outcome::Held(_) | Outcome::Overtaken | Outcome::Unread | Outcome::Silent) => {
                false
            }
        }
    }

    /// The gateway's elements for the key.
    pub(super) fn switches(&self) -> &[Value] {
        match &self.outcome {
            Some(Outcome::Acted(switches) | Outcome::Held(switches)) => switches,
            Some(Outcome::Overtaken | Outcome::Unread | Outcome::Silent) | None => &[],
        }
    }

    /// Whole milliseconds from the start of the command.
    pub(super) fn took_ms(&self) -> u128 {
        self.took.as_millis()
    }

    /// Why it is not known to be in effect, and what to look at; `None` when it is.
    pub(super) fn complaint(&self) -> Option<String> {
        let path = &self.done.written.location;
        let written = match self.done.written.manner {
            Manner::Unchanged => format!("{path} says so already"),
            Manner::Replaced | Manner::InPlace => format!("{path} is written"),
        };
        let from = &self.from;
        Some(match self.outcome.as_ref()? {
            Outcome::Acted(_) => return None,
            Outcome::Held(_) => {
                let first = self.done.after.problems.first();
                let first = first.map_or_else(
                    || "see `seawall check`".to_owned(),
                    |problem| format!("correct {problem}"),
                );
                format!(
                    "{written}, but the file has errors, so that what was thrown stays thrown; {first}"
                )
            }
            Outcome::Overtaken => format!(
                "{written}, but somebody else has changed the same key since; see `seawall status`"
            ),
            Outcome::Unread => format!(
                "{written}, but the gateway at {from} has not taken it up: does it run on this \
                 directory? Look at `seawall status` and its log"
            ),
            Outcome::Silent => {
                let why = self.silence.as_deref().unwrap_or("no answer");
                format!(
                    "{written}, but no gateway has confirmed: {why}. A gateway that runs on this \
                     directory acts on the file all the same; look at its log"
                )
            }
        })
    }

    /// The document of `--json`.
    pub(super) fn document(&self, key: &str) -> Value {
        let confirmed = matches!(self.outcome, Some(Outcome::Acted(_)));
        json!({
            "key": key,
            "file": self.done.written.location.path,
            "digest": format!("{:016x}", self.done.written.digest),
            "changed": self.done.written.manner != Manner::Unchanged,
            "confirmed": confirmed,
            "took_ms": self.took.as_secs_f64() * 1e3,
            "switches": self.switches(),
        })
    }
}
