use std::cell::Cell;
use std::convert::Infallible;
use std::fs::File;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::time::SystemTime;

use tempfile::TempDir;

use super::super::switchdisk::Temporary;
use super::*;

const OLD: &str = "# now\n[kill]\na = \"drop\"\n";
const NEW: &str = "# now\n[kill]\na = \"drop\"\nb = \"drop\"\n";

fn directory() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("switches.toml"), OLD).unwrap();
    dir
}

/// Appends a line.
fn add(line: &str) -> impl FnMut(&SourceFile) -> Result<String, Infallible> {
    move |file| Ok(format!("{}{line}\n", file.text))
}

fn add_b(disk: &impl Disk, dir: &Path) -> Result<Written, WriteError<Infallible>> {
    rewrite_on(disk, dir, add("b = \"drop\""))
}

fn text(dir: &Path) -> String {
    fs::read_to_string(dir.join("switches.toml")).unwrap()
}

/// Names in the directory but for the file and the lock.
fn left_over(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let known = ["switches.toml", ".switches.lock"];
    names
        .filter(|name| !known.contains(&name.as_str()))
        .collect()
}

/// A disk that refuses some steps.
#[derive(Default)]
struct Refusing {
    lock: Option<i32>,
    rename: Option<i32>,
    prepare: Option<i32>,
}

const EACCES: i32 = 13;
const EBUSY: i32 = 16;
const EXDEV: i32 = 18;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;

fn refuse(number: Option<i32>) -> io::Result<()> {
    number.map_or(Ok(()), |number| Err(io::Error::from_raw_os_error(number)))
}

impl Disk for Refusing {
    fn open_lock(&self, path: &Path) -> io::Result<File> {
        refuse(self.lock)?;
        MachineDisk.open_lock(path)
    }

    fn prepare(&self, real: &Path, bytes: &[u8]) -> io::Result<Temporary> {
        let temporary = MachineDisk.prepare(real, bytes)?;
        refuse(self.prepare).map(|()| temporary)
    }

    fn rename(&self, temporary: &Path, real: &Path) -> io::Result<()> {
        refuse(self.rename)?;
        MachineDisk.rename(temporary, real)
    }
}

#[test]
fn the_file_is_replaced_and_its_digest_told() {
    let dir = directory();
    let path = dir.path().join("switches.toml");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let is_root = chown(&path, Some(1234), Some(2345)).is_ok();
    let written = add_b(&MachineDisk, dir.path()).unwrap();
    assert_eq!(text(dir.path()), NEW);
    assert_eq!(written.manner, Manner::Replaced);
    assert_eq!(written.digest, SourceFile::new("x", NEW).digest);
    assert_eq!(
        written.difference.to_string(),
        "add below line 3:\n    b = \"drop\""
    );
    let found = fs::metadata(&path).unwrap();
    assert_eq!(found.mode() & 0o7777, 0o640);
    assert!(!is_root || (found.uid(), found.gid()) == (1234, 2345));
    assert!(left_over(dir.path()).is_empty());
    assert!(crate::config::ignored_files(dir.path()).is_empty());
}

#[test]
fn what_changes_nothing_is_not_written() {
    let dir = directory();
    let path = dir.path().join("switches.toml");
    let before = fs::metadata(&path).unwrap();
    let same = |file: &SourceFile| Ok::<_, Infallible>(file.text.to_string());
    let written = rewrite(dir.path(), same).unwrap();
    assert_eq!(written.manner, Manner::Unchanged);
    assert_eq!(written.digest, SourceFile::new("x", OLD).digest);
    let after = fs::metadata(&path).unwrap();
    assert_eq!(
        (before.ino(), before.ctime_nsec()),
        (after.ino(), after.ctime_nsec())
    );
}

#[test]
fn an_edit_that_fails_writes_nothing() {
    let dir = directory();
    let failed = rewrite(dir.path(), |_| Err("no such route"));
    assert_eq!(failed.unwrap_err().to_string(), "no such route");
    assert_eq!(text(dir.path()), OLD);
    assert!(left_over(dir.path()).is_empty());
}

#[test]
fn a_file_that_is_not_there_is_created() {
    let dir = tempfile::tempdir().unwrap();
    rewrite(dir.path(), add("[kill]")).unwrap();
    assert_eq!(text(dir.path()), "[kill]\n");
    let mode = fs::metadata(dir.path().join("switches.toml"))
        .unwrap()
        .mode();
    assert_eq!(mode & 0o7777, 0o644);
    let nowhere = rewrite(&dir.path().join("no"), add("[kill]")).unwrap_err();
    let said = nowhere.to_string();
    assert!(
        said.starts_with("reading ") && said.contains("No such file"),
        "{said}"
    );
}

#[test]
fn bytes_that_are_not_utf_8_stay_in_lines_that_are_not_edited() {
    let dir = directory();
    let path = dir.path().join("switches.toml");
    fs::write(&path, b"# caf\xe9\n[kill]\n# \xff").unwrap();
    let below_header = |file: &SourceFile| {
        Ok::<_, Infallible>(file.text.replace("[kill]\n", "[kill]\nb = \"drop\"\n"))
    };
    let written = rewrite(dir.path(), below_header).unwrap();
    let bytes = fs::read(&path).unwrap();
    assert_eq!(bytes, b"# caf\xe9\n[kill]\nb = \"drop\"\n# \xff");
    assert_eq!(written.digest, SourceFile::of_bytes("x", &bytes).digest);
}

#[test]
fn behind_a_link_the_target_is_replaced_and_the_link_stays() {
    let dir = directory();
    let shared = directory();
    let link = dir.path().join("switches.toml");
    fs::remove_file(&link).unwrap();
    symlink(shared.path(), dir.path().join("shared")).unwrap();
    // `..` is above where the link leads, not above the link.
    let name = shared.path().file_name().unwrap();
    let target = Path::new("shared/..").join(name).join("switches.toml");
    symlink(target, &link).unwrap();
    let written = add_b(&MachineDisk, dir.path()).unwrap();
    assert!(link.is_symlink());
    assert_eq!(text(shared.path()), NEW);
    assert_eq!(written.location.path, link);
    let real = fs::canonicalize(shared.path().join("switches.toml")).unwrap();
    assert_eq!(written.location.real, real);
    assert!(shared.path().join(".switches.lock").exists());
    assert!(!dir.path().join(".switches.lock").exists());
    // A link to nothing: its target is created.
    fs::remove_file(&real).unwrap();
    add_b(&MachineDisk, dir.path()).unwrap();
    assert!(link.is_symlink() && real.is_file());
    // A circle.
    fs::remove_file(&link).unwrap();
    symlink("switches.toml", &link).unwrap();
    let said = add_b(&MachineDisk, dir.path()).unwrap_err().to_string();
    assert!(said.contains("too many links"), "{said}");
}

#[test]
fn what_kubernetes_mounts_is_refused_with_the_line_to_add() {
    let dir = tempfile::tempdir().unwrap();
    let version = dir.path().join("..2026_11_06");
    fs::create_dir(&version).unwrap();
    fs::write(version.join("switches.toml"), OLD).unwrap();
    symlink("..2026_11_06", dir.path().join("..data")).unwrap();
    symlink("..data/switches.toml", dir.path().join("switches.toml")).unwrap();
    let refused = add_b(&MachineDisk, dir.path()).unwrap_err();
    assert!(matches!(refused, WriteError::Mounted { .. }));
    let said = refused.to_string();
    assert!(
        said.contains("in the ConfigMap, add below line 3:\n    b = \"drop\""),
        "{said}"
    );
    assert_eq!(text(dir.path()), OLD);
    assert!(!version.join(".switches.lock").exists());
    // The same when the directory is what is linked.
    let other = tempfile::tempdir().unwrap();
    let config = other.path().join("config");
    symlink(dir.path().join("..data"), &config).unwrap();
    let refused = add_b(&MachineDisk, &config).unwrap_err();
    assert!(matches!(refused, WriteError::Mounted { .. }));
}

#[test]
fn where_nothing_may_be_written_the_line_to_add_is_told() {
    let step = |lock, rename, prepare| Refusing {
        lock,
        rename,
        prepare,
    };
    for disk in [
        step(Some(EACCES), None, None),
        step(None, Some(EROFS), None),
        step(None, None, Some(EACCES)),
    ] {
        let dir = directory();
        let refused = add_b(&disk, dir.path()).unwrap_err();
        assert!(matches!(refused, WriteError::ReadOnly { .. }), "{refused}");
        let said = refused.to_string();
        assert!(said.contains("may not be written: "), "{said}");
        assert!(
            said.contains("by hand, add below line 3:\n    b = \"drop\""),
            "{said}"
        );
        assert_eq!(text(dir.path()), OLD);
        assert!(left_over(dir.path()).is_empty());
    }
}

#[test]
fn a_full_disk_leaves_the_old_file_and_nothing_else() {
    let dir = directory();
    let disk = Refusing {
        prepare: Some(ENOSPC),
        ..Refusing::default()
    };
    let refused = add_b(&disk, dir.path()).unwrap_err();
    assert!(matches!(refused, WriteError::Failed { .. }), "{refused}");
    assert_eq!(text(dir.path()), OLD);
    assert!(left_over(dir.path()).is_empty());
}

#[test]
fn a_mount_of_the_file_alone_is_written_in_place() {
    let step = |lock, rename| Refusing {
        lock,
        rename,
        prepare: None,
    };
    for disk in [
        step(None, Some(EBUSY)),
        step(None, Some(EXDEV)),
        // Everything around the mount is read-only.
        step(Some(EROFS), None),
    ] {
        let dir = directory();
        let path = dir.path().join("switches.toml");
        let before = fs::metadata(&path).unwrap().ino();
        let written = add_b(&disk, dir.path()).unwrap();
        assert_eq!(written.manner, Manner::InPlace);
        assert_eq!(text(dir.path()), NEW);
        assert_eq!(written.digest, SourceFile::new("x", NEW).digest);
        let shorter = |_: &SourceFile| Ok::<_, Infallible>("[kill]\n".to_owned());
        rewrite_on(&disk, dir.path(), shorter).unwrap();
        assert_eq!(text(dir.path()), "[kill]\n");
        assert_eq!(fs::metadata(&path).unwrap().ino(), before);
        assert!(left_over(dir.path()).is_empty());
    }
}

/// Somebody without our lock writes while we do, so many times.
struct Interfering {
    path: PathBuf,
    times: Cell<usize>,
}

impl Disk for Interfering {
    fn prepare(&self, real: &Path, bytes: &[u8]) -> io::Result<Temporary> {
        if self.times.get() > 0 {
            self.times.set(self.times.get() - 1);
            let before = fs::read_to_string(&self.path)?;
            fs::write(&self.path, format!("{before}# theirs\n"))?;
        }
        MachineDisk.prepare(real, bytes)
    }
}

#[test]
fn an_editor_without_our_lock_loses_nothing() {
    let dir = directory();
    let disk = |times| Interfering {
        path: dir.path().join("switches.toml"),
        times: Cell::new(times),
    };
    add_b(&disk(2), dir.path()).unwrap();
    let expected = format!("{OLD}# theirs\n# theirs\nb = \"drop\"\n");
    assert_eq!(text(dir.path()), expected);
    let refused = add_b(&disk(usize::MAX), dir.path()).unwrap_err();
    assert!(matches!(refused, WriteError::Unsettled { .. }), "{refused}");
    assert!(text(dir.path()).ends_with("# theirs\n"));
    assert!(left_over(dir.path()).is_empty());
}

/// Ends between write and rename, as by SIGKILL: nothing is cleaned up.
struct Killed;

impl Disk for Killed {
    fn prepare(&self, real: &Path, bytes: &[u8]) -> io::Result<Temporary> {
        std::mem::forget(MachineDisk.prepare(real, bytes)?);
        Err(io::Error::other("killed"))
    }
}

#[test]
fn a_writer_killed_before_its_rename_leaves_the_old_file_whole() {
    let dir = directory();
    add_b(&Killed, dir.path()).unwrap_err();
    assert_eq!(text(dir.path()), OLD);
    let left = left_over(dir.path());
    assert_eq!(left.len(), 1);
    let left = dir.path().join(&left[0]);
    assert_eq!(fs::read_to_string(&left).unwrap(), NEW);
    // It may be another writer's, until it is old.
    add_b(&MachineDisk, dir.path()).unwrap();
    assert_eq!(text(dir.path()), NEW);
    assert!(left.exists());
    let swap = dir.path().join(".switches.toml.swp");
    fs::write(&swap, "an editor's").unwrap();
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    for path in [&left, &swap] {
        File::options()
            .write(true)
            .open(path)
            .unwrap()
            .set_modified(long_ago)
            .unwrap();
    }
    add_b(&MachineDisk, dir.path()).unwrap();
    assert!(!left.exists() && swap.exists());
}

#[test]
fn a_lock_that_is_held_is_waited_for_and_not_for_ever() {
    let dir = directory();
    let real = dir.path().join("switches.toml");
    let held = MachineDisk
        .open_lock(&dir.path().join(".switches.lock"))
        .unwrap();
    held.lock().unwrap();
    let take = |wait| Lock::take(&MachineDisk, &real, wait);
    let busy = take(Duration::from_millis(20));
    assert!(matches!(busy, Err(LockError::Busy(path)) if path.ends_with(".switches.lock")));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| take(Duration::from_secs(60)).is_ok());
        drop(held);
        assert!(waiting.join().unwrap());
    });
}
