//! The key `archive.store`: reading it, and opening what it names.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{BackoffConfig, ObjectStore, RetryConfig};

use super::error::{StoreError, UrlProblem};
use super::put::Store;

/// Retries inside one request; the uploader waits and tries again by itself.
const REQUEST_RETRIES: usize = 2;
const REQUEST_RETRY_WITHIN: Duration = Duration::from_secs(20);

/// A file that shows whether a directory can be written to.
const PROBE: &str = ".seawall-probe";

/// Where the store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreUrl {
    text: String,
    place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Directory(PathBuf),
    Bucket {
        cloud: Cloud,
        /// Scheme and bucket, without the prefix.
        address: String,
        prefix: Key,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cloud {
    S3,
    Azure,
    Google,
}

/// Whether a directory is made where it is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existence {
    /// For the uploader.
    Made,
    /// For those who read.
    Required,
}

/// The process's environment, as `StoreUrl::open` takes it.
pub fn environment() -> Vec<(String, String)> {
    let texts = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(texts).collect()
}

impl StoreUrl {
    /// Reads `file:DIR` (the path as it is, nothing decoded), `s3://BUCKET/PREFIX`,
    /// `az://CONTAINER/PREFIX` or `gs://BUCKET/PREFIX`.
    ///
    /// # Errors
    /// Anything else.
    pub fn parse(text: &str) -> Result<StoreUrl, StoreError> {
        let place = match text.split_once(':') {
            Some(("file", path)) => directory(path),
            Some(("s3", rest)) => bucket(Cloud::S3, "s3", rest),
            Some(("az", rest)) => bucket(Cloud::Azure, "az", rest),
            Some(("gs", rest)) => bucket(Cloud::Google, "gs", rest),
            Some(_) | None => Err(UrlProblem::Scheme),
        };
        let refused = |problem| StoreError::Url {
            given: text.to_owned(),
            problem,
        };
        Ok(StoreUrl {
            text: text.to_owned(),
            place: place.map_err(refused)?,
        })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Makes the client. Sends nothing; a directory is made if so asked for. Credentials come
    /// from the variables `AWS_*`, `AZURE_*` and `GOOGLE_*`, as the crate `object_store` names
    /// them; the URL has the last word.
    ///
    /// # Errors
    /// A directory that cannot be used, or variables that contradict.
    pub fn open(
        &self,
        environment: &[(String, String)],
        existence: Existence,
    ) -> Result<Store, StoreError> {
        let settings = |source| StoreError::Settings {
            url: self.text.clone(),
            source,
        };
        let (cloud, address, prefix) = match &self.place {
            Place::Directory(path) => return self.open_directory(path, existence),
            Place::Bucket {
                cloud,
                address,
                prefix,
            } => (cloud, address, prefix),
        };
        let variables = |prefix: &'static str| {
            let mine = move |(name, _): &&(String, String)| name.starts_with(prefix);
            environment.iter().filter(mine)
        };
        let client: Arc<dyn ObjectStore> = match cloud {
            Cloud::S3 => {
                let builder = variables("AWS_").fold(AmazonS3Builder::new(), |b, (name, value)| {
                    option(name).map_or(b.clone(), |key| b.with_config(key, value))
                });
                let builder = builder.with_url(address).with_retry(retries());
                Arc::new(builder.build().map_err(settings)?)
            }
            Cloud::Azure => {
                let builder = MicrosoftAzureBuilder::new();
                let mut builder = variables("AZURE_").fold(builder, |b, (name, value)| {
                    option(name).map_or(b.clone(), |key| b.with_config(key, value))
                });
                for (_, value) in variables("IDENTITY_ENDPOINT") {
                    builder = builder.with_msi_endpoint(value);
                }
                let builder = builder.with_url(address).with_retry(retries());
                Arc::new(builder.build().map_err(settings)?)
            }
            Cloud::Google => {
                let builder = GoogleCloudStorageBuilder::new();
                let builder = variables("GOOGLE_").fold(builder, |b, (name, value)| {
                    option(name).map_or(b.clone(), |key| b.with_config(key, value))
                });
                let builder = builder.with_url(address).with_retry(retries());
                Arc::new(builder.build().map_err(settings)?)
            }
        };
        Ok(Store::remote(client, &self.text, prefix.clone()))
    }

    /// Says what would keep `open` and uploads from working as far as this machine knows: whether
    /// the directory can be made and written to, and whether settings are missing. Sends
    /// nothing. A small file is written for a moment.
    ///
    /// # Errors
    /// As those of `open`.
    pub fn try_here(&self, environment: &[(String, String)]) -> Result<(), StoreError> {
        match &self.place {
            Place::Directory(path) => writable(path).map_err(|source| StoreError::Directory {
                path: path.clone(),
                source,
            }),
            Place::Bucket { .. } => self.open(environment, Existence::Required).map(drop),
        }
    }

    fn open_directory(&self, path: &PathBuf, existence: Existence) -> Result<Store, StoreError> {
        let failed = |source| StoreError::Directory {
            path: path.clone(),
            source,
        };
        match existence {
            Existence::Made => std::fs::create_dir_all(path).map_err(failed)?,
            Existence::Required => {}
        }
        let root = path.canonicalize().map_err(failed)?;
        let settings = |source| StoreError::Settings {
            url: self.text.clone(),
            source,
        };
        let client = LocalFileSystem::new_with_prefix(&root).map_err(settings)?;
        // Without fsync a confirmed object could be lost with the power, after its segment was
        // removed.
        let client = client.with_fsync(true).with_automatic_cleanup(true);
        Ok(Store::local(Arc::new(client), &self.text, root))
    }
}

/// Whether files can be made there, or where the directory would be made.
fn writable(path: &Path) -> io::Result<()> {
    let absolute = std::path::absolute(path)?;
    let there = absolute.ancestors().find(|path| path.exists());
    let probe = there.unwrap_or(&absolute).join(PROBE);
    File::create_new(&probe)?;
    std::fs::remove_file(probe)
}

fn option<K: FromStr>(name: &str) -> Option<K> {
    name.to_ascii_lowercase().parse().ok()
}

fn retries() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig::default(),
        max_retries: REQUEST_RETRIES,
        retry_timeout: REQUEST_RETRY_WITHIN,
    }
}

fn directory(path: &str) -> Result<Place, UrlProblem> {
    let path = match path.strip_prefix("//") {
        Some(absolute) if absolute.starts_with('/') => absolute,
        Some(_) => return Err(UrlProblem::Machine),
        None => path,
    };
    match path {
        "" => Err(UrlProblem::NoDirectory),
        path => Ok(Place::Directory(PathBuf::from(path))),
    }
}

fn bucket(cloud: Cloud, scheme: &str, rest: &str) -> Result<Place, UrlProblem> {
    let rest = rest.strip_prefix("//").ok_or(UrlProblem::NoBucket)?;
    let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if name.is_empty() {
        return Err(UrlProblem::NoBucket);
    }
    if name.contains(['@', ':']) {
        return Err(UrlProblem::Credentials);
    }
    if rest.contains(['?', '#']) || prefix.starts_with('/') {
        return Err(UrlProblem::Path);
    }
    Ok(Place::Bucket {
        cloud,
        address: format!("{scheme}://{name}"),
        prefix: Key::parse(prefix).map_err(|_| UrlProblem::Path)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_kinds_of_store_are_read() {
        for text in ["file:data/archive", "file:/data/archive", "file:///data/x"] {
            let url = StoreUrl::parse(text).unwrap();
            assert!(matches!(url.place, Place::Directory(_)), "{text}");
            assert_eq!(url.as_str(), text);
        }
        for (text, start) in [
            ("s3://b/p/q", "s3://b"),
            ("az://c", "az://c"),
            ("gs://b/", "gs://b"),
        ] {
            let Place::Bucket {
                address, prefix, ..
            } = StoreUrl::parse(text).unwrap().place
            else {
                panic!("{text}");
            };
            assert_eq!(address, start);
            assert_eq!(
                prefix.as_ref(),
                if text == "s3://b/p/q" { "p/q" } else { "" }
            );
        }
    }

    #[test]
    fn other_addresses_are_refused_with_the_key_and_the_forms() {
        for (text, problem) in [
            ("", UrlProblem::Scheme),
            ("data/archive", UrlProblem::Scheme),
            ("s4://b", UrlProblem::Scheme),
            ("memory:///", UrlProblem::Scheme),
            ("file:", UrlProblem::NoDirectory),
            ("file://data/archive", UrlProblem::Machine),
            ("s3:b", UrlProblem::NoBucket),
            ("az:///p", UrlProblem::NoBucket),
            ("s3://id:secret@b/p", UrlProblem::Credentials),
            ("gs://b/p?x=1", UrlProblem::Path),
            ("s3://b/../p", UrlProblem::Path),
            ("s3://b//p", UrlProblem::Path),
        ] {
            let error = StoreUrl::parse(text).unwrap_err();
            let said = error.to_string();
            assert!(
                matches!(error, StoreError::Url { problem: p, .. } if p == problem),
                "{text}: {said}"
            );
            assert!(
                said.contains("archive.store") && said.contains("az://"),
                "{said}"
            );
        }
    }

    #[test]
    fn missing_settings_are_named_and_variables_are_taken() {
        let url = StoreUrl::parse("az://c/p").unwrap();
        let error = url.open(&[], Existence::Made).unwrap_err().to_string();
        assert!(error.contains("AZURE_STORAGE_ACCOUNT_NAME"), "{error}");
        let emulator = ("AZURE_STORAGE_USE_EMULATOR".into(), "true".into());
        assert!(url.open(&[emulator], Existence::Made).is_ok());
        let url = StoreUrl::parse("s3://b").unwrap();
        let variables = [
            ("AWS_ENDPOINT", "http://127.0.0.1:1"),
            ("AWS_ALLOW_HTTP", "true"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert!(url.open(&variables, Existence::Made).is_ok());
        // A variable of another program is none of ours.
        let stray = [("timeout".to_owned(), "never".to_owned())];
        assert!(url.open(&stray, Existence::Made).is_ok());
    }

    #[test]
    fn what_this_machine_knows_of_a_store_is_tried_without_a_trace() {
        let scratch = tempfile::tempdir().unwrap();
        let said = |url: String, variables: &[(String, String)]| {
            let tried = StoreUrl::parse(&url).unwrap().try_here(variables);
            tried.map_err(|error| error.to_string())
        };
        let root = scratch.path().display();
        assert_eq!(said(format!("file:{root}/a/b"), &[]), Ok(()));
        assert_eq!(said(format!("file:{root}"), &[]), Ok(()));
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
        std::fs::write(scratch.path().join("file"), "").unwrap();
        let error = said(format!("file:{root}/file/a"), &[]).unwrap_err();
        assert!(error.contains("Not a directory"), "{error}");
        let error = said("az://c".to_owned(), &[]).unwrap_err();
        assert!(error.contains("AZURE_STORAGE_ACCOUNT_NAME"), "{error}");
    }

    #[test]
    fn a_directory_is_made_for_the_uploader_alone() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("a b/%41");
        let url = StoreUrl::parse(&format!("file:{}", path.display())).unwrap();
        let error = url.open(&[], Existence::Required).unwrap_err().to_string();
        assert!(error.contains("archive.store"), "{error}");
        assert!(!path.exists());
        url.open(&[], Existence::Made).unwrap();
        assert!(path.is_dir());
        url.open(&[], Existence::Required).unwrap();
    }
}
