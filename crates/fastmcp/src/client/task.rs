//! Calls that a server answers later.
//!
//! Source: MCP extension `io.modelcontextprotocol/tasks` (SEP-2663).

mod handle;

use std::{collections::HashSet, sync::Arc, time::Duration};

use fastmcp_protocol::{
    Raw,
    mrtr::InputResponses,
    task::{EXTENSION, TASK, Task, TaskStatus, UpdateTaskParams},
};
use fastmcp_transport::WireError;
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep, timeout_at};

use super::{call::CallOptions, link::Link};
use crate::error::{Error, Result};

pub use handle::TaskHandle;

/// How long to wait between two looks where the server does not say.
const PAUSE: Duration = Duration::from_secs(1);
/// The shortest pause, whatever the server says.
const SHORTEST: Duration = Duration::from_millis(50);
/// The longest.
const LONGEST: Duration = Duration::from_mins(1);
/// Looks in a row that may fail.
const FAILURES: u32 = 5;
/// How long a task may take altogether.
const ALTOGETHER: Duration = Duration::from_hours(24);

/// Whether a result of this kind, to a call of `method`, is a task that this client takes.
pub(super) fn is_task(link: &Link, method: &str, kind: &str, options: &CallOptions) -> bool {
    let takes = || options.as_task || link.capabilities().has_extension(EXTENSION);
    kind == TASK && method == "tools/call" && takes()
}

impl Link {
    /// Waits for the result of the task that `seed` is, and answers what it asks meanwhile.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the task is called off.
    pub(super) async fn finish_task(self: &Arc<Self>, seed: &Raw) -> Result<Raw> {
        let task: Task = seed.decode()?;
        let mut guard = CallOff {
            link: Arc::clone(self),
            id: Some(task.task_id.clone()),
        };
        let until = Instant::now() + ALTOGETHER;
        let mut answered = HashSet::new();
        let finished = timeout_at(until, self.follow_task(task, &mut answered)).await;
        let outcome = finished.map_err(|_| Error::timeout())??;
        guard.id = None;
        outcome
    }

    /// Looks at a task until it has ended, and returns what came of it.
    async fn follow_task(
        self: &Arc<Self>,
        mut task: Task,
        answered: &mut HashSet<String>,
    ) -> Result<Result<Raw>> {
        loop {
            if let Some(ended) = ended(&mut task) {
                return Ok(ended);
            }
            if task.status == TaskStatus::InputRequired {
                self.answer_task(&task, answered).await?;
            }
            pause(&task).await;
            task = self.look_at(&task.task_id).await?;
        }
    }

    /// Asks how far a task is. Looking again does no harm, so a failure on the way is no end.
    async fn look_at(self: &Arc<Self>, id: &str) -> Result<Task> {
        let mut failures = 0;
        loop {
            match self.request_plain("tasks/get", named(id)).await {
                Ok(task) => return Ok(task.decode()?),
                Err(error) if failures < FAILURES && may_pass(&error) => {
                    tracing::debug!(%error, "the task could not be looked at");
                    sleep(self.backoff(failures)).await;
                    failures += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Answers what the task asks and was not answered before; keys are used once in its life.
    async fn answer_task(
        self: &Arc<Self>,
        task: &Task,
        answered: &mut HashSet<String>,
    ) -> Result<()> {
        let handlers = self.handlers().clone();
        let mut input_responses = InputResponses::default();
        for (key, request) in task.input_requests.iter().flat_map(|all| all.iter()) {
            if answered.insert(key.to_owned()) {
                let answer = handlers.answer(key, request.clone()).await?;
                input_responses.answer(key, &answer)?;
            }
        }
        if input_responses.is_empty() {
            return Ok(());
        }
        let params = UpdateTaskParams {
            task_id: task.task_id.as_str().into(),
            input_responses,
        };
        if let Value::Object(params) = serde_json::to_value(params)? {
            self.request_plain("tasks/update", params).await?;
        }
        Ok(())
    }

    async fn request_plain(
        self: &Arc<Self>,
        method: &str,
        params: Map<String, Value>,
    ) -> Result<Raw> {
        let options = CallOptions::default();
        Box::pin(self.request(method, params, &options)).await
    }
}

/// Waits as long as the task wishes before the next look at it.
async fn pause(task: &Task) {
    let pause = task.poll_interval_ms.map_or(PAUSE, Duration::from_millis);
    sleep(pause.clamp(SHORTEST, LONGEST)).await;
}

/// What came of a task; none while it goes on.
fn ended(task: &mut Task) -> Option<Result<Raw>> {
    let lacks = |what: &str| {
        Err(Error::internal(format!(
            "the task has ended without {what}"
        )))
    };
    let outcome = match task.status {
        TaskStatus::Working | TaskStatus::InputRequired => return None,
        TaskStatus::Completed => task.result.take().map_or_else(|| lacks("its result"), Ok),
        TaskStatus::Failed => match task.error.take() {
            Some(error) => Err(Error::protocol(error)),
            None => lacks("its error"),
        },
        TaskStatus::Cancelled => Err(Error::cancelled()),
    };
    Some(outcome)
}

/// Whether a failure may be gone the next time.
pub(super) fn may_pass(error: &Error) -> bool {
    let cause = error.source().and_then(|e| e.downcast_ref::<WireError>());
    match cause {
        Some(WireError::Status { status, .. }) => *status >= 500 || *status == 429,
        Some(WireError::Broken(_) | WireError::Unreachable(_)) => true,
        Some(_) => false,
        None => error.kind() == crate::error::ErrorKind::Timeout,
    }
}

fn named(id: &str) -> Map<String, Value> {
    Map::from_iter([("taskId".to_owned(), json!(id))])
}

/// Calls a task off when it is dropped before the task ended.
struct CallOff {
    link: Arc<Link>,
    id: Option<String>,
}

impl Drop for CallOff {
    fn drop(&mut self) {
        let Some(id) = self.id.take() else { return };
        // Without a runtime the process is about to end; the server forgets the task in its time.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let link = Arc::clone(&self.link);
            let tasks = link.tasks.clone();
            let said = async move {
                if let Err(error) = link.request_plain("tasks/cancel", named(&id)).await {
                    tracing::debug!(%error, "the task was not called off");
                }
            };
            tasks.spawn_on(said, &runtime);
        }
    }
}
