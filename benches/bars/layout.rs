//! The configuration directory of a gateway under measurement.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use tempfile::TempDir;

/// The body of a killed request.
pub(crate) const KILLED: &[u8] = b"{\"killed\":true}";

/// What `seawall.toml` says.
pub(crate) struct Structure {
    /// Endpoints of the one upstream.
    pub(crate) endpoints: Vec<SocketAddr>,
    /// Routes in all; at least 4.
    pub(crate) routes: usize,
    /// `server.drain_delay`.
    pub(crate) drain_delay: &'static str,
    /// Anything that tells one structure from the next: the route `version` answers it.
    pub(crate) version: u32,
    /// `server.workers`; 0 is one for each CPU.
    pub(crate) workers: usize,
    /// `archive.durability`; with it there are a journal and the route `kept`.
    pub(crate) durability: Option<&'static str>,
    /// `server.resolvers`: one name server in place of the system's.
    pub(crate) resolvers: Option<SocketAddr>,
    /// More tables, as text.
    pub(crate) more: String,
}

impl Structure {
    /// A structure with one endpoint.
    pub(crate) fn new(endpoint: SocketAddr, routes: usize) -> Structure {
        Structure {
            endpoints: vec![endpoint],
            routes,
            drain_delay: "0s",
            version: 0,
            workers: 0,
            durability: None,
            resolvers: None,
            more: String::new(),
        }
    }

    /// The file. Routes: `probe` and `spare` can be killed, `version` answers by itself, and
    /// `r0`, `r1` and so on fill up the number.
    fn render(&self, journal: &Path) -> String {
        let endpoints: Vec<String> = self
            .endpoints
            .iter()
            .map(|endpoint| format!("\"http://{endpoint}\""))
            .collect();
        let mut text = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\ndrain_delay = \"{}\"\nworkers = {}\n{}\n\
             [admin]\nlisten = \"127.0.0.1:0\"\n\n\
             [upstreams.service]\nendpoints = [{}]\n\n\
             [routes.version]\npath = \"/version\"\nrespond = {{ status = 200, body = \"{}\" }}\n\n",
            self.drain_delay,
            self.workers,
            self.resolvers
                .map(|server| format!("resolvers = [\"{server}\"]\n"))
                .unwrap_or_default(),
            endpoints.join(", "),
            self.version,
        );
        let killed = String::from_utf8_lossy(KILLED);
        for name in ["probe", "spare"] {
            let _ = write!(
                text,
                "[routes.{name}]\npath = \"/{name}/\"\nupstream = \"service\"\n\
                 kill_switch = {{ mode = \"drop\", body = '{killed}', restore = \"0s\" }}\n\n",
            );
        }
        if let Some(durability) = self.durability {
            let _ = write!(
                text,
                "[archive]\njournal = {journal:?}\ndurability = \"{durability}\"\nstore = \"off\"\n\n\
                 [routes.kept]\npath = \"/kept/\"\nupstream = \"service\"\n\
                 kill_switch = {{ mode = \"archive\", body = '{killed}', restore = \"0s\", \
                 archive_quota = \"100%\" }}\n\n",
            );
        }
        text.push_str(&self.more);
        for index in 0..self.routes - 3 {
            // The timeout differs from version to version, so that a reload changes a policy
            // of the very routes that carry the load.
            let timeout = 10_000 + self.version;
            let _ = write!(
                text,
                "[routes.r{index}]\npath = \"/r{index}/\"\nupstream = \"service\"\ntimeout = \"{timeout}ms\"\n\n",
            );
        }
        text
    }
}

/// A directory with a configuration.
pub(crate) struct Layout {
    scratch: TempDir,
}

impl Layout {
    /// Writes the structure and switches of which none is thrown.
    pub(crate) fn create(structure: &Structure) -> io::Result<Layout> {
        let layout = Layout {
            scratch: TempDir::with_prefix("seawall-bars-")?,
        };
        fs::create_dir(layout.directory())?;
        layout.write_structure(structure)?;
        layout.write_switches("")?;
        Ok(layout)
    }

    /// What `--config` names.
    pub(crate) fn directory(&self) -> PathBuf {
        self.scratch.path().join("config")
    }

    /// Where the archive's journal is.
    pub(crate) fn journal(&self) -> PathBuf {
        self.scratch.path().join("journal")
    }

    /// Puts a structure in place; gives the moment before the rename.
    pub(crate) fn write_structure(&self, structure: &Structure) -> io::Result<Instant> {
        self.put("seawall.toml", &structure.render(&self.journal()))
    }

    /// Puts switches in place, given what stands under `[kill]`; gives the moment before the
    /// rename.
    pub(crate) fn write_switches(&self, entries: &str) -> io::Result<Instant> {
        self.put("switches.toml", &format!("[kill]\n{entries}\n"))
    }

    /// Writes beside the watched directory, then renames: readers see the old or the new file.
    fn put(&self, name: &str, text: &str) -> io::Result<Instant> {
        let written = self.scratch.path().join(name);
        fs::write(&written, text)?;
        let before = Instant::now();
        fs::rename(&written, self.directory().join(name))?;
        Ok(before)
    }
}
