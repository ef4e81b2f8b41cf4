//! The MCP door: the same catalogue and the same pipeline, for both eras.

mod look;

use std::{borrow::Cow, sync::Arc};

use fastmcp::{
    Class, Component, Context, Error as FrameworkError, FastMcp, Gate, Input, Leaf, Outcome,
    Server, Target,
    component::{Definition, Kind},
    gate::Asks,
    registry::Change,
};
use fastmcp_auth::{Caller, UserAgent};
use fastmcp_guard::random::Random;
use fastmcp_policy::ConsentLevel;
use fastmcp_protocol::{
    Raw,
    content::Meta,
    elicit::{ElicitAction, ElicitParams, ElicitResult, ElicitSchema},
    mrtr::InputRequest,
    tool::{CallToolResult, JsonSchema, Tool, ToolAnnotations},
};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    call::{
        Call, CanConfirm, Completed, CorrId, Done, DoneBefore, Pending, Presented, TokenMeta,
        Withheld,
    },
    catalog::Entry,
    door::CORRELATION_ID,
    error::{Code, Error},
    pipeline::Pipeline,
    state::operation::{IdempotencyKey, OperationId},
};

/// The key of the question that confirms.
const CONFIRM: &str = "confirm";
/// Where a tool's definition names its toolId.
const TOOL_ID: &str = "dev.fastmcp/toolId";

/// What the gate wants to see again with an answer; sealed by the framework on its way.
#[derive(Deserialize, Serialize)]
struct Ticket {
    operation_id: String,
    action_token: String,
}

/// What stands beside a result, in its `_meta`.
#[derive(Serialize)]
struct Beside<'a> {
    #[serde(
        rename = "dev.fastmcp/idempotentReplay",
        skip_serializing_if = "std::ops::Not::not"
    )]
    replay: bool,
    #[serde(
        rename = "dev.fastmcp/operationId",
        skip_serializing_if = "Option::is_none"
    )]
    operation_id: Option<&'a str>,
    #[serde(rename = "dev.fastmcp/tokenMeta")]
    token_meta: &'a TokenMeta,
}

/// Every call of the MCP door goes through here.
#[derive(Debug)]
struct Governed {
    pipeline: Arc<Pipeline>,
    random: Arc<dyn Random>,
}

/// Builds the server of the MCP door.
///
/// # Errors
///
/// When a manifest cannot be shown as a tool.
pub fn server(
    pipeline: &Arc<Pipeline>,
    random: Arc<dyn Random>,
    base: FastMcp,
) -> Result<Server, FrameworkError> {
    let look = look::Look {
        pipeline: Arc::clone(pipeline),
        random: Arc::clone(&random),
    };
    let gate = Governed {
        pipeline: Arc::clone(pipeline),
        random,
    };
    let server = base.middleware(look).gate(Arc::new(gate)).build()?;
    refresh(&server, pipeline)?;
    Ok(server)
}

/// Shows what the catalogue has by now; subscribers are told of what changed.
///
/// # Errors
///
/// As [`server`].
pub fn refresh(server: &Server, pipeline: &Pipeline) -> Result<(), FrameworkError> {
    let mut made = Ok(());
    // The catalogue is read under the registry's own lock, so that the last one to write has read last.
    server.registry().edit(|shown| {
        let components = pipeline
            .catalog
            .all()
            .into_iter()
            .map(|entry| component(entry).map(Arc::new));
        match components.collect::<Result<Vec<_>, _>>() {
            Ok(components) => *shown = components,
            Err(error) => made = Err(error),
        }
    })?;
    made
}

/// Tells subscribers that their list may have changed, for example because the policy did.
pub fn list_changed(server: &Server) {
    server.registry().notify(Change::List(Kind::Tool));
}

fn component(entry: Arc<Entry>) -> Result<Component, FrameworkError> {
    let manifest = entry.manifest();
    let mut tool = Tool::new(
        manifest.tool_id.mcp_name(),
        JsonSchema::from_value(&manifest.inputs)?,
    );
    tool.title = Some(manifest.name.clone());
    tool.description = Some(manifest.description.clone());
    let described = manifest.outputs.get("type").is_some_and(|t| t == "object")
        && manifest.outputs.get("properties").is_some();
    tool.output_schema = described
        .then(|| JsonSchema::from_value(&answers(&manifest.outputs)))
        .transpose()?;
    tool.annotations = Some(ToolAnnotations {
        read_only_hint: Some(manifest.read_only),
        destructive_hint: Some(!manifest.read_only && manifest.safety_tags.contains("destructive")),
        ..ToolAnnotations::default()
    });
    tool.meta = Some(Meta::default().with(TOOL_ID, manifest.tool_id.as_str()));
    // The pipeline calls the adapter itself; nothing else can reach this.
    let ungoverned =
        |_: Context, _: Input| -> BoxFuture<'static, Result<Outcome, FrameworkError>> {
            Box::pin(async {
                Err(FrameworkError::internal(
                    "a governed tool was called past its gate",
                ))
            })
        };
    Ok(Component::new(Definition::Tool(tool), ungoverned).with_extension(Arc::new(entry)))
}

/// The schema of all that a call may answer: the tool's outputs, or the refusal in their place.
/// Clients check structured content of errors too.
///
/// Source: MCP 2026-07-28, server/tools, "Output Schema".
fn answers(outputs: &Value) -> Value {
    let mut outputs = outputs.clone();
    let mut schema = Map::new();
    // References reach from the root of a document, so what they name stays there.
    for key in ["$schema", "$defs", "definitions"] {
        if let Some(moved) = outputs.as_object_mut().and_then(|o| o.remove(key)) {
            schema.insert(key.to_owned(), moved);
        }
    }
    let refusal = json!({
        "type": "object",
        "description": "Why the call was refused or failed; isError is true",
        "properties": {"error": {
            "type": "object",
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "corr_id": {"type": "string"},
                "details": {"type": "object"},
            },
            "required": ["code", "message", "corr_id"],
        }},
        "required": ["error"],
    });
    schema.insert("type".to_owned(), json!("object"));
    schema.insert("anyOf".to_owned(), json!([outputs, refusal]));
    Value::Object(schema)
}

fn entry(component: &Component) -> Option<&Arc<Entry>> {
    component.extension::<Arc<Entry>>()
}

impl Gate for Governed {
    fn class(&self, caller: &Caller) -> Class {
        // Rules may read anything of a caller, so whoever differs in anything has lists of its own.
        let version = self.pipeline.policy.current().version().to_string();
        let text = json!([
            caller.principal().as_str(),
            caller.roles(),
            caller.scopes(),
            caller.claims(),
            version
        ])
        .to_string();
        Class(text.into())
    }

    fn exists(&self, caller: &Caller, component: &Component) -> bool {
        let tenant = caller.tenant().unwrap_or_default();
        entry(component)
            .is_some_and(|e| e.belongs_to(tenant) && !self.pipeline.catalog.is_shadowed(e, tenant))
    }

    fn visible(&self, caller: &Caller, component: &Component) -> bool {
        self.exists(caller, component)
            && entry(component).is_some_and(|e| self.pipeline.policy.shows(caller, e))
    }

    fn invoke(
        &self,
        context: Context,
        target: Target,
        input: Input,
        _: Leaf,
    ) -> BoxFuture<'_, Result<Outcome, FrameworkError>> {
        Box::pin(async move {
            let corr_id = corr_id(&context, &*self.random);
            let governed = match self
                .governed(&context, &target, input, corr_id.clone())
                .await
            {
                Ok(outcome) => outcome,
                Err(error) => refusal(&error, &corr_id)?,
            };
            Ok(governed)
        })
    }

    fn refused(
        &self,
        context: Context,
        target: Target,
        _: Input,
        error: FrameworkError,
    ) -> BoxFuture<'_, FrameworkError> {
        Box::pin(async move {
            let Some(entry) = entry(target.component()) else {
                return error;
            };
            let call = look::bare(&context, &*self.random, entry.manifest().tool_id.as_str());
            // What opens was this caller's, for this call: its time was over.
            let operation = ticket(&context).ok().flatten().map(|(id, _)| id);
            let message = error.message().to_owned();
            let (action, why) = match (context.continues(), &operation) {
                (true, None) => {
                    let why = Error::new(Code::Unauthorized, format!("Invalid token: {message}"));
                    ("tools.confirm", why)
                }
                (true, Some(_)) => ("tools.confirm", Error::new(Code::Conflict, message)),
                (false, _) => ("tools.invoke", Error::invalid(message)),
            };
            let recorded = self
                .pipeline
                .turn_away(&call, (action, operation.as_ref()), why)
                .await;
            match recorded.code() {
                Code::RateLimited => look::refused(&recorded),
                _ => error,
            }
        })
    }

    fn unknown<'a>(
        &'a self,
        context: Context,
        kind: Kind,
        name: &'a str,
        error: FrameworkError,
    ) -> BoxFuture<'a, FrameworkError> {
        Box::pin(async move {
            if kind != Kind::Tool {
                return error;
            }
            let call = look::bare(&context, &*self.random, name);
            // The framework's own answer names what was asked for; a caller over its limit gets this one.
            match self.pipeline.unknown(&call).await {
                Ok(()) => error,
                Err(why) => look::refused(&why),
            }
        })
    }
}

/// Whether the client can be asked, and if not, why.
fn can_confirm(context: &Context) -> CanConfirm {
    // Clients of 2026-07-28 say with each call what they can; the others said it once, to their session.
    let without_session =
        context.meta().protocol_version.is_none() && context.session_id().is_none();
    if context.client_capabilities().has_form() {
        CanConfirm::Yes
    } else if without_session {
        CanConfirm::WithoutSession
    } else {
        CanConfirm::Undeclared
    }
}

/// The id that the client sent, or a new one.
fn corr_id(context: &Context, random: &dyn Random) -> CorrId {
    let sent = context.headers().get(CORRELATION_ID);
    sent.and_then(|v| v.to_str().ok())
        .and_then(CorrId::parse)
        .unwrap_or_else(|| CorrId::generate(random))
}

/// The client as it names itself.
fn client(context: &Context) -> Option<UserAgent> {
    /// What is kept of what a client says of itself; the rest is passed over.
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow)]
        name: Cow<'a, str>,
        #[serde(borrow)]
        version: Cow<'a, str>,
    }
    if let (None, Some(said)) = (context.session_id(), &context.meta().client_info) {
        let named: Named<'_> = said.decode().ok()?;
        return UserAgent::from_client_info(&named.name, &named.version);
    }
    let info = context.client_info()?;
    UserAgent::from_client_info(&info.name, &info.version)
}

impl Governed {
    async fn governed(
        &self,
        context: &Context,
        target: &Target,
        input: Input,
        corr_id: CorrId,
    ) -> Result<Outcome, Error> {
        let entry = entry(target.component()).ok_or_else(Error::tool_not_found)?;
        let mut call = Call {
            caller: context.caller().clone(),
            corr_id,
            tool_id: entry.manifest().tool_id.as_str().to_owned(),
            args: input.args,
            client: client(context),
            session: context.session_id().map(str::to_owned),
            idempotency_key: None,
            presented: Presented::Nothing,
            can_confirm: can_confirm(context),
            can_attach: true,
            cancel: context.cancellation().clone(),
        };
        let read = idempotency_key(context).and_then(|key| Ok((key, presented(context)?)));
        let (key, presented) = match read {
            Ok(read) => read,
            // What few calls need stands in a box of its own, lest every call carries it.
            Err(why) => return Err(Box::pin(self.unread(context, &call, why)).await),
        };
        call.idempotency_key = key;
        if let Some((operation_id, token, answer)) = presented {
            if let Some(withheld) = withheld(&answer) {
                let told = self.pipeline.withhold(&call, &operation_id, withheld);
                return Err(Box::pin(told).await);
            }
            call.presented = Presented::Operation(operation_id, token);
        }
        match self.pipeline.invoke(&call).await? {
            Done::Complete(done) => completed(&done),
            Done::Pending(pending) if call.can_confirm == CanConfirm::Yes => ask(&pending),
            Done::Pending(pending) => Err(awaits_approval(&pending)),
        }
    }

    /// Refuses a call of which something beside its arguments cannot be read.
    async fn unread(&self, context: &Context, call: &Call, why: Error) -> Error {
        let operation = ticket(context).ok().flatten().map(|(id, _)| id);
        let action = match &operation {
            Some(_) => "tools.confirm",
            None => "tools.invoke",
        };
        let about = (action, operation.as_ref());
        self.pipeline.turn_away(call, about, why).await
    }
}

/// The answer to a client that cannot be asked and so cannot carry a ticket: it repeats its call.
fn awaits_approval(pending: &Pending) -> Error {
    let message = format!(
        "Awaits approval by {}, until {}: nothing was done yet; once operation `{}` is approved at /approvals/{}, repeat exactly this call",
        approver(pending.approval),
        pending.expires_at,
        pending.operation_id,
        pending.operation_id
    );
    Error::new(Code::Conflict, message)
        .with_detail("reason", "awaits_approval")
        .with_detail("operation_id", pending.operation_id.as_str())
        .with_detail("approval", format!("/approvals/{}", pending.operation_id))
        .with_detail("expires_at", pending.expires_at.as_str())
}

fn approver(level: Option<ConsentLevel>) -> &'static str {
    match level {
        Some(ConsentLevel::OtherPerson) => "another person",
        _ => "a person",
    }
}

fn idempotency_key(context: &Context) -> Result<Option<IdempotencyKey>, Error> {
    let sent = context.meta().idempotency_key.as_deref();
    sent.map(|key| {
        IdempotencyKey::parse(key)
            .map_err(|e| Error::invalid(format!("`_meta[\"dev.fastmcp/idempotencyKey\"]`: {e}")))
    })
    .transpose()
}

/// The ticket and its answer, where this round brings both.
fn presented(context: &Context) -> Result<Option<(OperationId, String, ElicitResult)>, Error> {
    let (Some((operation_id, token)), Some(answer)) =
        (ticket(context)?, context.input_response(CONFIRM))
    else {
        return Ok(None);
    };
    let answer = answer
        .decode()
        .map_err(|e| Error::invalid(format!("`inputResponses.{CONFIRM}`: {e}")))?;
    Ok(Some((operation_id, token, answer)))
}

/// What an earlier round of this call left behind.
fn ticket(context: &Context) -> Result<Option<(OperationId, String)>, Error> {
    let Some(state) = context.gate_state() else {
        return Ok(None);
    };
    let ticket: Ticket = serde_json::from_value(state).map_err(Error::internal)?;
    let operation_id = OperationId::parse(&ticket.operation_id).map_err(Error::internal)?;
    Ok(Some((operation_id, ticket.action_token)))
}

/// How an answer withholds the confirmation; `None` where it gives it.
fn withheld(answer: &ElicitResult) -> Option<Withheld> {
    let said = answer.content.as_ref().and_then(|c| c.get(CONFIRM));
    match (&answer.action, said) {
        (ElicitAction::Accept, Some(Value::Bool(true))) => None,
        (ElicitAction::Accept, Some(Value::Bool(false))) | (ElicitAction::Decline, _) => {
            Some(Withheld::Declined)
        }
        (ElicitAction::Cancel, _) => Some(Withheld::Dismissed),
        (ElicitAction::Accept, _) => Some(Withheld::Unanswered),
    }
}

fn completed(done: &Completed) -> Result<Outcome, Error> {
    let mut result = CallToolResult::structured(done.result.clone());
    let beside = Beside {
        replay: done.replay,
        operation_id: done.operation_id.as_ref().map(OperationId::as_str),
        token_meta: &done.token_meta,
    };
    result.meta = Some(Meta::of(&beside).map_err(Error::internal)?);
    Ok(result.into())
}

fn ask(pending: &Pending) -> Result<Outcome, Error> {
    let schema: ElicitSchema = serde_json::from_value(json!({
        "type": "object",
        "properties": {CONFIRM: {"type": "boolean", "title": "Confirm", "description": "Do exactly this, once."}},
        "required": [CONFIRM],
    }))
    .map_err(Error::internal)?;
    let until = &pending.expires_at;
    let again = pending.done_before.as_ref().map(again).unwrap_or_default();
    let summary = format!("{}{again}", pending.summary);
    let message = match pending.approval {
        None => format!("Confirm: {summary}. Valid until {until}."),
        level => format!(
            "Awaits approval by {}, as operation {}: {summary}. Accept once it is approved. Valid until {until}.",
            approver(level),
            pending.operation_id
        ),
    };
    let mut asks = Asks::default();
    asks.requests.set(
        CONFIRM,
        InputRequest::Elicit(ElicitParams::form(message, schema)),
    );
    let ticket = Ticket {
        operation_id: pending.operation_id.as_str().to_owned(),
        action_token: pending.action_token.clone(),
    };
    asks.state = Some(serde_json::to_value(ticket).map_err(Error::internal)?);
    Ok(Outcome::InputRequired(asks))
}

/// That exactly this was done a short while ago, when and as which operation. Not with what result: a provider wrote that,
/// and could write what looks like a part of the question.
fn again(before: &DoneBefore) -> String {
    let (at, id) = (&before.at, &before.operation_id);
    format!(" AGAIN: exactly this was done at {at} already (operation {id})")
}

/// A refusal or failure is a result that says why, so that the model can act on it; what does not
/// exist is answered as the framework answers it.
fn refusal(error: &Error, corr_id: &CorrId) -> Result<Outcome, FrameworkError> {
    if error.code() == Code::NotFound {
        return Err(FrameworkError::not_found(error.message().to_owned()));
    }
    // The client can get a token that does, so it is told at its door: 403 with a challenge, not a result.
    if !error.step_up().is_empty() {
        return Err(FrameworkError::insufficient_scope(error.step_up()));
    }
    let mut result = CallToolResult::error(error.message());
    result.structured_content = Some(Raw::of(&error.to_json(corr_id.as_str()))?);
    Ok(result.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_and_refusals_fit_what_is_announced() {
        let announced = answers(&json!({
            "type": "object",
            "$defs": {"rows": {"type": "array"}},
            "properties": {"rows": {"$ref": "#/$defs/rows"}},
            "required": ["rows"],
            "additionalProperties": false,
        }));
        let schema = jsonschema::draft202012::new(&announced).unwrap();
        let refusal = Error::new(Code::Forbidden, "no").to_json("c-1");
        assert!(schema.is_valid(&json!({"rows": []})));
        assert!(schema.is_valid(&refusal));
        assert!(!schema.is_valid(&json!({"rows": 1})));
        assert!(!schema.is_valid(&json!({})));
    }
}
