//! What is kept of an operation, and what a store does with it.
//!
//! One kind of row serves confirmations and calls with an idempotency key. A store sees sealed bytes only; it never
//! learns a key, a token or an argument.

use std::{collections::BTreeSet, fmt, time::Duration};

use data_encoding::HEXLOWER;
use fastmcp_guard::{
    clock::Timestamp,
    random::{self, Random},
};
use futures_util::future::BoxFuture;
use serde_json::Value;

use super::{
    StateError,
    machine::{Effect, Event, Machine, Refused, State, Status},
};
use crate::manifest::ToolId;

/// The length of an [`OperationId`] as text.
const ID_CHARS: usize = 36;
/// How many bytes an [`OperationId`] has between its hyphens.
const ID_PARTS: [usize; 5] = [4, 2, 2, 2, 6];
/// Where an [`OperationId`] has its hyphens.
const ID_HYPHENS: [usize; 4] = [8, 13, 18, 23];

/// Names one operation, for ever: a UUID of version 7 (RFC 9562, section 5.7), in lower case.
///
/// Its first 48 bits are the time of its making, so that rows of one time lie together; the 74 random bits make it
/// unique, not secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(String);

/// A text that is not an [`OperationId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("operation id takes the 36 characters of a lower-case UUID")]
pub struct InvalidOperationId;

impl OperationId {
    /// A fresh id.
    ///
    /// # Errors
    ///
    /// [`StateError::Random`] when no randomness can be had.
    pub fn generate(now: Timestamp, random: &dyn Random) -> Result<Self, StateError> {
        let random: [u8; 10] = random::array(random)?;
        let random = random
            .iter()
            .fold(0_u128, |bits, byte| bits << 8 | u128::from(*byte));
        let millis = u128::from(now.millis()) & 0xffff_ffff_ffff;
        let high = (random >> 62) & 0xfff;
        let low = random & 0x3fff_ffff_ffff_ffff;
        // RFC 9562, section 5.7: unix_ts_ms (48), ver (4) = 7, rand_a (12), var (2) = 0b10, rand_b (62).
        let bits = millis << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low;
        let digits = HEXLOWER.encode(&bits.to_be_bytes());
        let (mut text, mut digits) = (String::with_capacity(ID_CHARS), &*digits);
        for bytes in ID_PARTS {
            let (part, rest) = digits.split_at(digits.len().min(2 * bytes));
            if !text.is_empty() {
                text.push('-');
            }
            text.push_str(part);
            digits = rest;
        }
        Ok(Self(text))
    }

    /// Reads an id.
    ///
    /// # Errors
    ///
    /// [`InvalidOperationId`] unless `text` has the form of a lower-case UUID.
    pub fn parse(text: &str) -> Result<Self, InvalidOperationId> {
        let fits = |(at, byte): (usize, u8)| match byte {
            b'-' => ID_HYPHENS.contains(&at),
            b'0'..=b'9' | b'a'..=b'f' => !ID_HYPHENS.contains(&at),
            _ => false,
        };
        if text.len() == ID_CHARS && text.bytes().enumerate().all(fits) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidOperationId)
        }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The longest idempotency key, in characters.
const MAX_KEY_CHARS: usize = 255;

/// What a client names a call by, so that repeating it does not do it again.
///
/// Source: draft-ietf-httpapi-idempotency-key-header-07, section 2.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(String);

/// A text that is not an [`IdempotencyKey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("idempotency key takes 1 to {MAX_KEY_CHARS} printable ASCII characters without spaces")]
pub struct InvalidIdempotencyKey;

impl IdempotencyKey {
    /// Reads a key: 1 to 255 printable ASCII characters, no space.
    ///
    /// # Errors
    ///
    /// [`InvalidIdempotencyKey`] for anything else.
    pub fn parse(text: &str) -> Result<Self, InvalidIdempotencyKey> {
        let fits = text.bytes().all(|byte| byte.is_ascii_graphic());
        if text.is_empty() || text.len() > MAX_KEY_CHARS || !fits {
            return Err(InvalidIdempotencyKey);
        }
        Ok(Self(text.to_owned()))
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Everything that an operation is bound to: whoever presents something else presents another call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The caller's tenant; at most 256 bytes.
    pub tenant: String,
    /// The caller; at most 1,024 bytes.
    pub subject: String,
    /// Who acts for the caller, the one at work first: a JSON array of `sub` and `iss`, empty where nobody does; at most
    /// 32 KiB.
    pub actors: String,
    /// The caller's client (`client_id`, or the client's declared name), if it has one; at most 1,024 bytes.
    pub client: Option<String>,
    /// The tool.
    pub tool_id: ToolId,
    /// SHA-256 of the tool's definition.
    pub definition_hash: [u8; 32],
    /// SHA-256 of the arguments in canonical form.
    pub args_digest: [u8; 32],
    /// What policy demands beside permission, in canonical form; at most 16 KiB.
    pub obligations: String,
    /// Which policies said so; at most 256 bytes. Recorded, not compared: policies change, obligations count.
    pub policy_version: String,
    /// What the caller had read when it asked: labels in order, separated by spaces; at most 64 KiB. Recorded, not compared:
    /// they are decided about again when the operation is redeemed.
    pub labels: String,
    /// The tool as it was then, in JSON; at most 256 KiB, empty for operations from before it was kept. Recorded, not
    /// compared: `definition_hash` tells whether it is another one by now.
    pub tool: String,
}

impl Binding {
    /// Refuses a binding that is too large to keep.
    ///
    /// # Errors
    ///
    /// [`StateError::TooLarge`] names the field.
    pub(crate) fn check(&self) -> Result<(), StateError> {
        let client = self.client.as_ref().map_or(0, String::len);
        let sizes = [
            ("tenant", self.tenant.len(), 256),
            ("subject", self.subject.len(), 1_024),
            ("actors", self.actors.len(), 32 * 1_024),
            ("client", client, 1_024),
            ("obligations", self.obligations.len(), 16 * 1_024),
            ("policy_version", self.policy_version.len(), 256),
            ("labels", self.labels.len(), 64 * 1_024),
            ("tool", self.tool.len(), 256 * 1_024),
        ];
        match sizes.into_iter().find(|(_, size, limit)| size > limit) {
            Some((field, _, limit)) => Err(StateError::TooLarge { field, limit }),
            None => Ok(()),
        }
    }

    /// What the caller had read when it asked.
    #[must_use]
    pub fn labels(&self) -> BTreeSet<String> {
        let labels = self.labels.split(' ').filter(|label| !label.is_empty());
        labels.map(str::to_owned).collect()
    }

    /// Whether both come from one caller: tenant, subject, who acts for it, and client.
    #[must_use]
    pub fn same_caller(&self, other: &Self) -> bool {
        self.tenant == other.tenant
            && self.subject == other.subject
            && self.actors == other.actors
            && self.client == other.client
    }

    /// Whether `who` asked: as the caller, or acting for it. By name alone, whoever vouches for it: who might be the same
    /// person is no other.
    #[must_use]
    pub fn is_asked_by(&self, who: &str) -> bool {
        self.subject == who || self.actors().iter().any(|actor| actor["sub"] == who)
    }

    /// Who acts for the caller, as records name them.
    #[must_use]
    pub fn actors(&self) -> Vec<Value> {
        serde_json::from_str(&self.actors).unwrap_or_default()
    }
}

/// An operation as stored.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its name.
    pub id: OperationId,
    /// What it is bound to.
    pub binding: Binding,
    /// Where it stands.
    pub machine: Machine,
    /// Which policies permitted its redemption, once it was redeemed.
    pub redeemed_policy_version: Option<String>,
    /// SHA-256 of its action token, if it has one.
    pub token_hash: Option<[u8; 32]>,
    /// The token, sealed, until the operation is final.
    pub token_sealed: Option<Vec<u8>>,
    /// The exact arguments, sealed, until the operation is final.
    pub args_sealed: Option<Vec<u8>>,
    /// Who consented, if somebody did so in an act of their own.
    pub confirmed_by: Option<String>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it last moved.
    pub updated_at: Timestamp,
    /// Until when it is kept once it is final.
    pub retain_until: Timestamp,
    /// Its result, sealed, unless it was too large.
    pub result_sealed: Option<Vec<u8>>,
    /// The size of its result, in bytes.
    pub result_bytes: Option<u64>,
    /// What is to be said about its end, sealed.
    pub detail_sealed: Option<Vec<u8>>,
}

impl Row {
    /// Sees that nobody knows the outcome of what acted until its lease was over. The sweep writes it, and tells of it.
    pub(crate) fn doubt(&mut self, now: Timestamp) {
        let over = matches!(&self.machine.state, State::Intended(lease) if lease.until <= now);
        if over && let Ok(machine) = self.machine.step(&Event::Recover, now) {
            self.machine = machine;
        }
    }
}

/// A new operation, and the conditions under which it may be made.
#[derive(Clone, Debug)]
pub struct Create {
    /// The row; its `updated_at` is its `created_at`.
    pub row: Row,
    /// The key that names it.
    pub key: Option<IdempotencyKey>,
    /// How many operations of this tenant and subject may wait for consent, this one included.
    pub max_pending: Option<u32>,
    /// Whether it gives way to the newest open operation of the same call and caller that no key names. With a key it
    /// never does.
    pub attaches: bool,
}

/// What became of a [`Create`].
#[derive(Clone, Debug)]
pub enum Created {
    /// It was made.
    New,
    /// The key names this one, or the call waits as this one already.
    Existing(Box<Row>),
    /// Too many wait for consent.
    TooManyPending,
}

/// One event for one operation.
#[derive(Clone, Debug)]
pub struct Step {
    /// The operation's tenant.
    pub tenant: String,
    /// The operation.
    pub id: OperationId,
    /// The event.
    pub event: Event,
    /// When.
    pub now: Timestamp,
    /// What is recorded if it happens.
    pub note: Note,
}

/// What a step records; what is `None` stays as it was.
#[derive(Clone, Debug, Default)]
pub struct Note {
    /// A further key that names the operation from here on, with the subject and tool that it belongs to.
    pub key: Option<(String, ToolId, IdempotencyKey)>,
    /// Which policies permitted the redemption.
    pub policy_version: Option<String>,
    /// Who consented.
    pub confirmed_by: Option<String>,
    /// The result, sealed.
    pub result_sealed: Option<Vec<u8>>,
    /// The result's size, in bytes.
    pub result_bytes: Option<u64>,
    /// What is to be said about it, sealed.
    pub detail_sealed: Option<Vec<u8>>,
    /// Until when it is to be kept at least.
    pub retain_until: Option<Timestamp>,
    /// The name of the act by which the log hears how it ended, if nobody knew until now; it is kept with the step.
    pub word: Option<OperationId>,
}

/// What became of a [`Step`].
#[derive(Clone, Debug)]
pub enum Stepped {
    /// It happened, and left the operation here.
    Moved(Machine),
    /// It happened to what a claim holds: whoever has that knows where the event leads.
    Held,
    /// It was not possible.
    Refused(Refused),
    /// The further key names another operation.
    KeyTaken(OperationId),
    /// There is no such operation.
    Missing,
}

/// Which operation a client may be repeating: the newest one of the same call.
#[derive(Clone, Debug)]
pub struct Recent {
    /// What it would be bound to.
    pub binding: Binding,
    /// When it is asked: what waits for consent and has expired by then does not count.
    pub now: Timestamp,
    /// The earliest last move that counts; what is unknown counts however old it is.
    pub since: Timestamp,
}

/// Which operations to list, newest move first.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of this tenant only.
    pub tenant: Option<String>,
    /// In this state only.
    pub status: Option<Status>,
    /// How many at most; 1 to 500, 0 means 100.
    pub limit: u32,
}

impl Filter {
    /// The limit within its range.
    #[must_use]
    pub fn bounded(&self) -> u32 {
        if self.limit == 0 {
            100
        } else {
            self.limit.min(500)
        }
    }
}

/// What recovery found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Claims that had not acted and were given back.
    pub released: u64,
    /// Operations of which nobody knows whether they happened: those that this call moved, and so nobody else's.
    pub unknown: Vec<OperationId>,
}

/// Keeps operations.
///
/// Each method is atomic and durable: when it returns `Ok`, what it did survives a crash of process and machine.
///
/// # Cancel safety
///
/// A dropped future may or may not have had its effect.
pub trait OperationStore: fmt::Debug + Send + Sync + 'static {
    /// Makes an operation unless its key names one, or it attaches to one.
    fn create(&self, create: Create) -> BoxFuture<'_, Result<Created, StateError>>;

    /// Moves an operation exactly as [`Machine::step`] says.
    fn step(&self, step: Step) -> BoxFuture<'_, Result<Stepped, StateError>>;

    /// Finds the operation of an action token, of whatever tenant: who presents it is compared afterwards.
    fn by_token(&self, token_hash: [u8; 32]) -> BoxFuture<'_, Result<Option<Row>, StateError>>;

    /// Finds an operation, of whatever tenant: who asks is compared afterwards.
    fn by_id(&self, id: OperationId) -> BoxFuture<'_, Result<Option<Row>, StateError>>;

    /// Whether `key` names the operation.
    fn has_key(&self, row: &Row, key: &IdempotencyKey) -> BoxFuture<'_, Result<bool, StateError>>;

    /// Finds the operation that `key` names for the caller and the tool of `binding`, whether it still keeps it or not.
    fn keyed(
        &self,
        binding: &Binding,
        key: &IdempotencyKey,
    ) -> BoxFuture<'_, Result<Option<Row>, StateError>>;

    /// Finds what a client may be repeating. An unknown one goes first, then one that is at work or completed: that
    /// the client asked once more since must not hide it.
    fn recent(&self, query: Recent) -> BoxFuture<'_, Result<Option<Row>, StateError>>;

    /// Finds the newest open operation of a call.
    fn waiting(&self, query: Recent) -> BoxFuture<'_, Result<Option<Row>, StateError>>;

    /// Lists what awaits a person's approval in `tenant` at `now`, the newest first, at most `limit` (1 to 500), without
    /// arguments.
    fn approvals(
        &self,
        tenant: String,
        now: Timestamp,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<Row>, StateError>>;

    /// Lists operations without their results and arguments.
    fn list(&self, filter: Filter) -> BoxFuture<'_, Result<Vec<Row>, StateError>>;

    /// Counts the operations of which nobody knows whether they happened.
    fn unsettled(&self) -> BoxFuture<'_, Result<u64, StateError>>;

    /// Applies [`Event::Recover`] to at most `limit` operations whose lease is over.
    fn recover(&self, now: Timestamp, limit: u32) -> BoxFuture<'_, Result<Recovered, StateError>>;

    /// Applies [`Event::Expire`] to at most `limit` operations.
    fn expire(&self, now: Timestamp, limit: u32) -> BoxFuture<'_, Result<u64, StateError>>;

    /// Removes at most `limit` operations that are final and need not be kept.
    fn purge(&self, now: Timestamp, limit: u32) -> BoxFuture<'_, Result<u64, StateError>>;
}

/// A result as it can be replayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// The bytes that were handed in.
    Bytes(Vec<u8>),
    /// It was done, but its result is too large to replay.
    TooLarge {
        /// The result's size.
        bytes: u64,
    },
}

impl Stored {
    /// The bytes, if they were kept.
    #[must_use]
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::TooLarge { .. } => None,
        }
    }
}

/// An operation as its caller, an approver or an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Its name.
    pub operation_id: OperationId,
    /// What it is bound to.
    pub binding: Binding,
    /// Where it stands.
    pub status: Status,
    /// Of a failed one: whether anything changed.
    pub effect: Option<Effect>,
    /// Of a completed one: its result. Lists do not carry it.
    pub result: Option<Stored>,
    /// What was said about its end: the reason of a failure, the note of a settlement.
    pub detail: Option<String>,
    /// Who consented, if somebody did so in an act of their own.
    pub confirmed_by: Option<String>,
    /// Which policies permitted its redemption.
    pub redeemed_policy_version: Option<String>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it last moved.
    pub updated_at: Timestamp,
    /// Until when it can be consented to and claimed.
    pub expires_at: Timestamp,
    /// Of one at work: when its lease ends.
    pub lease_until: Option<Timestamp>,
}

impl Report {
    /// What stands for a reason or note that cannot be opened any more.
    pub(crate) const DETAIL_GONE: &str = "sealed with a key that is gone";
    /// What is to be said of an outcome that recovery found to be unknown.
    pub(crate) const RECOVERED: &str = "no outcome was recorded in time: the gateway that did it was ended, or cut off from the state; find out whether it was done, then settle it";
}

impl Report {
    /// How long to wait before asking again; 1 second to a minute.
    #[must_use]
    pub fn retry_after(&self, now: Timestamp) -> Duration {
        let left = self
            .lease_until
            .map_or(Duration::ZERO, |until| until.since(now));
        // A call rarely takes its whole lease; a client that asks too early is told again.
        (left / 8).clamp(Duration::from_secs(1), Duration::from_secs(60))
    }
}

#[cfg(test)]
mod tests {
    use fastmcp_guard::random::OsRandom;

    use super::*;

    #[test]
    fn an_operation_id_is_a_version_7_uuid_that_sorts_by_time() {
        let (early, late) = (
            Timestamp::from_unix_seconds(1),
            Timestamp::from_unix_seconds(1_700_000_000),
        );
        let first = OperationId::generate(early, &OsRandom).unwrap();
        let second = OperationId::generate(late, &OsRandom).unwrap();
        assert!(first < second);
        assert!(second.as_str().starts_with("018bcfe5-6800-7"), "{second}");
        assert!(matches!(
            second.as_str().as_bytes()[19],
            b'8' | b'9' | b'a' | b'b'
        ));
        assert_eq!(OperationId::parse(second.as_str()), Ok(second.clone()));
        assert_ne!(second, OperationId::generate(late, &OsRandom).unwrap());
    }

    #[test]
    fn only_the_exact_form_of_an_operation_id_is_read() {
        for text in [
            "",
            "018bcfe5-6800-7000-8000-00000000000",
            "018BCFE5-6800-7000-8000-000000000000",
            "018bcfe5068000700008000-000000000000",
            "018bcfe5-6800-7000-8000-0000000000é",
        ] {
            assert_eq!(OperationId::parse(text), Err(InvalidOperationId), "{text}");
        }
    }

    #[test]
    fn keys_are_bounded_and_printable() {
        assert!(IdempotencyKey::parse(&"k".repeat(255)).is_ok());
        for text in ["", "two words", "line\n", "ä", &"k".repeat(256)] {
            assert_eq!(
                IdempotencyKey::parse(text),
                Err(InvalidIdempotencyKey),
                "{text}"
            );
        }
    }
}
