//! The files of records: their names, their order, their lines, and what is void in them.
//!
//! Specified in `docs/audit-format.md`, "Files" and "Void bytes".

use std::{
    cmp::Ordering,
    collections::BTreeMap,
    fmt,
    io::{BufRead as _, BufReader, Read, Take},
    ops::Range,
};

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde::{Deserialize, Serialize};

use crate::{
    archive::Base,
    error::{Fault, StorageError, VerifyError},
    record::{MAX_LINE, Phase, RECOVERED, Record, parse},
    storage::Storage,
    walk::Cursor,
};

/// What room consists of. No line holds it.
const ROOM: u8 = 0;
const PREFIX: &str = "audit-";
const SUFFIX: &str = ".jsonl";
/// The member of a recovery record's details that lists what is void.
pub(crate) const VOIDED: &str = "voided";

/// The name of a file of records: its day, and a number for all but the first file of that day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    pub(crate) day: Date,
    pub(crate) number: u32,
}

impl Name {
    /// Parses a file name; says whether it looks like a file of records without being one.
    fn parse(name: &str) -> Result<Option<Self>, VerifyError> {
        if !name.starts_with(PREFIX) {
            return Ok(None);
        }
        Self::strict(name)
            .map(Some)
            .ok_or_else(|| VerifyError::UnexpectedFile {
                name: name.to_owned(),
            })
    }

    /// Parses the exact name of a file of records.
    pub(crate) fn strict(name: &str) -> Option<Self> {
        let middle = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
        let (day, number) = match middle.split_once('.') {
            Some((day, number)) => (day, number.parse().ok().filter(|number| *number > 0)?),
            None => (middle, 0),
        };
        let digits = |range: Range<usize>| day.get(range).and_then(|text| text.parse::<i16>().ok());
        let (month, of_month) = (digits(4..6)?, digits(6..8)?);
        let day = Date::new(
            digits(0..4)?,
            i8::try_from(month).ok()?,
            i8::try_from(of_month).ok()?,
        )
        .ok()?;
        let parsed = Self { day, number };
        (parsed.to_string() == name).then_some(parsed)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { day, number } = self;
        let (year, month, day) = (day.year(), day.month(), day.day());
        write!(f, "{PREFIX}{year:04}{month:02}{day:02}")?;
        if *number > 0 {
            write!(f, ".{number}")?;
        }
        f.write_str(SUFFIX)
    }
}

/// Returns the day, in UTC, that the file of a record is named after.
pub(crate) fn day(ts: Timestamp) -> Date {
    ts.to_zoned(TimeZone::UTC).date()
}

/// Says that a file counts only up to some length. Stands in the details of a recovery record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Void {
    pub(crate) segment: String,
    pub(crate) valid_bytes: u64,
}

impl Void {
    /// Returns what a record declares void.
    fn declared_by(record: &Record) -> Vec<Self> {
        if record.action != RECOVERED || record.phase != Phase::Event {
            return Vec::new();
        }
        record
            .details
            .as_ref()
            .and_then(|details| details.get(VOIDED))
            .and_then(|list| Vec::deserialize(list).ok())
            .unwrap_or_default()
    }
}

/// A file of records that counts, in whole or in part.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) name: Name,
    /// The file's length in bytes.
    pub(crate) len: u64,
    /// How much of it counts.
    pub(crate) valid: u64,
    pub(crate) head: Head,
}

/// The first line of a file.
#[derive(Clone, Debug)]
pub(crate) enum Head {
    Record(Box<Record>),
    /// It does not end: nothing in this file was ever durable.
    Torn,
    Wrong,
}

/// All files of a log, in the order of their records.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    pub(crate) pieces: Vec<Piece>,
    /// Bytes that recovery records declare void.
    pub(crate) voided_bytes: u64,
    /// Every name in use, whether the file counts or not.
    pub(crate) names: Vec<Name>,
    /// What records say of what was taken away from the beginning.
    bases: Vec<Base>,
}

impl Survey {
    pub(crate) fn new(storage: &dyn Storage) -> Result<Self, VerifyError> {
        let mut survey = Self::default();
        let listed = storage
            .list()
            .map_err(|error| StorageError::new("list", ".", error))?;
        for (file, len) in listed {
            let Some(name) = Name::parse(&file)? else {
                continue;
            };
            survey.names.push(name);
            // One without a line is one whose first record never got there.
            if let Some(head) = head(storage, &file)? {
                survey.pieces.push(Piece {
                    name,
                    len,
                    valid: len,
                    head,
                });
            }
        }
        survey.apply_voids();
        survey.order();
        survey.bases = survey.heads().filter_map(Base::declared_by).collect();
        Ok(survey)
    }

    /// The first records of the files.
    fn heads(&self) -> impl Iterator<Item = &Record> {
        self.pieces.iter().filter_map(|piece| match &piece.head {
            Head::Record(record) => Some(&**record),
            Head::Torn | Head::Wrong => None,
        })
    }

    /// The names that records speak of, whose files may be gone: nothing else may be called so.
    pub(crate) fn spoken_of(&self) -> Vec<Name> {
        self.pieces.iter().flat_map(Piece::spoken_of).collect()
    }

    /// What was taken away from the beginning, by the records that the checkpoint covers: of one that was about to be
    /// signed nothing holds yet.
    pub(crate) fn base(&self, signed: u64) -> Option<&Base> {
        let covered = self.bases.iter().filter(|base| base.seq < signed);
        covered.max_by_key(|base| base.first_kept)
    }

    /// Where the log begins. Later than with its first record only where a record that the
    /// checkpoint covers says that what came before was archived.
    ///
    /// What the first line then says of the record before it is believed because that line is
    /// covered as well.
    pub(crate) fn begin(&self, signed: u64) -> Cursor {
        let first = self.pieces.first().and_then(|piece| match &piece.head {
            Head::Record(record) => Some(record),
            Head::Torn | Head::Wrong => None,
        });
        match (first, self.base(signed)) {
            (Some(first), Some(base)) if (1..=base.first_kept).contains(&first.seq) => {
                let is_next = first.seq == base.first_kept;
                Cursor {
                    next: first.seq,
                    prev: if is_next {
                        base.prev_hash
                    } else {
                        first.prev_hash
                    },
                }
            }
            _ => Cursor::START,
        }
    }

    fn apply_voids(&mut self) {
        let mut voids = BTreeMap::new();
        for piece in &self.pieces {
            if let Head::Record(record) = &piece.head {
                for void in Void::declared_by(record) {
                    let valid = voids.entry(void.segment).or_insert(void.valid_bytes);
                    *valid = void.valid_bytes.min(*valid);
                }
            }
        }
        for piece in &mut self.pieces {
            if let Some(valid) = voids.get(&piece.name.to_string()) {
                piece.valid = piece.len.min(*valid);
                self.voided_bytes += piece.len - piece.valid;
            }
        }
        self.pieces.retain(|piece| piece.valid > 0);
    }

    /// Sorts by sequence number, since a clock that was set back makes the days go back as well.
    /// Where a first line is wrong its number says nothing, and the names decide.
    fn order(&mut self) {
        self.pieces.sort_by_key(|piece| piece.name);
        if self.pieces.iter().any(|piece| piece.seq().is_none()) {
            return;
        }
        self.pieces.sort_by(|a, b| {
            a.seq()
                .map_or(Ordering::Equal, |seq| Some(seq).cmp(&b.seq()))
        });
    }

    /// Takes the files out in which nothing was ever durable.
    pub(crate) fn take_torn(&mut self) -> Vec<Piece> {
        let (torn, whole) = std::mem::take(&mut self.pieces)
            .into_iter()
            .partition(|piece| matches!(piece.head, Head::Torn));
        self.pieces = whole;
        self.order();
        torn
    }

    /// Returns the next free name for a day.
    pub(crate) fn free(names: &[Name], day: Date) -> Name {
        let taken = names.iter().filter(|name| name.day == day);
        let number = taken.map(|name| name.number.saturating_add(1)).max();
        Name {
            day,
            number: number.unwrap_or(0),
        }
    }
}

impl Piece {
    /// Tells whether the first line is whole and yet no record.
    pub(crate) const fn is_wrong(&self) -> bool {
        matches!(self.head, Head::Wrong)
    }

    /// The files that the first record declares void, in whole or in part.
    pub(crate) fn spoken_of(&self) -> Vec<Name> {
        let voids = match &self.head {
            Head::Record(record) => Void::declared_by(record),
            Head::Torn | Head::Wrong => Vec::new(),
        };
        let names = voids.iter().map(|void| Name::strict(&void.segment));
        names.flatten().collect()
    }

    /// Returns the sequence number of the first record, if the first line is one.
    pub(crate) fn seq(&self) -> Option<u64> {
        match &self.head {
            Head::Record(record) => Some(record.seq),
            Head::Torn | Head::Wrong => None,
        }
    }
}

fn head(storage: &dyn Storage, file: &str) -> Result<Option<Head>, StorageError> {
    let mut lines = Lines::open(storage, file, u64::MAX)?;
    let Some(ending) = lines.next()? else {
        return Ok(None);
    };
    Ok(Some(match ending {
        Ending::Newline => match parse(lines.bytes()) {
            Ok(record) => Head::Record(Box::new(record)),
            Err(_) => Head::Wrong,
        },
        Ending::Torn | Ending::Unwritten => Head::Torn,
        Ending::TooLong => Head::Wrong,
    }))
}

/// The lines of one file, up to where it counts.
pub(crate) struct Lines {
    file: String,
    reader: BufReader<Take<Box<dyn Read + Send>>>,
    buffer: Vec<u8>,
    /// The line read last, from 1.
    pub(crate) number: u64,
    /// Where that line begins, in bytes.
    pub(crate) start: u64,
    /// Where it ends, with its newline.
    pub(crate) end: u64,
}

/// How a line ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Newline,
    /// The file, or what counts of it, ends within this line.
    Torn,
    /// It holds room, and more follows: a part of it never reached the disk.
    Unwritten,
    /// It is longer than any record; what comes after it are not lines.
    TooLong,
}

impl Lines {
    pub(crate) fn open(
        storage: &dyn Storage,
        file: &str,
        valid: u64,
    ) -> Result<Self, StorageError> {
        let reader = storage
            .open(file)
            .map_err(|error| StorageError::new("open", file, error))?;
        Ok(Self {
            file: file.to_owned(),
            reader: BufReader::with_capacity(1 << 16, reader.take(valid)),
            buffer: Vec::new(),
            number: 0,
            start: 0,
            end: 0,
        })
    }

    /// Reads the next line. There is none where nothing but room follows.
    pub(crate) fn next(&mut self) -> Result<Option<Ending>, StorageError> {
        const LIMIT: usize = MAX_LINE + 1;
        self.buffer.clear();
        let read = (&mut self.reader)
            .take(LIMIT as u64)
            .read_until(b'\n', &mut self.buffer)
            .map_err(|error| StorageError::new("read", &self.file, error))?;
        self.start = self.end;
        self.end += read as u64;
        if read == 0 || self.is_room()? {
            return Ok(None);
        }
        self.number += 1;
        Ok(Some(if self.buffer.contains(&ROOM) {
            Ending::Unwritten
        } else if self.buffer.ends_with(b"\n") {
            Ending::Newline
        } else if read == LIMIT {
            Ending::TooLong
        } else {
            Ending::Torn
        }))
    }

    /// Tells whether what was read last, and all that follows, is room.
    fn is_room(&mut self) -> Result<bool, StorageError> {
        let is_room = |bytes: &[u8]| bytes.iter().all(|byte| *byte == ROOM);
        // Of a line that is none the first byte says so.
        if !is_room(&self.buffer) {
            return Ok(false);
        }
        loop {
            let ahead = self
                .reader
                .fill_buf()
                .map_err(|error| StorageError::new("read", &self.file, error))?;
            let len = ahead.len();
            if len == 0 || !is_room(ahead) {
                return Ok(len == 0);
            }
            self.end += len as u64;
            self.reader.consume(len);
        }
    }

    /// Returns the line read last, without its newline.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.buffer.strip_suffix(b"\n").unwrap_or(&self.buffer)
    }

    /// Returns the record on the line read last.
    pub(crate) fn record(&self, ending: Ending) -> Result<Record, Fault> {
        match ending {
            Ending::Newline => parse(self.bytes()),
            Ending::Torn | Ending::Unwritten => Err(Fault::Torn),
            Ending::TooLong => Err(Fault::TooLong),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::memory::Memory;

    #[test]
    fn names_have_one_spelling() {
        let name = |text| Name::parse(text).unwrap().unwrap();
        let first = name("audit-20261120.jsonl");
        assert_eq!((first.day, first.number), (Date::constant(2026, 11, 20), 0));
        assert_eq!(name("audit-20261120.12.jsonl").number, 12);
        assert_eq!(
            name("audit-20261120.12.jsonl").to_string(),
            "audit-20261120.12.jsonl"
        );
        assert!(Name::parse("checkpoint").unwrap().is_none());
        for bad in [
            "audit-20261120.0.jsonl",
            "audit-20261120.01.jsonl",
            "audit-20261120.+1.jsonl",
            "audit-20261320.jsonl",
            "audit-2026112.jsonl",
            "audit-202611200.jsonl",
            "audit-20261120.jsonl.bak",
            "audit-+2611120.jsonl",
            "audit-é0261120.jsonl",
            "audit-20261120.4294967296.jsonl",
        ] {
            assert!(Name::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn free_names_follow_the_ones_in_use() {
        let day = Date::constant(2026, 11, 20);
        let at = |number| Name { day, number };
        assert_eq!(Survey::free(&[], day), at(0));
        assert_eq!(Survey::free(&[at(0)], day), at(1));
        assert_eq!(Survey::free(&[at(4), at(0)], day), at(5));
        let tomorrow = Date::constant(2026, 11, 21);
        assert_eq!(Survey::free(&[at(4)], tomorrow).number, 0);
    }

    #[test]
    fn lines_end_at_newlines_limits_and_too_long_ones() {
        let storage = Memory::new();
        let long = [vec![b'x'; MAX_LINE], b"\n".to_vec()].concat();
        storage.put("f", &[b"a\n\n".as_slice(), &long, b"tail"].concat());
        let mut lines = Lines::open(&storage, "f", u64::MAX).unwrap();
        assert_eq!(lines.next().unwrap(), Some(Ending::Newline));
        assert_eq!(lines.bytes(), b"a");
        assert_eq!((lines.number, lines.start, lines.end), (1, 0, 2));
        assert_eq!(lines.next().unwrap(), Some(Ending::Newline));
        assert_eq!(lines.bytes(), b"");
        assert_eq!(lines.next().unwrap(), Some(Ending::Newline));
        assert_eq!(lines.bytes().len(), MAX_LINE);
        assert_eq!(lines.next().unwrap(), Some(Ending::Torn));
        assert_eq!(lines.record(Ending::Torn), Err(Fault::Torn));
        assert_eq!(lines.next().unwrap(), None);
        let mut lines = Lines::open(&storage, "f", 2).unwrap();
        assert!(lines.next().unwrap().is_some());
        assert!(lines.next().unwrap().is_none());
        storage.put("f", &[b"x".as_slice(), &long].concat());
        let mut lines = Lines::open(&storage, "f", u64::MAX).unwrap();
        assert_eq!(lines.next().unwrap(), Some(Ending::TooLong));
    }

    #[test]
    fn room_is_no_line_unless_something_follows_it() {
        let storage = Memory::new();
        let room = vec![0; 3 * MAX_LINE];
        let endings = |content: &[&[u8]]| {
            storage.put("f", &content.concat());
            let mut lines = Lines::open(&storage, "f", u64::MAX).unwrap();
            let mut seen = Vec::new();
            while let Some(ending) = lines.next().unwrap() {
                seen.push((ending, lines.start, lines.number));
            }
            seen
        };
        let line = (Ending::Newline, 0, 1);
        assert_eq!(endings(&[&room]), []);
        assert_eq!(endings(&[b"a\n", &room]), [line]);
        assert_eq!(
            endings(&[b"a\n", b"b", &room[..9]]),
            [line, (Ending::Unwritten, 2, 2)]
        );
        let hole = endings(&[b"a\n", &room, b"b\nc\n"]);
        assert_eq!(hole[..2], [line, (Ending::Unwritten, 2, 2)]);
        assert_eq!(hole.last().unwrap().0, Ending::Newline, "{hole:?}");
    }
}
