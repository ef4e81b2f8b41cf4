//! Asking the client, in both eras.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use fastmcp_protocol::{
    Raw,
    capability::ClientCapabilities,
    elicit::{ElicitAction, ElicitParams, ElicitResult},
    mrtr::{InputRequest, InputRequests, InputResponses},
};
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::error::{Error, Result};

/// What a user answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Elicited<T> {
    /// The user filled in the form.
    Accepted(T),
    /// The user said no.
    Declined,
    /// The user closed the form.
    Cancelled,
}

/// How this request may ask. Only the session room chooses.
pub(crate) enum Asking {
    /// Asking is answered when the client calls again; the handler then runs from its start.
    Replay(Replay),
    /// Asking waits on the stream that is open.
    Await(Arc<dyn Asker>, Replay),
}

/// Sends a request to a legacy client and waits for its answer.
pub(crate) trait Asker: fmt::Debug + Send + Sync {
    fn ask(&self, request: InputRequest) -> BoxFuture<'_, Result<Raw>>;
}

/// The answers that are at hand and the questions that are open.
#[derive(Default)]
pub(crate) struct Replay {
    answers: InputResponses,
    gate: Option<Value>,
    asked: Mutex<Asked>,
}

#[derive(Default)]
struct Asked {
    keys: BTreeSet<String>,
    open: InputRequests,
}

impl Replay {
    pub(crate) fn new(answers: InputResponses, gate: Option<Value>) -> Self {
        Self {
            answers,
            gate,
            asked: Mutex::default(),
        }
    }

    /// Whether a question is open that only another round can answer.
    pub(crate) fn has_open(&self) -> bool {
        !self.lock().open.is_empty()
    }

    pub(crate) fn take_open(&self) -> InputRequests {
        std::mem::take(&mut self.lock().open)
    }

    fn claim(&self, key: &str) -> Result<()> {
        if self.lock().keys.insert(key.to_owned()) {
            return Ok(());
        }
        Err(Error::internal(format!(
            "input `{key}` is asked for twice in one request; give each question a key of its own"
        )))
    }

    fn open(&self, key: &str, request: InputRequest) {
        self.lock().open.set(key, request);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asking {
    pub(crate) const fn replay(&self) -> &Replay {
        match self {
            Self::Replay(replay) | Self::Await(_, replay) => replay,
        }
    }

    pub(super) fn answer(&self, key: &str) -> Option<Raw> {
        self.replay().answers.get(key).cloned()
    }

    pub(super) fn gate_state(&self) -> Option<Value> {
        self.replay().gate.clone()
    }

    pub(super) async fn ask(&self, key: &str, request: InputRequest) -> Result<Raw> {
        let replay = self.replay();
        replay.claim(key)?;
        if let Some(answer) = replay
            .answers
            .get(key)
            .filter(|answer| fits(&request, answer))
        {
            return Ok(answer.clone());
        }
        match self {
            Self::Await(asker, _) => asker.ask(request).await,
            Self::Replay(_) => {
                replay.open(key, request);
                // The session drops this future once it is pending and answers with what is open.
                std::future::pending().await
            }
        }
    }
}

/// Whether an answer has the shape of what was asked; one that has not is asked for again.
fn fits(request: &InputRequest, answer: &Raw) -> bool {
    match request {
        InputRequest::Elicit(_) => answer.decode::<ElicitResult>().is_ok(),
        InputRequest::CreateMessage(_) => answer
            .decode::<Value>()
            .is_ok_and(|v| v.get("content").is_some()),
        InputRequest::ListRoots => answer
            .decode::<Value>()
            .is_ok_and(|v| v.get("roots").is_some_and(Value::is_array)),
        _ => answer.is_object(),
    }
}

/// Refuses to ask what the client did not say it can answer.
pub(crate) fn require(declared: &ClientCapabilities, request: &InputRequest) -> Result<()> {
    let (able, required) = match request {
        InputRequest::Elicit(ElicitParams::Url(_)) => {
            (declared.has_url(), json!({"elicitation": {"url": {}}}))
        }
        InputRequest::Elicit(_) => (declared.has_form(), json!({"elicitation": {}})),
        InputRequest::CreateMessage(_) => (declared.sampling.is_some(), json!({"sampling": {}})),
        InputRequest::ListRoots => (declared.roots.is_some(), json!({"roots": {}})),
        _ => (false, json!({})),
    };
    if able {
        Ok(())
    } else {
        Err(Error::missing_capability(required))
    }
}

/// The form that asks for a `T`.
pub(super) fn form<T: JsonSchema>(message: String) -> Result<InputRequest> {
    let schema = crate::component::schema::form_of::<T>()?;
    Ok(InputRequest::Elicit(ElicitParams::form(message, schema)))
}

pub(super) fn read_form<T: DeserializeOwned>(key: &str, answer: &Raw) -> Result<Elicited<T>> {
    let answer: ElicitResult = answer
        .decode()
        .map_err(|e| Error::validation(format!("answer to `{key}`: {e}")))?;
    match answer.action {
        ElicitAction::Decline => Ok(Elicited::Declined),
        ElicitAction::Cancel => Ok(Elicited::Cancelled),
        ElicitAction::Accept => {
            let content = answer
                .content
                .map_or(Value::Object(serde_json::Map::new()), Value::Object);
            serde_json::from_value(content)
                .map(Elicited::Accepted)
                .map_err(|e| Error::validation(format!("answer to `{key}`: {e}")))
        }
    }
}
