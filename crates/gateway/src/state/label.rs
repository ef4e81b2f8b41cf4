//! Where it is kept what callers have read.

use std::{collections::BTreeSet, fmt};

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use fastmcp_guard::clock::Timestamp;
use futures_util::future::BoxFuture;
use serde_json::json;

use super::{StateError, act::Untold};

/// The most labels that one question answers.
pub(crate) const MOST: u32 = 2_048;

/// Who carries labels: a caller, whichever session, client or door it comes by. Names and sessions are kept as hashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    caller: String,
    session: Option<String>,
}

impl Holder {
    /// The caller `subject` of `tenant`, in the session of the id `session` if it has one.
    #[must_use]
    pub fn new(tenant: &str, subject: &str, session: Option<&str>) -> Self {
        let hash = |text: String| HEXLOWER.encode(digest(&SHA256, text.as_bytes()).as_ref());
        Self {
            caller: hash(json!(["fastmcp/labels/v1", tenant, subject]).to_string()),
            session: session.map(|id| hash(json!(["fastmcp/labels/session/v1", id]).to_string())),
        }
    }

    pub(super) fn caller(&self) -> &str {
        &self.caller
    }

    /// Empty where there is none.
    pub(super) fn session(&self) -> &str {
        self.session.as_deref().unwrap_or_default()
    }

    /// Whether it is known which session this is.
    #[must_use]
    pub const fn has_session(&self) -> bool {
        self.session.is_some()
    }
}

/// A label that is carried.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Carried {
    /// The label.
    pub label: String,
    /// Whether the session carries it; otherwise the caller does, in every session.
    pub by_session: bool,
    /// When it is forgotten.
    pub expires_at: Timestamp,
}

/// Labels that a holder has just read.
#[derive(Clone, Debug)]
pub struct Carry {
    /// Who.
    pub holder: Holder,
    /// What.
    pub labels: BTreeSet<String>,
    /// Until when the caller carries them; `None`: only the session does.
    pub caller_until: Option<Timestamp>,
    /// Until when the session carries them, if there is one.
    pub session_until: Timestamp,
}

/// Keeps what callers have read.
///
/// Each method is atomic and durable. What one replica has added, every other one finds from then on.
///
/// # Cancel safety
///
/// A dropped future may or may not have had its effect.
pub trait LabelStore: fmt::Debug + Send + Sync + 'static {
    /// Adds labels, or lets those that are carried already be carried longer, never shorter.
    fn carry(&self, carry: Carry) -> BoxFuture<'_, Result<(), StateError>>;

    /// What the caller carries at `now`, and its session if the holder names one; at most 2,048.
    fn carried(
        &self,
        holder: Holder,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Vec<Carried>, StateError>>;

    /// Takes from the caller what it carries, in all of its sessions; says how many labels that were. Where nobody records
    /// it now, `untold` is kept until somebody does.
    fn clear(
        &self,
        holder: Holder,
        untold: Option<Untold>,
    ) -> BoxFuture<'_, Result<u64, StateError>>;

    /// Removes at most `limit` labels whose time is over at `now`.
    fn forget(&self, now: Timestamp, limit: u32) -> BoxFuture<'_, Result<u64, StateError>>;
}
