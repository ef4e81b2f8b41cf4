//! The search for intents without an outcome.

use std::{
    collections::{BTreeMap, VecDeque},
    path::Path,
    time::Duration,
};

use fastmcp_audit::{Filter, Phase, Record, VerifyError};
use jiff::Timestamp;

use crate::state::act::RECOVERED;

/// How far back in the log is looked at least, in records.
const LOOK_BACK: u64 = if cfg!(test) { 4 } else { 20_000 };
/// The first record of a run, by how the one before it ended.
const OPENINGS: [&str; 2] = ["audit.opened", "audit.recovered"];

/// Finds the intents before record `size` that have no outcome, the oldest first. What is under way takes at most
/// `longest`, however much others have recorded meanwhile.
pub(super) fn search(
    folder: &Path,
    size: u64,
    longest: Duration,
) -> Result<Vec<Record>, VerifyError> {
    let from = beginning(folder, size, longest)?;
    let mut open = Open::default();
    for record in fastmcp_audit::read(folder, range(from, size))? {
        open.see(record?);
    }
    Ok(open.intents.into_values().collect())
}

const fn range(from: u64, to: u64) -> Filter {
    Filter {
        from_seq: Some(from),
        to_seq: Some(to),
        since: None,
        until: None,
        tool_id: None,
        sub: None,
        tenant: None,
        corr_id: None,
        action: None,
        status: None,
        operation_id: None,
    }
}

/// The record at which the search begins.
fn beginning(folder: &Path, size: u64, longest: Duration) -> Result<u64, VerifyError> {
    let mut look_back = LOOK_BACK;
    let mut from = size.saturating_sub(look_back);
    let Some(ended) = first_end(folder, range(from, size))? else {
        return Ok(from);
    };
    let since = ended.saturating_sub(longest).unwrap_or(Timestamp::MIN);
    while from > 0 {
        let first = fastmcp_audit::read(folder, range(from, size))?.next();
        match first.transpose()? {
            Some(record) if record.seq == from && record.ts >= since => {}
            // Late enough, or those before it are archived.
            _ => break,
        }
        look_back = look_back.saturating_mul(2);
        from = size.saturating_sub(look_back);
    }
    Ok(from)
}

/// When the first run ended that ends within `range`. That of a run after it may have come before it could tell.
fn first_end(folder: &Path, range: Filter) -> Result<Option<Timestamp>, VerifyError> {
    let mut last = None;
    for record in fastmcp_audit::read(folder, range)? {
        let record = record?;
        if last.is_some() && OPENINGS.contains(&record.action.as_str()) {
            return Ok(last);
        }
        last = Some(record.ts);
    }
    Ok(None)
}

/// What an intent has in common with its outcome. `corr_id` may be the caller's own, and so another's.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    operation_id: Option<String>,
    corr_id: Option<String>,
    action: String,
    tenant: Option<String>,
    sub: Option<String>,
}

impl Key {
    fn of(record: &Record) -> Self {
        Self {
            operation_id: record.operation_id.clone(),
            corr_id: record.corr_id.clone(),
            action: record.action.clone(),
            tenant: record.tenant.clone(),
            sub: record.sub.clone(),
        }
    }
}

/// Intents whose outcome was not seen so far.
#[derive(Debug, Default)]
struct Open {
    intents: BTreeMap<u64, Record>,
    /// The same by what their outcome is known by, the oldest first.
    by_key: BTreeMap<Key, VecDeque<u64>>,
}

impl Open {
    fn see(&mut self, record: Record) {
        match record.phase {
            Phase::Intent => {
                let alike = self.by_key.entry(Key::of(&record)).or_default();
                alike.push_back(record.seq);
                self.intents.insert(record.seq, record);
            }
            Phase::Outcome if record.action == RECOVERED => {
                if let Some(seq) = self.recovered(&record) {
                    self.close(seq);
                }
            }
            Phase::Outcome => {
                let alike = self.by_key.get(&Key::of(&record));
                if let Some(seq) = alike.and_then(VecDeque::front) {
                    self.close(*seq);
                }
            }
            _ => {}
        }
    }

    /// Which intent was told of late: the one that is named or, by recovery, the last call of the operation.
    fn recovered(&self, told: &Record) -> Option<u64> {
        let named = told
            .details
            .as_ref()
            .and_then(|said| said.get("intent_seq"));
        if let Some(seq) = named {
            return seq.as_u64();
        }
        let calls = self.intents.values().rev();
        let mut calls = calls.filter(|intent| super::is_call(&intent.action));
        let last = calls.find(|intent| intent.operation_id == told.operation_id);
        last.map(|intent| intent.seq)
    }

    fn close(&mut self, seq: u64) {
        let Some(intent) = self.intents.remove(&seq) else {
            return;
        };
        let key = Key::of(&intent);
        if let Some(alike) = self.by_key.get_mut(&key) {
            alike.retain(|one| *one != seq);
            if alike.is_empty() {
                self.by_key.remove(&key);
            }
        }
    }
}
