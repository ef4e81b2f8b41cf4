//! Records told to others as well: syslog, OTLP, an HTTP collector.
//!
//! The log on the disk is the record; this is a copy for those who watch many systems. So it holds
//! nothing up: each sink has a bounded queue of durable records, and what does not fit is not sent,
//! counted, and said on `/ready`. A receiver sees from the gap in `seq` what it lacks;
//! `fastmcp audit export` prints it.
//!
//! A sink that is away is tried again and again, later each time, while its queue fills. What was
//! sent and not acknowledged is sent again, so a record may arrive twice. What a receiver refuses is
//! taken apart until the record is found that it does not take, which is passed by (`sending`).

mod otlp;
mod post;
mod sending;
mod syslog;

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use fastmcp_audit::Tap;
use fastmcp_guard::http::FetchError;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc::{Sender, channel};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use url::Url;

use crate::telemetry::Telemetry;

use self::{post::Post, sending::Sending, syslog::Syslog};

/// Bytes that wait for one sink.
const MAX_WAITING_BYTES: u64 = 64 << 20;
/// How long sinks may take to send what waits when the gateway ends.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Where records are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sink {
    /// RFC 5424, facility 13 ("log audit").
    Syslog(Receiving),
    /// OTLP/HTTP, as JSON.
    Otlp(Collector),
    /// Lines of JSON, POSTed.
    Http(Collector),
}

/// How syslog is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Receiving {
    /// Datagrams to host and port (RFC 5426).
    Udp(String, u16),
    /// A stream to host and port, with octet counts (RFC 6587).
    Tcp(String, u16),
    /// Datagrams to a local socket, such as `/dev/log`.
    Unix(PathBuf),
}

/// An HTTP endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector {
    /// The whole address.
    pub url: Url,
    /// A file with a bearer token, read anew for each request.
    pub token_file: Option<PathBuf>,
}

impl Sink {
    /// Its name in metrics and on `/ready`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Syslog(_) => "syslog",
            Self::Otlp(_) => "otlp",
            Self::Http(_) => "http",
        }
    }
}

/// What sinks say of where records come from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The name of the deployment.
    pub service: String,
    /// The replica.
    pub instance: String,
    /// The version of the gateway.
    pub version: String,
}

/// The sinks of one gateway, at work. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Exports {
    sinks: Arc<[Arc<State>]>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// What the log tells its records to.
#[derive(Debug)]
struct Ears(Vec<Ear>);

#[derive(Debug)]
struct Ear {
    queue: Sender<Arc<str>>,
    state: Arc<State>,
}

/// How one sink is doing.
#[derive(Debug)]
struct State {
    name: &'static str,
    telemetry: Telemetry,
    waiting: AtomicU64,
    waiting_bytes: AtomicU64,
    sent: AtomicU64,
    dropped: AtomicU64,
    failure: Mutex<Option<String>>,
    /// What the gateway's end kept from being sent: how many records, the first and the last.
    left: Mutex<Option<(u64, u64, u64)>>,
}

/// Why a delivery did not succeed.
#[derive(Debug)]
enum Failure {
    /// Later it may; not before this, if the receiver said so.
    Away(String, Option<Duration>),
    /// These records will not be taken together, and perhaps one of them never.
    Refused(String),
}

/// How a delivery went: how many of its records the receiver did not want.
type Delivered = Result<u64, Failure>;

enum Delivery {
    Syslog(Syslog),
    Post(Box<Post>),
}

impl Delivery {
    fn new(sink: &Sink, origin: &Origin) -> Result<Self, FetchError> {
        Ok(match sink {
            Sink::Syslog(receiving) => Self::Syslog(Syslog::new(receiving.clone(), origin)),
            Sink::Otlp(collector) => Self::Post(Box::new(Post::otlp(collector, origin)?)),
            Sink::Http(collector) => Self::Post(Box::new(Post::lines(collector)?)),
        })
    }

    async fn deliver(&mut self, lines: &[Arc<str>]) -> Delivered {
        match self {
            Self::Syslog(syslog) => syslog.deliver(lines).await,
            Self::Post(post) => post.deliver(lines).await,
        }
    }
}

impl Exports {
    /// Starts the sinks; each holds up to `queue` records that wait. The tap is for the log, and the
    /// sinks end when the log has dropped it and nothing waits any more.
    ///
    /// # Errors
    ///
    /// When the address of a sink cannot be used.
    pub fn start(
        sinks: &[Sink],
        queue: usize,
        origin: &Origin,
        telemetry: &Telemetry,
    ) -> Result<(Self, Arc<dyn Tap>), FetchError> {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let mut ears = Vec::new();
        for sink in sinks {
            let delivery = Delivery::new(sink, origin)?;
            let (sender, receiver) = channel(queue.max(1));
            let state = Arc::new(State::new(sink.name(), telemetry.clone()));
            let sending = Sending::new(delivery, Arc::clone(&state), stop.clone());
            tasks.spawn(sending.all(receiver));
            ears.push(Ear {
                queue: sender,
                state,
            });
        }
        let exports = Self {
            sinks: ears.iter().map(|ear| Arc::clone(&ear.state)).collect(),
            tasks,
            stop,
        };
        Ok((exports, Arc::new(Ears(ears))))
    }

    /// Lets the sinks send what waits, for a few seconds; the log must be closed.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the sinks go on.
    pub async fn finish(&self) {
        self.tasks.close();
        if tokio::time::timeout(LAST_WORDS, self.tasks.wait())
            .await
            .is_err()
        {
            self.stop.cancel();
            self.tasks.wait().await;
            self.sinks.iter().for_each(|state| state.tell_left());
        }
    }

    /// How each sink is doing, for `/ready`.
    #[must_use]
    pub fn health(&self) -> Map<String, Value> {
        let states = self.sinks.iter();
        states
            .map(|state| (state.name.to_owned(), state.health()))
            .collect()
    }

    /// The sinks that do not get what they should, with the reason.
    pub(super) fn degraded(&self) -> Vec<(String, String)> {
        let failing = self.sinks.iter();
        failing
            .filter_map(|state| Some((format!("audit.{}", state.name), state.failure()?)))
            .collect()
    }
}

impl Tap for Ears {
    fn durable(&self, line: &str) {
        let line: Arc<str> = line.into();
        for Ear { queue, state } in &self.0 {
            if state.offer(line.len()) && queue.try_send(Arc::clone(&line)).is_ok() {
                continue;
            }
            state.done(1, line.len());
            state.drop_records(1, "its queue is full");
        }
    }
}

impl State {
    fn new(name: &'static str, telemetry: Telemetry) -> Self {
        Self {
            name,
            telemetry,
            waiting: AtomicU64::new(0),
            waiting_bytes: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            failure: Mutex::default(),
            left: Mutex::default(),
        }
    }

    /// Remembers what the gateway's end keeps from being sent.
    fn leave(&self, seqs: impl Iterator<Item = u64>) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        for seq in seqs {
            let (records, first, last) = left.unwrap_or((0, seq, seq));
            *left = Some((records + 1, first.min(seq), last.max(seq)));
        }
    }

    /// Says what was not sent at the gateway's end.
    fn tell_left(&self) {
        let left = *self.left.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((records, first_seq, last_seq)) = left {
            let sink = self.name;
            tracing::warn!(
                sink,
                records,
                first_seq,
                last_seq,
                "the gateway ended before these records were exported; the log has them"
            );
        }
    }

    /// Counts a record in; says whether there is room for it.
    fn offer(&self, bytes: usize) -> bool {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let before = self
            .waiting_bytes
            .fetch_add(bytes as u64, Ordering::Relaxed);
        before + bytes as u64 <= MAX_WAITING_BYTES
    }

    /// Counts records out.
    fn done(&self, records: u64, bytes: usize) {
        self.waiting.fetch_sub(records, Ordering::Relaxed);
        self.waiting_bytes
            .fetch_sub(bytes as u64, Ordering::Relaxed);
    }

    fn send_records(&self, records: u64) {
        self.sent.fetch_add(records, Ordering::Relaxed);
        self.telemetry.exported(self.name, "sent", records);
        self.set_failure(None);
    }

    fn drop_records(&self, records: u64, why: &str) {
        if records == 0 {
            return;
        }
        self.dropped.fetch_add(records, Ordering::Relaxed);
        self.telemetry.exported(self.name, "dropped", records);
        self.set_failure(Some(why));
    }

    /// Says it in the log of the process too, when it begins and when it ends.
    fn set_failure(&self, why: Option<&str>) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*failure, why) {
            (None, Some(why)) => {
                tracing::warn!(sink = self.name, why, "records are not exported");
            }
            (Some(_), None) => tracing::info!(sink = self.name, "records are exported again"),
            _ => {}
        }
        *failure = why.map(str::to_owned);
    }

    fn failure(&self) -> Option<String> {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.clone()
    }

    fn health(&self) -> Value {
        let failure = self.failure();
        json!({
            "ready": failure.is_none(),
            "reason": failure,
            "waiting": self.waiting.load(Ordering::Relaxed),
            "sent": self.sent.load(Ordering::Relaxed),
            "dropped": self.dropped.load(Ordering::Relaxed),
        })
    }
}

#[cfg(test)]
mod tests;
