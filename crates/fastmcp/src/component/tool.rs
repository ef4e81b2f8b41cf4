//! Tools.

use std::{future::Future, sync::Arc, time::Duration};

use fastmcp_protocol::{
    Raw,
    app::{self, ToolUi},
    content::ContentBlock,
    header::mirrored_params,
    tool::{
        CallToolResult, JsonSchema as Schema, TaskSupport, Tool, ToolAnnotations, ToolExecution,
    },
};
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    call::{Input, Outcome, Payload},
    component::{
        Component, Definition,
        builder::{Basics, tell, wrong},
    },
    context::Context,
    error::{Error, Result},
    schema,
};

/// The full result of a tool.
pub type ToolResult = CallToolResult;

/// Becomes a tool: what `#[tool]` makes, and [`ToolBuilder`].
#[diagnostic::on_unimplemented(
    message = "this is not a tool",
    label = "neither what `#[tool]` makes nor a `ToolBuilder`",
    note = "put `#[tool]` on the function, or hand in a `ToolBuilder::new(\"name\", function)`, with an async function of its arguments and a `Context`"
)]
pub trait IntoTool {
    /// The tool.
    fn into_tool(self) -> ToolBuilder;
}

/// A tool in the making.
pub struct ToolBuilder {
    tool: Tool,
    call: Result<Call>,
    replaced: bool,
    ui: Option<ToolUi>,
    timeout: Option<Duration>,
    begins_task: bool,
    pub(super) basics: Basics,
}

type Call = Box<dyn Fn(Context, Input) -> BoxFuture<'static, Result<Outcome>> + Send + Sync>;

impl ToolBuilder {
    /// Creates a tool from a function of its arguments and a context.
    ///
    /// `A` is a struct that describes the arguments, or `()` for none; its schema is what clients see.
    pub fn new<A, F, Fut, R>(name: impl Into<String>, function: F) -> Self
    where
        A: DeserializeOwned + JsonSchema + Send + 'static,
        F: Fn(A, Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = R> + Send + 'static,
        R: ToolOutput + 'static,
    {
        let function = Arc::new(function);
        Self::from_parts(name, R::output_schema(), move |args: A, context| {
            let function = Arc::clone(&function);
            async move { function(args, context).await.into_outcome() }
        })
    }

    /// What the attribute expands to: the output is an [`Outcome`] already.
    #[doc(hidden)]
    pub fn from_parts<A, F, Fut>(
        name: impl Into<String>,
        output: Option<Value>,
        function: F,
    ) -> Self
    where
        A: DeserializeOwned + JsonSchema + Send + 'static,
        F: Fn(A, Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Outcome>> + Send + 'static,
    {
        let name = name.into();
        let described = schema::arguments::<A>();
        let input = described
            .as_ref()
            .ok()
            .and_then(|s| Schema::from_value(s).ok())
            .unwrap_or_else(Schema::empty);
        let mut tool = Tool::new(name, input);
        let late = output.as_ref().is_some_and(wraps_late);
        tool.output_schema = output.and_then(|s| Schema::from_value(&s).ok());
        let call = described.and_then(schema::Reader::of).map(|reader| {
            Box::new(
                move |context: Context, input: Input| -> BoxFuture<'static, Result<Outcome>> {
                    match reader.read::<A>(input.args.as_ref(), || context.is_strict()) {
                        Ok(args) if late => wrapping(function(args, context)),
                        Ok(args) => Box::pin(function(args, context)),
                        Err(error) => Box::pin(async move { Err(error) }),
                    }
                },
            ) as Call
        });
        Self {
            tool,
            call,
            replaced: false,
            ui: None,
            timeout: None,
            begins_task: false,
            basics: Basics::default(),
        }
    }

    /// Renames the tool.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.tool.name = name.into();
        self
    }

    /// Says how the tool behaves.
    #[must_use]
    pub fn annotations(mut self, annotations: ToolAnnotations) -> Self {
        self.tool.annotations = Some(annotations);
        self
    }

    /// Says that calls change nothing.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.tool.annotations.get_or_insert_default().read_only_hint = Some(true);
        self
    }

    /// Says whether calls run as tasks, for clients that know tasks: the client is answered at once, and
    /// looks for the result later. Default: they do not.
    ///
    /// The gate is asked first, as for any call; what it lets through, runs as a task from its start. To
    /// ask the user something before the task begins, see [`Self::begins_task`].
    ///
    /// Source: MCP extension `io.modelcontextprotocol/tasks` (SEP-2663); for older clients MCP
    /// 2025-11-25, basic/utilities/tasks.
    #[must_use]
    pub const fn task(mut self, support: TaskSupport) -> Self {
        self.tool.execution = match support {
            TaskSupport::Forbidden => None,
            task_support => Some(ToolExecution { task_support }),
        };
        self
    }

    /// Says that the handler itself says from where on it is a task, with
    /// [`Context::begin_task`]: until then it is a call as any other. Clients of 2025-11-25 say
    /// themselves that a call is a task; for them it is one from its start.
    #[must_use]
    pub const fn begins_task(mut self) -> Self {
        self.begins_task = true;
        self
    }

    /// Replaces the input schema, for example to keep keywords that a type cannot say. Calls are
    /// checked against it before they are decoded.
    #[must_use]
    pub fn input_schema(mut self, schema: Schema) -> Self {
        self.tool.input_schema = schema;
        self.replaced = true;
        self
    }

    /// Ends calls that take longer: they are answered with an error and their
    /// [cancellation](Context::cancellation) fires. What has begun is not dropped half-way: it goes on
    /// to its end, unheard. The time in which the user is asked does not count, and a call that goes on
    /// as a task has no end. Default: that of the server, [`FastMcp::tool_timeout`](crate::FastMcp::tool_timeout).
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Says which document the tool shows where the client knows MCP Apps, and who may use it: a tool
    /// for documents alone is listed for such clients only. The result must be of use as text too.
    ///
    /// Source: SEP-1865.
    #[must_use]
    pub fn ui(mut self, ui: ToolUi) -> Self {
        self.ui = Some(ui);
        self
    }

    pub(crate) fn build(self) -> Result<Component> {
        let name = self.tool.name.clone();
        self.built().map_err(|e| wrong("tool", &name, &e))
    }

    fn built(self) -> Result<Component> {
        let (mut call, mut tool, mut basics) = (self.call?, self.tool, self.basics);
        mirrored_params(&tool.input_schema).map_err(|e| Error::internal(e.to_string()))?;
        basics.settle()?;
        if let Some(ui) = self.ui {
            let shown = ui.resource_uri.as_deref();
            if shown.is_some_and(|uri| !uri.starts_with(app::SCHEME)) {
                return Err(Error::internal(
                    "`resourceUri` of its `ui` must begin with `ui://`",
                ));
            }
            let (key, value) = ui.into_meta();
            basics.meta = Some(basics.meta.unwrap_or_default().with(key, value));
        }
        if self.replaced {
            let schema = tool.input_schema.to_value()?;
            call = checked(schema::Reader::compile(schema)?, call);
        }
        tell!(basics => tool);
        let component = basics.component(Definition::Tool(tool), call)?;
        Ok(component
            .with_begins_task(self.begins_task)
            .with_timeout(self.timeout))
    }
}

/// Checks arguments before they are decoded.
fn checked(reader: schema::Reader, call: Call) -> Call {
    Box::new(move |context, mut input| {
        match reader.check(input.args.as_ref(), || context.is_strict()) {
            Ok(mended) => {
                input.args = mended.or(input.args);
                call(context, input)
            }
            Err(error) => Box::pin(async move { Err(error) }),
        }
    })
}

impl std::fmt::Debug for ToolBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ToolBuilder")
            .field("tool", &self.tool)
            .finish_non_exhaustive()
    }
}

impl IntoTool for ToolBuilder {
    fn into_tool(self) -> ToolBuilder {
        self
    }
}

/// What an attribute leaves under the function's name: a function that makes the tool.
#[diagnostic::do_not_recommend]
impl<F, C> IntoTool for F
where
    F: FnOnce() -> C,
    C: IntoTool,
{
    fn into_tool(self) -> ToolBuilder {
        self().into_tool()
    }
}

/// What a tool may return.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be returned by a tool",
    label = "neither content nor structured",
    note = "derive `Serialize` and `JsonSchema` for it and return `Json(value)`; functions with `#[tool]` return it as it is"
)]
pub trait ToolOutput: Send {
    /// The schema of the structured content, where there is one.
    #[must_use]
    fn output_schema() -> Option<Value>
    where
        Self: Sized,
    {
        None
    }

    /// The outcome.
    ///
    /// # Errors
    ///
    /// When the value is an error or cannot be represented.
    fn into_outcome(self) -> Result<Outcome>;
}

/// Returns any serialisable value as structured content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Json<T>(pub T);

impl<T: Serialize + JsonSchema + Send> ToolOutput for Json<T> {
    fn output_schema() -> Option<Value> {
        let schema = schema::of::<T>();
        Some(if is_object(&schema) {
            schema
        } else {
            wrap(schema)
        })
    }

    fn into_outcome(self) -> Result<Outcome> {
        let value = Raw::of(&self.0)?;
        if value.is_object() {
            return Ok(CallToolResult::structured(value).into());
        }
        let (text, structured) = Raw::under(RESULT, &value)?;
        Ok(wrapped(text, structured))
    }
}

impl<T: ToolOutput, E: Into<Error> + Send> ToolOutput for std::result::Result<T, E> {
    fn output_schema() -> Option<Value> {
        T::output_schema()
    }

    fn into_outcome(self) -> Result<Outcome> {
        self.map_err(Into::into)?.into_outcome()
    }
}

impl ToolOutput for CallToolResult {
    fn into_outcome(self) -> Result<Outcome> {
        Ok(self.into())
    }
}

impl ToolOutput for Outcome {
    fn into_outcome(self) -> Result<Outcome> {
        Ok(self)
    }
}

impl ToolOutput for ContentBlock {
    fn into_outcome(self) -> Result<Outcome> {
        Ok(CallToolResult::new(vec![self]).into())
    }
}

/// Anything: an object is structured content, the rest is text. Nothing is promised of its shape.
impl ToolOutput for Value {
    fn into_outcome(self) -> Result<Outcome> {
        let raw = Raw::of(&self)?;
        if raw.is_object() {
            return Ok(CallToolResult::structured(raw).into());
        }
        Ok(match self {
            Self::Null => CallToolResult::default(),
            Self::String(text) => CallToolResult::text(text),
            _ => CallToolResult::text(raw.as_str()),
        }
        .into())
    }
}

impl ToolOutput for () {
    fn into_outcome(self) -> Result<Outcome> {
        Ok(CallToolResult::default().into())
    }
}

impl ToolOutput for String {
    fn output_schema() -> Option<Value> {
        Some(wrap(json!({"type": "string"})))
    }

    fn into_outcome(self) -> Result<Outcome> {
        let (_, structured) = Raw::under(RESULT, &self)?;
        Ok(wrapped(self, structured))
    }
}

impl ToolOutput for &'static str {
    fn output_schema() -> Option<Value> {
        String::output_schema()
    }

    fn into_outcome(self) -> Result<Outcome> {
        self.to_owned().into_outcome()
    }
}

macro_rules! scalar_outputs {
    ($($scalar:ty),*) => {$(
        impl ToolOutput for $scalar {
            fn output_schema() -> Option<Value> {
                Some(wrap(schema::of::<Self>()))
            }

            fn into_outcome(self) -> Result<Outcome> {
                let (text, structured) = Raw::under(RESULT, &self)?;
                Ok(wrapped(text, structured))
            }
        }
    )*};
}

scalar_outputs!(
    bool, i8, i16, i32, i64, u8, u16, u32, u64, isize, usize, f32, f64
);

fn is_object(schema: &Value) -> bool {
    schema.get("type").is_some_and(|t| t == "object")
}

/// A schema for a value that is no object: legacy clients know objects alone, so the value goes
/// under `result`, and both eras are told so.
pub(crate) fn wrap(mut schema: Value) -> Value {
    let definitions = schema.as_object_mut().and_then(|o| o.remove("$defs"));
    let mut wrapped = json!({
        "type": "object",
        "properties": {"result": schema},
        "required": ["result"],
        "x-fastmcp-wrap-result": true,
    });
    if let (Some(object), Some(definitions)) = (wrapped.as_object_mut(), definitions) {
        object.insert("$defs".to_owned(), definitions);
    }
    wrapped
}

/// Whether a schema wants the value under `result` while the value may be an object, which says by itself
/// nothing of that: `Option<T>`, and enums some of whose values are objects.
fn wraps_late(schema: &Value) -> bool {
    let inner = schema
        .get("x-fastmcp-wrap-result")
        .and_then(|_| schema.get("properties")?.get("result"));
    inner.is_some_and(|inner| match inner.get("type") {
        Some(Value::String(_)) => false,
        Some(Value::Array(types)) => types.iter().any(|t| t == "object"),
        _ => true,
    })
}

/// Puts what `work` ends with under `result`.
fn wrapping(
    work: impl Future<Output = Result<Outcome>> + Send + 'static,
) -> BoxFuture<'static, Result<Outcome>> {
    Box::pin(async move { work.await.and_then(wrap_late) })
}

/// Puts an object under `result`, where the schema wants it.
fn wrap_late(outcome: Outcome) -> Result<Outcome> {
    let mut result = match outcome {
        Outcome::Complete(Payload::Tool(result)) if !result.is_error => result,
        other => return Ok(other),
    };
    if let Some(value) = result.structured_content.take() {
        result.structured_content = Some(Raw::under(RESULT, &value)?.1);
        return Ok(Outcome::Complete(Payload::Wrapped(result)));
    }
    Ok(result.into())
}

/// Under what a value stands that is no object.
const RESULT: &str = "result";

fn wrapped(text: String, structured: Raw) -> Outcome {
    let mut result = CallToolResult::text(text);
    result.structured_content = Some(structured);
    Outcome::Complete(Payload::Wrapped(result))
}
