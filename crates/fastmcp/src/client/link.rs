//! The connection to one server: the wire, what was agreed on, and what is remembered.

use std::{
    collections::HashMap,
    fmt,
    ops::Deref,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use fastmcp_guard::random::Random;
use fastmcp_protocol::{
    ProtocolVersion, Raw, RequestId,
    capability::ClientCapabilities,
    logging::{CancelledParams, LoggingLevel},
    meta::{Implementation, OwnMeta},
    task::EXTENSION,
};
use fastmcp_transport::{Wire, WireKind};
use serde_json::{Map, Value};
use tokio::sync::{Notify, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Span;

use super::{
    cache::Shelf,
    call::Attending,
    connect::Agreed,
    handler::Handlers,
    mirror::Tools,
    notice::{Change, Notices, OnProgress, progress_of},
};
use crate::error::Result;

/// Questions of a server that are answered at once.
const MAX_QUESTIONS: usize = 64;

/// Writes down the trace that a span belongs to.
#[derive(Clone)]
pub(super) struct WriteTrace(Arc<Write>);

type Write = dyn Fn(&Span) -> HashMap<String, String> + Send + Sync;

impl WriteTrace {
    pub(super) fn new(
        write: impl Fn(&Span) -> HashMap<String, String> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(write))
    }

    /// The trace of the span that is current.
    pub(super) fn current(&self) -> HashMap<String, String> {
        (self.0)(&Span::current())
    }
}

impl fmt::Debug for WriteTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WriteTrace")
    }
}

/// What a client was told to be like.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) info: Implementation,
    /// What is declared besides what the handlers answer.
    pub(super) capabilities: ClientCapabilities,
    pub(super) timeout: Duration,
    pub(super) max_time: Duration,
    pub(super) probe: Duration,
    pub(super) max_rounds: usize,
    /// The only revision that may be spoken; whichever the server knows, where none.
    pub(super) revision: Option<ProtocolVersion>,
    pub(super) level: Option<LoggingLevel>,
    /// Whether every call asks for progress, whoever reads of it.
    pub(super) progress: bool,
    pub(super) random: Arc<dyn Random>,
    /// What writes down the trace that a span belongs to.
    pub(super) trace: Option<WriteTrace>,
    /// How many requests wait for somebody who logs in.
    pub(super) logins: Arc<AtomicUsize>,
}

/// The connection to one server.
pub(super) struct Link {
    pub(super) wire: Arc<dyn Wire>,
    /// Who this client is, as JSON: every request of a stateless revision says so.
    pub(super) info: String,
    pub(super) config: Config,
    pub(super) agreed: ArcSwap<Agreed>,
    /// Held by whoever agrees anew.
    pub(super) negotiating: tokio::sync::Mutex<()>,
    pub(super) listening: AtomicBool,
    /// Whether it is known if the server speaks unasked: from then on nothing of it is missed.
    pub(super) heard_out: watch::Sender<bool>,
    pub(super) notices: Notices,
    pub(super) shelf: Shelf,
    pub(super) tools: Tools,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
    /// Resources that are subscribed to one by one, and how often.
    pub(super) watched: Mutex<HashMap<String, usize>>,
    handlers: Mutex<Handlers>,
    level: Mutex<Option<LoggingLevel>>,
    /// What every request says of this client, in the revision that it was written for.
    said: Mutex<Option<(ProtocolVersion, Arc<OwnMeta>)>>,
    questions: Mutex<HashMap<RequestId, CancellationToken>>,
    /// Requests without an answer yet: on some wires their progress comes by another way.
    under_way: Mutex<HashMap<RequestId, Arc<UnderWay>>>,
    next_id: AtomicI64,
}

/// A request that has no answer yet.
pub(super) struct UnderWay {
    on_progress: Option<OnProgress>,
    /// Told of progress that did not come on the request's own stream.
    pub(super) news: Notify,
}

/// Forgets a request when it is dropped.
pub(super) struct Following {
    link: Arc<Link>,
    id: RequestId,
    pub(super) under_way: Arc<UnderWay>,
}

impl Drop for Following {
    fn drop(&mut self) {
        lock(&self.link.under_way).remove(&self.id);
    }
}

impl Link {
    pub(super) fn new(
        wire: Arc<dyn Wire>,
        config: Config,
        handlers: Handlers,
        notices: Notices,
        shelf: Shelf,
    ) -> Arc<Self> {
        Arc::new(Self {
            wire,
            info: serde_json::json!(config.info).to_string(),
            agreed: ArcSwap::from_pointee(Agreed::proposed(ProtocolVersion::LATEST)),
            negotiating: tokio::sync::Mutex::default(),
            listening: AtomicBool::new(false),
            heard_out: watch::Sender::new(false),
            notices,
            shelf,
            tools: Tools::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            watched: Mutex::default(),
            handlers: Mutex::new(handlers),
            level: Mutex::new(config.level),
            said: Mutex::default(),
            questions: Mutex::default(),
            under_way: Mutex::default(),
            next_id: AtomicI64::new(1),
            config,
        })
    }

    pub(super) fn next_id(&self) -> i64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn handlers(&self) -> impl Deref<Target = Handlers> {
        lock(&self.handlers)
    }

    pub(super) fn change_handlers(&self, change: impl FnOnce(&mut Handlers)) {
        change(&mut lock(&self.handlers));
        *lock(&self.said) = None;
    }

    pub(super) fn level(&self) -> Option<LoggingLevel> {
        *lock(&self.level)
    }

    pub(super) fn set_level(&self, level: LoggingLevel) {
        *lock(&self.level) = Some(level);
        *lock(&self.said) = None;
    }

    /// What every request of `version` says of this client: by `write`, who is asked again when that changes.
    pub(super) fn said(
        &self,
        version: ProtocolVersion,
        write: impl FnOnce() -> Result<OwnMeta>,
    ) -> Result<Arc<OwnMeta>> {
        // Held until it is written: what changes meanwhile is forgotten after that, and not before.
        let mut said = lock(&self.said);
        if let Some((of, own)) = &*said
            && *of == version
        {
            return Ok(Arc::clone(own));
        }
        let own = Arc::new(write()?);
        *said = Some((version, Arc::clone(&own)));
        Ok(own)
    }

    pub(super) fn watched(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        lock(&self.watched)
    }

    /// What this client can do.
    pub(super) fn capabilities(&self) -> ClientCapabilities {
        let mut capabilities = self.config.capabilities.clone();
        self.handlers().declare(&mut capabilities);
        capabilities
    }

    /// What this client can do, tasks among it: whoever looks at one knows tasks, and says so on each request.
    pub(super) fn capabilities_with_tasks(&self) -> ClientCapabilities {
        let mut capabilities = self.capabilities();
        let extensions = capabilities.extensions.get_or_insert_default();
        extensions
            .entry(EXTENSION)
            .or_insert_with(|| Value::Object(Map::new()));
        capabilities
    }

    /// Takes note of a notification. Whether it is the progress of the request `id`.
    pub(super) fn heard(
        &self,
        notification: &fastmcp_protocol::Notification,
        id: Option<&RequestId>,
        attending: Attending<'_>,
    ) -> bool {
        let mut ours = false;
        if let Some((token, progress)) = progress_of(notification) {
            ours = id == Some(&token);
            if let (true, Some(on_progress)) = (ours, attending.progress) {
                on_progress(&progress);
            } else if let (false, Some(call)) = (ours, self.follows(&token)) {
                if let Some(on_progress) = &call.on_progress {
                    on_progress(&progress);
                }
                call.news.notify_one();
            }
            self.notices.tell_progress(&progress);
        } else if let Some(change) = Change::of(notification) {
            self.shelf.changed(&change);
            self.notices.tell_change(change);
        } else if notification.method == "notifications/cancelled"
            && let Some(Ok(params)) = notification
                .params
                .as_ref()
                .map(|p| p.decode::<CancelledParams<'_>>())
            && let Some(question) = params.request_id
            && let Some(token) = lock(&self.questions).get(&question)
        {
            token.cancel();
        }
        if let (Some(on_log), "notifications/message") = (attending.log, &*notification.method)
            && let Some(Ok(params)) = notification.params.as_ref().map(Raw::decode)
        {
            on_log(&params);
        }
        self.notices.tell(notification);
        ours
    }

    fn follows(&self, token: &RequestId) -> Option<Arc<UnderWay>> {
        lock(&self.under_way).get(token).cloned()
    }

    /// Brings the progress of the request `id` to it, wherever it is heard, until that is dropped. None where it is
    /// heard with the answer alone: a server of the same process says it nowhere else.
    pub(super) fn follow(
        self: &Arc<Self>,
        id: Option<&RequestId>,
        on_progress: Option<&OnProgress>,
    ) -> Option<Following> {
        if self.wire.kind() == WireKind::Memory {
            return None;
        }
        let id = id?.clone();
        let under_way = Arc::new(UnderWay {
            on_progress: on_progress.cloned(),
            news: Notify::new(),
        });
        lock(&self.under_way).insert(id.clone(), Arc::clone(&under_way));
        Some(Following {
            link: Arc::clone(self),
            id,
            under_way,
        })
    }

    /// Whether a question of the server waits for its answer, or a login for its person: the time of people does not
    /// count.
    pub(super) fn is_asked(&self) -> bool {
        !lock(&self.questions).is_empty() || self.config.logins.load(Ordering::Relaxed) > 0
    }

    /// Takes a question of the server on; none where there are too many, or this one twice.
    pub(super) fn take_on(self: &Arc<Self>, id: RequestId) -> Option<Question> {
        let mut questions = lock(&self.questions);
        if questions.len() >= MAX_QUESTIONS || questions.contains_key(&id) {
            return None;
        }
        let cancelled = CancellationToken::new();
        questions.insert(id.clone(), cancelled.clone());
        drop(questions);
        Some(Question {
            link: Arc::clone(self),
            id,
            cancelled,
        })
    }

    /// How long to wait before the attempt after `attempts` that failed: doubled each time up to
    /// 30 s, and at random between a half of that and the whole, lest all clients come back at once.
    pub(super) fn backoff(&self, attempts: u32) -> Duration {
        const FIRST: u64 = 250;
        const LAST: u64 = 30_000;
        let whole = FIRST.saturating_mul(1 << attempts.min(10)).min(LAST);
        let mut byte = [0];
        // Without randomness the whole is waited for.
        let part = match self.config.random.fill(&mut byte) {
            Ok(()) => u64::from(u8::from_be_bytes(byte)),
            Err(_) => 255,
        };
        Duration::from_millis(whole / 2 + whole / 2 * part / 255)
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("wire", &self.wire)
            .field("agreed", &self.agreed.load())
            .finish_non_exhaustive()
    }
}

/// A question that is being answered.
pub(super) struct Question {
    link: Arc<Link>,
    pub(super) id: RequestId,
    /// Fires when the server does not want the answer any more.
    pub(super) cancelled: CancellationToken,
}

impl Drop for Question {
    fn drop(&mut self) {
        lock(&self.link.questions).remove(&self.id);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
