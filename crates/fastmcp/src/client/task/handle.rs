//! A call that goes on while its caller does other things.

use std::{collections::HashSet, fmt};

use fastmcp_protocol::{
    Raw,
    discover::{ResultEnvelope, ResultKind},
    task::{Task, TaskStatus},
};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::{ALTOGETHER, named, pause};
use crate::{
    client::{CallOptions, CallResult, Client, task::is_task},
    error::{Error, Result},
};

/// A call that goes on while its caller does other things; see [`Client::call_tool_as_task`].
///
/// Dropped, the task goes on: [`Client::task`] finds it again by its [name](Self::id), in another process too.
/// What the task asks is answered while somebody waits for it here.
pub struct TaskHandle {
    client: Client,
    tool: String,
    begun: Begun,
    /// Questions that were answered: keys are used once in the life of a task.
    answered: HashSet<String>,
}

/// What became of the call.
enum Begun {
    /// It was answered at once.
    Answered(Raw),
    /// It goes on, as it was seen last.
    Task(Box<Task>),
}

impl Client {
    /// Calls a tool and does not wait for its end, where the server lets that be: a server decides for each
    /// call whether it becomes a task. One that does not, or knows no tasks, is waited for here, and the
    /// handle has its result.
    ///
    /// ```
    /// # use fastmcp::prelude::*;
    /// # use std::time::Duration;
    /// /// Counts the stars.
    /// #[tool(task)]
    /// async fn count_stars() -> i64 {
    ///     tokio::time::sleep(Duration::from_secs(60)).await;
    ///     6_000
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<()> {
    /// # let server = FastMcp::new("sky").tool(count_stars).build()?;
    /// # let client = Client::connect(&server).await?;
    /// let stars = client.call_tool_as_task("count_stars", json!({})).await?;
    /// // ... other work ...
    /// assert_eq!(stars.result().await?.data::<i64>()?, 6_000);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// When the call failed before it was a task. A failure of the tool is told by
    /// [`TaskHandle::result`].
    ///
    /// # Cancel safety
    ///
    /// Dropped, the call is cancelled, unless it is a task already.
    pub async fn call_tool_as_task(&self, name: &str, arguments: Value) -> Result<TaskHandle> {
        let params = crate::client::named(name, arguments);
        let mut options = CallOptions::new().capabilities(self.link.capabilities_with_tasks());
        options.as_task = true;
        let answer = self.link.request("tools/call", params, &options).await?;
        let envelope = ResultEnvelope::peek(&answer)?;
        let is_task = match self.link.agreed.load().kind(&envelope) {
            ResultKind::Other(kind) => is_task(&self.link, "tools/call", kind, &options),
            _ => false,
        };
        let begun = if is_task {
            Begun::Task(Box::new(answer.decode()?))
        } else {
            Begun::Answered(answer)
        };
        Ok(TaskHandle::new(self, name, begun))
    }

    /// Finds a task again that a call of the tool `tool` became, by its name. Who may see it, the server
    /// decides.
    ///
    /// # Errors
    ///
    /// When the server does not know the task, or answers with an error.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn task(&self, tool: &str, id: &str) -> Result<TaskHandle> {
        let task = self.link.look_at(id).await?;
        Ok(TaskHandle::new(self, tool, Begun::Task(Box::new(task))))
    }
}

impl TaskHandle {
    fn new(client: &Client, tool: &str, begun: Begun) -> Self {
        Self {
            client: client.clone(),
            tool: tool.to_owned(),
            begun,
            answered: HashSet::new(),
        }
    }

    /// The name of the task, which is a secret of its caller; none where the call was answered at once.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.task().map(|task| task.task_id.as_str())
    }

    /// The task as it was seen last; none where the call was answered at once.
    #[must_use]
    pub fn task(&self) -> Option<&Task> {
        match &self.begun {
            Begun::Answered(_) => None,
            Begun::Task(task) => Some(task),
        }
    }

    /// Asks how far the task is.
    ///
    /// # Errors
    ///
    /// When the server answers with an error, as it does once the task is forgotten.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn status(&mut self) -> Result<TaskStatus> {
        let Begun::Task(seen) = &mut self.begun else {
            return Ok(TaskStatus::Completed);
        };
        if !seen.status.is_terminal() {
            **seen = self.client.link.look_at(&seen.task_id).await?;
        }
        Ok(seen.status)
    }

    /// Waits until the task is further than it was seen last, or has ended; [`Self::task`] is then how far it
    /// is. Looks as often as the server wishes, and answers what the task asks meanwhile.
    ///
    /// # Errors
    ///
    /// As [`Self::status`], and when a question cannot be answered.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe; a question may have reached the user.
    pub async fn changed(&mut self) -> Result<TaskStatus> {
        let link = &self.client.link;
        let Begun::Task(seen) = &mut self.begun else {
            return Ok(TaskStatus::Completed);
        };
        loop {
            if seen.status.is_terminal() {
                return Ok(seen.status);
            }
            if seen.status == TaskStatus::InputRequired {
                Box::pin(link.answer_task(seen, &mut self.answered)).await?;
            }
            pause(seen).await;
            let now = link.look_at(&seen.task_id).await?;
            let differs = now.status != seen.status
                || now.status_message != seen.status_message
                || now.last_updated_at != seen.last_updated_at;
            **seen = now;
            if differs {
                return Ok(seen.status);
            }
        }
    }

    /// Waits for the end, answering what the task asks meanwhile, for up to 24 hours.
    ///
    /// # Errors
    ///
    /// As [`Client::call_tool`], and when the task was called off.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the task goes on.
    pub async fn result(self) -> Result<CallResult> {
        self.result_raw().await?.or_failure()
    }

    /// As [`Self::result`]; a failure of the tool is a result.
    ///
    /// # Errors
    ///
    /// As [`Client::call_tool_raw`], and when the task was called off.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the task goes on.
    pub async fn result_raw(mut self) -> Result<CallResult> {
        let raw = match self.begun {
            Begun::Answered(raw) => raw,
            Begun::Task(task) => {
                let link = &self.client.link;
                let ends = Box::pin(link.follow_task(*task, &mut self.answered));
                let ended = timeout_at(Instant::now() + ALTOGETHER, ends).await;
                ended.map_err(|_| Error::timeout())???
            }
        };
        self.client.result_of(&self.tool, raw.into())
    }

    /// Calls the task off. That may take the server a while, and may come too late: see [`Self::changed`].
    ///
    /// # Errors
    ///
    /// When the server answers with an error.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the server may not have been told.
    pub async fn cancel(&self) -> Result<()> {
        if let Some(id) = self.id() {
            let told = self.client.link.request_plain("tasks/cancel", named(id));
            told.await?;
        }
        Ok(())
    }
}

impl fmt::Debug for TaskHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskHandle")
            .field("tool", &self.tool)
            .field("status", &self.task().map(|task| task.status))
            .finish_non_exhaustive()
    }
}
