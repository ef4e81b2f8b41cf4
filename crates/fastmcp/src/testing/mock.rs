//! A context to call a handler with.

use std::{
    fmt,
    future::Future,
    ops::Deref,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use fastmcp_auth::{Caller, testing::caller};
use fastmcp_protocol::{
    ProtocolVersion,
    elicit::{ElicitParams, ElicitResult},
    logging::LoggingLevel,
    roots::Root,
    sampling::{CreateMessageParams, CreateMessageResult},
    tool::{CallToolResult, JsonSchema, Tool},
};
use fastmcp_transport::memory::Memory;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::{sync::oneshot, time::timeout};
use tokio_util::sync::CancellationToken;

use super::record::Recorder;
use crate::{
    call::{Input, Outcome},
    client::{Asked, Client, ClientBuilder, Notified, Progress},
    component::{Component, Definition},
    context::Context,
    error::{Error, Result},
    server::{FastMcp, Server},
};

/// The tool whose call the context is of.
const TOOL: &str = "mock";
/// The level of marks in the log, which no filter holds back.
const MARK: LoggingLevel = LoggingLevel::Emergency;
/// How long the end of a call is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// A context to call a handler with, without a client that calls it.
///
/// It is a real one, of a call that is going on in a server of its own: what it logs is sent, what it asks
/// is answered by [`on_elicit`](MockContextBuilder::on_elicit) and its like, and it is cancelled by
/// [`MockContext::cancel`]. Without anything said the caller is `test-user`, with no scopes and no tenant, on a
/// connection without headers.
///
/// ```
/// use fastmcp::{prelude::*, testing::create_mock_context};
///
/// async fn check_tenant_access(context: &Context, tenant: &str) -> bool {
///     let allowed = context.get_state::<String>("tenant_id").as_deref() == Some(tenant);
///     if !allowed {
///         context.warning("Tenant mismatch").await;
///     }
///     allowed
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// let mock = create_mock_context().state("tenant_id", "tenant_a").build().await?;
/// assert!(check_tenant_access(&mock, "tenant_a").await);
/// assert!(!check_tenant_access(&mock, "tenant_b").await);
/// assert_eq!(mock.logs().await?.len(), 1);
/// # Ok(())
/// # }
/// ```
pub fn create_mock_context() -> MockContextBuilder {
    MockContextBuilder {
        subject: "test-user".to_owned(),
        tenant: None,
        scopes: Vec::new(),
        roles: Vec::new(),
        claims: Map::new(),
        caller: None,
        headers: HeaderMap::new(),
        state: Vec::new(),
        client: Client::builder(),
        server: FastMcp::new("mock"),
        fault: None,
    }
}

/// A context that is about to be built; see [`create_mock_context`].
#[must_use = "a context does nothing until it is built"]
pub struct MockContextBuilder {
    subject: String,
    tenant: Option<String>,
    scopes: Vec<String>,
    roles: Vec<String>,
    claims: Map<String, Value>,
    caller: Option<Caller>,
    headers: HeaderMap,
    state: Vec<(String, Value)>,
    client: ClientBuilder,
    server: FastMcp,
    /// The first thing that could not be set.
    fault: Option<Error>,
}

impl MockContextBuilder {
    /// Who calls.
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = subject.into();
        self
    }

    /// The tenant of who calls.
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// What the token of who calls is for.
    pub fn scopes<T: Into<String>>(mut self, scopes: impl IntoIterator<Item = T>) -> Self {
        self.scopes = scopes.into_iter().map(Into::into).collect();
        self
    }

    /// The roles of who calls.
    pub fn roles<T: Into<String>>(mut self, roles: impl IntoIterator<Item = T>) -> Self {
        self.roles = roles.into_iter().map(Into::into).collect();
        self
    }

    /// A claim of the token of who calls.
    pub fn claim(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.claims.insert(name.into(), value.into());
        self
    }

    /// Who calls, altogether: subject, tenant, scopes, roles and claims that were set here do not count then.
    pub fn caller(mut self, caller: Caller) -> Self {
        self.caller = Some(caller);
        self
    }

    /// A header of the request.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        match (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            (Ok(name), Ok(value)) => {
                self.headers.append(name, value);
            }
            _ => self.fail(|| Error::validation(format!("`{name}` and its value are no header"))),
        }
        self
    }

    /// What middleware would have [set](Context::set_state).
    pub fn state<T: Serialize>(mut self, key: impl Into<String>, value: T) -> Self {
        match serde_json::to_value(value) {
            Ok(value) => self.state.push((key.into(), value)),
            Err(error) => self.fail(|| Error::from(error)),
        }
        self
    }

    /// Answers what the handler [asks the user](Context::elicit). Without it, the client cannot be asked.
    pub fn on_elicit<F, A>(mut self, handler: F) -> Self
    where
        F: Fn(Asked<ElicitParams>) -> A + Send + Sync + 'static,
        A: Future<Output = Result<ElicitResult>> + Send + 'static,
    {
        self.client = self.client.on_elicit(handler);
        self
    }

    /// Answers what the handler [asks the model](Context::sample). Without it, there is none.
    pub fn on_sample<F, A>(mut self, handler: F) -> Self
    where
        F: Fn(Asked<CreateMessageParams>) -> A + Send + Sync + 'static,
        A: Future<Output = Result<CreateMessageResult>> + Send + 'static,
    {
        self.client = self.client.on_sample(handler);
        self
    }

    /// The folders that the client [works in](Context::roots).
    pub fn roots(mut self, roots: Vec<Root>) -> Self {
        self.client = self.client.roots(roots);
        self
    }

    /// The server that is called, with all that it gives its handlers; one without anything unless told
    /// otherwise. It gets one more tool, `mock`.
    pub fn server(mut self, server: FastMcp) -> Self {
        self.server = server;
        self
    }

    /// Begins the call.
    ///
    /// # Errors
    ///
    /// When something that was set cannot be, or the server does not let the call through.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn build(self) -> Result<MockContext> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let named = caller(&self.subject)
            .scopes(self.scopes.iter().map(String::as_str))
            .roles(self.roles.iter().map(String::as_str))
            .claims(self.claims);
        let caller = self.caller.unwrap_or_else(|| match &self.tenant {
            Some(tenant) => named.tenant(tenant).build(),
            None => named.build(),
        });
        let (hand, mut handed) = oneshot::channel();
        let server = self.server.component(waiting(hand)).build()?;
        let memory = Memory::connect(Arc::clone(server.door()), caller).with_headers(self.headers);
        let recorder = Recorder::new();
        let client = recorder
            .attach(self.client)
            // The newest revision in which a question waits for its answer: since then the handler runs again.
            .revision(ProtocolVersion::V2025_11_25)
            // Time may be paused, and then a handler that waits a day is no call that hangs.
            .timeout(Duration::MAX)
            .max_time(Duration::MAX)
            .connect_wire(Arc::new(memory), TOOL)
            .await?;
        let caller = client.clone();
        let mut call = Box::pin(async move { caller.call_tool_raw(TOOL, json!({})).await });
        let context = tokio::select! {
            biased;
            context = &mut handed => context.map_err(Error::from)?,
            ended = &mut call => {
                let why = ended.map_or_else(|e| e.message().to_owned(), |r| r.text().to_owned());
                return Err(Error::internal(format!("the server does not let the call through: {why}")));
            }
        };
        for (key, value) in self.state {
            context.set_state(key, value)?;
        }
        let gone = CancellationToken::new();
        let ends = gone.clone();
        server.spawn(async move {
            tokio::select! {
                () = ends.cancelled() => {}
                _ended = call => {}
            }
        });
        Ok(MockContext {
            context,
            recorder,
            gone,
            marks: AtomicU64::new(0),
            _server: server,
            _client: client,
        })
    }

    fn fail(&mut self, fault: impl FnOnce() -> Error) {
        self.fault.get_or_insert_with(fault);
    }
}

impl fmt::Debug for MockContextBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MockContextBuilder")
            .field("subject", &self.subject)
            .field("tenant", &self.tenant)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

/// A tool that hands its context over, and waits until the call is called off.
fn waiting(hand: oneshot::Sender<Context>) -> Component {
    let hand = Mutex::new(Some(hand));
    let tool = Tool::new(TOOL, JsonSchema::empty());
    Component::new(
        Definition::Tool(tool),
        move |context: Context, _: Input| -> BoxFuture<'static, Result<Outcome>> {
            let hand = hand.lock().unwrap_or_else(PoisonError::into_inner).take();
            Box::pin(async move {
                let cancelled = context.cancellation().clone();
                if let Some(hand) = hand {
                    // Nobody to take it: the test is over.
                    let _over = hand.send(context);
                }
                cancelled.cancelled().await;
                Ok(CallToolResult::default().into())
            })
        },
    )
}

/// A context to call a handler with; see [`create_mock_context`]. Dropped, its call is called off.
pub struct MockContext {
    context: Context,
    recorder: Recorder,
    /// Fires when the call is called off.
    gone: CancellationToken,
    marks: AtomicU64,
    _server: Server,
    _client: Client,
}

/// A message that was logged.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Logged {
    /// How severe it is.
    pub level: LoggingLevel,
    /// What is said.
    pub data: Value,
}

impl Logged {
    /// What is said, where it is text; empty where it is not.
    #[must_use]
    pub fn text(&self) -> &str {
        self.data.as_str().unwrap_or_default()
    }
}

impl MockContext {
    /// The context, for a handler.
    #[must_use]
    pub fn context(&self) -> Context {
        self.context.clone()
    }

    /// What was logged so far, in order.
    ///
    /// # Errors
    ///
    /// When what was sent does not arrive, or is no log message.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn logs(&self) -> Result<Vec<Logged>> {
        self.settle().await?;
        let logged = self.recorder.of("notifications/message").into_iter();
        let logged = logged.filter(|said| !is_mark(said, None)).map(|said| {
            let level = said.params.get("level").and_then(Value::as_str);
            let level = level.and_then(LoggingLevel::parse);
            Ok(Logged {
                level: level.ok_or_else(|| Error::internal("a log message has no level"))?,
                data: said.params.get("data").cloned().unwrap_or_default(),
            })
        });
        logged.collect()
    }

    /// The progress that was reported so far, in order.
    ///
    /// # Errors
    ///
    /// When what was sent does not arrive.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn progress(&self) -> Result<Vec<Progress>> {
        self.settle().await?;
        let reports = self.recorder.of("notifications/progress").into_iter();
        let progress = reports.map(|report| {
            let number = |name: &str| report.params.get(name).and_then(Value::as_f64);
            let message = report.params.get("message").and_then(Value::as_str);
            Progress {
                progress: number("progress").unwrap_or_default(),
                total: number("total"),
                message: message.map(str::to_owned),
            }
        });
        Ok(progress.collect())
    }

    /// Everything that the client was told, and what it will be told.
    #[must_use]
    pub const fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Has the client call the call off, and waits until the [context](Context::cancellation) knows.
    ///
    /// # Errors
    ///
    /// When it does not get to know.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the call is called off all the same.
    pub async fn cancel(&self) -> Result<()> {
        self.gone.cancel();
        let cancelled = self.context.cancellation().cancelled();
        timeout(PATIENCE, cancelled).await.map_err(Error::from)
    }

    /// Waits until everything that was sent has arrived. A call that was called off sends nothing.
    async fn settle(&self) -> Result<()> {
        if self.context.cancellation().is_cancelled() {
            return Ok(());
        }
        let mark = mark(self.marks.fetch_add(1, Ordering::Relaxed));
        self.context.log(MARK, mark.clone()).await;
        let arrives = self.recorder.wait(1, |said| is_mark(said, Some(&mark)));
        let arrived = arrives.await.map(drop);
        arrived.map_err(|_| Error::internal("what the context sent does not arrive"))
    }
}

/// What stands in the log after everything that was sent before it.
fn mark(number: u64) -> String {
    format!("fastmcp::testing mark {number}")
}

fn is_mark(said: &Notified, mark: Option<&str>) -> bool {
    let data = said.params.get("data").and_then(Value::as_str);
    data.is_some_and(|data| match mark {
        Some(mark) => data == mark,
        None => data.starts_with("fastmcp::testing mark "),
    })
}

impl Deref for MockContext {
    type Target = Context;

    fn deref(&self) -> &Context {
        &self.context
    }
}

impl Drop for MockContext {
    fn drop(&mut self) {
        self.gone.cancel();
    }
}

impl fmt::Debug for MockContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MockContext")
            .field("context", &self.context)
            .field("recorder", &self.recorder)
            .finish_non_exhaustive()
    }
}
