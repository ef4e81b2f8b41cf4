//! Records one after the other, for those who look things up.
//!
//! Every line is checked by itself (form and event hash); chain and tree are [`verify`](crate::verify())'s.

use std::{fmt, path::Path, sync::Arc, vec};

use jiff::Timestamp;

use crate::{
    error::VerifyError,
    record::{Record, Status},
    segment::{Ending, Lines, Piece, Survey},
    storage::{FileStorage, Storage},
};

/// Which records are wanted. Everything that is set must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Sequence numbers from this one on.
    pub from_seq: Option<u64>,
    /// Sequence numbers up to, but not including, this one.
    pub to_seq: Option<u64>,
    /// Records of this time or later.
    pub since: Option<Timestamp>,
    /// Records before this time.
    pub until: Option<Timestamp>,
    /// Records of this tool.
    pub tool_id: Option<String>,
    /// Records of this subject.
    pub sub: Option<String>,
    /// Records of this tenant.
    pub tenant: Option<String>,
    /// Records of this request.
    pub corr_id: Option<String>,
    /// Records of this action.
    pub action: Option<String>,
    /// Records with this status.
    pub status: Option<Status>,
    /// Records of this durable operation.
    pub operation_id: Option<String>,
}

impl Filter {
    /// Tells whether a record is wanted.
    #[must_use]
    pub fn matches(&self, record: &Record) -> bool {
        let text =
            |wanted: &Option<String>, found: &Option<String>| wanted.is_none() || wanted == found;
        self.from_seq.is_none_or(|from| record.seq >= from)
            && self.to_seq.is_none_or(|to| record.seq < to)
            && self.since.is_none_or(|since| record.ts >= since)
            && self.until.is_none_or(|until| record.ts < until)
            && self.status.is_none_or(|status| record.status == status)
            && self
                .action
                .as_ref()
                .is_none_or(|action| *action == record.action)
            && text(&self.tool_id, &record.tool_id)
            && text(&self.sub, &record.sub)
            && text(&self.tenant, &record.tenant)
            && text(&self.corr_id, &record.corr_id)
            && text(&self.operation_id, &record.operation_id)
    }
}

/// Iterates over the records in `folder` that match, in the order of their sequence numbers.
///
/// May be used while the log is written: it ends at the last whole line. To follow a log, read
/// again from the sequence number after the last one seen.
///
/// # Errors
///
/// If the folder cannot be read; the iterator itself fails at the first line that is no record,
/// and ends there.
pub fn read(folder: &Path, filter: Filter) -> Result<Records, VerifyError> {
    read_storage(Arc::new(FileStorage::new(folder)), filter)
}

pub(crate) fn read_storage(
    storage: Arc<dyn Storage>,
    filter: Filter,
) -> Result<Records, VerifyError> {
    let mut pieces = Survey::new(&*storage)?.pieces;
    // Files that end before the range begins need not be read.
    if let Some(from) = filter.from_seq {
        let skip = pieces
            .iter()
            .skip(1)
            .take_while(|piece| piece.seq().is_some_and(|seq| seq <= from))
            .count();
        pieces.drain(..skip);
    }
    Ok(Records {
        storage,
        filter,
        pieces: pieces.into_iter(),
        current: None,
    })
}

/// The records that match a [`Filter`].
pub struct Records {
    storage: Arc<dyn Storage>,
    filter: Filter,
    pieces: vec::IntoIter<Piece>,
    current: Option<(String, Lines)>,
}

impl Records {
    /// Returns the next record, wanted or not.
    fn advance(&mut self) -> Result<Option<Record>, VerifyError> {
        loop {
            let (file, lines) = match &mut self.current {
                Some(current) => current,
                empty => {
                    let Some(piece) = self.pieces.next() else {
                        return Ok(None);
                    };
                    let file = piece.name.to_string();
                    let lines = Lines::open(&*self.storage, &file, piece.valid)?;
                    empty.insert((file, lines))
                }
            };
            match lines.next()? {
                Some(Ending::Torn | Ending::Unwritten) if self.pieces.len() == 0 => {
                    return Ok(None);
                }
                Some(ending) => {
                    return match lines.record(ending) {
                        Ok(record) => Ok(Some(record)),
                        Err(fault) => Err(VerifyError::Record {
                            file: file.clone(),
                            line: lines.number,
                            seq: None,
                            fault,
                        }),
                    };
                }
                None => self.current = None,
            }
        }
    }

    fn end(&mut self) {
        self.pieces = Vec::new().into_iter();
        self.current = None;
    }
}

impl Iterator for Records {
    type Item = Result<Record, VerifyError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.advance() {
                Ok(Some(record)) => {
                    if self.filter.to_seq.is_some_and(|to| record.seq >= to) {
                        self.end();
                        return None;
                    }
                    if self.filter.matches(&record) {
                        return Some(Ok(record));
                    }
                }
                Ok(None) => {
                    self.end();
                    return None;
                }
                Err(error) => {
                    self.end();
                    return Some(Err(error));
                }
            }
        }
    }
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records")
            .field("filter", &self.filter)
            .finish_non_exhaustive()
    }
}
