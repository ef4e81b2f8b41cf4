//! What stands in the store of a task.

use std::time::Duration;

use fastmcp_guard::clock::Timestamp;
use fastmcp_protocol::{
    Raw, RpcError,
    mrtr::InputRequests,
    ordered::Ordered,
    task::{Task, TaskStatus},
};
use serde::{Deserialize, Serialize};

/// Questions of one task that may be open at a time.
const MAX_OPEN: usize = 64;
/// Characters of a message about a task.
const MAX_MESSAGE: usize = 1_024;

/// A task, whole: everything that another process needs to answer for it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Record {
    pub(crate) id: String,
    pub(crate) status: TaskStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<String>,
    pub(crate) created: Timestamp,
    pub(crate) updated: Timestamp,
    pub(crate) ttl_ms: u64,
    pub(crate) poll_ms: u64,
    /// The process that runs it, and until when it has said so.
    pub(crate) runner: String,
    pub(crate) lease: Timestamp,
    /// The session that it was begun in, where it has to be told from those of other sessions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) session: Option<String>,
    /// Somebody called it off.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) cancel: bool,
    /// The open questions.
    #[serde(default)]
    pub(crate) requests: InputRequests,
    /// The answers that its handler has not taken yet.
    #[serde(default)]
    pub(crate) answers: Ordered<Answer>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) result: Option<Raw>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<RpcError>,
}

/// What a client said to a question.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Answer {
    /// This.
    Given(Raw),
    /// Nothing, for this reason.
    Refused(String),
}

/// How a task ends.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// With what the call would have answered.
    Completed(Raw),
    /// With the error that the call would have answered.
    Failed(RpcError),
    /// Called off.
    Cancelled,
}

impl Record {
    pub(crate) fn expires(&self) -> Timestamp {
        self.created
            .saturating_add(Duration::from_millis(self.ttl_ms))
    }

    /// Opens a question; whether there was room for it.
    pub(crate) fn open(
        &mut self,
        key: &str,
        request: fastmcp_protocol::mrtr::InputRequest,
        now: Timestamp,
    ) -> bool {
        if self.requests.len() >= MAX_OPEN {
            return false;
        }
        self.requests.set(key, request);
        self.status = TaskStatus::InputRequired;
        self.updated = now;
        true
    }

    /// Closes a question, answered or withdrawn; the task goes on when none is left.
    pub(crate) fn close(&mut self, key: &str, now: Timestamp) {
        self.requests = without(std::mem::take(&mut self.requests), key);
        if self.requests.is_empty() && !self.status.is_terminal() {
            self.status = TaskStatus::Working;
        }
        self.updated = now;
    }

    /// Takes the answer to a question.
    pub(crate) fn take_answer(&mut self, key: &str) -> Option<Answer> {
        let answer = self.answers.get(key).cloned()?;
        self.answers = without(std::mem::take(&mut self.answers), key);
        Some(answer)
    }

    pub(crate) fn say(&mut self, message: &str, now: Timestamp) {
        self.message = Some(message.chars().take(MAX_MESSAGE).collect());
        self.updated = now;
    }

    /// Ends the task. What it asked and was answered is forgotten.
    pub(crate) fn end(&mut self, end: End, now: Timestamp) {
        self.requests = InputRequests::default();
        self.answers = Ordered::default();
        self.updated = now;
        match end {
            End::Completed(result) => {
                self.status = TaskStatus::Completed;
                self.result = Some(result);
            }
            End::Failed(error) => {
                self.status = TaskStatus::Failed;
                self.say(&error.message, now);
                self.error = Some(error);
            }
            End::Cancelled => self.status = TaskStatus::Cancelled,
        }
    }

    /// The task as its client sees it.
    pub(crate) fn shown(&self) -> Task {
        Task {
            task_id: self.id.clone(),
            status: self.status,
            status_message: self.message.clone(),
            created_at: iso(self.created),
            last_updated_at: iso(self.updated),
            ttl_ms: Some(self.ttl_ms),
            poll_interval_ms: Some(self.poll_ms),
            input_requests: (self.status == TaskStatus::InputRequired)
                .then(|| self.requests.clone()),
            result: self.result.clone(),
            error: self.error.clone(),
        }
    }
}

fn without<T>(all: Ordered<T>, key: &str) -> Ordered<T> {
    let mut rest = Ordered::new();
    for (name, value) in all {
        if name != key {
            rest.set(name, value);
        }
    }
    rest
}

/// A moment in ISO 8601, as RFC 3339 section 5.6 writes it.
fn iso(moment: Timestamp) -> String {
    i64::try_from(moment.millis())
        .ok()
        .and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok())
        .unwrap_or(jiff::Timestamp::MAX)
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastmcp_protocol::mrtr::InputRequest;

    fn record() -> Record {
        Record {
            id: "t".to_owned(),
            status: TaskStatus::Working,
            message: None,
            created: Timestamp::from_unix_seconds(1_785_196_800),
            updated: Timestamp::from_unix_seconds(1_785_196_800),
            ttl_ms: 60_000,
            poll_ms: 1_000,
            runner: "r".to_owned(),
            lease: Timestamp::MAX,
            session: None,
            cancel: false,
            requests: InputRequests::default(),
            answers: Ordered::default(),
            result: None,
            error: None,
        }
    }

    #[test]
    fn a_task_asks_while_a_question_is_open() {
        let mut record = record();
        let now = Timestamp::from_unix_seconds(1_785_196_801);
        assert!(record.open("a", InputRequest::ListRoots, now));
        assert!(record.open("b", InputRequest::ListRoots, now));
        record.close("a", now);
        let shown = record.shown();
        assert_eq!(shown.status, TaskStatus::InputRequired);
        assert_eq!(shown.last_updated_at, "2026-07-28T00:00:01Z");
        assert!(shown.input_requests.unwrap().get("a").is_none());
        record.close("b", now);
        assert_eq!(record.shown().status, TaskStatus::Working);
        assert_eq!(record.shown().input_requests, None);
        for at in 0..MAX_OPEN {
            assert!(record.open(&at.to_string(), InputRequest::ListRoots, now));
        }
        assert!(!record.open("more", InputRequest::ListRoots, now));
    }

    #[test]
    fn a_record_survives_the_store() {
        let mut record = record();
        let now = record.created;
        record.open("a", InputRequest::ListRoots, now);
        record
            .answers
            .set("z", Answer::Given(Raw::parse(r#"{"n":1.10}"#).unwrap()));
        let text = serde_json::to_vec(&record).unwrap();
        let mut back: Record = serde_json::from_slice(&text).unwrap();
        assert_eq!(back.shown(), record.shown());
        assert!(
            matches!(back.take_answer("z"), Some(Answer::Given(raw)) if raw.as_str() == r#"{"n":1.10}"#)
        );
        assert!(back.take_answer("z").is_none());
        back.end(End::Failed(RpcError::internal("no")), now);
        assert_eq!(back.shown().status_message.as_deref(), Some("no"));
        assert!(back.requests.is_empty());
    }
}
