//! One pass over the records in their order, every line checked.
//!
//! Shared by all that read a log: what it accepts is what the format permits.

use crate::{
    error::{Fault, StorageError, VerifyError},
    hash::Hash,
    record::Record,
    segment::{Ending, Lines, Piece, day},
    storage::Storage,
};

/// Where the chain stands: what the next record must say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) next: u64,
    pub(crate) prev: Hash,
}

impl Cursor {
    /// Before the first record.
    pub(crate) const START: Self = Self {
        next: 0,
        prev: Hash::ZERO,
    };
}

/// A record that was found good.
pub(crate) struct Visit<'a> {
    pub(crate) record: &'a Record,
    pub(crate) leaf: Hash,
    pub(crate) place: &'a Place,
}

/// A line in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// The file's position in the survey.
    pub(crate) piece: usize,
    pub(crate) file: String,
    /// From 1.
    pub(crate) line: u64,
    /// Where the line begins, in bytes.
    pub(crate) start: u64,
    /// Where it ends, with its newline.
    pub(crate) end: u64,
}

impl Place {
    pub(crate) fn fault(&self, seq: Option<u64>, fault: Fault) -> VerifyError {
        VerifyError::Record {
            file: self.file.clone(),
            line: self.line,
            seq,
            fault,
        }
    }
}

/// Why a walk ended early.
#[derive(Debug)]
pub(crate) enum Stop {
    Storage(StorageError),
    /// A line is wrong. `seq` is the number it states, or that was expected there where it is known.
    Fault {
        place: Place,
        seq: Option<u64>,
        fault: Fault,
    },
    /// The visitor had enough.
    Visitor(Box<VerifyError>),
}

impl From<StorageError> for Stop {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

impl From<Stop> for VerifyError {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Storage(error) => Self::Storage(error),
            Stop::Fault { place, seq, fault } => place.fault(seq, fault),
            Stop::Visitor(error) => *error,
        }
    }
}

/// Visits all records of `pieces`, the first of which must continue `cursor`.
///
/// Moves `cursor` past every record that was visited, and returns the place of the last one.
pub(crate) fn walk(
    storage: &dyn Storage,
    pieces: &[Piece],
    cursor: &mut Cursor,
    visit: &mut dyn FnMut(&Visit<'_>) -> Result<(), VerifyError>,
) -> Result<Place, Stop> {
    let mut last = Place::default();
    for (number, piece) in pieces.iter().enumerate() {
        let file = piece.name.to_string();
        let mut lines = Lines::open(storage, &file, piece.valid)?;
        let mut place = Place {
            piece: number,
            file,
            ..Place::default()
        };
        while let Some(ending) = lines.next()? {
            (place.line, place.start, place.end) = (lines.number, lines.start, lines.end);
            let (seq, fault) = match lines.record(ending) {
                Err(fault) => (Some(cursor.next), fault),
                Ok(record) => match check(&record, cursor, piece) {
                    Err(fault) => (Some(record.seq), fault),
                    Ok(()) => {
                        *cursor = Cursor {
                            next: record.seq.saturating_add(1),
                            prev: record.event_hash,
                        };
                        let visited = Visit {
                            record: &record,
                            leaf: Hash::leaf(lines.bytes()),
                            place: &place,
                        };
                        visit(&visited).map_err(|error| Stop::Visitor(Box::new(error)))?;
                        continue;
                    }
                },
            };
            let fault = name_gap(storage, pieces, fault)?;
            // What a head that was edited declared void is read as if it counted: blame the head.
            let next = pieces.get(number + 1);
            if let Some(next) = next.filter(|next| next.is_wrong() && place.end >= piece.valid) {
                return Err(wrong_head(storage, number + 1, next)?);
            }
            return Err(Stop::Fault { place, seq, fault });
        }
        last = place;
    }
    Ok(last)
}

fn check(record: &Record, cursor: &Cursor, piece: &Piece) -> Result<(), Fault> {
    let expected = cursor.next;
    if record.seq > expected {
        return Err(Fault::Dropped { expected });
    }
    if record.seq < expected {
        return Err(Fault::Duplicated { expected });
    }
    if record.prev_hash != cursor.prev {
        return Err(Fault::Chain);
    }
    if day(record.ts) != piece.name.day {
        return Err(Fault::Day);
    }
    Ok(())
}

fn wrong_head(storage: &dyn Storage, number: usize, piece: &Piece) -> Result<Stop, StorageError> {
    let file = piece.name.to_string();
    let mut lines = Lines::open(storage, &file, piece.valid)?;
    let ending = lines.next()?.unwrap_or(Ending::Torn);
    let place = Place {
        piece: number,
        file,
        line: lines.number,
        start: lines.start,
        end: lines.end,
    };
    let fault = lines.record(ending).err().unwrap_or(Fault::Torn);
    Ok(Stop::Fault {
        place,
        seq: None,
        fault,
    })
}

/// A record that is missing here but stands somewhere else was moved, not dropped.
fn name_gap(storage: &dyn Storage, pieces: &[Piece], fault: Fault) -> Result<Fault, StorageError> {
    let Fault::Dropped { expected } = fault else {
        return Ok(fault);
    };
    for piece in pieces {
        let mut lines = Lines::open(storage, &piece.name.to_string(), piece.valid)?;
        while let Some(ending) = lines.next()? {
            if lines
                .record(ending)
                .is_ok_and(|record| record.seq == expected)
            {
                return Ok(Fault::Reordered { expected });
            }
        }
    }
    Ok(fault)
}
