//! Calls that run as tasks.
//!
//! A call begins as any other: the gate is asked while the client waits, so what it refuses or asks
//! first is answered as ever. Once the gate lets the handler run (or once a handler says so that begins
//! its task itself), the task is stored, the client is answered, and the very future that was under way
//! goes on in the server's tracker. The permit that the gate gave is the one that the handler runs under.

mod runner;

use std::{future::poll_fn, sync::Arc, task::Poll};

use fastmcp_protocol::{
    Method, Raw, RpcError,
    capability::ClientCapabilities,
    content::Meta,
    meta::Peek,
    mrtr::InputResponses,
    subscription::SubscriptionFilter,
    task::{EXTENSION, TaskParams, UpdateTaskParams, required_capabilities},
};
use fastmcp_store::{Key, StoreError};
use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::sync::broadcast;

use crate::{
    call::{Asks, Input, Outcome},
    context::{Begin, Context, Origin, Promotion, Running, fits},
    engine::{
        Engine,
        task::{self, Answer as Said, Beginning, Changed, End, Family, Owner, Record, Step},
    },
    error::{Error, Result},
    gate::Target,
    respond::{self, Answer},
    router::{self, Resolved},
    session::{Exchange, Round, listen::Stream},
};
use runner::Runner;

/// Tasks that one stream may tell of.
const MAX_WATCHED: usize = 256;

/// How a call becomes a task.
pub(super) struct Plan {
    pub(super) family: Family,
    pub(super) begin: Begin,
    /// What the client asked for, in milliseconds.
    pub(super) ttl_ms: Option<u64>,
    /// The session that the task belongs to, where its caller is nobody in particular.
    pub(super) session: Option<String>,
    /// Whether the answer is a task even where the call ended before it was one.
    pub(super) always: bool,
}

/// A call that can be made once more, for its next round.
#[derive(Clone)]
struct Again {
    engine: Arc<Engine>,
    origin: Origin,
    target: Target,
    input: Input,
}

impl Again {
    fn call(&self, context: Context) -> BoxFuture<'static, Result<Outcome>> {
        let engine = Arc::clone(&self.engine);
        let (target, input) = (self.target.clone(), self.input.clone());
        let leaf = router::leaf(&target);
        let current = context.clone();
        Box::pin(current.scope(async move { engine.invoke(context, target, input, leaf).await }))
    }
}

/// What a call does when it is polled.
enum Polled {
    Done(Result<Outcome>),
    /// It waits for answers that only another round brings.
    Asks,
    /// It waits to become a task.
    Wants,
}

/// Invokes a call that may become a task; `context` has the promotion of its plan.
pub(super) async fn invoke(
    engine: &Arc<Engine>,
    context: Context,
    resolved: Resolved,
    plan: Plan,
) -> Result<Round> {
    let again = Again {
        engine: Arc::clone(engine),
        origin: context.origin().clone(),
        target: resolved.target,
        input: resolved.input,
    };
    let mut call = again.call(context.clone());
    loop {
        let polled = poll_fn(|cx| match call.as_mut().poll(cx) {
            Poll::Ready(outcome) => Poll::Ready(Polled::Done(outcome)),
            // Questions that were joined are all open by now, so they go out together.
            Poll::Pending if context.asking().replay().has_open() => Poll::Ready(Polled::Asks),
            Poll::Pending if context.promotion().is_some_and(Promotion::is_wanted) => {
                Poll::Ready(Polled::Wants)
            }
            Poll::Pending => Poll::Pending,
        })
        .await;
        let replay = context.asking().replay();
        match polled {
            Polled::Done(Ok(Outcome::InputRequired(asks))) => {
                return Ok(Round::Asked(asks, replay.remembered()));
            }
            Polled::Done(Ok(Outcome::Complete(payload))) if !plan.always => {
                return Ok(Round::Complete(payload));
            }
            Polled::Done(Err(error)) if !plan.always => return Err(error),
            Polled::Done(outcome) => return ended(engine, &again.origin, &plan, outcome).await,
            Polled::Asks => {
                let asks = Asks {
                    requests: replay.take_open(),
                    state: context.gate_state(),
                };
                return Ok(Round::Asked(asks, replay.remembered()));
            }
            Polled::Wants => {
                let Some(promotion) = context.promotion() else {
                    continue;
                };
                match engine.tasks.begin(plan.beginning(&again.origin)).await {
                    Ok((key, record, live)) => {
                        let runner = Arc::new(Runner::new(engine, key, &record, live));
                        promotion.settle(Ok(Arc::clone(&runner) as Arc<dyn Running>));
                        engine.tracker.spawn(runner.run(call, context, again));
                        return Ok(Round::Task(Box::new(record)));
                    }
                    // The call hears of it and ends as it will: it is not dropped half-way.
                    Err(error) => promotion.settle(Err(error)),
                }
            }
        }
    }
}

impl Plan {
    /// What the context of the call needs for it.
    pub(super) fn promotion(&self) -> Promotion {
        Promotion::new(self.begin)
    }

    fn beginning(&self, origin: &Origin) -> Beginning {
        Beginning {
            owner: Owner::of(&origin.caller, self.family),
            ttl_ms: self.ttl_ms,
            session: self.session.clone(),
            cancel: origin.cancel.clone(),
        }
    }
}

/// Answers with a task where the call had ended before it was one.
async fn ended(
    engine: &Engine,
    origin: &Origin,
    plan: &Plan,
    outcome: Result<Outcome>,
) -> Result<Round> {
    let outcome = outcome.and_then(|outcome| match outcome {
        Outcome::Complete(payload) => Ok(payload),
        Outcome::InputRequired(_) => Err(Error::internal("a call that ended asks for input")),
    });
    let result = respond::settle(outcome, engine.mask).map_err(Error::protocol)?;
    let (key, _, _) = engine.tasks.begin(plan.beginning(origin)).await?;
    let end = runner::kept(result, engine.tasks.limits.max_result_bytes);
    let record = end_task(engine, &key, end).await;
    engine.tasks.leave(&key);
    record?
        .map(|record| Round::Task(Box::new(record)))
        .ok_or_else(unknown)
}

async fn end_task(
    engine: &Engine,
    key: &Key,
    end: End,
) -> std::result::Result<Option<Record>, StoreError> {
    let now = engine.tasks.now();
    let ended = engine.tasks.change(key, |record| {
        if record.status.is_terminal() {
            return Step::Keep;
        }
        record.end(end.clone(), now);
        Step::Write
    });
    ended.await
}

/// What is said of a task that is not there, or is another caller's.
pub(super) fn unknown() -> Error {
    Error::protocol(RpcError::invalid_params(
        "`taskId` names no task of this caller, or one whose time is over",
    ))
}

/// Whether a request declares that its client knows tasks.
pub(super) fn is_declared(peek: &Peek) -> bool {
    peek.meta.client_capabilities.as_ref().is_some_and(|raw| {
        raw.decode::<ClientCapabilities>()
            .is_ok_and(|declared| declared.has_extension(EXTENSION))
    })
}

/// The methods of tasks of the extension.
///
/// Source: SEP-2663, "Task Polling", "Task Update Requests", "Task Cancellation".
pub(super) async fn answer(
    engine: &Engine,
    exchange: &Exchange,
    method: Method,
    params: Option<&Raw>,
    answer: Answer<'_>,
) -> Result<fastmcp_transport::Reply> {
    if !is_declared(&exchange.peek) {
        return Err(Error::missing_capability(&required_capabilities()));
    }
    let owner = Owner::of(&exchange.caller, Family::Extension);
    if method == Method::TasksUpdate {
        let params: UpdateTaskParams<'_> = Raw::decode_params(params).map_err(Error::protocol)?;
        let key = owner.place(&params.task_id)?;
        update(engine, &key, &params.input_responses).await?;
        return Ok(answer.empty());
    }
    let params: TaskParams<'_> = Raw::decode_params(params).map_err(Error::protocol)?;
    let key = owner.place(&params.task_id)?;
    if method == Method::TasksCancel {
        cancel(engine, &key, false).await?;
        return Ok(answer.empty());
    }
    let record = engine.tasks.look(&key).await?.ok_or_else(unknown)?;
    Ok(answer.encoded(&serde_json::to_string(&record.shown())?, None))
}

/// Takes a client's answers. Those to questions that are not open are ignored; one that does not fit
/// its question is refused, and then none is taken.
async fn update(engine: &Engine, key: &Key, responses: &InputResponses) -> Result<()> {
    let now = engine.tasks.now();
    let mut problem = None;
    let changed = engine
        .tasks
        .change(key, |record| {
            let mut fitting = Vec::new();
            for (name, response) in responses.iter() {
                let Some(request) = record.requests.get(name) else {
                    continue;
                };
                if let Err(why) = fits(request, response) {
                    problem = Some(format!("`inputResponses.{name}`: {why}"));
                    return Step::Keep;
                }
                fitting.push((name, response.clone()));
            }
            if fitting.is_empty() {
                return Step::Keep;
            }
            for (name, response) in fitting {
                record.close(name, now);
                record.answers.set(name, Said::Given(response));
            }
            Step::Write
        })
        .await;
    if let Some(problem) = problem {
        return Err(Error::protocol(RpcError::invalid_params(problem)));
    }
    match changed {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(unknown()),
        Err(StoreError::ValueTooLarge { .. }) => Err(Error::protocol(RpcError::invalid_params(
            "`inputResponses` is too large to be kept",
        ))),
        Err(error) => Err(error.into()),
    }
}

/// Calls a task off; how far it was before. What runs hears of it and ends as it will: a task of the
/// extension may still be completed, one of 2025-11-25 is `at_once` cancelled.
///
/// Source: SEP-2663, "Task Cancellation"; MCP 2025-11-25, basic/utilities/tasks, "Task Cancellation".
pub(super) async fn cancel(engine: &Engine, key: &Key, at_once: bool) -> Result<(bool, Record)> {
    let now = engine.tasks.now();
    let mut was_over = false;
    let changed = engine.tasks.change(key, |record| {
        was_over = record.status.is_terminal();
        if was_over {
            return Step::Keep;
        }
        record.cancel = true;
        if at_once {
            record.end(End::Cancelled, now);
            return Step::Write;
        }
        Step::Quiet
    });
    let record = changed.await?.ok_or_else(unknown)?;
    if !was_over && let Some(live) = engine.tasks.live(key) {
        live.cancel.cancel();
    }
    Ok((was_over, record))
}

/// The tasks that a stream tells of.
pub(super) struct Watched {
    /// Subscribed before the first look, so that nothing between the two is missed.
    changes: broadcast::Receiver<Arc<Changed>>,
    tasks: Vec<(Key, Record)>,
}

impl Watched {
    /// Of the tasks that a client wants to hear of, those that are its caller's.
    ///
    /// Source: SEP-2663, "Task Status Notifications".
    pub(super) async fn of(
        engine: &Engine,
        exchange: &Exchange,
        wanted: &SubscriptionFilter,
    ) -> Result<Self> {
        let mut watched = Self {
            changes: engine.tasks.subscribe(),
            tasks: Vec::new(),
        };
        if wanted.task_ids.is_empty() {
            return Ok(watched);
        }
        if !is_declared(&exchange.peek) {
            return Err(Error::missing_capability(&required_capabilities()));
        }
        if wanted.task_ids.len() > MAX_WATCHED {
            return Err(Error::protocol(RpcError::invalid_params(format!(
                "`notifications.taskIds`: one stream tells of at most {MAX_WATCHED} tasks"
            ))));
        }
        let owner = Owner::of(&exchange.caller, Family::Extension);
        for id in &wanted.task_ids {
            let key = owner.place(id)?;
            if watched.tasks.iter().any(|(known, _)| *known == key) {
                continue;
            }
            if let Some(record) = engine.tasks.look(&key).await? {
                watched.tasks.push((key, record));
            }
        }
        Ok(watched)
    }

    /// Their ids.
    pub(super) fn ids(&self) -> Vec<String> {
        self.tasks
            .iter()
            .map(|(_, record)| record.id.clone())
            .collect()
    }

    /// Tells how they are now and whenever they change; ends when nobody reads any more.
    pub(super) async fn run(mut self, engine: &Engine, stream: &Stream<'_>) {
        if self.tasks.is_empty() {
            return std::future::pending().await;
        }
        for (_, record) in &self.tasks {
            if !tell(stream, record).await {
                return;
            }
        }
        let often = engine.tasks.others_act_within();
        loop {
            let others = async {
                match often {
                    Some(often) => tokio::time::sleep(often).await,
                    None => std::future::pending().await,
                }
            };
            let alive = tokio::select! {
                changed = self.changes.recv() => match changed {
                    Ok(changed) => self.changed(&changed, stream).await,
                    // A slow reader missed some: look how all of them are by now.
                    Err(broadcast::error::RecvError::Lagged(_)) => self.look(engine, stream).await,
                    Err(broadcast::error::RecvError::Closed) => false,
                },
                () = others => self.look(engine, stream).await,
            };
            if !alive {
                return;
            }
        }
    }

    /// Tells of a change of this process's making; whether anybody still reads.
    async fn changed(&mut self, changed: &Changed, stream: &Stream<'_>) -> bool {
        let Some((_, told)) = self.tasks.iter_mut().find(|(key, _)| *key == changed.key) else {
            return true;
        };
        told.clone_from(&changed.record);
        tell(stream, told).await
    }

    /// Tells of what others changed, or this process unheard; whether anybody still reads.
    async fn look(&mut self, engine: &Engine, stream: &Stream<'_>) -> bool {
        for (key, told) in &mut self.tasks {
            if told.status.is_terminal() {
                continue;
            }
            let Ok(Some(record)) = engine.tasks.look(key).await else {
                continue;
            };
            let is_new = record.shown() != told.shown();
            *told = record;
            if is_new && !tell(stream, told).await {
                return false;
            }
        }
        true
    }
}

/// Sends how a task is; whether anybody still reads.
async fn tell(stream: &Stream<'_>, record: &Record) -> bool {
    let Ok(task) = serde_json::to_string(&record.shown()) else {
        return true;
    };
    let tag = stream.tag.as_ref().map(serde_json::to_string);
    let params = match tag {
        Some(Ok(tag)) => fastmcp_protocol::wire::with_meta(&task, &tag),
        _ => task,
    };
    stream.send(Method::NotificationTasks, Some(&params)).await
}

/// `_meta` that names the task which a message belongs to, for clients of 2025-11-25.
pub(super) fn related(id: &str) -> Meta {
    Meta::default().with(
        fastmcp_protocol::legacy::RELATED_TASK,
        Value::Object(
            [("taskId".to_owned(), Value::String(id.to_owned()))]
                .into_iter()
                .collect(),
        ),
    )
}

/// Waits until `key` changes by this process's doing.
pub(super) async fn changed(changes: &mut broadcast::Receiver<Arc<task::Changed>>, key: &Key) {
    loop {
        match changes.recv().await {
            Ok(changed) if changed.key == *key => return,
            Ok(_) => {}
            Err(_) => return,
        }
    }
}
