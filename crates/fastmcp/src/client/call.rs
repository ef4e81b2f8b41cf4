//! One request and what comes before its answer.

use std::{
    fmt,
    future::{Future, pending, ready},
    ops::Deref,
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use bytestring::ByteString;
use fastmcp_protocol::{
    Message, Raw, RequestId, RpcError,
    capability::ClientCapabilities,
    jsonrpc::{DEFAULT_DEPTH, written_result},
    logging::LogMessageParams,
    tool::CallToolResult,
};
use fastmcp_transport::{Incoming, Messages, Outgoing, WireError, WireKind};
use futures_util::{StreamExt as _, future::BoxFuture, poll};
use http::HeaderMap;
use serde_json::{Map, Value};
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use super::{
    connect,
    handler::Handlers,
    link::Link,
    notice::{OnLog, OnProgress, Progress},
};

/// How one call differs from what the client was told for all of them.
#[derive(Clone, Default)]
pub struct CallOptions {
    pub(super) timeout: Option<Duration>,
    pub(super) max_time: Option<Duration>,
    pub(super) on_progress: Option<OnProgress>,
    pub(super) meta: Map<String, Value>,
    on_log: Option<OnLog>,
    handlers: Option<Handlers>,
    pub(super) capabilities: Option<ClientCapabilities>,
    /// Whether a task is the answer, and not what comes of it.
    pub(super) as_task: bool,
}

/// Who hears what a server says during one call, and answers what it asks on the call's own stream.
#[derive(Clone, Copy, Default)]
pub(super) struct Attending<'a> {
    pub(super) progress: Option<&'a OnProgress>,
    pub(super) log: Option<&'a OnLog>,
    pub(super) handlers: Option<&'a Handlers>,
}

impl CallOptions {
    /// Nothing differs.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How long the server may be silent; see [`super::ClientBuilder::timeout`].
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How long the call may take, whatever the server says meanwhile; see
    /// [`super::ClientBuilder::max_time`].
    #[must_use]
    pub const fn max_time(mut self, max_time: Duration) -> Self {
        self.max_time = Some(max_time);
        self
    }

    /// Tells `listener` how far the call is. It runs between two messages of the server and must
    /// not block.
    #[must_use]
    pub fn on_progress(mut self, listener: impl Fn(&Progress) + Send + Sync + 'static) -> Self {
        self.on_progress = Some(Arc::new(listener));
        self
    }

    /// Tells `listener` what the server logs on the call's own stream.
    #[must_use]
    pub(crate) fn on_log(
        mut self,
        listener: impl Fn(&LogMessageParams) + Send + Sync + 'static,
    ) -> Self {
        self.on_log = Some(Arc::new(listener));
        self
    }

    /// Has `handlers` answer what is asked on the call's own stream, in place of the client's.
    #[must_use]
    pub(crate) fn handlers(mut self, handlers: Handlers) -> Self {
        self.handlers = Some(handlers);
        self
    }

    /// Declares `capabilities` for this call, where that is said call by call.
    #[must_use]
    pub(crate) fn capabilities(mut self, capabilities: ClientCapabilities) -> Self {
        self.capabilities = Some(capabilities);
        self
    }

    pub(super) const fn attending(&self) -> Attending<'_> {
        Attending {
            progress: self.on_progress.as_ref(),
            log: self.on_log.as_ref(),
            handlers: self.handlers.as_ref(),
        }
    }

    /// Adds a member to the request's `_meta`. Members of the protocol itself are set last.
    #[must_use]
    pub fn meta(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.meta.insert(key.into(), value.into());
        self
    }
}

impl fmt::Debug for CallOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallOptions")
            .field("timeout", &self.timeout)
            .field("max_time", &self.max_time)
            .field("meta", &self.meta)
            .finish_non_exhaustive()
    }
}

/// The parameters of a call. Those that calls of tools have stand by themselves: a map of them costs as much as all else
/// that is written.
#[derive(Debug, Default)]
pub(super) struct Params<'a> {
    /// The name of a tool, and its arguments.
    pub(super) tool: Option<(&'a str, Value)>,
    pub(super) others: Map<String, Value>,
}

impl<'a> Params<'a> {
    pub(super) fn of_tool(name: &'a str, arguments: Value) -> Self {
        Self {
            tool: Some((name, arguments)),
            others: Map::new(),
        }
    }

    /// The name of what is called: a tool, a prompt, a URI or a task.
    pub(super) fn target(&self, member: &str) -> Option<&str> {
        match &self.tool {
            Some((name, _)) => Some(name),
            None => self.others.get(member)?.as_str(),
        }
    }

    pub(super) fn arguments(&self) -> Option<&Map<String, Value>> {
        let own = self.tool.as_ref().map(|(_, arguments)| arguments);
        own.or_else(|| self.others.get("arguments"))?.as_object()
    }

    /// All of them, in one map.
    pub(super) fn to_map(&self) -> Map<String, Value> {
        let mut all = self.others.clone();
        if let Some((name, arguments)) = &self.tool {
            all.insert("arguments".to_owned(), arguments.clone());
            all.insert("name".to_owned(), Value::from(*name));
        }
        all
    }
}

impl From<Map<String, Value>> for Params<'_> {
    fn from(others: Map<String, Value>) -> Self {
        Self { tool: None, others }
    }
}

/// A call, before it becomes a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    pub(super) method: &'a str,
    pub(super) params: &'a Params<'a>,
    pub(super) options: &'a CallOptions,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) outcome: Result<Answer, RpcError>,
}

/// A result as it came.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) result: Raw,
    /// What a reader would find in it, where that is known.
    pub(super) found: Option<Box<CallToolResult>>,
}

impl From<Raw> for Answer {
    fn from(result: Raw) -> Self {
        Self {
            result,
            found: None,
        }
    }
}

impl Deref for Answer {
    type Target = Raw;

    fn deref(&self) -> &Raw {
        &self.result
    }
}

/// How long an answer may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Without a word.
    pub(super) idle: Duration,
    /// Altogether.
    pub(super) most: Duration,
}

impl Link {
    pub(super) fn patience(&self, options: &CallOptions) -> Patience {
        Patience {
            idle: options.timeout.unwrap_or(self.config.timeout),
            most: options.max_time.unwrap_or(self.config.max_time),
        }
    }

    /// Sends a request and reads to its answer; notifications are passed on and questions answered
    /// meanwhile.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the request is cancelled.
    // No `async fn`: the future would carry the message besides what the wire makes of it.
    pub(super) fn exchange<'a>(
        self: &'a Arc<Self>,
        outgoing: Outgoing,
        patience: Patience,
        attending: Attending<'a>,
    ) -> impl Future<Output = Result<Answered, WireError>> + Send + 'a {
        let mut cancel = Cancel::armed(self, &outgoing);
        let id = outgoing.id.clone();
        let incoming = self.wire.request(outgoing);
        async move {
            let answered = self.read_answer(id, incoming, patience, attending).await;
            // Whoever gave up says so; whoever was refused need not.
            if !matches!(answered, Err(WireError::Timeout(_) | WireError::Broken(_))) {
                cancel.disarm();
            }
            answered
        }
    }

    async fn read_answer(
        self: &Arc<Self>,
        id: Option<RequestId>,
        mut incoming: BoxFuture<'_, Result<Incoming, WireError>>,
        patience: Patience,
        attending: Attending<'_>,
    ) -> Result<Answered, WireError> {
        let following = self.follow(id.as_ref(), attending.progress);
        // What a server of the same process says is there at once, and needs no clock.
        if let Poll::Ready(first) = poll!(&mut incoming) {
            let mut first = first?;
            if let Messages::Only(only) = &mut first.messages
                && let Some(result) = only
                    .as_ref()
                    .and_then(|only| self.written(&only.text, id.as_ref()))
            {
                let found = only.take().and_then(|only| only.found);
                return Ok(Answered {
                    status: first.status,
                    headers: first.headers,
                    outcome: Ok(Answer { result, found }),
                });
            }
            incoming = Box::pin(ready(Ok(first)));
        }
        let news = following
            .as_ref()
            .map(|following| &following.under_way.news);
        let deadline = Deadline::new(self, news, patience);
        // In a box, lest calls that do not wait carry it.
        Box::pin(self.await_answer(id, incoming, deadline, attending)).await
    }

    /// The result in `text`, where a server of the same process wrote it as the answer to `id`.
    fn written(&self, text: &ByteString, id: Option<&RequestId>) -> Option<Raw> {
        let is_ours = self.wire.kind() == WireKind::Memory;
        written_result(text, id.filter(|_| is_ours)?)
    }

    async fn await_answer(
        self: &Arc<Self>,
        id: Option<RequestId>,
        incoming: BoxFuture<'_, Result<Incoming, WireError>>,
        mut deadline: Deadline<'_>,
        attending: Attending<'_>,
    ) -> Result<Answered, WireError> {
        let incoming = deadline.wait(incoming).await??;
        let (status, headers, mut messages) =
            (incoming.status, incoming.headers, incoming.messages);
        loop {
            let Some(text) = deadline.wait(messages.next()).await? else {
                let why = "it ended before the answer".to_owned();
                return Err(WireError::Broken(why));
            };
            let text = text?;
            if let Some(result) = self.written(&text, id.as_ref()) {
                return Ok(Answered {
                    status,
                    headers,
                    outcome: Ok(result.into()),
                });
            }
            match Message::parse(&text, DEFAULT_DEPTH) {
                Ok(Message::Response(response)) if response.id.is_none() || response.id == id => {
                    return Ok(Answered {
                        status,
                        headers,
                        outcome: response.outcome.map(Answer::from),
                    });
                }
                Ok(Message::Response(response)) => {
                    tracing::debug!(id = ?response.id, "an answer to something else is passed over");
                }
                Ok(Message::Notification(n)) => {
                    if self.heard(&n, id.as_ref(), attending) {
                        deadline.extend();
                    }
                }
                Ok(Message::Request(request)) => connect::asked(self, request, attending.handlers),
                Err(malformed) => return Err(WireError::Unreadable(malformed.to_string())),
            }
        }
    }
}

/// When an answer is waited for no longer.
struct Deadline<'a> {
    link: &'a Link,
    /// Progress that was heard elsewhere, where any can be.
    news: Option<&'a Notify>,
    patience: Patience,
    idle: Instant,
    last: Instant,
}

impl<'a> Deadline<'a> {
    fn new(link: &'a Link, news: Option<&'a Notify>, patience: Patience) -> Self {
        let now = Instant::now();
        Self {
            link,
            news,
            patience,
            idle: after(now, patience.idle),
            last: after(now, patience.most),
        }
    }

    fn extend(&mut self) {
        self.idle = after(Instant::now(), self.patience.idle);
    }

    async fn wait<F: Future>(&mut self, future: F) -> Result<F::Output, WireError> {
        let mut future = pin!(future);
        loop {
            let until = self.idle.min(self.last);
            tokio::select! {
                biased;
                outcome = timeout_at(until, &mut future) => if let Ok(output) = outcome {
                    return Ok(output);
                },
                () = heard(self.news) => {
                    self.extend();
                    continue;
                }
            }
            if Instant::now() >= self.last {
                return Err(WireError::Timeout(self.patience.most));
            }
            if !self.link.is_asked() {
                return Err(WireError::Timeout(self.patience.idle));
            }
            self.extend();
        }
    }
}

async fn heard(news: Option<&Notify>) {
    match news {
        Some(news) => news.notified().await,
        None => pending().await,
    }
}

/// `now` and `duration` together; a century later where that is no time at all.
fn after(now: Instant, duration: Duration) -> Instant {
    const LONG: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
    now.checked_add(duration.min(LONG)).unwrap_or(now)
}

/// Tells the server, when it is dropped, that an answer is not wanted any more, where closing the
/// stream does not say so.
pub(super) struct Cancel {
    link: Arc<Link>,
    id: Option<RequestId>,
    method: ByteString,
}

impl Cancel {
    pub(super) fn armed(link: &Arc<Link>, outgoing: &Outgoing) -> Self {
        Self {
            link: Arc::clone(link),
            id: outgoing.id.clone(),
            method: outgoing.method.clone(),
        }
    }

    pub(super) fn disarm(&mut self) {
        self.id = None;
    }
}

impl Drop for Cancel {
    fn drop(&mut self) {
        let Some(id) = self.id.take() else { return };
        let Some(outgoing) = connect::cancellation(&self.link, &id, &self.method) else {
            return;
        };
        // Without a runtime the process is about to end, and its connections with it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let link = Arc::clone(&self.link);
            let said = async move {
                let until = after(Instant::now(), link.config.timeout);
                match timeout_at(until, link.wire.notify(outgoing)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::debug!(%error, "cancellation was not carried"),
                    Err(_) => tracing::debug!("cancellation was not carried in time"),
                }
            };
            self.link.tasks.spawn_on(said, &runtime);
        }
    }
}
