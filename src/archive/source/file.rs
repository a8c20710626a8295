//! Files of records, one JSON object a line, plain or compressed with zstd.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::super::id::Ulid;
use super::super::segment::MAX_PAYLOAD;
use super::outline::id_of;

/// Records of a file that are not in the order of their ids: 32 bytes of memory each.
const MOST_UNSORTED: usize = 4_000_000;
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Whether the lines can be read from the first to the last.
enum Order {
    Rising(Lines),
    /// By id, where each record stands.
    Sorted(File, std::vec::IntoIter<Entry>),
}

/// A file of records.
pub(super) struct RecordFile {
    order: Order,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    pub(super) records: u64,
    /// Lines that are no records, and their bytes.
    pub(super) unreadable: (u64, u64),
    pub(super) first: Option<Ulid>,
}

/// Why a file cannot be used.
#[derive(Debug)]
pub(super) enum Refused {
    Io(io::Error),
    /// It would have to be sorted first.
    Unsorted,
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Refused {
        Refused::Io(error)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    id: Ulid,
    offset: u64,
    length: u32,
}

struct Lines {
    text: Box<dyn BufRead + Send>,
    line: Vec<u8>,
    /// Where the line begins, before compression.
    offset: u64,
}

impl Lines {
    fn open(path: &Path) -> io::Result<(Lines, bool)> {
        let mut magic = Vec::new();
        File::open(path)?.take(4).read_to_end(&mut magic)?;
        let compressed = magic == MAGIC;
        let file = BufReader::with_capacity(256 * 1024, File::open(path)?);
        let text: Box<dyn BufRead + Send> = if compressed {
            let decoder = zstd::stream::read::Decoder::with_buffer(file)?;
            Box::new(BufReader::with_capacity(256 * 1024, decoder))
        } else {
            Box::new(file)
        };
        let lines = Lines {
            text,
            line: Vec::new(),
            offset: 0,
        };
        Ok((lines, compressed))
    }

    /// The next line that is not empty, without its end.
    fn next(&mut self) -> io::Result<Option<&[u8]>> {
        loop {
            self.offset += self.line.len() as u64;
            self.line.clear();
            let mut bounded = (&mut self.text).take(MAX_PAYLOAD as u64 + 2);
            if bounded.read_until(b'\n', &mut self.line)? == 0 {
                return Ok(None);
            }
            if self.line.len() > MAX_PAYLOAD + 1 {
                let long = "a line is longer than a record can be";
                return Err(io::Error::new(io::ErrorKind::InvalidData, long));
            }
            if !self.line.trim_ascii().is_empty() {
                break;
            }
        }
        let line = &self.line[..];
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        Ok(Some(line.strip_suffix(b"\r").unwrap_or(line)))
    }
}

impl RecordFile {
    /// Reads the file once: how many records it has, and whether their ids rise. What `archive
    /// cat` writes does; a file of refused records is in the order of their answers.
    pub(super) fn open(path: &Path) -> Result<RecordFile, Refused> {
        let (mut lines, compressed) = Lines::open(path)?;
        let mut file = RecordFile {
            order: Order::Rising(Lines::open(path)?.0),
            path: path.to_owned(),
            bytes: std::fs::metadata(path)?.len(),
            records: 0,
            unreadable: (0, 0),
            first: None,
        };
        let mut last = None;
        let mut rising = true;
        let mut entries = Vec::new();
        while let Some(line) = lines.next()? {
            let length = line.len() as u32;
            let Some(id) = id_of(line) else {
                file.unreadable.0 += 1;
                file.unreadable.1 += u64::from(length);
                continue;
            };
            file.records += 1;
            file.first = Some(file.first.map_or(id, |first| first.min(id)));
            rising &= last <= Some(id);
            last = Some(id);
            // Sorting needs to go back to each, which a compressed file does not allow.
            if !compressed && entries.len() <= MOST_UNSORTED {
                let offset = lines.offset;
                entries.push(Entry { id, offset, length });
            }
        }
        if rising {
            return Ok(file);
        }
        if compressed || entries.len() > MOST_UNSORTED {
            return Err(Refused::Unsorted);
        }
        entries.sort_unstable();
        file.order = Order::Sorted(File::open(path)?, entries.into_iter());
        Ok(file)
    }

    /// The next line; lines that are no records were counted already and are passed over.
    pub(super) fn next(&mut self) -> io::Result<Option<(Ulid, Vec<u8>)>> {
        match &mut self.order {
            Order::Rising(lines) => {
                while let Some(line) = lines.next()? {
                    if let Some(id) = id_of(line) {
                        return Ok(Some((id, line.to_vec())));
                    }
                }
                Ok(None)
            }
            Order::Sorted(file, entries) => {
                let Some(entry) = entries.next() else {
                    return Ok(None);
                };
                let mut line = vec![0; entry.length as usize];
                file.read_exact_at(&mut line, entry.offset)?;
                Ok(Some((entry.id, line)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    fn text(numbers: &[u128]) -> String {
        numbers.iter().fold(String::new(), |mut text, number| {
            let _ = writeln!(text, "{{\"id\":\"{}\",\"n\":{number}}}", Ulid(*number));
            text
        })
    }

    fn read(path: &Path) -> Vec<u128> {
        let mut file = RecordFile::open(path).unwrap();
        let mut ids = Vec::new();
        while let Some((id, line)) = file.next().unwrap() {
            assert!(line.ends_with(format!("\"n\":{}}}", id.0).as_bytes()));
            ids.push(id.0);
        }
        assert_eq!(ids.len() as u64, file.records);
        ids
    }

    #[test]
    fn plain_and_compressed_files_are_read_and_plain_ones_sorted() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("records");
        let sorted = [1, 2, 2, 9, 1 << 90];
        std::fs::write(&path, text(&sorted)).unwrap();
        assert_eq!(read(&path), sorted);
        std::fs::write(
            &path,
            zstd::encode_all(text(&sorted).as_bytes(), 3).unwrap(),
        )
        .unwrap();
        assert_eq!(read(&path), sorted);
        let unsorted = [9, 2, 1 << 90, 1, 2];
        std::fs::write(&path, text(&unsorted)).unwrap();
        assert_eq!(read(&path), sorted);
        let packed = zstd::encode_all(text(&unsorted).as_bytes(), 3).unwrap();
        std::fs::write(&path, packed).unwrap();
        assert!(matches!(RecordFile::open(&path), Err(Refused::Unsorted)));
    }

    #[test]
    fn other_lines_are_counted_and_a_last_line_needs_no_end() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("records");
        let mixed = format!("\n{}no record\r\n\r\n{}", text(&[3]), text(&[4]).trim_end());
        std::fs::write(&path, mixed).unwrap();
        assert_eq!(read(&path), [3, 4]);
        let file = RecordFile::open(&path).unwrap();
        assert_eq!(file.unreadable, (1, 9));
        assert_eq!(file.first, Some(Ulid(3)));
        std::fs::write(&path, "").unwrap();
        assert_eq!(read(&path), [0; 0]);
        let missing = RecordFile::open(&scratch.path().join("none"));
        assert!(matches!(missing, Err(Refused::Io(_))));
    }
}
