//! Configurations as text, written into a directory.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use super::upstream::Upstream;

/// A configuration under construction. Values are TOML, as they stand in the file.
#[derive(Clone, Debug)]
pub struct Config {
    server: Vec<(String, String)>,
    admin: Vec<(String, String)>,
    telemetry: Vec<(String, String)>,
    archive: Vec<(String, String)>,
    defaults: Vec<(String, String)>,
    upstreams: Vec<(String, String)>,
    routes: Vec<(String, String)>,
    switches: Option<String>,
}

impl Default for Config {
    fn default() -> Config {
        let mut config = Config {
            server: Vec::new(),
            admin: Vec::new(),
            telemetry: Vec::new(),
            archive: Vec::new(),
            defaults: Vec::new(),
            upstreams: Vec::new(),
            routes: Vec::new(),
            switches: Some("[kill]\n".to_owned()),
        };
        put(&mut config.server, "listen", "\"127.0.0.1:0\"");
        put(&mut config.server, "workers", "2");
        put(&mut config.admin, "listen", "\"127.0.0.1:0\"");
        // Most tests are not about the slow return of traffic, and would wait 30 s for it.
        put(&mut config.defaults, "kill_switch", "{ restore = \"0s\" }");
        config
    }
}

impl Config {
    /// Free ports, two workers, no routes, nothing thrown.
    pub fn new() -> Config {
        Config::default()
    }

    /// One catch-all route, named `any`, to one upstream.
    pub fn passing(upstream: &Upstream) -> Config {
        Config::new()
            .upstream("u", upstream)
            .route("any", "path = \"/{*rest}\"\nupstream = \"u\"")
    }

    /// Sets a key of `[server]`.
    pub fn server(mut self, key: &str, value: &str) -> Config {
        put(&mut self.server, key, value);
        self
    }

    /// Sets a key of `[admin]`.
    pub fn admin(mut self, key: &str, value: &str) -> Config {
        put(&mut self.admin, key, value);
        self
    }

    /// Sets a key of `[telemetry]`.
    pub fn telemetry(mut self, key: &str, value: &str) -> Config {
        put(&mut self.telemetry, key, value);
        self
    }

    /// Sets a key of `[archive]`, which is not there until one is set. `store` is "off" until set.
    pub fn archive(mut self, key: &str, value: &str) -> Config {
        put(&mut self.archive, key, value);
        self
    }

    /// Sets a key of `[defaults]`. `kill_switch` is `{ restore = "0s" }` until set.
    pub fn defaults(mut self, key: &str, value: &str) -> Config {
        put(&mut self.defaults, key, value);
        self
    }

    /// An upstream with one endpoint.
    pub fn upstream(self, name: &str, upstream: &Upstream) -> Config {
        self.endpoints(name, &[upstream.url()], "")
    }

    /// An upstream with these endpoints and further keys.
    pub fn endpoints(mut self, name: &str, urls: &[String], keys: &str) -> Config {
        let text = format!("endpoints = {urls:?}\n{keys}");
        put(&mut self.upstreams, name, &text);
        self
    }

    /// A route with these keys.
    pub fn route(mut self, name: &str, keys: &str) -> Config {
        put(&mut self.routes, name, keys);
        self
    }

    /// A route that the gateway answers itself.
    pub fn respond(self, name: &str, path: &str, body: &str) -> Config {
        let keys = format!("path = {path:?}\nrespond = {{ status = 200, body = {body:?} }}");
        self.route(name, &keys)
    }

    /// Without the route of that name.
    pub fn without_route(mut self, name: &str) -> Config {
        self.routes.retain(|(found, _)| found != name);
        self
    }

    /// The switches at start; by default none is thrown.
    pub fn switches(mut self, text: &str) -> Config {
        self.switches = Some(text.to_owned());
        self
    }

    /// No `switches.toml` at all.
    pub fn without_switches(mut self) -> Config {
        self.switches = None;
        self
    }

    /// `seawall.toml`.
    pub fn structure(&self) -> String {
        let mut text = String::new();
        let tables = [
            ("server", &self.server),
            ("admin", &self.admin),
            ("telemetry", &self.telemetry),
            ("defaults", &self.defaults),
        ];
        for (table, keys) in tables {
            let _ = writeln!(text, "[{table}]");
            for (key, value) in keys {
                let _ = writeln!(text, "{key} = {value}");
            }
        }
        if !self.archive.is_empty() {
            let _ = writeln!(text, "[archive]");
            for (key, value) in &self.archive {
                let _ = writeln!(text, "{key} = {value}");
            }
            // The default is a directory of whoever runs the tests, and records would go there.
            if !self.archive.iter().any(|(key, _)| key == "store") {
                let _ = writeln!(text, "store = \"off\"");
            }
        }
        for (table, entries) in [("upstreams", &self.upstreams), ("routes", &self.routes)] {
            for (name, keys) in entries {
                let _ = writeln!(text, "[{table}.{name}]\n{keys}");
            }
        }
        text
    }

    /// Writes both files into a directory that is there.
    pub fn write(&self, directory: &Path) {
        std::fs::write(directory.join("seawall.toml"), self.structure()).expect("written");
        if let Some(switches) = &self.switches {
            std::fs::write(directory.join("switches.toml"), switches).expect("written");
        }
    }
}

fn put(entries: &mut Vec<(String, String)>, key: &str, value: &str) {
    match entries.iter_mut().find(|(found, _)| found == key) {
        Some((_, old)) => value.clone_into(old),
        None => entries.push((key.to_owned(), value.to_owned())),
    }
}

/// An address that is free, for the few tests that must name one in advance. It lies on a
/// loopback address of its own, where nothing else of this machine asks for ports.
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.77.1:0").expect("a free port");
    listener.local_addr().expect("an address")
}
