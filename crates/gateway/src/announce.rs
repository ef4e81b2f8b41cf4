//! Tells a web address that a call waits for a person.
//!
//! Each new approval is posted once to the address, signed, without the arguments: who is told goes and looks. Nothing
//! waits for it, and nothing is held up by it: what does not get through after some attempts, or for which there is no
//! place, is recorded, counted and left; the call waits on the desk all the same.
//!
//! Each message has attempts and pauses of its own, and messages go out in any order. Only an attempt takes a slot, and
//! a first attempt never waits for repeated ones, so that a message that fails again and again delays no other.
//!
//! The signature is the HMAC-SHA-256 of the time, a full stop and the body, so that neither can be changed, and an old
//! message is known by its time.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aws_lc_rs::hmac;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use fastmcp_audit::Status;
use fastmcp_guard::{
    clock::Clock,
    http::{Config as Guard, FetchError, UrlFetcher},
};
use http::{Method, Request, StatusCode, header};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use url::Url;

use crate::{audit::Audit, telemetry::Telemetry};

/// The header with the seconds since 1970 at which the message was signed.
pub const TIMESTAMP: &str = "fastmcp-timestamp";
/// The header with `v1=` and the hex digits of the signature.
pub const SIGNATURE: &str = "fastmcp-signature";
/// The header with the id of the message: the same at every attempt.
pub const DELIVERY: &str = "fastmcp-delivery";

/// Messages that are not sent or given up yet.
const PLACES: usize = 1_024;
/// First attempts at once.
const FIRST_AT_ONCE: usize = 8;
/// Repeated attempts at once.
const AGAIN_AT_ONCE: usize = 4;
/// How many of those for which there was no place are named in one record.
const NAMED: usize = 100;
/// How long the pauses between the attempts are.
const PAUSES: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(4),
    Duration::from_secs(15),
    Duration::from_secs(60),
];
/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(10);
/// How long an attempt that is under way when the gateway ends may still take.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Why a message is given up when the gateway ends.
const ENDED: &str = "the gateway ended";
/// The largest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// An approval that somebody should hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The operation.
    pub operation_id: String,
    /// What the body says.
    pub body: Value,
}

/// Takes notices from calls, without ever making them wait.
#[derive(Clone, Debug)]
pub struct Announcer {
    sender: mpsc::Sender<Waiting>,
    places: Arc<Semaphore>,
    left: Arc<Left>,
}

/// A notice with the place that it takes until it is sent or given up.
#[derive(Debug)]
struct Waiting {
    notice: Notice,
    place: OwnedSemaphorePermit,
}

/// The notices for which there was no place and that no record names yet.
#[derive(Debug, Default)]
struct Left {
    count: Mutex<(u64, Vec<String>)>,
    told: Notify,
}

impl Left {
    fn add(&self, operation_id: String) {
        {
            let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
            count.0 += 1;
            if count.1.len() < NAMED {
                count.1.push(operation_id);
            }
        }
        self.told.notify_one();
    }

    fn take(&self) -> (u64, Vec<String>) {
        std::mem::take(&mut *self.count.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Announcer {
    /// Hands a notice over; one for which there is no place is left, and that is recorded.
    pub fn announce(&self, notice: Notice) {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            tracing::warn!(
                operation_id = notice.operation_id,
                "approval not announced: too many wait to be"
            );
            return self.left.add(notice.operation_id);
        };
        let waiting = Waiting { notice, place };
        // There is a slot in the channel for each place; what is closed is a gateway that ends.
        if let Err(error) = self.sender.try_send(waiting) {
            tracing::warn!(%error, "approval not announced");
        }
    }
}

/// Sends notices.
pub struct Webhook {
    url: Url,
    key: hmac::Key,
    fetcher: UrlFetcher,
    clock: Arc<dyn Clock>,
    notices: Mutex<Option<mpsc::Receiver<Waiting>>>,
    left: Arc<Left>,
    /// Slots for first attempts.
    first: Semaphore,
    /// Slots for repeated ones.
    again: Semaphore,
}

impl Webhook {
    /// Makes the sender to `url`, whose host alone is ever reached, and what hands it notices.
    ///
    /// # Errors
    ///
    /// If the address names no host.
    pub fn new(
        url: Url,
        secret: &SecretString,
        clock: Arc<dyn Clock>,
    ) -> Result<(Arc<Self>, Announcer), FetchError> {
        let mut guard = Guard::upstream(&url)?;
        guard.total_timeout = ATTEMPT;
        guard.max_bytes = MAX_ANSWER;
        let (sender, receiver) = mpsc::channel(PLACES);
        let left = Arc::new(Left::default());
        let webhook = Self {
            fetcher: UrlFetcher::new(&guard)?,
            key: hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes()),
            url,
            clock,
            notices: Mutex::new(Some(receiver)),
            left: Arc::clone(&left),
            first: Semaphore::new(FIRST_AT_ONCE),
            again: Semaphore::new(AGAIN_AT_ONCE),
        };
        let announcer = Announcer {
            sender,
            places: Arc::new(Semaphore::new(PLACES)),
            left,
        };
        Ok((Arc::new(webhook), announcer))
    }

    /// Sends notices until `shutdown` fires; what is not sent by then is recorded and left, but for attempts under way,
    /// which have two seconds. A second run at the same time ends at once.
    ///
    /// # Cancel safety
    ///
    /// Dropped, notices that came in and were not sent are left.
    pub async fn run(
        self: Arc<Self>,
        audit: Audit,
        telemetry: Telemetry,
        tracker: TaskTracker,
        shutdown: CancellationToken,
    ) {
        let taken = self
            .notices
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(mut notices) = taken else { return };
        let book = Book { audit, telemetry };
        loop {
            let waiting = tokio::select! {
                () = shutdown.cancelled() => break,
                () = self.left.told.notified() => {
                    book.left(&self.left);
                    continue;
                }
                waiting = notices.recv() => waiting,
            };
            let Some(waiting) = waiting else { break };
            let (this, book, token) = (Arc::clone(&self), book.clone(), shutdown.clone());
            // As many as there are places.
            tracker.spawn(async move {
                let Waiting { notice, place } = waiting;
                let sent = this.send(&notice, &token).await;
                book.close(&notice, sent);
                drop(place);
            });
        }
        notices.close();
        while let Ok(Waiting { notice, .. }) = notices.try_recv() {
            book.close(&notice, Err((0, ENDED.to_owned())));
        }
        book.left(&self.left);
    }

    /// The number of attempts that it took, or how many there were and what failed last.
    async fn send(
        &self,
        notice: &Notice,
        shutdown: &CancellationToken,
    ) -> Result<u32, (u32, String)> {
        let mut pauses = PAUSES.into_iter();
        let mut attempts = 0;
        loop {
            let slots = if attempts == 0 {
                &self.first
            } else {
                &self.again
            };
            let Some(Ok(slot)) = shutdown.run_until_cancelled(slots.acquire()).await else {
                return Err((attempts, ENDED.to_owned()));
            };
            attempts += 1;
            let last_words = async {
                shutdown.cancelled().await;
                tokio::time::sleep(LAST_WORDS).await;
            };
            let done = tokio::select! {
                done = self.attempt(notice) => done,
                () = last_words => return Err((attempts, ENDED.to_owned())),
            };
            drop(slot);
            let Err(failed) = done else {
                return Ok(attempts);
            };
            let Some(pause) = pauses.next().filter(|_| failed.again) else {
                return Err((attempts, failed.why));
            };
            let sleeping = tokio::time::sleep(pause);
            if shutdown.run_until_cancelled(sleeping).await.is_none() {
                return Err((attempts, ENDED.to_owned()));
            }
        }
    }

    async fn attempt(&self, notice: &Notice) -> Result<(), Failed> {
        let body = notice.body.to_string();
        let time = self.clock.now().unix_seconds();
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.url.as_str())
            .header(header::CONTENT_TYPE, "application/json")
            .header(TIMESTAMP, time)
            .header(SIGNATURE, self.signature(time, &body))
            .header(DELIVERY, notice.operation_id.as_str())
            .body(Bytes::from(body))
            .map_err(|error| Failed {
                again: false,
                why: error.to_string(),
            })?;
        let answer = self
            .fetcher
            .request(request)
            .await
            .map_err(|error| Failed {
                again: error.refusal().is_none(),
                why: error.to_string(),
            })?;
        if answer.status.is_success() {
            return Ok(());
        }
        Err(Failed {
            again: answer.status.is_server_error()
                || matches!(
                    answer.status,
                    StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
                ),
            why: format!("the answer has status {}", answer.status.as_u16()),
        })
    }

    fn signature(&self, time: u64, body: &str) -> String {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(time.to_string().as_bytes());
        context.update(b".");
        context.update(body.as_bytes());
        format!("v1={}", HEXLOWER.encode(context.sign().as_ref()))
    }
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook")
            .field("host", &self.url.host_str())
            .finish_non_exhaustive()
    }
}

struct Failed {
    again: bool,
    why: String,
}

/// Where it is said what became of notices.
#[derive(Clone)]
struct Book {
    audit: Audit,
    telemetry: Telemetry,
}

impl Book {
    fn close(&self, notice: &Notice, sent: Result<u32, (u32, String)>) {
        let id = notice.operation_id.as_str();
        match sent {
            Ok(attempts) => {
                self.telemetry.announced("sent", 1);
                self.record(
                    Status::Success,
                    json!({"operation_id": id, "attempts": attempts}),
                );
            }
            Err((attempts, why)) => {
                tracing::warn!(
                    operation_id = id,
                    attempts,
                    reason = why,
                    "approval not announced"
                );
                self.telemetry.announced("failed", 1);
                self.record(
                    Status::Failed,
                    json!({"operation_id": id, "attempts": attempts, "error": why}),
                );
            }
        }
    }

    /// One record for all that were left since the last one: a flood of notices is none of records.
    fn left(&self, left: &Left) {
        let (count, operations) = left.take();
        if count == 0 {
            return;
        }
        self.telemetry.announced("dropped", count);
        let error = format!("{PLACES} announcements were under way already");
        let details = json!({"error": error, "not_announced": count, "operations": operations});
        self.record(Status::Failed, details);
    }

    fn record(&self, status: Status, details: Value) {
        self.audit.event("approvals.announced", status, details);
    }
}

#[cfg(test)]
mod tests;
