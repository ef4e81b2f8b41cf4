//! What a handler may know and do during one request.

mod ask;
mod current;
mod home;
mod inject;
mod kept;
mod once;
mod rare;
mod reach;
mod task;
mod time;
mod user;
mod value;

use std::{
    any::Any,
    borrow::Cow,
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use fastmcp_auth::{AccessToken, Caller};
use fastmcp_protocol::{
    Raw, RequestId,
    capability::ClientCapabilities,
    elicit::{ElicitParams, ElicitResult},
    jsonrpc::encode_call,
    logging::{LogMessageParams, LoggingLevel},
    meta::{IDEMPOTENCY_KEY, Implementation, Peek, ProgressToken, RequestMeta},
    mrtr::{InputRequest, InputResponses},
    roots::{ListRootsResult, Root},
    sampling::{CreateMessageParams, CreateMessageResult},
    wire,
};
use fastmcp_transport::{Frame, Outlet, Peer};
use http::HeaderMap;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{
    call::Change,
    error::{Error, Result},
};

pub use ask::Elicited;
pub(crate) use ask::{Asker, Asking, Earlier, Replay, fits, require};
pub use current::get_context;
pub(crate) use current::{current, with};
pub(crate) use home::Home;
pub use inject::{Depends, FromContext, State};
pub(crate) use kept::{Kept, rfc3339};
use rare::Rare;
pub(crate) use task::{Begin, Promotion, Running};
pub use user::UserSession;
pub(crate) use value::Shelf;
pub use value::{Needs, Values};

/// Handed to every handler that asks for it. Cheap to clone; lives for one request.
///
/// The second part is a server within the one that was called, where the handler belongs to such.
#[derive(Clone)]
pub struct Context(Arc<Inner>, Option<Arc<dyn Home>>);

/// Made once for every call: what few of them need stands in a box, and maps are those that are free
/// while they are empty.
struct Inner {
    origin: Origin,
    capabilities: OnceLock<Box<ClientCapabilities>>,
    state: Mutex<BTreeMap<Cow<'static, str>, Kept>>,
    progress: Mutex<f64>,
    asking: Asking,
    promotion: Option<Promotion>,
    rare: OnceLock<Box<Rare>>,
}

/// Where a request comes from: what a session room knows of it. Handles alone, since it is moved for
/// every call: what is large is shared.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) request_id: Option<RequestId>,
    pub(crate) caller: Caller,
    pub(crate) peer: Arc<Peer>,
    /// `_meta`, what is called and its arguments, as sent.
    pub(crate) peek: Arc<Peek>,
    pub(crate) declared: Declared,
    /// The least severe level that the client wants; none at all where absent.
    pub(crate) log_level: Option<LoggingLevel>,
    pub(crate) outlet: Outlet,
    pub(crate) cancel: CancellationToken,
    /// The server that was called.
    pub(crate) home: Arc<dyn Home>,
    /// The id that an earlier round of this call gave it.
    pub(crate) operation: Option<String>,
}

/// Where the client said who it is and what it can.
#[derive(Clone, Debug)]
pub(crate) enum Declared {
    /// In the `_meta` of this request.
    Here,
    /// When its session began; nothing where it has none.
    Before(Option<Arc<dyn Known>>),
}

/// What is known of a client since its session began.
pub(crate) trait Known: Any + fmt::Debug + Send + Sync {
    /// The id of the session.
    fn id(&self) -> &str;
    fn capabilities(&self) -> &ClientCapabilities;
    fn client_info(&self) -> &Implementation;
}

impl Origin {
    /// The session that the client opened, where it has one.
    fn session(&self) -> Option<&dyn Known> {
        match &self.declared {
            Declared::Before(session) => session.as_deref(),
            Declared::Here => None,
        }
    }
}

impl Context {
    pub(crate) fn new(origin: Origin, asking: Asking, promotion: Option<Promotion>) -> Self {
        let inner = Inner {
            origin,
            capabilities: OnceLock::new(),
            state: Mutex::default(),
            progress: Mutex::new(f64::NEG_INFINITY),
            asking,
            promotion,
            rare: OnceLock::new(),
        };
        Self(Arc::new(inner), None)
    }

    /// The same request, for a handler of `home`: a server within the one that was called.
    #[must_use]
    pub(crate) fn at(&self, home: Arc<dyn Home>) -> Self {
        Self(Arc::clone(&self.0), Some(home))
    }

    /// The server that the handler belongs to.
    pub(crate) fn home(&self) -> &Arc<dyn Home> {
        self.1.as_ref().unwrap_or(&self.0.origin.home)
    }

    /// What few requests need.
    fn rare(&self) -> &Rare {
        self.0.rare.get_or_init(Box::default)
    }

    /// The id of the JSON-RPC request; absent for calls that came through another door.
    #[must_use]
    pub fn request_id(&self) -> Option<&RequestId> {
        self.0.origin.request_id.as_ref()
    }

    /// Who is calling.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.0.origin.caller
    }

    /// The caller's access token, where there is one.
    #[must_use]
    pub fn access_token(&self) -> Option<&AccessToken> {
        self.0.origin.caller.token()
    }

    /// The client that the token was issued to.
    #[must_use]
    pub fn client_id(&self) -> Option<&str> {
        self.0.origin.caller.client_id()
    }

    /// The name and version that the client gave itself.
    #[must_use]
    pub fn client_info(&self) -> Option<Implementation> {
        match self.0.origin.session() {
            Some(session) => Some(session.client_info().clone()),
            None => self.meta().client_info.as_ref()?.decode().ok(),
        }
    }

    /// What the client can do, as it declared.
    #[must_use]
    pub fn client_capabilities(&self) -> &ClientCapabilities {
        let origin = &self.0.origin;
        if let Some(session) = origin.session() {
            return session.capabilities();
        }
        self.0.capabilities.get_or_init(|| match origin.declared {
            Declared::Here => {
                let declared = origin.peek.meta.client_capabilities.as_ref();
                declared
                    .and_then(|raw| raw.decode().ok())
                    .unwrap_or_default()
            }
            Declared::Before(_) => Box::default(),
        })
    }

    /// The session of a legacy client.
    #[must_use]
    pub fn session_id(&self) -> Option<&str> {
        self.0.origin.session().map(Known::id)
    }

    /// The headers of the HTTP request; empty on other transports.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.0.origin.peer.headers
    }

    /// The other side of the connection.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.0.origin.peer
    }

    /// What the request says about itself.
    #[must_use]
    pub fn meta(&self) -> &RequestMeta {
        &self.0.origin.peek.meta
    }

    /// Where the client wants to read of progress, if it does.
    #[must_use]
    pub fn progress_token(&self) -> Option<&ProgressToken> {
        self.0.origin.peek.progress_token.as_ref()
    }

    /// Fires when the answer is no longer wanted.
    #[must_use]
    pub fn cancellation(&self) -> &CancellationToken {
        &self.0.origin.cancel
    }

    /// Sends a log message to the client, if it wants messages of this level. A task has no messages.
    ///
    /// # Cancel safety
    ///
    /// Dropped while it waits for a slow reader, nothing is sent.
    pub async fn log(&self, level: LoggingLevel, message: impl Into<String>) {
        let Some(wanted) = self.0.origin.log_level else {
            return;
        };
        if level < wanted || self.running().is_some() {
            return;
        }
        let params = json!({"level": level, "data": message.into()}).to_string();
        self.send(encode_call(None, "notifications/message", Some(&params)))
            .await;
    }

    /// Passes on what another server logged.
    pub(crate) async fn pass_log(&self, message: &LogMessageParams) {
        let wanted = self
            .log_level()
            .is_some_and(|wanted| message.level >= wanted);
        if let (true, Ok(params)) = (wanted, serde_json::to_string(message)) {
            self.send(encode_call(None, "notifications/message", Some(&params)))
                .await;
        }
    }

    /// The least severe level that the client wants to hear of; none at all where absent.
    #[must_use]
    pub fn log_level(&self) -> Option<LoggingLevel> {
        self.0.origin.log_level
    }

    /// [`Self::log`] at level debug.
    pub async fn debug(&self, message: impl Into<String>) {
        self.log(LoggingLevel::Debug, message).await;
    }

    /// [`Self::log`] at level info.
    pub async fn info(&self, message: impl Into<String>) {
        self.log(LoggingLevel::Info, message).await;
    }

    /// [`Self::log`] at level warning.
    pub async fn warning(&self, message: impl Into<String>) {
        self.log(LoggingLevel::Warning, message).await;
    }

    /// [`Self::log`] at level error.
    pub async fn error(&self, message: impl Into<String>) {
        self.log(LoggingLevel::Error, message).await;
    }

    /// Reports progress, if the client asked for it. Values that do not grow are left out, as the
    /// specification demands. A task has no progress: there `message` says how far it is, to whoever
    /// looks at it, and is written down at most once per interval of looking.
    ///
    /// # Cancel safety
    ///
    /// Dropped while it waits for a slow reader, nothing is sent.
    pub async fn report_progress(&self, progress: f64, total: Option<f64>, message: Option<&str>) {
        if let Some(task) = self.running() {
            if let Some(message) = message {
                task.say(message).await;
            }
            return;
        }
        let Some(token) = self.progress_token() else {
            return;
        };
        {
            let mut last = self
                .0
                .progress
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if progress.is_nan() || progress <= *last {
                return;
            }
            *last = progress;
        }
        let params = wire::progress(token, progress, total, message);
        self.send(encode_call(None, "notifications/progress", Some(&params)))
            .await;
    }

    async fn send(&self, message: String) {
        if self
            .0
            .origin
            .outlet
            .send(Frame::message(message))
            .await
            .is_err()
        {
            tracing::debug!("client is gone; notification dropped");
        }
    }

    /// Lets the client go while the call goes on: its stream ends, and it comes back for the rest after
    /// `retry`. Spares a connection during long work. Whether that was done: only clients of
    /// 2025-11-25 over HTTP know of it, for others the stream stays open.
    ///
    /// Source: MCP 2025-11-25, basic/transports (SEP-1699).
    pub fn close_stream(&self, retry: Duration) -> bool {
        self.0.origin.outlet.let_go(retry)
    }

    /// Asks the user for a `T` and waits for the answer. One call in both eras.
    ///
    /// `key` names the question within this request; `T` is a struct of strings, numbers, booleans
    /// and enums. A modern client is answered that input is required, and the handler runs again
    /// from its start with the answer at hand: what stands before a question must bear repeating.
    ///
    /// # Errors
    ///
    /// When the user declines or cancels, when the answer does not fit `T`, when the client cannot
    /// ask, when `key` is used twice, or when `T` is no form.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe; the question may have reached the user.
    pub async fn elicit<T>(&self, key: &str, message: impl Into<String>) -> Result<T>
    where
        T: DeserializeOwned + schemars::JsonSchema,
    {
        match self.try_elicit(key, message).await? {
            Elicited::Accepted(value) => Ok(value),
            Elicited::Declined => Err(Error::declined(format!("the user declined `{key}`"))),
            Elicited::Cancelled => Err(Error::declined(format!("the user cancelled `{key}`"))),
        }
    }

    /// As [`Self::elicit`], with a refusal as a value.
    ///
    /// # Errors
    ///
    /// As [`Self::elicit`], refusals apart.
    pub async fn try_elicit<T>(&self, key: &str, message: impl Into<String>) -> Result<Elicited<T>>
    where
        T: DeserializeOwned + schemars::JsonSchema,
    {
        let request = ask::form::<T>(message.into())?;
        let answer = self.ask(key, request).await?;
        ask::read_form(key, &answer)
    }

    /// Asks the user by parameters made by hand: a form with a schema of its own, or an address.
    ///
    /// A refusal is an answer: see [`ElicitResult::action`]. An accepted form fits its schema.
    ///
    /// # Errors
    ///
    /// As [`Self::elicit`], refusals apart.
    ///
    /// # Cancel safety
    ///
    /// As [`Self::elicit`].
    pub async fn elicit_raw(&self, key: &str, params: ElicitParams) -> Result<ElicitResult> {
        Ok(self.ask(key, params.into()).await?.decode()?)
    }

    /// Asks the client's model. One call in both eras, as [`Self::elicit`]. Text is a question of the user,
    /// to be answered in at most 1,024 tokens.
    ///
    /// # Errors
    ///
    /// When the client cannot or will not run its model, when its answer is ill-typed, or when `key`
    /// is used twice.
    ///
    /// # Cancel safety
    ///
    /// As [`Self::elicit`].
    pub async fn sample(
        &self,
        key: &str,
        params: impl Into<CreateMessageParams>,
    ) -> Result<CreateMessageResult> {
        Ok(self.ask(key, params.into().into()).await?.decode()?)
    }

    /// Asks for the folders that the client works in. One call in both eras, as [`Self::elicit`].
    ///
    /// # Errors
    ///
    /// When the client has no roots, when its answer is ill-typed, or when `key` is used twice.
    ///
    /// # Cancel safety
    ///
    /// As [`Self::elicit`].
    pub async fn roots(&self, key: &str) -> Result<Vec<Root>> {
        let answer = self.ask(key, InputRequest::ListRoots).await?;
        Ok(answer.decode::<ListRootsResult>()?.roots)
    }

    /// Computes a value once for all rounds of this call.
    ///
    /// What a handler works out before it asks, it would work out again when it runs again with the
    /// answer; what it remembers, travels with the call instead, sealed. Together with the answers
    /// that may be 16 KiB. The client does not see it, but a round that is lost repeats `make`, so it
    /// must bear repeating: a price that was looked up, not an order that was placed.
    ///
    /// # Errors
    ///
    /// What `make` returns, and when the value cannot be represented as JSON or read back as a `T`.
    ///
    /// # Cancel safety
    ///
    /// As the future of `make`.
    pub async fn remember<T, F, Fut>(&self, key: &str, make: F) -> Result<T>
    where
        T: Serialize + DeserializeOwned,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        let replay = self.0.asking.replay();
        if let Some(value) = replay.recall(key) {
            return Ok(serde_json::from_value(value)?);
        }
        let value = make().await?;
        replay.keep(key, serde_json::to_value(&value)?);
        Ok(value)
    }

    /// Does something at most once per operation, however often the client repeats the call.
    ///
    /// An operation is named by the client (`_meta["dev.fastmcp/idempotencyKey"]`), else by the task that
    /// the call runs as, else by the state that an answered question brought back; a call that has none
    /// of them is refused. A note stands in the server's store before `make` runs, and its result after
    /// it, for 24 h; a repetition of the same operation with the same arguments by the same caller gets
    /// that result. Where `make` failed, it fails again with the same message; where its end is not
    /// recorded, since the process died in the midst of it or it is under way, that is said. How far
    /// "at most once" reaches is what the store promises: one process for the one in memory.
    ///
    /// # Errors
    ///
    /// What `make` returns; when there is no operation id, when it was used with other arguments, when an
    /// earlier end is not recorded, and when the store fails before `make` runs.
    ///
    /// # Cancel safety
    ///
    /// Dropped while `make` runs, it counts as begun and is not done again.
    pub async fn once<T, F, Fut>(&self, key: &str, make: F) -> Result<T>
    where
        T: Serialize + DeserializeOwned,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        let origin = &self.0.origin;
        let named = origin.peek.meta.idempotency_key.as_ref();
        let operation = named
            .map(|key| format!("key:{key}"))
            .or_else(|| self.running().map(|task| format!("task:{}", task.id())))
            .or_else(|| origin.operation.as_ref().map(|id| format!("call:{id}")))
            .ok_or_else(|| {
                Error::validation(format!(
                    "`{key}` is done at most once per operation, and this call names none: send `_meta[\"{IDEMPOTENCY_KEY}\"]`"
                ))
            })?;
        let deed = once::Deed {
            store: self.home().store(),
            principal: origin.caller.principal().as_str(),
            target: origin.peek.target.as_deref().unwrap_or_default(),
            operation: &operation,
            key,
            args: origin.peek.arguments.as_ref(),
        };
        deed.once(make).await
    }

    /// Goes on as a task from here, if the call may: the client is answered now, and looks for the result
    /// later. What is asked before, is asked before the task begins.
    ///
    /// For tools with [`ToolBuilder::begins_task`](crate::ToolBuilder::begins_task); the others are tasks
    /// from their start. Of a client that knows no tasks the call goes on as it is.
    ///
    /// # Errors
    ///
    /// When the caller has too many tasks, or the task cannot be stored.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe; the task may have begun.
    pub async fn begin_task(&self) -> Result<()> {
        match &self.0.promotion {
            Some(promotion) => promotion.want().await,
            None => Ok(()),
        }
    }

    /// The id of the task that this call runs as.
    #[must_use]
    pub fn task_id(&self) -> Option<String> {
        self.running().map(|task| task.id().to_owned())
    }

    fn running(&self) -> Option<Arc<dyn Running>> {
        self.0.promotion.as_ref()?.task()
    }

    pub(crate) fn promotion(&self) -> Option<&Promotion> {
        self.0.promotion.as_ref()
    }

    /// Tells whoever subscribed that something changed. For components, [`crate::registry::Registry::edit`]
    /// tells it by itself; this is for the contents of resources, and for lists that are made elsewhere.
    pub fn notify(&self, change: Change) {
        self.home().changes().tell(change);
    }

    /// Asks the client, by whatever its era and session provide.
    pub(crate) async fn ask(&self, key: &str, request: InputRequest) -> Result<Raw> {
        ask::require(self.client_capabilities(), &request)?;
        let _waits = self.waits();
        match self.running() {
            Some(task) => self.0.asking.ask_in(&*task, key, request).await,
            None => self.0.asking.ask(key, request).await,
        }
    }

    /// The answer to `key` that came with this request.
    #[must_use]
    pub fn input_response(&self, key: &str) -> Option<Raw> {
        self.0.asking.answer(key)
    }

    /// What a gate put into an earlier [`crate::gate::Asks`] of this call.
    #[must_use]
    pub fn gate_state(&self) -> Option<Value> {
        self.0.asking.gate_state()
    }

    /// Every answer that came with the request.
    pub(crate) fn input_responses(&self) -> &InputResponses {
        self.0.asking.answers()
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.0.origin
    }

    pub(crate) fn asking(&self) -> &Asking {
        &self.0.asking
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("request_id", &self.0.origin.request_id)
            .finish_non_exhaustive()
    }
}
