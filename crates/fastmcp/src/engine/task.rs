//! Tasks: calls that go on after their answer, and what is known of them.
//!
//! A task stands whole in the store before its client hears of it, and every step of it is one
//! conditional write there: any process that shares the store answers for it. The process that runs it
//! renews a lease; a task whose lease ran out has lost its process, and is found as failed.

mod kept;
mod record;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use fastmcp_auth::Caller;
use fastmcp_guard::clock::Clock;
use fastmcp_protocol::{RpcError, mrtr::InputRequests, ordered::Ordered, task::TaskStatus};
use fastmcp_store::{Collection, Entry, Key, KeyValueStore, Page, Put, StoreError, Swap, Version};
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;

use super::session::{lock, random_id};
use crate::error::{Error, Result};
use kept::Kept;
pub(crate) use record::{Answer, End, Record};

/// The collection of the tasks.
const COLLECTION: &str = "fastmcp.tasks";
/// How often a step is tried while others take theirs.
const MAX_TRIES: usize = 32;
/// Bytes of what a task asks and is answered, beside its result.
const MAX_TALK_BYTES: usize = 256 * 1024;

/// Bounds of tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskLimits {
    /// How long a task is kept from its beginning, done or not; 1 s to 30 days, default 1 h. What still
    /// runs by then is called off.
    pub ttl: Duration,
    /// How long clients shall wait between two looks; 10 ms to 1 h, default 1 s. Where processes share a
    /// store, each looks as often for what others did to the tasks that it runs or tells of.
    pub poll_interval: Duration,
    /// How long a process may be silent before its tasks count as lost; 1 s to 1 h, default 60 s. A process
    /// renews its word three times in that. Whoever looks at a task of one that is gone finds it failed by
    /// then, with a message that says so; nothing is run a second time. The clocks of processes that share a
    /// store must agree to within a third of it.
    pub lease: Duration,
    /// Tasks of one caller that this process keeps; at least 1, default 1,000. Callers that nobody
    /// authenticated count as one.
    pub max_per_caller: usize,
    /// Tasks that this process keeps; at least 1, default 10,000.
    pub max_total: usize,
    /// Bytes of a result; at least 1 KiB, default 512 KiB. A task whose result is larger fails, and says
    /// so. The store must take values that are 256 KiB larger.
    pub max_result_bytes: usize,
}

impl Default for TaskLimits {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(3_600),
            poll_interval: Duration::from_secs(1),
            lease: Duration::from_secs(60),
            max_per_caller: 1_000,
            max_total: 10_000,
            max_result_bytes: 512 * 1024,
        }
    }
}

impl TaskLimits {
    pub(crate) fn check(&self) -> Result<()> {
        let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3_600));
        let problem = if self.ttl < second || self.ttl > hour * 24 * 30 {
            "`ttl`: give 1 s to 30 days"
        } else if self.poll_interval < Duration::from_millis(10) || self.poll_interval > hour {
            "`poll_interval`: give 10 ms to 1 h"
        } else if self.lease < second || self.lease > hour {
            "`lease`: give 1 s to 1 h"
        } else if self.max_per_caller == 0 || self.max_total == 0 {
            "`max_per_caller` and `max_total`: give at least 1"
        } else if self.max_result_bytes < 1_024 {
            "`max_result_bytes`: give at least 1 KiB"
        } else {
            return Ok(());
        };
        Err(Error::internal(format!("limits of tasks: {problem}")))
    }
}

/// Whose a task is, and of which kind; the two kinds never meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner(String);

/// The kinds of tasks: those of one revision are unknown to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// Of the extension: the server decides.
    Extension,
    /// Of 2025-11-25: the client asks for it.
    Requested,
}

impl Owner {
    pub(crate) fn of(caller: &Caller, family: Family) -> Self {
        let family = match family {
            Family::Extension => "x",
            Family::Requested => "r",
        };
        let hash = digest(&SHA256, caller.principal().as_str().as_bytes());
        Self(format!("{family}.{}/", URL_SAFE_NO_PAD.encode(hash)))
    }

    /// Where the task `id` of this owner stands. Another caller's id leads to a place that is empty,
    /// as an unknown one does.
    pub(crate) fn place(&self, id: &str) -> Result<Key> {
        let hash = digest(&SHA256, id.as_bytes());
        Ok(Key::new(&format!(
            "{}{}",
            self.0,
            URL_SAFE_NO_PAD.encode(hash)
        ))?)
    }
}

/// A task that this process runs.
#[derive(Debug)]
pub(crate) struct Live {
    /// Somebody answered or called it off.
    pub(crate) touched: Notify,
    /// Fires when it is called off.
    pub(crate) cancel: CancellationToken,
}

/// What a change does to a record.
pub(crate) enum Step {
    /// Nothing.
    Keep,
    /// Something that clients see.
    Write,
    /// Something that they do not see.
    Quiet,
}

/// A task changed.
#[derive(Debug)]
pub(crate) struct Changed {
    pub(crate) key: Key,
    pub(crate) record: Record,
}

/// What a task begins with.
pub(crate) struct Beginning {
    pub(crate) owner: Owner,
    /// What the client asked for, in milliseconds.
    pub(crate) ttl_ms: Option<u64>,
    pub(crate) session: Option<String>,
    pub(crate) cancel: CancellationToken,
}

/// The tasks of a server.
#[derive(Debug)]
pub(crate) struct Tasks {
    pub(crate) limits: TaskLimits,
    store: Arc<dyn KeyValueStore>,
    clock: Arc<dyn Clock>,
    collection: Collection,
    /// This process, among those that share the store.
    runner: String,
    live: Mutex<HashMap<Key, Arc<Live>>>,
    kept: Mutex<Kept>,
    /// Tasks whose questions are being asked on a stream.
    presented: Mutex<HashSet<Key>>,
    changed: broadcast::Sender<Arc<Changed>>,
}

impl Tasks {
    pub(crate) fn new(
        limits: TaskLimits,
        store: Arc<dyn KeyValueStore>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        limits.check()?;
        Ok(Self {
            limits,
            store,
            clock,
            collection: Collection::new(COLLECTION)?,
            runner: random_id()?,
            live: Mutex::default(),
            kept: Mutex::default(),
            presented: Mutex::default(),
            changed: broadcast::channel(256).0,
        })
    }

    pub(crate) fn store(&self) -> &Arc<dyn KeyValueStore> {
        &self.store
    }

    /// Whether the tasks of a caller can be listed.
    pub(crate) fn lists(&self) -> bool {
        self.store.capabilities().scan
    }

    pub(crate) fn now(&self) -> fastmcp_guard::clock::Timestamp {
        self.clock.now()
    }

    /// Hears of changes that this process makes, from now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Arc<Changed>> {
        self.changed.subscribe()
    }

    /// Begins a task: it stands in the store when this returns.
    pub(crate) async fn begin(&self, beginning: Beginning) -> Result<(Key, Record, Arc<Live>)> {
        let now = self.now();
        let most = millis(self.limits.ttl);
        let ttl_ms = beginning.ttl_ms.map_or(most, |ttl| ttl.clamp(1_000, most));
        let id = random_id()?;
        let key = beginning.owner.place(&id)?;
        let record = Record {
            id,
            status: TaskStatus::Working,
            message: None,
            created: now,
            updated: now,
            ttl_ms,
            poll_ms: millis(self.limits.poll_interval),
            runner: self.runner.clone(),
            lease: now.saturating_add(self.limits.lease),
            session: beginning.session,
            cancel: false,
            requests: InputRequests::default(),
            answers: Ordered::default(),
            result: None,
            error: None,
        };
        let slot = lock(&self.kept)
            .take(&beginning.owner.0, record.expires(), now, &self.limits)
            .ok_or_else(|| {
                Error::protocol(RpcError::internal(
                    "too many tasks are kept; wait until some have expired",
                ))
            })?;
        let live = Arc::new(Live {
            touched: Notify::new(),
            cancel: beginning.cancel,
        });
        // Known as running before it can be found, so that nobody takes it for lost.
        lock(&self.live).insert(key.clone(), Arc::clone(&live));
        let stored = match serde_json::to_vec(&record) {
            Ok(text) => {
                let ttl = Some(Duration::from_millis(ttl_ms));
                self.store
                    .put_if_absent(&self.collection, &key, text.into(), ttl)
                    .await
                    .map_err(|e| e.to_string())
            }
            Err(error) => Err(error.to_string()),
        };
        match stored {
            Ok(Swap::Stored(_)) => Ok((key, record, live)),
            Ok(Swap::Conflict { .. }) => {
                self.forget(&key, slot);
                Err(Error::internal("a task of this id is there already"))
            }
            Err(error) => {
                self.forget(&key, slot);
                tracing::error!(%error, "task could not be stored");
                Err(Error::protocol(RpcError::internal(
                    "the task could not be stored; try again later",
                )))
            }
        }
    }

    fn forget(&self, key: &Key, slot: kept::Slot) {
        self.leave(key);
        lock(&self.kept).give_back(&slot);
    }

    /// This process runs the task no longer.
    pub(crate) fn leave(&self, key: &Key) {
        lock(&self.live).remove(key);
    }

    pub(crate) fn live(&self, key: &Key) -> Option<Arc<Live>> {
        lock(&self.live).get(key).cloned()
    }

    /// Claims the asking of a task's questions, until what is given back is dropped.
    pub(crate) fn present(&self, key: &Key) -> Option<Presenting<'_>> {
        lock(&self.presented)
            .insert(key.clone())
            .then(|| Presenting(self, key.clone()))
    }

    /// Calls off whatever this process runs.
    pub(crate) fn cancel_all(&self) {
        for live in lock(&self.live).values() {
            live.cancel.cancel();
        }
    }

    /// The task at `key`, where there is one.
    pub(crate) async fn look(&self, key: &Key) -> Result<Option<Record>> {
        let found = self.read(key).await?.map(|(record, _)| record);
        match found {
            Some(record) if self.is_lost(key, &record) => {
                self.change(key, |_| Step::Keep).await.map_err(Error::from)
            }
            found => Ok(found),
        }
    }

    /// Takes one step: `step` is handed the record, as often as another step came between. Gives back
    /// the record as it stands then; nothing where there is none.
    pub(crate) async fn change(
        &self,
        key: &Key,
        mut step: impl FnMut(&mut Record) -> Step,
    ) -> std::result::Result<Option<Record>, StoreError> {
        for _ in 0..MAX_TRIES {
            let Some((mut record, version)) = self.read(key).await? else {
                return Ok(None);
            };
            let lost = self.is_lost(key, &record);
            if lost {
                let end = if record.cancel {
                    End::Cancelled
                } else {
                    End::Failed(RpcError::internal(
                        "the process that ran the task ended before the task did",
                    ))
                };
                record.end(end, self.now());
            }
            let seen = match (step(&mut record), lost) {
                (Step::Keep, false) => return Ok(Some(record)),
                (Step::Quiet, false) => false,
                _ => true,
            };
            let left = record.expires().since(self.now());
            if left < Duration::from_millis(1) {
                return Ok(None);
            }
            let text = serde_json::to_vec(&record).map_err(|e| StoreError::Unavailable {
                source: Box::new(e),
            })?;
            let bound = self.limits.max_result_bytes.saturating_add(MAX_TALK_BYTES);
            if text.len() > bound {
                return Err(StoreError::ValueTooLarge {
                    bytes: text.len(),
                    max_bytes: bound,
                });
            }
            let new = Put {
                value: text.into(),
                ttl: Some(left),
            };
            let swap = self
                .store
                .compare_and_swap(&self.collection, key, version, new);
            if let Swap::Stored(_) = swap.await? {
                if seen {
                    self.tell(key, &record);
                }
                return Ok(Some(record));
            }
        }
        Err(StoreError::Unavailable {
            source: "others change this task all the time".into(),
        })
    }

    fn tell(&self, key: &Key, record: &Record) {
        if let Some(live) = self.live(key) {
            live.touched.notify_waiters();
        }
        // Nobody listening is no failure.
        let _listeners = self.changed.send(Arc::new(Changed {
            key: key.clone(),
            record: record.clone(),
        }));
    }

    /// Says that this process still runs the task; whether the task is still wanted.
    pub(crate) async fn renew(&self, key: &Key) -> std::result::Result<bool, StoreError> {
        let until = self.now().saturating_add(self.limits.lease);
        let record = self
            .change(key, |record| {
                if record.status.is_terminal() {
                    return Step::Keep;
                }
                record.lease = until;
                Step::Quiet
            })
            .await?;
        Ok(record.is_some_and(|r| !r.cancel && !r.status.is_terminal()))
    }

    /// Whether a task that this process runs is still wanted: others may have called it off.
    pub(crate) async fn is_wanted(&self, key: &Key) -> std::result::Result<bool, StoreError> {
        let found = self.read(key).await?;
        Ok(found.is_some_and(|(r, _)| !r.cancel && !r.status.is_terminal()))
    }

    /// How often this process has to look for what others did, where any can.
    pub(crate) fn others_act_within(&self) -> Option<Duration> {
        let shared = self.store.capabilities().shared;
        shared.then_some(self.limits.poll_interval)
    }

    /// A page of an owner's tasks, and where the next one starts.
    pub(crate) async fn list(
        &self,
        owner: &Owner,
        after: Option<&str>,
        limit: std::num::NonZeroU16,
    ) -> Result<(Vec<Record>, Option<String>)> {
        let after = after
            .map(|rest| Key::new(&format!("{}{rest}", owner.0)))
            .transpose()?;
        let page = Page { after, limit };
        let keys = self.store.scan(&self.collection, &owner.0, page).await?;
        let next = (keys.len() >= usize::from(limit.get()))
            .then(|| keys.last()?.as_str().strip_prefix(&owner.0))
            .flatten()
            .map(str::to_owned);
        let mut records = Vec::with_capacity(keys.len());
        for key in &keys {
            records.extend(self.look(key).await?);
        }
        Ok((records, next))
    }

    async fn read(&self, key: &Key) -> std::result::Result<Option<(Record, Version)>, StoreError> {
        let Some(Entry { value, version, .. }) = self.store.entry(&self.collection, key).await?
        else {
            return Ok(None);
        };
        match serde_json::from_slice::<Record>(&value) {
            Ok(record) if record.expires() > self.now() => Ok(Some((record, version))),
            Ok(_) => Ok(None),
            Err(error) => {
                tracing::error!(%error, "a stored task cannot be read");
                Ok(None)
            }
        }
    }

    /// Whether the process that ran the task is gone.
    fn is_lost(&self, key: &Key, record: &Record) -> bool {
        if record.status.is_terminal() || self.live(key).is_some() {
            return false;
        }
        record.runner == self.runner || record.lease <= self.now()
    }
}

/// Somebody asks a task's questions.
#[derive(Debug)]
pub(crate) struct Presenting<'a>(&'a Tasks, Key);

impl Presenting<'_> {
    /// Where the task stands.
    pub(crate) const fn key(&self) -> &Key {
        &self.1
    }
}

impl Drop for Presenting<'_> {
    fn drop(&mut self) {
        lock(&self.0.presented).remove(&self.1);
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
