//! The tasks of 2025-11-25, which clients ask for call by call.
//!
//! Source: MCP 2025-11-25, basic/utilities/tasks.

use serde::{Deserialize, Serialize};

use crate::{content::JsonObject, task, task::TaskStatus};

/// The key in `_meta` that names the task which a message belongs to.
pub const RELATED_TASK: &str = "io.modelcontextprotocol/related-task";

/// A task as a client of 2025-11-25 sees it.
///
/// Source: MCP 2025-11-25, schema, `Task`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    /// Its name.
    pub task_id: String,
    /// How far it is.
    pub status: TaskStatus,
    /// The same in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_message: Option<String>,
    /// When it began, in ISO 8601.
    pub created_at: String,
    /// When it last changed, in ISO 8601.
    pub last_updated_at: String,
    /// Milliseconds from its beginning for which it is kept; for ever where null.
    pub ttl: Option<u64>,
    /// Milliseconds that a client shall wait between two looks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poll_interval: Option<u64>,
}

impl From<task::Task> for Task {
    fn from(task: task::Task) -> Self {
        Self {
            task_id: task.task_id,
            status: task.status,
            status_message: task.status_message,
            created_at: task.created_at,
            last_updated_at: task.last_updated_at,
            ttl: task.ttl_ms,
            poll_interval: task.poll_interval_ms,
        }
    }
}

/// The answer to a call that was asked to run as a task.
///
/// Source: MCP 2025-11-25, schema, `CreateTaskResult`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct CreateTaskResult {
    /// The task.
    pub task: Task,
}

/// A page of `tasks/list`.
///
/// Source: MCP 2025-11-25, schema, `ListTasksResult`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListTasksResult {
    /// The tasks.
    pub tasks: Vec<Task>,
    /// Where the next page starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// `params.task` of a call that shall run as a task.
///
/// Source: MCP 2025-11-25, schema, `TaskMetadata`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct TaskMetadata {
    /// For how many milliseconds from its beginning the task shall be kept; the server may keep it for
    /// a shorter time, and says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u64>,
}

/// What a server declares that runs tools as tasks; `lists` says whether `tasks/list` is served.
///
/// Source: MCP 2025-11-25, basic/utilities/tasks, "Capabilities".
#[must_use]
pub fn task_capability(lists: bool) -> JsonObject {
    let mut capability = JsonObject::new();
    if lists {
        capability.insert("list".to_owned(), serde_json::json!({}));
    }
    capability.insert("cancel".to_owned(), serde_json::json!({}));
    capability.insert(
        "requests".to_owned(),
        serde_json::json!({"tools": {"call": {}}}),
    );
    capability
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_shape_has_the_older_names() {
        let task = task::Task {
            task_id: "t".to_owned(),
            status: TaskStatus::InputRequired,
            status_message: Some("asks".to_owned()),
            created_at: "a".to_owned(),
            last_updated_at: "b".to_owned(),
            ttl_ms: Some(5),
            poll_interval_ms: Some(7),
            input_requests: None,
            result: None,
            error: None,
        };
        assert_eq!(
            serde_json::to_string(&CreateTaskResult { task: task.into() }).unwrap(),
            r#"{"task":{"taskId":"t","status":"input_required","statusMessage":"asks","createdAt":"a","lastUpdatedAt":"b","ttl":5,"pollInterval":7}}"#
        );
        assert_eq!(
            serde_json::Value::Object(task_capability(true)),
            serde_json::json!({"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}})
        );
    }
}
