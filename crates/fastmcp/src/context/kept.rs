//! Values that requests carry as state.

use fastmcp_guard::clock::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use serde_json::Value;

const MILLISECONDS: DateTimePrinter = DateTimePrinter::new().precision(Some(3));

/// What was set, in a form that costs little where nobody asks for it.
#[derive(Clone, Debug)]
pub(crate) enum Kept {
    Value(Value),
    /// As [`rfc3339`] writes it.
    Moment(Timestamp),
}

impl From<Kept> for Value {
    fn from(kept: Kept) -> Self {
        match kept {
            Kept::Value(value) => value,
            Kept::Moment(at) => rfc3339(at).into(),
        }
    }
}

/// A moment as RFC 3339 in UTC, with milliseconds.
pub(crate) fn rfc3339(at: Timestamp) -> String {
    let moment = i64::try_from(at.millis())
        .ok()
        .and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok())
        .unwrap_or(jiff::Timestamp::MAX);
    MILLISECONDS.timestamp_to_string(&moment)
}
