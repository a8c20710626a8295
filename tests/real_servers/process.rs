//! Child processes: nginx and the gateway.

use std::process::{Child, Command};
use std::time::Duration;

/// Longer than any of them may take for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A child process, killed when dropped.
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends a signal by name, such as `TERM`.
pub(crate) fn signal(name: &str, child: &Child) {
    let command = format!("kill -{name} {}", child.id());
    let _ = Command::new("sh").args(["-c", &command]).status();
}
