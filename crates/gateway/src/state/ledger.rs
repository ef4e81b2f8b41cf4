//! The operations, in words of the platform: sealed on the way in, opened on the way out.
//!
//! [`Ledger`] joins a store with what a store must not know: keys, clock, randomness and the name of this process. It
//! decides nothing about callers; that is for the rooms `confirm` and `once`.

mod seal;

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use fastmcp::seal::KeyRing;
use fastmcp_guard::{
    clock::{Clock, Timestamp},
    random::Random,
};

use super::{
    Backend, Options, StateError,
    machine::{Claim, Event, Lease, Machine, Owner, State, Status},
    operation::{
        Binding, Create, Created, Filter, IdempotencyKey, Note, OperationId, Recent, Recovered,
        Report, Row, Step, Stepped, Stored,
    },
};

mod owed;
mod settle;

pub(crate) use owed::{End, may_pass};
pub use settle::NotSettled;

/// The largest result that is kept for replay, in bytes as sealed.
pub const MAX_RESULT_BYTES: usize = 1024 * 1024;
/// The largest arguments that are kept for an approver, in bytes.
pub const MAX_ARGUMENT_BYTES: usize = 1024 * 1024;
/// The longest reason or note that is kept, in bytes; what is longer is cut.
pub const MAX_DETAIL_BYTES: usize = 4 * 1024;
/// How far back a client that repeats a call without its ticket is recognised.
pub const RECENT_WINDOW: Duration = Duration::from_secs(600);
/// How often a call starts over when rivals change what it is about.
pub(crate) const ATTEMPTS: usize = 5;
/// How long [`Ledger::attach`] waits before it looks again: at first, and at most.
const ATTACH_PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// What a sealed column holds; part of what it is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Arguments,
    Token,
    Result,
    Detail,
}

impl Field {
    const fn column(self) -> &'static str {
        match self {
            Self::Arguments => "args_sealed",
            Self::Token => "token_sealed",
            Self::Result => "result_sealed",
            Self::Detail => "detail_sealed",
        }
    }
}

/// The operations.
#[derive(Clone)]
pub struct Ledger {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn Backend>,
    keys: Arc<KeyRing>,
    /// Keys that sealed what is kept, and that the ring lacked when it was seen last.
    missing: Mutex<seal::Missing>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    owner: Owner,
    claim_lease: Duration,
    retention: Duration,
    recording: Duration,
    /// Ends that are not recorded yet.
    owed: owed::Owed,
}

/// A new operation in plain words.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    pub(crate) binding: &'a Binding,
    pub(crate) machine: Machine,
    pub(crate) arguments: Option<&'a [u8]>,
    /// The action token and its hash.
    pub(crate) token: Option<(&'a str, [u8; 32])>,
    pub(crate) key: Option<&'a IdempotencyKey>,
    pub(crate) max_pending: Option<u32>,
    /// Whether it gives way to the same call of the same caller that waits already.
    pub(crate) attaches: bool,
}

/// What a sweep did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// What recovery found.
    pub recovered: Recovered,
    /// Operations that nobody consented to in time.
    pub expired: u64,
    /// Operations that need not be kept any longer.
    pub purged: u64,
}

impl Ledger {
    pub(super) fn new(store: Arc<dyn Backend>, options: Options) -> Self {
        let Options {
            location: _,
            keys,
            clock,
            random,
            owner,
            claim_lease,
            retention,
            recording,
            readers: _,
            connections: _,
            patience: _,
        } = options;
        Self {
            inner: Arc::new(Inner {
                store,
                keys,
                missing: Mutex::default(),
                clock,
                random,
                owner,
                claim_lease,
                retention,
                recording,
                owed: owed::Owed::default(),
            }),
        }
    }

    /// Reports on an operation of `tenant`.
    ///
    /// # Errors
    ///
    /// [`StateError`] when the state cannot be read.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn report(
        &self,
        tenant: &str,
        id: &OperationId,
    ) -> Result<Option<Report>, StateError> {
        match self.row(id).await? {
            Some(row) if row.binding.tenant == tenant => {
                self.report_of(self.fresh(row).await?).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Reports on an operation of `tenant` once nobody works on it any more, or after `wait`.
    ///
    /// # Errors
    ///
    /// [`StateError`] when the state cannot be read.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn attach(
        &self,
        tenant: &str,
        id: &OperationId,
        wait: Duration,
    ) -> Result<Option<Report>, StateError> {
        let deadline = tokio::time::Instant::now() + wait;
        let (mut pause, longest) = ATTACH_PAUSE;
        loop {
            let report = self.report(tenant, id).await?;
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            match report {
                Some(report) if report.status.is_running() && !left.is_zero() => {
                    tokio::time::sleep(pause.min(left)).await;
                    pause = (pause * 2).min(longest);
                }
                report => return Ok(report),
            }
        }
    }

    /// Returns the exact arguments of an operation of `tenant` that is not final, for an approver.
    ///
    /// # Errors
    ///
    /// [`StateError`] when the state cannot be read.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn arguments(
        &self,
        tenant: &str,
        id: &OperationId,
    ) -> Result<Option<Vec<u8>>, StateError> {
        let row = self
            .row(id)
            .await?
            .filter(|row| row.binding.tenant == tenant);
        let sealed = row.as_ref().and_then(|row| row.args_sealed.as_deref());
        sealed
            .map(|sealed| self.open(id, Field::Arguments, sealed))
            .transpose()
    }

    /// Finds what a client may be repeating without its ticket, of the same caller, tool and arguments: one that is
    /// unknown, however old; else, of the last [`RECENT_WINDOW`], the newest that is at work or completed; else the
    /// newest that is open and that no key names.
    ///
    /// # Errors
    ///
    /// [`StateError`] when the state cannot be read.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn recent(&self, binding: &Binding) -> Result<Option<Report>, StateError> {
        let now = self.now();
        let query = Recent {
            binding: binding.clone(),
            now,
            since: now.saturating_sub(RECENT_WINDOW),
        };
        match self.inner.store.recent(query).await? {
            Some(row) => self.report_of(self.fresh(row).await?).map(Some),
            None => Ok(None),
        }
    }

    /// Whether `key` names an operation of the caller and the tool of `binding` that keeps it.
    pub(crate) async fn knows(
        &self,
        binding: &Binding,
        key: &IdempotencyKey,
    ) -> Result<bool, StateError> {
        Ok(self.keeper(binding, key).await?.is_some())
    }

    /// Reads the operation of the caller and the tool of `binding` that keeps `key`.
    pub(crate) async fn keeper(
        &self,
        binding: &Binding,
        key: &IdempotencyKey,
    ) -> Result<Option<Row>, StateError> {
        let found = self.inner.store.keyed(binding, key).await?;
        let now = self.now();
        Ok(found.filter(|row| row.machine.keeps_key(now, row.retain_until)))
    }

    /// Finds the newest open operation of the same caller, tool and arguments that no key names, however old it is.
    ///
    /// # Errors
    ///
    /// [`StateError`] when the state cannot be read.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn waiting(&self, binding: &Binding) -> Result<Option<Report>, StateError> {
        let query = Recent {
            binding: binding.clone(),
            now: self.now(),
            since: Timestamp::UNIX_EPOCH,
        };
        let row = self.inner.store.waiting(query).await?;
        row.map(|row| self.report_of(row)).transpose()
    }

    /// Lists what awaits a person's approval in `tenant`, the newest first; at most `limit`, 1 to 500.
    ///
    /// # Errors
    ///
    /// [`StateError`] when the state cannot be read.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn approvals(&self, tenant: &str, limit: u32) -> Result<Vec<Report>, StateError> {
        let rows = self
            .inner
            .store
            .approvals(tenant.to_owned(), self.now(), limit)
            .await?;
        rows.into_iter().map(|row| self.report_of(row)).collect()
    }

    /// Counts the operations of all tenants that await settlement.
    ///
    /// # Errors
    ///
    /// [`StateError`] when the state cannot be read.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn unsettled(&self) -> Result<u64, StateError> {
        self.inner.store.unsettled().await
    }

    /// Lists operations, the one that moved last first, without their results.
    ///
    /// # Errors
    ///
    /// [`StateError`] when the state cannot be read.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn list(&self, filter: Filter) -> Result<Vec<Report>, StateError> {
        let (status, limit, now) = (filter.status, filter.bounded(), self.now());
        let mut rows = Vec::new();
        if status == Some(Status::Unknown) {
            // Some are, and the sweep has not come to them.
            let filter = Filter {
                status: Some(Status::Intended),
                ..filter.clone()
            };
            rows = self.inner.store.list(filter).await?;
        }
        rows.extend(self.inner.store.list(filter).await?);
        rows.iter_mut().for_each(|row| row.doubt(now));
        rows.retain(|row| status.is_none_or(|status| row.machine.status() == status));
        rows.sort_by_key(|row| std::cmp::Reverse(row.updated_at));
        rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        rows.into_iter().map(|row| self.report_of(row)).collect()
    }

    /// Gives back what expired claims hold, doubts what expired intents hold, expires what nobody consented to, and
    /// removes what need not be kept: at most `limit` operations of each kind. Call it at the start and every few
    /// seconds; claims whose lease is not over are never touched, whoever holds them.
    ///
    /// # Errors
    ///
    /// [`StateError`] when the state cannot be written.
    ///
    /// # Cancel safety
    ///
    /// Safe: each kind happens whole or not at all.
    pub async fn sweep(&self, limit: u32) -> Result<Swept, StateError> {
        let now = self.now();
        let recovered = self.inner.store.recover(now, limit).await?;
        if !recovered.unknown.is_empty() {
            tracing::warn!(
                operations = recovered.unknown.len(),
                "operations with an unknown outcome await settlement"
            );
        }
        let expired = self.inner.store.expire(now, limit).await?;
        let purged = self.inner.store.purge(now, limit).await?;
        Ok(Swept {
            recovered,
            expired,
            purged,
        })
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    pub(crate) fn random(&self) -> &dyn Random {
        &*self.inner.random
    }

    pub(crate) fn owner(&self) -> Owner {
        self.inner.owner.clone()
    }

    /// When a claim made now ends.
    pub(crate) fn claim_until(&self) -> Timestamp {
        self.now().saturating_add(self.inner.claim_lease)
    }

    /// Until when an operation is kept that becomes final now.
    pub(crate) fn retain_until(&self) -> Timestamp {
        self.now().saturating_add(self.inner.retention)
    }

    pub(crate) async fn row(&self, id: &OperationId) -> Result<Option<Row>, StateError> {
        self.inner.store.by_id(id.clone()).await
    }

    pub(crate) async fn row_of_token(
        &self,
        token_hash: [u8; 32],
    ) -> Result<Option<Row>, StateError> {
        self.inner.store.by_token(token_hash).await
    }

    pub(crate) async fn has_key(
        &self,
        row: &Row,
        key: Option<&IdempotencyKey>,
    ) -> Result<bool, StateError> {
        match key {
            Some(key) => self.inner.store.has_key(row, key).await,
            None => Ok(false),
        }
    }

    pub(crate) async fn create(
        &self,
        draft: Draft<'_>,
    ) -> Result<(OperationId, Created), StateError> {
        draft.binding.check()?;
        let now = self.now();
        let id = OperationId::generate(now, self.random())?;
        let seal = |field, plain: &[u8]| self.seal(&id, field, plain);
        let row = Row {
            id: id.clone(),
            binding: draft.binding.clone(),
            machine: draft.machine,
            redeemed_policy_version: None,
            token_hash: draft.token.map(|(_, hash)| hash),
            token_sealed: draft
                .token
                .map(|(token, _)| seal(Field::Token, token.as_bytes()))
                .transpose()?,
            args_sealed: draft
                .arguments
                .map(|plain| seal(Field::Arguments, plain))
                .transpose()?,
            confirmed_by: None,
            created_at: now,
            updated_at: now,
            retain_until: now.saturating_add(self.inner.retention),
            result_sealed: None,
            result_bytes: None,
            detail_sealed: None,
        };
        let create = Create {
            row,
            key: draft.key.cloned(),
            max_pending: draft.max_pending,
            attaches: draft.attaches,
        };
        Ok((id, self.inner.store.create(create).await?))
    }

    pub(crate) async fn step(
        &self,
        tenant: &str,
        id: &OperationId,
        event: Event,
        note: Note,
    ) -> Result<Stepped, StateError> {
        let step = Step {
            tenant: tenant.to_owned(),
            id: id.clone(),
            event,
            now: self.now(),
            note,
        };
        self.inner.store.step(step).await
    }

    /// Applies what time has done to a row that was read: leases and deadlines that are over. The sweep would do the
    /// same a little later. That an outcome is unknown is the sweep's alone to write, which tells of it: here it is only
    /// seen.
    pub(crate) async fn fresh(&self, mut row: Row) -> Result<Row, StateError> {
        for _ in 0..ATTEMPTS {
            let now = self.now();
            let event = match &row.machine.state {
                State::Intended(_) => {
                    row.doubt(now);
                    return Ok(row);
                }
                State::Claimed(lease) if lease.until <= now => Event::Recover,
                State::Reserved | State::Confirmed if row.machine.expires_at <= now => {
                    Event::Expire
                }
                _ => return Ok(row),
            };
            match self
                .step(&row.binding.tenant, &row.id, event, Note::default())
                .await?
            {
                Stepped::Moved(machine) => row.machine = machine,
                _ => row = self.row(&row.id).await?.ok_or(StateError::Contended)?,
            }
        }
        Err(StateError::Contended)
    }

    pub(crate) fn report_of(&self, row: Row) -> Result<Report, StateError> {
        let result = match (&row.result_sealed, row.result_bytes) {
            (Some(sealed), _) => Some(Stored::Bytes(self.open(&row.id, Field::Result, sealed)?)),
            (None, Some(bytes)) => Some(Stored::TooLarge { bytes }),
            (None, None) => None,
        };
        // A reason that cannot be read any more must not hide the operation.
        let detail = row.detail_sealed.as_deref().map(|sealed| {
            let opened = self.open(&row.id, Field::Detail, sealed);
            opened.map_or_else(
                |_| Report::DETAIL_GONE.to_owned(),
                |bytes| String::from_utf8_lossy(&bytes).into_owned(),
            )
        });
        let recovered = row.machine.status() == Status::Unknown && detail.is_none();
        let detail = detail.or_else(|| recovered.then(|| Report::RECOVERED.to_owned()));
        let (effect, lease_until) = match &row.machine.state {
            State::Failed(effect) => (Some(*effect), None),
            State::Claimed(Lease { until, .. }) | State::Intended(Lease { until, .. }) => {
                (None, Some(*until))
            }
            _ => (None, None),
        };
        Ok(Report {
            status: row.machine.status(),
            operation_id: row.id,
            binding: row.binding,
            effect,
            result,
            detail,
            confirmed_by: row.confirmed_by,
            redeemed_policy_version: row.redeemed_policy_version,
            created_at: row.created_at,
            updated_at: row.updated_at,
            expires_at: row.machine.expires_at,
            lease_until,
        })
    }

    /// The note of a completion.
    pub(crate) fn result(&self, id: &OperationId, plain: &[u8]) -> Result<Note, StateError> {
        let bytes = u64::try_from(plain.len()).unwrap_or(u64::MAX);
        let sealed = if plain.len() <= MAX_RESULT_BYTES {
            Some(self.seal(id, Field::Result, plain)?)
        } else {
            None
        };
        Ok(Note {
            result_sealed: sealed.filter(|sealed| sealed.len() <= MAX_RESULT_BYTES),
            result_bytes: Some(bytes),
            retain_until: Some(self.retain_until()),
            ..Note::default()
        })
    }

    /// The note of a failure or a doubt.
    pub(crate) fn detail(&self, id: &OperationId, text: &str) -> Result<Note, StateError> {
        let cut = text.floor_char_boundary(MAX_DETAIL_BYTES);
        let text = text.get(..cut).unwrap_or_default();
        let detail_sealed = Some(self.seal(id, Field::Detail, text.as_bytes())?);
        Ok(Note {
            detail_sealed,
            ..Note::default()
        })
    }
}

/// The claim that an accepted claiming step made.
pub(crate) fn lease_of(machine: Machine) -> Option<(Claim, Timestamp)> {
    match machine.state {
        State::Claimed(Lease { claim, until }) | State::Intended(Lease { claim, until }) => {
            Some((claim, until))
        }
        _ => None,
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger")
            .field("owner", &self.inner.owner)
            .finish_non_exhaustive()
    }
}
