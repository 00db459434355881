//! Writes blocks to segments.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use crate::block::{HEADER_BYTES, Header, MAX_BODY_BYTES, kind};
use crate::clock::timestamp;
use crate::source::Source;

/// What the start block of each segment says, and where segments are.
pub(crate) struct Start {
    /// The folder of the spools of all starts.
    pub spool: PathBuf,
    pub uuid: [u8; 16],
    pub server: String,
    pub engine: String,
    pub writers: usize,
}

impl Start {
    /// The folder of this start.
    pub(crate) fn folder(&self) -> PathBuf {
        self.spool.join(uuid_text(&self.uuid))
    }

    fn description(&self, segment: u64) -> Vec<u8> {
        format!(
            r#"{{"format": {}, "start": "{}", "segment": {segment}, "created": "{}", "server": {}, "engine": {}, "writers": {}}}"#,
            crate::block::FORMAT,
            uuid_text(&self.uuid),
            timestamp(),
            json_text(&self.server),
            json_text(&self.engine),
            self.writers,
        )
        .into_bytes()
    }
}

fn uuid_text(uuid: &[u8; 16]) -> String {
    let digits: String = uuid.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
    parts.join("-")
}

fn json_text(text: &str) -> String {
    let mut quoted = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            control if control < ' ' => quoted.push_str(&format!("\\u{:04x}", u32::from(control))),
            _ => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

/// What the header of a block of rows says, beside what the writer knows.
#[derive(Clone, Copy, Default)]
pub(crate) struct RowsHeader {
    pub predictions: u32,
    pub rows: u32,
    pub first_sequence: u64,
}

/// A segment that is open.
struct Segment {
    file: File,
    path: PathBuf,
    /// What of the file is whole blocks.
    bytes: u64,
    opened: Instant,
    /// Whether it has more than its start block, and whether it has rows.
    is_used: bool,
    has_rows: bool,
    /// The sources that it describes.
    described: HashSet<u32>,
}

/// Appends blocks to segments, one open segment at a time.
pub(crate) struct SegmentWriter {
    start: Start,
    segment_bytes: u64,
    segment_time: Duration,
    open: Option<Segment>,
    /// Holds the lock of the start's folder.
    lock: Option<File>,
    next_segment: u64,
    next_block: u64,
    predictions: u64,
    rows: u64,
    /// Bytes written since `take_written`.
    written: u64,
}

impl SegmentWriter {
    pub(crate) fn new(start: Start, segment_bytes: u64, segment_time: Duration) -> Self {
        Self {
            start,
            segment_bytes,
            segment_time,
            open: None,
            lock: None,
            next_segment: 0,
            next_block: 0,
            predictions: 0,
            rows: 0,
            written: 0,
        }
    }

    /// The bytes that were written since the last call.
    pub(crate) fn take_written(&mut self) -> u64 {
        std::mem::take(&mut self.written)
    }

    /// Opens a segment if none is open, after making the folder.
    ///
    /// # Errors
    /// `io::Error`: the folder or the segment cannot be made or written.
    pub(crate) fn ensure_open(&mut self) -> io::Result<()> {
        if self.open.is_some() {
            return Ok(());
        }
        let folder = self.start.folder();
        self.ensure_folder(&folder)?;
        let number = self.next_segment;
        let path = folder.join(format!("{number:08}.segment"));
        let file = OpenOptions::new().append(true).create_new(true).mode(0o640).open(&path);
        if file.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists) {
            self.next_segment += 1;
        }
        self.open = Some(Segment {
            file: file?,
            path: path.clone(),
            bytes: 0,
            opened: Instant::now(),
            is_used: false,
            has_rows: false,
            described: HashSet::new(),
        });
        let body = self.start.description(number);
        let begun = self.append(Header { kind: kind::START, ..Header::default() }, &[&padded(body)]);
        if begun.is_err() {
            self.open = None;
        }
        // A disk that stays full must not get a segment without blocks each time.
        if begun.is_ok() || fs::remove_file(path).is_err() {
            self.next_segment += 1;
        }
        begun
    }

    /// Makes the folder of the start, and locks it. Others see the folder only with the lock held.
    fn ensure_folder(&mut self, folder: &Path) -> io::Result<()> {
        if self.lock.is_some() && folder.join("lock").exists() {
            return Ok(());
        }
        let mut private = DirBuilder::new();
        private.recursive(true).mode(0o750).create(&self.start.spool)?;
        let mut fresh = folder.to_path_buf();
        if !folder.exists() {
            fresh.set_file_name(format!(".{}", uuid_text(&self.start.uuid)));
            private.create(&fresh)?;
        }
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o640)
            .open(fresh.join("lock"))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        if fresh != folder {
            fs::rename(&fresh, folder)?;
        }
        self.lock = Some(lock);
        Ok(())
    }

    /// Whether the open segment is still where it was. If it was removed, writing would not fail, and it is
    /// abandoned.
    pub(crate) fn is_in_place(&mut self) -> bool {
        let Some(segment) = &self.open else { return true };
        let ours = segment.file.metadata();
        let is_same = fs::metadata(&segment.path)
            .is_ok_and(|there| ours.is_ok_and(|ours| (there.dev(), there.ino()) == (ours.dev(), ours.ino())));
        if !is_same {
            self.open = None;
        }
        is_same
    }

    /// Writes a block of rows, after the description of their source.
    ///
    /// # Errors
    /// `io::Error`: the block is not written. The segment is cut behind its last whole block.
    pub(crate) fn rows(&mut self, source: &Source, about: RowsHeader, body: &[&[u8]]) -> io::Result<()> {
        self.ensure_open()?;
        if self.open.as_ref().is_some_and(|segment| !segment.described.contains(&source.number)) {
            let header = Header { kind: kind::SOURCE, ..Header::default() };
            self.append(header, &[&padded(source.description.clone())])?;
        }
        let header = Header {
            kind: kind::ROWS,
            source: source.number,
            predictions: about.predictions,
            rows: about.rows,
            first_sequence: about.first_sequence,
            fingerprint: source.fingerprint,
            ..Header::default()
        };
        self.append(header, body)?;
        if let Some(segment) = &mut self.open {
            segment.described.insert(source.number);
        }
        Ok(())
    }

    /// Writes a block with a ledger.
    ///
    /// # Errors
    /// `io::Error`: the block is not written. The segment is cut behind its last whole block.
    pub(crate) fn ledger(&mut self, body: &[u8]) -> io::Result<()> {
        self.ensure_open()?;
        self.append(Header { kind: kind::LEDGER, ..Header::default() }, &[body])
    }

    /// Whether the open segment is so large or old that it is to be closed.
    pub(crate) fn is_due(&self) -> bool {
        self.open.as_ref().is_some_and(|segment| {
            segment.is_used
                && (segment.bytes >= self.segment_bytes || segment.opened.elapsed() >= self.segment_time)
        })
    }

    /// Whether a segment with rows is open.
    pub(crate) fn has_rows(&self) -> bool {
        self.open.as_ref().is_some_and(|segment| segment.has_rows)
    }

    /// Closes the open segment with an end block. `last`: the server stops in order.
    ///
    /// # Errors
    /// `io::Error`: the block is not written. The segment is cut behind its last whole block.
    pub(crate) fn close(&mut self, last: bool) -> io::Result<()> {
        if last {
            self.ensure_open()?;
        }
        if self.open.is_some() {
            self.append(Header { kind: kind::END, source: u32::from(last), ..Header::default() }, &[])?;
        }
        self.open = None;
        Ok(())
    }

    /// Appends a block, or cuts what was written of it off.
    fn append(&mut self, mut header: Header, body: &[&[u8]]) -> io::Result<()> {
        let length: usize = body.iter().map(|piece| piece.len()).sum();
        if length > MAX_BODY_BYTES {
            return Err(io::Error::other("a block has more than 64 MiB"));
        }
        debug_assert!(length.is_multiple_of(8));
        header.body_bytes = length as u32;
        header.body_crc = body.iter().fold(0, |crc, piece| crc32c::crc32c_append(crc, piece));
        header.start = self.start.uuid;
        header.number = self.next_block;
        header.predictions_before = self.predictions;
        header.rows_before = self.rows;
        let Some(segment) = &mut self.open else {
            return Err(io::Error::other("no segment is open"));
        };
        if let Err(error) = write_all(&mut segment.file, &header.encode(), body) {
            self.cut(&error);
            return Err(error);
        }
        let bytes = (HEADER_BYTES + length) as u64;
        segment.bytes += bytes;
        segment.is_used |= header.kind != kind::START;
        segment.has_rows |= header.kind == kind::ROWS;
        self.written += bytes;
        self.next_block += 1;
        self.predictions += u64::from(header.predictions);
        self.rows += u64::from(header.rows);
        Ok(())
    }

    /// Cuts a part of a block off. If the disk is full, the segment goes on from there, or each try would leave
    /// another one. Else it is abandoned; if nothing can be cut off, readers find a torn tail.
    fn cut(&mut self, error: &io::Error) {
        let is_full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        if let Some(segment) = &self.open
            && (segment.file.set_len(segment.bytes).is_err() || !is_full)
        {
            self.open = None;
        }
    }
}

/// JSON, padded with spaces.
fn padded(mut json: Vec<u8>) -> Vec<u8> {
    json.resize(json.len().next_multiple_of(8), b' ');
    json
}

/// Writes a header and a body with as few calls as the system needs.
fn write_all(file: &mut File, header: &[u8], body: &[&[u8]]) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = Vec::with_capacity(1 + body.len());
    slices.push(IoSlice::new(header));
    slices.extend(body.iter().map(|piece| IoSlice::new(piece)));
    let mut rest = slices.as_mut_slice();
    while !rest.is_empty() {
        match file.write_vectored(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut rest, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reader::{Piece, read_segment};

    /// A writer in a folder of its own, which is removed in the end.
    struct Writer(SegmentWriter);

    impl Writer {
        fn new(name: &str) -> Self {
            let start = Start {
                spool: std::env::temp_dir().join(format!("scorewire-segment-{name}-{}", std::process::id())),
                uuid: [7; 16],
                server: "0.1.0\n\"".into(),
                engine: "native".into(),
                writers: 1,
            };
            Self(SegmentWriter::new(start, 1 << 20, Duration::from_secs(300)))
        }

        fn rows(&mut self) -> io::Result<()> {
            let source = Source { number: 3, description: b"{}".to_vec(), ..Source::default() };
            let about = RowsHeader { predictions: 1, rows: 2, first_sequence: 0 };
            self.0.rows(&source, about, &[&[1; 8], &[2; 16]])
        }

        fn segment(&self, number: usize) -> Vec<u8> {
            fs::read(self.0.start.folder().join(format!("{number:08}.segment"))).expect("a segment")
        }
    }

    impl Drop for Writer {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0.start.spool);
        }
    }

    /// The kind, the number and the rows before each block.
    fn blocks(segment: &[u8]) -> Vec<(u16, u64, u64)> {
        let pieces = read_segment(segment, false).map(|piece| match piece {
            Piece::Block { header, .. } => (header.kind, header.number, header.rows_before),
            Piece::Damage { .. } => panic!("{piece:?}"),
        });
        pieces.collect()
    }

    /// Makes the open segment's file fail.
    fn fail_with(writer: &mut Writer, path: &str) {
        let Some(segment) = &mut writer.0.open else { panic!("no segment is open") };
        segment.file = OpenOptions::new().read(true).write(path == "/dev/full").open(path).expect("a device");
    }

    #[test]
    fn a_segment_that_cannot_be_cut_is_abandoned_at_its_last_whole_block() {
        let mut writer = Writer::new("full");
        writer.rows().expect("room");
        fail_with(&mut writer, "/dev/full");
        assert_eq!(writer.rows().expect_err("no room").kind(), io::ErrorKind::StorageFull);
        assert!(writer.0.open.is_none());

        writer.rows().expect("room");
        writer.0.close(true).expect("room");
        assert_eq!(
            blocks(&writer.segment(0)),
            [(kind::START, 0, 0), (kind::SOURCE, 1, 0), (kind::ROWS, 2, 0)]
        );
        assert_eq!(
            blocks(&writer.segment(1)),
            [(kind::START, 3, 2), (kind::SOURCE, 4, 2), (kind::ROWS, 5, 2), (kind::END, 6, 4)]
        );
    }

    #[test]
    fn a_part_of_a_block_is_cut_off_and_a_full_disk_goes_on_with_its_segment() {
        for (error, is_abandoned) in [(io::ErrorKind::StorageFull, false), (io::ErrorKind::Other, true)] {
            let mut writer = Writer::new("part");
            writer.rows().expect("room");
            let Some(segment) = &mut writer.0.open else { panic!("no segment is open") };
            segment.file.write_all(b"a part of a block").expect("room");
            writer.0.cut(&error.into());
            assert_eq!(writer.0.open.is_none(), is_abandoned);
            writer.rows().expect("room");
            assert_eq!(blocks(&writer.segment(0)).len(), if is_abandoned { 3 } else { 4 });
        }
    }

    #[test]
    fn a_file_that_cannot_be_written_is_abandoned() {
        let mut writer = Writer::new("refused");
        writer.rows().expect("room");
        fail_with(&mut writer, "/dev/null");
        writer.rows().expect_err("opened for reading");
        writer.rows().expect("another segment");
        assert_eq!(blocks(&writer.segment(1)).len(), 3);
    }

    #[test]
    fn the_start_block_is_json() {
        let mut writer = Writer::new("json");
        writer.0.ensure_open().expect("room");
        let segment = writer.segment(0);
        let Some(Piece::Block { body, .. }) = read_segment(&segment, false).next() else {
            panic!("no block")
        };
        let start: serde_json::Value = serde_json::from_slice(body).expect("JSON");
        assert_eq!(start["server"], "0.1.0\n\"");
        assert_eq!(start["start"], "07070707-0707-0707-0707-070707070707");
        assert_eq!(
            (&start["format"], &start["segment"], &start["writers"]),
            (&crate::block::FORMAT.into(), &0.into(), &1.into())
        );
        assert_eq!(start["created"].as_str().map(str::len), Some("2026-11-29T17:21:00.000000Z".len()));
    }
}
