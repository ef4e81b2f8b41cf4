//! Tasks of 2025-11-25: the client says which calls are tasks, and waits for their results.
//!
//! Source: MCP 2025-11-25, basic/utilities/tasks.

use std::{num::NonZeroU16, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use fastmcp_auth::{Caller, caller::CallerKind};
use fastmcp_protocol::{
    ErrorCode, Method, ProtocolVersion, Raw, RpcError,
    discover::PaginatedParams,
    jsonrpc::encode_call,
    legacy::{self, ListTasksResult, TaskMetadata},
    task::{TaskParams, TaskStatus},
    tool::TaskSupport,
};
use fastmcp_store::Key;
use fastmcp_transport::{Frame, Reply};
use futures_util::future::BoxFuture;

use super::{Exchange, ask::OnStream};
use crate::{
    context::{Begin, Origin, fits, require},
    engine::{
        Engine,
        session::Session,
        task::{Answer as Said, Family, Owner, Presenting, Record, Step},
    },
    error::{Error, Result},
    gate::Target,
    respond::Answer,
    session::task::{self, Plan},
};

/// Tasks of one page of a list.
const PAGE: NonZeroU16 = NonZeroU16::MIN.saturating_add(99);

/// Whether the server tells clients of `version` that tools run as tasks. What a task asks for needs a session.
pub(super) fn is_declared(engine: &Engine, version: ProtocolVersion) -> bool {
    version == ProtocolVersion::V2025_11_25
        && !engine.stateless_http
        && engine.registry.snapshot().has_tasks()
}

/// Whether a call runs as a task.
pub(super) fn plan(
    engine: &Engine,
    origin: &Origin,
    session: Option<&Arc<Session>>,
    version: ProtocolVersion,
    target: &Target,
) -> Result<Option<Plan>> {
    let refused =
        |why: &'static str| Error::protocol(RpcError::new(ErrorCode::METHOD_NOT_FOUND, why));
    let support = target.component().task_support();
    let wanted = origin.peek.task.as_ref();
    // Who was told of no tasks and asks for one is served as if it had not asked.
    let Some(wanted) = wanted.filter(|_| is_declared(engine, version)) else {
        return match support {
            TaskSupport::Required => Err(refused(
                "this tool only runs as a task; add `task` to the parameters",
            )),
            _ => Ok(None),
        };
    };
    if support == TaskSupport::Forbidden {
        return Err(refused("this tool does not run as a task"));
    }
    let wanted: TaskMetadata = wanted
        .decode()
        .map_err(|e| Error::protocol(RpcError::invalid_params(format!("`params.task`: {e}"))))?;
    Ok(Some(Plan {
        family: Family::Requested,
        begin: Begin::AtLeaf,
        ttl_ms: wanted.ttl,
        session: belongs_to(&origin.caller, session),
        always: true,
    }))
}

/// The session that tells the tasks of nobody in particular apart.
fn belongs_to(caller: &Caller, session: Option<&Arc<Session>>) -> Option<String> {
    let nobody = caller.kind() == CallerKind::Anonymous;
    session.filter(|_| nobody).map(|s| s.id.clone())
}

/// The methods of tasks.
pub(super) async fn answer(
    engine: &Engine,
    exchange: &Exchange,
    session: Option<&Arc<Session>>,
    params: Option<&Raw>,
    answer: Answer<'_>,
) -> Result<Reply> {
    let missing = || {
        let method = answer.method.map_or("tasks", Method::as_str);
        Ok(answer.rpc_error(&RpcError::method_not_found(method)))
    };
    if !is_declared(engine, answer.version) {
        return missing();
    }
    let owner = Owner::of(&exchange.caller, Family::Requested);
    if answer.method == Some(Method::TasksList) {
        if !engine.tasks.lists() {
            return missing();
        }
        let params: PaginatedParams<'_> = Raw::decode_params(params).map_err(Error::protocol)?;
        let listed = list(engine, exchange, session, &owner, params.cursor.as_deref()).await?;
        return Ok(answer.encoded(&serde_json::to_string(&listed)?, None));
    }
    let params: TaskParams<'_> = Raw::decode_params(params).map_err(Error::protocol)?;
    let key = owner.place(&params.task_id)?;
    match answer.method {
        Some(Method::TasksResult) => result(engine, exchange, session, &key, answer).await,
        Some(Method::TasksCancel) => {
            let (was_over, record) = task::cancel(engine, &key, true).await?;
            if was_over {
                return Err(Error::protocol(RpcError::invalid_params(
                    "the task is over and cannot be cancelled",
                )));
            }
            Ok(answer.encoded(&shown(&record)?, None))
        }
        _ => {
            let record = engine.tasks.look(&key).await?.ok_or_else(task::unknown)?;
            Ok(answer.encoded(&shown(&record)?, None))
        }
    }
}

fn shown(record: &Record) -> Result<String> {
    Ok(serde_json::to_string(&legacy::Task::from(record.shown()))?)
}

async fn list(
    engine: &Engine,
    exchange: &Exchange,
    session: Option<&Arc<Session>>,
    owner: &Owner,
    cursor: Option<&str>,
) -> Result<ListTasksResult> {
    let after = cursor
        .map(|cursor| {
            URL_SAFE_NO_PAD
                .decode(cursor)
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .filter(|rest| rest.len() == 43 && rest.bytes().all(|b| b.is_ascii_graphic()))
                .ok_or_else(|| {
                    Error::protocol(RpcError::invalid_params(
                        "`cursor` is not one of this server",
                    ))
                })
        })
        .transpose()?;
    let (mut records, next) = engine.tasks.list(owner, after.as_deref(), PAGE).await?;
    if exchange.caller.kind() == CallerKind::Anonymous {
        // Whoever is nobody in particular sees what was begun in its own session.
        let own = belongs_to(&exchange.caller, session);
        records.retain(|record| own.is_some() && record.session == own);
    }
    Ok(ListTasksResult {
        tasks: records.iter().map(|r| r.shown().into()).collect(),
        next_cursor: next.map(|rest| URL_SAFE_NO_PAD.encode(rest)),
    })
}

/// Waits for a task's result. What the task asks meanwhile is asked on this stream, and what becomes
/// of it is told there.
///
/// Source: MCP 2025-11-25, basic/utilities/tasks, "Retrieving Task Results" and "Input Required Status".
async fn result(
    engine: &Engine,
    exchange: &Exchange,
    session: Option<&Arc<Session>>,
    key: &Key,
    answer: Answer<'_>,
) -> Result<Reply> {
    let mut changes = engine.tasks.subscribe();
    let mut told = None;
    let mut presenting: Option<Asking<'_>> = None;
    let closed = session.map(|s| s.closed.clone()).unwrap_or_default();
    let ended = |why: &'static str| Error::protocol(RpcError::internal(why));
    loop {
        let record = engine.tasks.look(key).await?.ok_or_else(task::unknown)?;
        match record.status {
            TaskStatus::Completed => return done(&record, answer),
            TaskStatus::Failed => {
                let error = record.error.clone();
                let error = error.unwrap_or_else(|| RpcError::internal("the task failed"));
                return Ok(answer.rpc_error(&error));
            }
            TaskStatus::Cancelled => {
                return Ok(answer.rpc_error(&RpcError::new(
                    ErrorCode::INVALID_REQUEST,
                    "the task was cancelled and has no result",
                )));
            }
            status => {
                if told.replace(status).is_some_and(|before| before != status) {
                    status_changed(exchange, &record).await?;
                }
            }
        }
        // A question that is being asked is not asked again because something else changed.
        match session.filter(|_| record.status == TaskStatus::InputRequired) {
            None => presenting = None,
            Some(session) if presenting.is_none() => {
                presenting = engine.tasks.present(key).map(|claim| {
                    Box::pin(present(engine, exchange, session, record, claim)) as Asking<'_>
                });
            }
            Some(_) => {}
        }
        let asked = async {
            match &mut presenting {
                Some(presenting) => presenting.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            asked = asked => {
                presenting = None;
                asked?;
            }
            () = task::changed(&mut changes, key) => {}
            () = tokio::time::sleep(engine.tasks.limits.poll_interval) => {}
            () = exchange.cancel.cancelled() => return Err(Error::cancelled()),
            () = engine.shutdown.cancelled() => return Err(ended("the server is shutting down")),
            () = closed.cancelled() => return Err(ended("the session ended")),
        }
    }
}

/// The asking of a task's questions on a stream.
type Asking<'a> = BoxFuture<'a, Result<()>>;

fn done(record: &Record, answer: Answer<'_>) -> Result<Reply> {
    let result = record
        .result
        .as_ref()
        .ok_or_else(|| Error::internal("a completed task has no result"))?;
    let mut result: fastmcp_protocol::tool::CallToolResult = result.decode()?;
    let mut meta = result.meta.take().unwrap_or_default();
    for (name, value) in task::related(&record.id).members() {
        meta.set(name, value.clone());
    }
    result.meta = Some(meta);
    Ok(answer.payload(crate::call::Payload::Tool(result), None))
}

async fn status_changed(exchange: &Exchange, record: &Record) -> Result<()> {
    let text = encode_call(
        None,
        Method::NotificationTasksStatus.as_str(),
        Some(&shown(record)?),
    );
    exchange
        .outlet
        .send(Frame::message(text))
        .await
        .map_err(|_| Error::cancelled())
}

/// Asks what a task asks, one question after the other. One stream does that at a time; others wait.
async fn present(
    engine: &Engine,
    exchange: &Exchange,
    session: &Arc<Session>,
    record: Record,
    claim: Presenting<'_>,
) -> Result<()> {
    let key = claim.key();
    for (name, request) in record.requests.iter() {
        require(&session.capabilities, request)?;
        let meta = serde_json::to_string(&task::related(&record.id))?;
        let stream = OnStream::new(session, &exchange.outlet, &exchange.cancel, engine);
        let said = match stream.put(request, Some(&meta)).await? {
            Ok(answer) => match fits(request, &answer) {
                Ok(()) => Said::Given(answer),
                Err(why) => Said::Refused(format!("answer to `{name}`: {why}")),
            },
            Err(error) => Said::Refused(format!(
                "the client answered with an error: {}",
                error.message
            )),
        };
        let now = engine.tasks.now();
        let taken = engine.tasks.change(key, |record| {
            if record.requests.get(name).is_none() {
                return Step::Keep;
            }
            record.close(name, now);
            record.answers.set(name, said.clone());
            Step::Write
        });
        taken.await?;
    }
    Ok(())
}
