//! A client in the same process, for tests and for servers that use servers.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
};

use bytestring::ByteString;
use fastmcp_auth::Caller;
use fastmcp_protocol::{
    Message, ProtocolVersion, Raw, RequestId, RpcError,
    capability::{ClientCapabilities, ElicitationCapability, RootsCapability, SamplingCapability},
    content::ContentBlock,
    discover::{DiscoverResult, ResultEnvelope, ResultKind},
    elicit::ElicitResult,
    jsonrpc::{DEFAULT_DEPTH, encode_call},
    meta,
    mrtr::{InputRequest, InputRequired, InputResponses},
    prompt::{GetPromptResult, ListPromptsResult, Prompt},
    resource::{
        ListResourceTemplatesResult, ListResourcesResult, ReadResourceResult, Resource,
        ResourceTemplate,
    },
    roots::{ListRootsResult, Root},
    sampling::{CreateMessageParams, CreateMessageResult},
    tool::{CallToolResult, ListToolsResult, Tool},
};
use fastmcp_transport::{Reply, Step, memory::Memory};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::{
    engine::Engine,
    error::{Error, Result},
    server::Server,
};

/// Rounds of input before a call counts as stuck.
const MAX_ROUNDS: usize = 10;
/// Pages of one list.
const MAX_PAGES: usize = 250;

type Elicit = dyn Fn(&str, &InputRequest) -> ElicitResult + Send + Sync;
type Sample = dyn Fn(&str, &CreateMessageParams) -> CreateMessageResult + Send + Sync;

/// Calls a [`Server`] of this process through the whole path, without a socket.
pub struct Client {
    memory: Memory<Engine>,
    next_id: AtomicI64,
    capabilities: ClientCapabilities,
    elicit: Option<Box<Elicit>>,
    sample: Option<Box<Sample>>,
    roots: Vec<Root>,
    notifications: Mutex<Vec<Notified>>,
}

/// A notification that came before an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Notified {
    /// The method.
    pub method: String,
    /// The parameters.
    pub params: Value,
}

impl Client {
    /// Connects to `server` as the local caller.
    ///
    /// # Errors
    ///
    /// When the server does not answer `server/discover`.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn connect(server: &Server) -> Result<Self> {
        Self::connect_as(server, Caller::local()).await
    }

    /// Connects to `server` as `caller`.
    ///
    /// # Errors
    ///
    /// As [`Self::connect`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn connect_as(server: &Server, caller: Caller) -> Result<Self> {
        let client = Self {
            memory: Memory::connect(Arc::clone(server.door()), caller),
            next_id: AtomicI64::new(1),
            capabilities: ClientCapabilities::default(),
            elicit: None,
            sample: None,
            roots: Vec::new(),
            notifications: Mutex::default(),
        };
        client.discover().await?;
        Ok(client)
    }

    /// Answers what servers ask the user: `handler` gets the key and the request.
    #[must_use]
    pub fn on_elicit<F>(mut self, handler: F) -> Self
    where
        F: Fn(&str, &InputRequest) -> ElicitResult + Send + Sync + 'static,
    {
        self.capabilities.elicitation = Some(ElicitationCapability::form_and_url());
        self.elicit = Some(Box::new(handler));
        self
    }

    /// Runs the model for servers that ask for it: `handler` gets the key and the request.
    #[must_use]
    pub fn on_sample<F>(mut self, handler: F) -> Self
    where
        F: Fn(&str, &CreateMessageParams) -> CreateMessageResult + Send + Sync + 'static,
    {
        self.capabilities.sampling = Some(SamplingCapability {
            tools: Some(Map::new()),
            ..SamplingCapability::default()
        });
        self.sample = Some(Box::new(handler));
        self
    }

    /// Names the folders that the client works in.
    #[must_use]
    pub fn with_roots(mut self, roots: Vec<Root>) -> Self {
        self.capabilities.roots = Some(RootsCapability::default());
        self.roots = roots;
        self
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
        Ok(self
            .request("server/discover", Map::new())
            .await?
            .decode()?)
    }

    /// Every tool.
    ///
    /// # Errors
    ///
    /// When the server answers with an error.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn list_tools(&self) -> Result<Vec<Tool>> {
        self.pages("tools/list", |page: ListToolsResult| {
            (page.tools, page.next_cursor)
        })
        .await
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
        self.pages("resources/list", |page: ListResourcesResult| {
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
        self.pages(
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
        self.pages("prompts/list", |page: ListPromptsResult| {
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
        let result = self.call_tool_raw(name, arguments).await?;
        if result.is_error() {
            return Err(Error::tool(result.text().to_owned())
                .with_data(result.structured_content().unwrap_or(Value::Null)));
        }
        Ok(result)
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
        let params = object(json!({"name": name, "arguments": arguments}));
        Ok(CallResult(
            self.request("tools/call", params).await?.decode()?,
        ))
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
        let params = object(json!({"name": name, "arguments": arguments}));
        Ok(self.request("prompts/get", params).await?.decode()?)
    }

    /// The notifications that came so far, which are forgotten here.
    pub fn take_notifications(&self) -> Vec<Notified> {
        std::mem::take(
            &mut *self
                .notifications
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
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
    pub async fn request(&self, method: &str, mut params: Map<String, Value>) -> Result<Raw> {
        for _ in 0..MAX_ROUNDS {
            let result = self.round(method, &params).await?;
            let envelope = ResultEnvelope::peek(&result)?;
            match envelope.kind() {
                ResultKind::Complete => return Ok(result),
                ResultKind::InputRequired => {
                    let asked: InputRequired = result.decode()?;
                    let answers = self.answer(&asked)?;
                    params.insert("inputResponses".to_owned(), serde_json::to_value(answers)?);
                    match asked.request_state {
                        Some(state) => {
                            params.insert("requestState".to_owned(), Value::String(state))
                        }
                        None => params.remove("requestState"),
                    };
                }
                ResultKind::Other(other) => return Err(unknown_result(other)),
                _ => return Err(unknown_result("of a later kind")),
            }
        }
        Err(Error::internal(format!(
            "server asked for input in {MAX_ROUNDS} rounds"
        )))
    }

    fn answer(&self, asked: &InputRequired) -> Result<InputResponses> {
        let mut answers = InputResponses::default();
        for (key, request) in asked.input_requests.iter() {
            match (request, &self.elicit, &self.sample) {
                (InputRequest::Elicit(_), Some(elicit), _) => {
                    answers.answer(key, &elicit(key, request))?;
                }
                (InputRequest::CreateMessage(params), _, Some(sample)) => {
                    answers.answer(key, &sample(key, params))?;
                }
                (InputRequest::ListRoots, ..) if self.capabilities.roots.is_some() => {
                    let roots = self.roots.clone();
                    answers.answer(key, &ListRootsResult { roots })?;
                }
                _ => {
                    return Err(Error::internal(format!(
                        "server asks `{key}` by {}, which this client did not declare",
                        request.method()
                    )));
                }
            }
        }
        Ok(answers)
    }

    async fn round(&self, method: &str, params: &Map<String, Value>) -> Result<Raw> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let mut params = params.clone();
        params.insert("_meta".to_owned(), self.meta(id));
        let text = encode_call(
            Some(&RequestId::Number(id)),
            method,
            Some(&serde_json::to_string(&params)?),
        );
        let mut exchange = self.memory.send(&text.into());
        loop {
            match exchange.next().await {
                Step::Frame(frame) => self.note(&frame.data),
                Step::Done(Reply::Message { body, .. }) => return outcome(&body),
                Step::Done(_) => return Err(Error::internal("server did not answer")),
            }
        }
    }

    fn meta(&self, id: i64) -> Value {
        json!({
            meta::PROTOCOL_VERSION: ProtocolVersion::LATEST,
            meta::CLIENT_CAPABILITIES: self.capabilities,
            meta::CLIENT_INFO: {"name": "fastmcp", "version": env!("CARGO_PKG_VERSION")},
            meta::LOG_LEVEL: "debug",
            "progressToken": id,
        })
    }

    fn note(&self, text: &ByteString) {
        if let Ok(Message::Notification(n)) = Message::parse(text, DEFAULT_DEPTH) {
            let params = n
                .params
                .and_then(|p| p.decode().ok())
                .unwrap_or(Value::Null);
            let notified = Notified {
                method: n.method.to_string(),
                params,
            };
            self.notifications
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(notified);
        }
    }

    async fn pages<P, T>(
        &self,
        method: &str,
        split: impl Fn(P) -> (Vec<T>, Option<String>),
    ) -> Result<Vec<T>>
    where
        P: DeserializeOwned,
    {
        let (mut all, mut params) = (Vec::new(), Map::new());
        for _ in 0..MAX_PAGES {
            let (page, next) = split(self.request(method, params.clone()).await?.decode::<P>()?);
            all.extend(page);
            let Some(next) = next else { return Ok(all) };
            if params.insert("cursor".to_owned(), Value::String(next.clone()))
                == Some(Value::String(next))
            {
                return Err(Error::internal(format!(
                    "{method}: the server gives the same cursor again"
                )));
            }
        }
        Err(Error::internal(format!(
            "{method}: more than {MAX_PAGES} pages"
        )))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

fn unknown_result(kind: &str) -> Error {
    Error::internal(format!(
        "server answered with result type `{kind}`, which is unknown"
    ))
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

fn outcome(body: &ByteString) -> Result<Raw> {
    match Message::parse(body, DEFAULT_DEPTH) {
        Ok(Message::Response(response)) => response.outcome.map_err(Error::protocol),
        Ok(_) => Err(Error::internal(
            "server answered with something that is no response",
        )),
        Err(error) => Err(Error::protocol(RpcError::internal(error.to_string()))),
    }
}

/// What a tool returned.
#[derive(Clone, Debug, PartialEq)]
pub struct CallResult(CallToolResult);

impl CallResult {
    /// The structured content as a `T`; a value that is no object stands under `result` and is
    /// taken out of there.
    ///
    /// # Errors
    ///
    /// When there is none, or it has another shape.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T> {
        let wrapped = self
            .0
            .meta
            .as_ref()
            .and_then(|m| m.get("fastmcp"))
            .and_then(|f| f.get("wrap_result"))
            == Some(&Value::Bool(true));
        let mut content = self
            .structured_content()
            .ok_or_else(|| Error::internal("result has no structured content"))?;
        if wrapped {
            content = content
                .get_mut("result")
                .map(Value::take)
                .unwrap_or_default();
        }
        Ok(serde_json::from_value(content)?)
    }

    /// The text of the first text block; empty where there is none.
    #[must_use]
    pub fn text(&self) -> &str {
        self.0
            .content
            .iter()
            .find_map(ContentBlock::as_text)
            .unwrap_or_default()
    }

    /// The content blocks.
    #[must_use]
    pub fn content(&self) -> &[ContentBlock] {
        &self.0.content
    }

    /// The structured content.
    #[must_use]
    pub fn structured_content(&self) -> Option<Value> {
        self.0
            .structured_content
            .as_ref()
            .and_then(|raw| raw.decode().ok())
    }

    /// Whether the tool failed.
    #[must_use]
    pub const fn is_error(&self) -> bool {
        self.0.is_error
    }
}
