//! Tells a web address that a call waits for a person.
//!
//! Each new approval is posted once to the address, signed, without the arguments: who is told goes and looks. Nothing
//! waits for it, and nothing is held up by it: what does not get through after some attempts, or does not fit into the
//! queue, is recorded and left; the call waits on the desk all the same.
//!
//! The signature is the HMAC-SHA-256 of the time, a full stop and the body, so that neither can be changed, and an old
//! message is known by its time.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aws_lc_rs::hmac;
use bytes::Bytes;
use fastmcp_audit::Status;
use fastmcp_guard::{
    clock::Clock,
    http::{Config as Guard, FetchError, UrlFetcher},
};
use http::{Method, Request, StatusCode, header};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use url::Url;

use crate::{audit::Audit, call::hex};

/// The header with the seconds since 1970 at which the message was signed.
pub const TIMESTAMP: &str = "fastmcp-timestamp";
/// The header with `v1=` and the hex digits of the signature.
pub const SIGNATURE: &str = "fastmcp-signature";
/// The header with the id of the message: the same at every attempt.
pub const DELIVERY: &str = "fastmcp-delivery";

/// Messages that wait to be sent.
const QUEUE: usize = 1_024;
/// Messages that are being sent at once.
const AT_ONCE: usize = 8;
/// How long the pauses between the attempts are.
const PAUSES: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(4),
    Duration::from_secs(15),
    Duration::from_secs(60),
];
/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(10);
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
pub struct Announcer(mpsc::Sender<Notice>);

impl Announcer {
    /// Hands a notice over; one that does not fit into the queue is left, and said so in the log.
    pub fn announce(&self, notice: Notice) {
        if let Err(error) = self.0.try_send(notice) {
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
    notices: Mutex<Option<mpsc::Receiver<Notice>>>,
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
        let (sender, receiver) = mpsc::channel(QUEUE);
        let webhook = Self {
            fetcher: UrlFetcher::new(&guard)?,
            key: hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes()),
            url,
            clock,
            notices: Mutex::new(Some(receiver)),
        };
        Ok((Arc::new(webhook), Announcer(sender)))
    }

    /// Sends notices until `shutdown` fires; what is not sent by then is left. A second run at the same time ends at
    /// once.
    ///
    /// # Cancel safety
    ///
    /// Dropped, notices that came in and were not sent are left.
    pub async fn run(
        self: Arc<Self>,
        audit: Audit,
        tracker: TaskTracker,
        shutdown: CancellationToken,
    ) {
        let taken = self
            .notices
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(mut notices) = taken else { return };
        let slots = Arc::new(Semaphore::new(AT_ONCE));
        let serving = async {
            while let Some(notice) = notices.recv().await {
                let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
                    return;
                };
                let (this, audit, token) = (Arc::clone(&self), audit.clone(), shutdown.clone());
                tracker.spawn(async move {
                    let _slot = slot;
                    token
                        .run_until_cancelled(this.deliver(&notice, &audit))
                        .await;
                });
            }
        };
        shutdown.run_until_cancelled(serving).await;
    }

    async fn deliver(&self, notice: &Notice, audit: &Audit) {
        let id = notice.operation_id.as_str();
        match self.send(notice).await {
            Ok(attempts) => {
                let details = json!({"operation_id": id, "attempts": attempts});
                audit.event("approvals.announced", Status::Success, details);
            }
            Err((attempts, why)) => {
                tracing::warn!(
                    operation_id = id,
                    attempts,
                    reason = why,
                    "approval not announced"
                );
                let details = json!({"operation_id": id, "attempts": attempts, "error": why});
                audit.event("approvals.announced", Status::Failed, details);
            }
        }
    }

    /// The number of attempts that it took, or what failed last.
    async fn send(&self, notice: &Notice) -> Result<u32, (u32, String)> {
        let mut pauses = PAUSES.into_iter();
        let mut attempts = 1;
        loop {
            let Err(failed) = self.attempt(notice).await else {
                return Ok(attempts);
            };
            let Some(pause) = pauses.next().filter(|_| failed.again) else {
                return Err((attempts, failed.why));
            };
            tokio::time::sleep(pause).await;
            attempts += 1;
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
        format!("v1={}", hex(context.sign().as_ref()))
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

#[cfg(test)]
mod tests {
    use fastmcp_guard::clock::SystemClock;

    use super::*;

    #[test]
    fn the_signature_covers_time_and_body() {
        let url = Url::parse("https://hooks.example/x?secret=1").unwrap();
        let secret = SecretString::from("It's a Secret to Everybody");
        let (webhook, announcer) = Webhook::new(url, &secret, Arc::new(SystemClock)).unwrap();
        // By Python's hmac: hmac.new(b"It's a Secret to Everybody", b"1800000000.{}", "sha256").hexdigest()
        assert_eq!(webhook.signature(1_800_000_000, "{}"), EXPECTED);
        assert_ne!(webhook.signature(1_800_000_001, "{}"), EXPECTED);
        assert_ne!(webhook.signature(1_800_000_000, "{ }"), EXPECTED);
        assert!(!format!("{webhook:?}").contains("secret"));
        for n in 0..QUEUE + 10 {
            announcer.announce(Notice {
                operation_id: n.to_string(),
                body: json!({}),
            });
        }
    }

    const EXPECTED: &str = "v1=6422e3bb4da0bc7d1e129379bef470793e3509fb2a321b4f7784f81e39f54c62";
}
