//! A real server on loopback, ended with the test.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::{ObjectStore, ObjectStoreExt};
use tempfile::TempDir;

/// Longest wait for a server.
const PATIENCE: Duration = Duration::from_secs(60);

/// The emulator's account and key are public and fixed, and so is this account SAS made with
/// them, for containers and blobs until 2099.
const KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
const SAS: &str = "sv=2018-11-09&ss=b&srt=sco&sp=rwdlac&se=2099-01-01T00%3A00%3A00Z\
    &spr=https%2Chttp&sig=K%2BOQqJj6KnEczTtcVU385IwXLAzlxsauImxanI94hY0%3D";

/// Names and values.
type Variables = [(String, String)];

/// How a server is started, and its bucket `archive` made.
pub(crate) struct Kind {
    program: &'static str,
    arguments: fn(port: u16, scratch: &str) -> Vec<String>,
    bucket: fn() -> String,
    environment: fn(address: &str) -> Vec<(&'static str, String)>,
    client: fn(environment: &Variables) -> Box<dyn ObjectStore>,
}

/// Azure's emulator.
pub(crate) const AZURITE: Kind = Kind {
    program: "azurite-blob",
    arguments: |port, scratch| {
        let port = port.to_string();
        let fixed = ["--blobHost", "127.0.0.1", "--silent", "--disableTelemetry"];
        let all = fixed.iter().map(|text| (*text).to_owned());
        let more = [
            "--skipApiVersionCheck",
            "--location",
            scratch,
            "--blobPort",
            &port,
        ];
        all.chain(more.map(str::to_owned)).collect()
    },
    bucket: || format!("/devstoreaccount1/archive?restype=container&{SAS}"),
    environment: |address| {
        vec![
            ("AZURE_STORAGE_ACCOUNT_NAME", "devstoreaccount1".to_owned()),
            ("AZURE_STORAGE_ACCOUNT_KEY", KEY.to_owned()),
            (
                "AZURE_STORAGE_ENDPOINT",
                format!("http://{address}/devstoreaccount1"),
            ),
            ("AZURE_ALLOW_HTTP", "true".to_owned()),
        ]
    },
    client: |environment| {
        let mut builder = MicrosoftAzureBuilder::new().with_url("az://archive");
        for (name, value) in environment {
            let key = name.to_ascii_lowercase().parse().unwrap();
            builder = builder.with_config(key, value);
        }
        Box::new(builder.build().unwrap())
    },
};

/// moto's S3. It takes any credentials.
pub(crate) const MOTO: Kind = Kind {
    program: "moto_server",
    arguments: |port, _| {
        ["-H", "127.0.0.1", "-p", &port.to_string()]
            .map(str::to_owned)
            .to_vec()
    },
    bucket: || "/archive".to_owned(),
    environment: |address| {
        vec![
            ("AWS_ACCESS_KEY_ID", "test".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ENDPOINT", format!("http://{address}")),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
        ]
    },
    client: |environment| {
        let mut builder = AmazonS3Builder::new().with_url("s3://archive");
        for (name, value) in environment {
            let key = name.to_ascii_lowercase().parse().unwrap();
            builder = builder.with_config(key, value);
        }
        Box::new(builder.build().unwrap())
    },
};

/// A running server.
pub(crate) struct Server {
    kind: &'static Kind,
    scratch: TempDir,
    port: u16,
    child: Child,
}

impl Server {
    /// Starts it on a free port and makes the bucket.
    pub(crate) fn start(kind: &'static Kind) -> Server {
        let scratch = tempfile::tempdir().unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let child = Server::spawn(kind, &scratch, port);
        let server = Server {
            kind,
            scratch,
            port,
            child,
        };
        server.make_bucket();
        server
    }

    fn spawn(kind: &Kind, scratch: &TempDir, port: u16) -> Child {
        Command::new(kind.program)
            .args((kind.arguments)(port, scratch.path().to_str().unwrap()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}; is it on the PATH?", kind.program))
    }

    /// Ends it, keeping its data.
    pub(crate) fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again.
    pub(crate) fn again(&mut self) {
        self.child = Server::spawn(self.kind, &self.scratch, self.port);
        self.make_bucket();
    }

    /// The variables that lead the store to it.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let address = format!("127.0.0.1:{}", self.port);
        let variables = (self.kind.environment)(&address).into_iter();
        variables
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }

    /// Every object of the bucket, as files below a directory.
    pub(crate) async fn mirror(&self, directory: &Path) {
        let client = (self.kind.client)(&self.environment());
        let mut listed = client.list(None);
        while let Some(found) = listed.next().await {
            let key = found.unwrap().location;
            let object = client.get(&key).await.unwrap().bytes().await.unwrap();
            let path = directory.join(key.as_ref());
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, object).unwrap();
        }
    }

    /// Also waits until the server answers.
    fn make_bucket(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.put(&(self.kind.bucket)()).unwrap_or_default();
            // 409: it is there.
            if ["200", "201", "409"].contains(&status.as_str()) {
                return;
            }
            let program = self.kind.program;
            assert!(Instant::now() < deadline, "{program} says {status:?}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn put(&self, target: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let request = format!(
            "PUT {target} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Length: 0\r\n\
             Connection: close\r\n\r\n",
            self.port
        );
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer);
        Ok(answer.split(' ').nth(1).unwrap_or_default().to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}
