//! What cannot change while the gateway runs.

use super::settings::{ArchiveSettings, Settings};

impl Settings {
    /// The keys whose change in `newer` takes effect only after a restart: sockets are bound,
    /// workers are started and log sinks are opened once.
    pub fn needs_restart(&self, newer: &Settings) -> Vec<&'static str> {
        let changes = [
            ("server.listen", self.server.listen != newer.server.listen),
            (
                "server.workers",
                self.server.workers != newer.server.workers,
            ),
            ("admin.listen", self.admin.listen != newer.admin.listen),
            (
                "admin.probe_listen",
                self.admin.probe_listen != newer.admin.probe_listen,
            ),
            ("telemetry.log", self.telemetry.log != newer.telemetry.log),
            (
                "telemetry.access_log",
                self.telemetry.access_log != newer.telemetry.access_log,
            ),
        ];
        let changed = changes.into_iter().filter(|(_, changed)| *changed);
        changed.map(|(key, _)| key).collect()
    }
}

impl ArchiveSettings {
    /// The same for a journal that was opened with these settings. Before it is opened nothing
    /// needs a restart; its limits hold at once.
    pub fn needs_restart(&self, newer: &ArchiveSettings) -> Vec<&'static str> {
        let changes = [
            ("archive.journal", self.journal != newer.journal),
            ("archive.copies", self.copies != newer.copies),
        ];
        let changed = changes.into_iter().filter(|(_, changed)| *changed);
        changed.map(|(key, _)| key).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Settings, SourceFile, load};

    fn settings(text: &str) -> Settings {
        let files = [SourceFile::new("seawall.toml", text)];
        load(&files, &|_| None).unwrap().settings
    }

    #[test]
    fn an_open_journal_changes_its_limits_at_once_and_its_directories_after_a_restart() {
        let old = settings("").archive;
        let limits = "[archive]\nmax_bytes = \"1GiB\"\ndurability = \"written\"\n";
        assert!(old.needs_restart(&settings(limits).archive).is_empty());
        let places = "[archive]\njournal = [\"a\", \"b\"]\ncopies = 2\n";
        assert_eq!(
            old.needs_restart(&settings(places).archive),
            ["archive.journal", "archive.copies"]
        );
    }

    #[test]
    fn what_is_bound_or_started_once_needs_a_restart() {
        let old = settings("");
        assert!(old.needs_restart(&old.clone()).is_empty());
        let text = r#"
            [server]
            listen = "127.0.0.1:1"
            workers = 77
            max_headers = 5
            [admin]
            listen = "127.0.0.1:2"
            probe_listen = "127.0.0.1:3"
            [telemetry]
            log = "debug"
            access_log = "stdout"
        "#;
        assert_eq!(
            old.needs_restart(&settings(text)),
            [
                "server.listen",
                "server.workers",
                "admin.listen",
                "admin.probe_listen",
                "telemetry.log",
                "telemetry.access_log"
            ]
        );
    }
}
