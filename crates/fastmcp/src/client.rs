//! A client: of a server in the same process, of an address, of a command.
//!
//! ```
//! use fastmcp::{client::CallOptions, prelude::*};
//! use std::time::Duration;
//!
//! # async fn example(server: Server) -> Result<()> {
//! let client = Client::builder()
//!     .timeout(Duration::from_secs(5))
//!     .on_change(|change| tracing::info!(?change))
//!     .connect_server(&server)
//!     .await?;
//! let options = CallOptions::new().on_progress(|p| tracing::info!(p.progress));
//! let sum = client.call_tool_with("add", json!({"a": 5, "b": 3}), &options).await?;
//! assert_eq!(sum.data::<i64>()?, 8);
//! # Ok(())
//! # }
//! ```
//!
//! [`ClientGroup`] makes several servers one, those that a file of `mcpServers` ([`McpConfig`]) names for
//! example. [`Client::list_skills`] and [`Client::sync_skills`] get the skills of a server.

mod builder;
mod cache;
mod call;
mod connect;
mod credentials;
mod group;
mod handler;
mod link;
mod login;
mod mcp_config;
mod mirror;
mod notice;
mod page;
mod relay;
mod result;
mod round;
mod skill;
mod subscription;
mod task;

use std::{fmt, sync::Arc};

use fastmcp_auth::Caller;
use fastmcp_protocol::{
    ProtocolVersion, Raw,
    capability::ServerCapabilities,
    completion::{
        CompleteArgument, CompleteContext, CompleteParams, CompleteResult, Completion, Reference,
    },
    discover::DiscoverResult,
    elicit::ElicitResult,
    logging::LoggingLevel,
    meta::Implementation,
    mrtr::InputRequest,
    prompt::{GetPromptResult, ListPromptsResult, Prompt},
    resource::{
        ListResourceTemplatesResult, ListResourcesResult, ReadResourceResult, Resource,
        ResourceTemplate,
    },
    roots::Root,
    sampling::{CreateMessageParams, CreateMessageResult},
    subscription::SubscriptionFilter,
    tool::Tool,
};
use serde_json::{Map, Value, json};

use crate::{
    error::{Error, Result},
    server::Server,
};

pub use builder::ClientBuilder;
pub use cache::ResponseCache;
pub use call::CallOptions;
pub use group::{ClientGroup, GroupFailure, GroupTools};
pub use handler::Asked;
pub(crate) use handler::Handlers;
pub use login::BrowserLogin;
pub use mcp_config::{McpConfig, McpServer, Remote};
pub use notice::{Change, Notified, Progress};
pub(crate) use relay::Step;
pub use result::CallResult;
pub use skill::{RefusedSkill, RemoteSkill, SkillError, SkillFailure, SkillList, SkillSync};
pub use subscription::Subscription;
pub use task::TaskHandle;

use call::{Answer, Params};
use link::Link;

/// Calls a server. Cheap to clone; the connection ends with the last clone.
#[derive(Clone)]
pub struct Client {
    link: Arc<Link>,
    _life: Arc<Life>,
}

/// Ends the connection when the last client of it is gone.
struct Life(Arc<Link>);

impl Drop for Life {
    fn drop(&mut self) {
        self.0.stop.cancel();
        // Without a runtime the process is about to end, and its connections with it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let link = Arc::clone(&self.0);
            let tasks = link.tasks.clone();
            tasks.spawn_on(async move { connect::hang_up(&link).await }, &runtime);
        }
    }
}

impl Client {
    /// What a client can be told before it connects.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// Connects to `server` as the local caller, and hears of everything.
    ///
    /// # Errors
    ///
    /// When the server does not answer `server/discover`.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn connect(server: &Server) -> Result<Self> {
        Self::connect_as(server, server.local_caller().clone()).await
    }

    /// Connects to `server` as `caller`, and hears of everything.
    ///
    /// # Errors
    ///
    /// As [`Self::connect`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn connect_as(server: &Server, caller: Caller) -> Result<Self> {
        let builder = Self::builder().observe();
        builder.connect_server_as(server, caller).await
    }

    fn of(link: Arc<Link>) -> Self {
        Self {
            _life: Arc::new(Life(Arc::clone(&link))),
            link,
        }
    }

    /// Answers what servers ask the user: `handler` gets the key and the request. A server that
    /// opened a session before is not told; see [`ClientBuilder::on_elicit`].
    #[must_use]
    pub fn on_elicit<F>(self, handler: F) -> Self
    where
        F: Fn(&str, &InputRequest) -> ElicitResult + Send + Sync + 'static,
    {
        self.link.change_handlers(|handlers| {
            handlers.set_elicit(move |asked| {
                let answer = handler(&asked.key, &InputRequest::Elicit(asked.params));
                std::future::ready(Ok(answer))
            });
        });
        self
    }

    /// Runs the model for servers that ask for it: `handler` gets the key and the request. A
    /// server that opened a session before is not told; see [`ClientBuilder::on_sample`].
    #[must_use]
    pub fn on_sample<F>(self, handler: F) -> Self
    where
        F: Fn(&str, &CreateMessageParams) -> CreateMessageResult + Send + Sync + 'static,
    {
        self.link.change_handlers(|handlers| {
            handlers.set_sample(move |asked| {
                let answer = handler(&asked.key, &asked.params);
                std::future::ready(Ok(answer))
            });
        });
        self
    }

    /// Names the folders that the client works in. A server that opened a session before is not
    /// told; see [`ClientBuilder::roots`].
    #[must_use]
    pub fn with_roots(self, roots: Vec<Root>) -> Self {
        self.link
            .change_handlers(|handlers| handlers.set_roots(roots));
        self
    }

    /// Names other folders than before, and tells the server where its revision has words for that.
    ///
    /// # Errors
    ///
    /// When the client named no folders before it connected, or the server cannot be told.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the server may not have been told.
    pub async fn set_roots(&self, roots: Vec<Root>) -> Result<()> {
        if !self.link.handlers().has_roots() {
            return Err(Error::validation(
                "a client that named no roots at first cannot name others; see `ClientBuilder::roots`",
            ));
        }
        self.link
            .change_handlers(|handlers| handlers.set_roots(roots));
        connect::announces_roots(&self.link).await
    }

    /// The revision that is spoken.
    #[must_use]
    pub fn protocol_version(&self) -> ProtocolVersion {
        self.link.agreed.load().version()
    }

    /// Which server this is, where it says so. Not to be trusted: any server may use any name.
    #[must_use]
    pub fn server_info(&self) -> Option<Implementation> {
        self.link.agreed.load().server().cloned()
    }

    /// What the server can do.
    #[must_use]
    pub fn server_capabilities(&self) -> ServerCapabilities {
        self.link.agreed.load().described().capabilities.clone()
    }

    /// How to use the server, for the model.
    #[must_use]
    pub fn instructions(&self) -> Option<String> {
        self.link.agreed.load().described().instructions.clone()
    }

    /// What the server says of itself.
    ///
    /// # Errors
    ///
    /// When the server answers with an error.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn discover(&self) -> Result<DiscoverResult> {
        if connect::subscribes_one_by_one(&self.link) {
            return Ok(self.link.agreed.load().described().clone());
        }
        Ok(self
            .request("server/discover", Map::new())
            .await?
            .decode()?)
    }

    /// Every tool. Over HTTP, tools that mark their arguments wrongly are left out.
    ///
    /// # Errors
    ///
    /// When the server answers with an error.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn list_tools(&self) -> Result<Vec<Tool>> {
        self.link.list_tools().await
    }

    /// Every resource.
    ///
    /// # Errors
    ///
    /// When the server answers with an error.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn list_resources(&self) -> Result<Vec<Resource>> {
        self.link
            .pages("resources/list", |page: ListResourcesResult| {
                (page.resources, page.next_cursor)
            })
            .await
    }

    /// Every resource template.
    ///
    /// # Errors
    ///
    /// When the server answers with an error.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn list_resource_templates(&self) -> Result<Vec<ResourceTemplate>> {
        self.link
            .pages(
                "resources/templates/list",
                |page: ListResourceTemplatesResult| (page.resource_templates, page.next_cursor),
            )
            .await
    }

    /// Every prompt.
    ///
    /// # Errors
    ///
    /// When the server answers with an error.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn list_prompts(&self) -> Result<Vec<Prompt>> {
        self.link
            .pages("prompts/list", |page: ListPromptsResult| {
                (page.prompts, page.next_cursor)
            })
            .await
    }

    /// Calls a tool.
    ///
    /// # Errors
    ///
    /// [`crate::ToolError`]'s text when the tool failed, other errors when the call did.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the call is cancelled.
    pub async fn call_tool(&self, name: &str, arguments: Value) -> Result<CallResult> {
        self.call_tool_with(name, arguments, &CallOptions::default())
            .await
    }

    /// Calls a tool, with `options` of its own.
    ///
    /// # Errors
    ///
    /// As [`Self::call_tool`].
    ///
    /// # Cancel safety
    ///
    /// Dropped, the call is cancelled.
    pub async fn call_tool_with(
        &self,
        name: &str,
        arguments: Value,
        options: &CallOptions,
    ) -> Result<CallResult> {
        let result = self.call_tool_raw_with(name, arguments, options).await?;
        result.or_failure()
    }

    /// Calls a tool; a failure of the tool is a result.
    ///
    /// # Errors
    ///
    /// When the call failed.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the call is cancelled.
    pub async fn call_tool_raw(&self, name: &str, arguments: Value) -> Result<CallResult> {
        self.call_tool_raw_with(name, arguments, &CallOptions::default())
            .await
    }

    /// Calls a tool, with `options` of its own; a failure of the tool is a result.
    ///
    /// What a tool returns is checked against the output schema of the last
    /// [list](Self::list_tools).
    ///
    /// # Errors
    ///
    /// When the call failed, or the result is not what the tool announced.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the call is cancelled.
    pub async fn call_tool_raw_with(
        &self,
        name: &str,
        arguments: Value,
        options: &CallOptions,
    ) -> Result<CallResult> {
        let params = Params::of_tool(name, arguments);
        let rounds = self.link.rounds("tools/call", params, options);
        let (answer, _) = Box::pin(rounds).await?;
        self.result_of(name, answer)
    }

    /// Reads what the tool `name` returned.
    fn result_of(&self, name: &str, answer: Answer) -> Result<CallResult> {
        let result = match answer.found {
            Some(found) => *found,
            None => answer.result.decode()?,
        };
        let result = self.link.agreed.load().canonical_result(result);
        if let (false, Some(tool)) = (result.is_error, self.link.tools.get(name)) {
            tool.check(name, result.structured_content.as_ref())?;
        }
        Ok(CallResult(result))
    }

    /// Reads a resource.
    ///
    /// # Errors
    ///
    /// When the server answers with an error.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the call is cancelled.
    pub async fn read_resource(&self, uri: &str) -> Result<ReadResourceResult> {
        Ok(self
            .request("resources/read", object(json!({"uri": uri})))
            .await?
            .decode()?)
    }

    /// Renders a prompt.
    ///
    /// # Errors
    ///
    /// When the server answers with an error.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the call is cancelled.
    pub async fn get_prompt(&self, name: &str, arguments: Value) -> Result<GetPromptResult> {
        Ok(self
            .request("prompts/get", named(name, arguments))
            .await?
            .decode()?)
    }

    /// Values that complete the argument `name` of a prompt or resource template, of which `value`
    /// is there; `context` has the arguments that are filled in already.
    ///
    /// # Errors
    ///
    /// When the server answers with an error.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the call is cancelled.
    pub async fn complete(
        &self,
        reference: Reference<'_>,
        name: &str,
        value: &str,
        context: Option<CompleteContext>,
    ) -> Result<Completion> {
        let params = CompleteParams {
            reference,
            argument: CompleteArgument {
                name: name.into(),
                value: value.into(),
            },
            context,
        };
        let params = object(serde_json::to_value(params)?);
        let result = self.request("completion/complete", params).await?;
        Ok(result.decode::<CompleteResult>()?.completion)
    }

    /// Hears of changes, until the subscription is dropped.
    ///
    /// # Errors
    ///
    /// When the server does not tell of changes, or not of these.
    ///
    /// # Cancel safety
    ///
    /// Dropped, nothing is subscribed to.
    pub async fn subscribe(&self, filter: SubscriptionFilter) -> Result<Subscription> {
        Box::pin(subscription::subscribe(&self.link, filter)).await
    }

    /// Wants log messages from `level` on.
    ///
    /// # Errors
    ///
    /// When the server has none, or answers with an error.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the server may not have been told.
    pub async fn set_log_level(&self, level: LoggingLevel) -> Result<()> {
        connect::set_level(&self.link, level).await
    }

    /// Asks the server whether it is there.
    ///
    /// # Errors
    ///
    /// When it does not answer, or with an error.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn ping(&self) -> Result<()> {
        connect::ping(&self.link).await
    }

    /// The notifications that came so far, which are forgotten here; the last 1,024 of them.
    pub fn take_notifications(&self) -> Vec<Notified> {
        self.link.notices.take()
    }

    /// Forgets the answers of this server that are [kept](ClientBuilder::cache).
    pub fn forget_answers(&self) {
        self.link.shelf.forget_all();
    }

    /// Sends one request and answers what is asked meanwhile.
    ///
    /// # Errors
    ///
    /// When the server answers with an error.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the call is cancelled.
    pub async fn request(&self, method: &str, params: Map<String, Value>) -> Result<Raw> {
        self.request_with(method, params, &CallOptions::default())
            .await
    }

    /// Sends one request, with `options` of its own, and answers what is asked meanwhile.
    ///
    /// # Errors
    ///
    /// When the server answers with an error.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the call is cancelled.
    pub async fn request_with(
        &self,
        method: &str,
        params: Map<String, Value>,
        options: &CallOptions,
    ) -> Result<Raw> {
        self.link.request(method, params, options).await
    }

    /// Ends subscriptions, the session where there is one, and the connection. Every clone of the
    /// client is closed by it.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it goes on when the last clone is dropped.
    pub async fn close(&self) {
        connect::close(&self.link).await;
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("link", &self.link)
            .finish_non_exhaustive()
    }
}

fn named(name: &str, arguments: Value) -> Map<String, Value> {
    let mut params = Map::new();
    params.insert("arguments".to_owned(), arguments);
    params.insert("name".to_owned(), Value::from(name));
    params
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}
