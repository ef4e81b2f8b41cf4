//! Tasks: calls that go on after their answer.
//!
//! A server answers `tools/call` with a [`Task`] in place of a result, to a client that declares the
//! extension on that very request; the client asks how far it is with `tasks/get`, answers what the
//! task asks with `tasks/update` and says with `tasks/cancel` that it is no longer wanted.
//!
//! The tasks of 2025-11-25 share words with these and nothing else; see [`crate::legacy::Task`].
//!
//! Source: MCP extension `io.modelcontextprotocol/tasks` (SEP-2663).

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    error::RpcError,
    mrtr::{InputRequests, InputResponses},
    raw::Raw,
};

/// The extension's identifier.
pub const EXTENSION: &str = "io.modelcontextprotocol/tasks";
/// The word for a result that is a task.
pub const TASK: &str = "task";

/// The capabilities that a client needs for tasks: what a refusal names.
#[must_use]
pub fn required_capabilities() -> Value {
    json!({"extensions": {EXTENSION: {}}})
}

/// How far a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskStatus {
    /// It goes on.
    Working,
    /// It waits for the client's answers.
    InputRequired,
    /// It has a result, which may say that the tool failed.
    Completed,
    /// The call ended with a JSON-RPC error.
    Failed,
    /// It was called off.
    Cancelled,
}

impl TaskStatus {
    /// Whether nothing comes after it.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// A task as its client sees it: the result of `tasks/get` and, without the last three members, of the
/// call that began it.
///
/// Source: SEP-2663, `Task` and `DetailedTask`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    /// Its name, which nobody can guess.
    pub task_id: String,
    /// How far it is.
    pub status: TaskStatus,
    /// The same in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_message: Option<String>,
    /// When it began, in ISO 8601.
    pub created_at: String,
    /// When its status or message last changed, in ISO 8601.
    pub last_updated_at: String,
    /// Milliseconds from its beginning for which it is kept; for ever where null.
    pub ttl_ms: Option<u64>,
    /// Milliseconds that a client shall wait between two looks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poll_interval_ms: Option<u64>,
    /// What it asks, while its status is [`TaskStatus::InputRequired`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_requests: Option<InputRequests>,
    /// What the call would have answered, once its status is [`TaskStatus::Completed`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Raw>,
    /// The error that the call would have answered, once its status is [`TaskStatus::Failed`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<RpcError>,
}

impl Task {
    /// The task as the answer of the call that began it shows it.
    #[must_use]
    pub fn seed(mut self) -> Self {
        self.input_requests = None;
        self.result = None;
        self.error = None;
        self
    }
}

/// The parameters of `tasks/get` and `tasks/cancel`, and of `tasks/result` of 2025-11-25.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskParams<'a> {
    /// The task.
    #[serde(borrow)]
    pub task_id: Cow<'a, str>,
}

/// The parameters of `tasks/update`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UpdateTaskParams<'a> {
    /// The task.
    #[serde(borrow)]
    pub task_id: Cow<'a, str>,
    /// Answers to some or all of what it asks. Keys that are not open are ignored.
    pub input_responses: InputResponses,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task() -> Task {
        Task {
            task_id: "t".to_owned(),
            status: TaskStatus::Completed,
            status_message: None,
            created_at: "2026-07-28T00:00:00Z".to_owned(),
            last_updated_at: "2026-07-28T00:00:01Z".to_owned(),
            ttl_ms: None,
            poll_interval_ms: Some(1_000),
            input_requests: None,
            result: Some(Raw::parse(r#"{"content":[],"n":1.10}"#).unwrap()),
            error: None,
        }
    }

    #[test]
    fn a_task_is_flat_and_names_its_units() {
        let text = r#"{"taskId":"t","status":"completed","createdAt":"2026-07-28T00:00:00Z","lastUpdatedAt":"2026-07-28T00:00:01Z","ttlMs":null,"pollIntervalMs":1000,"result":{"content":[],"n":1.10}}"#;
        assert_eq!(serde_json::to_string(&task()).unwrap(), text);
        assert_eq!(serde_json::from_str::<Task>(text).unwrap(), task());
        let seed = serde_json::to_value(task().seed()).unwrap();
        assert_eq!(seed.get("result"), None);
    }

    #[test]
    fn answers_to_a_task_are_objects() {
        let read = |text: &str| serde_json::from_str::<UpdateTaskParams<'_>>(text).is_ok();
        assert!(read(r#"{"taskId":"t","inputResponses":{"a":{"x":1}}}"#));
        assert!(read(r#"{"taskId":"t","inputResponses":{}}"#));
        for wrong in [
            r#"{"taskId":"t"}"#,
            r#"{"taskId":"t","inputResponses":null}"#,
            r#"{"taskId":"t","inputResponses":{"a":1}}"#,
            r#"{"taskId":1,"inputResponses":{}}"#,
        ] {
            assert!(!read(wrong), "{wrong}");
        }
    }
}
