//! Asking the client, in both eras.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use fastmcp_protocol::{
    Raw,
    capability::ClientCapabilities,
    elicit::{ElicitAction, ElicitParams, ElicitResult, Problem, Unfit},
    mrtr::{InputRequest, InputRequests, InputResponses},
    roots::ListRootsResult,
    sampling::CreateMessageResult,
};
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::task::Running;
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
    fn ask<'a>(&'a self, request: &'a InputRequest) -> BoxFuture<'a, Result<Raw>>;
}

/// What earlier rounds of a call left behind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Earlier {
    /// What the client answered.
    pub(crate) answers: InputResponses,
    /// What the gate wants to see again.
    pub(crate) gate: Option<Value>,
    /// What the handler remembered.
    pub(crate) remembered: Map<String, Value>,
}

/// The answers that are at hand and the questions that are open.
#[derive(Default)]
pub(crate) struct Replay {
    earlier: Earlier,
    asked: Mutex<Asked>,
}

#[derive(Default)]
struct Asked {
    keys: BTreeSet<String>,
    open: InputRequests,
    /// What was remembered in this round.
    remembered: Map<String, Value>,
}

impl Replay {
    pub(crate) fn new(earlier: Earlier) -> Self {
        Self {
            earlier,
            asked: Mutex::default(),
        }
    }

    /// Everything that was remembered, in this round and before.
    pub(crate) fn remembered(&self) -> Map<String, Value> {
        let mut all = self.earlier.remembered.clone();
        all.extend(std::mem::take(&mut self.lock().remembered));
        all
    }

    pub(super) fn recall(&self, key: &str) -> Option<Value> {
        let known = self.earlier.remembered.get(key).cloned();
        known.or_else(|| self.lock().remembered.get(key).cloned())
    }

    pub(super) fn keep(&self, key: &str, value: Value) {
        self.lock().remembered.insert(key.to_owned(), value);
    }

    /// Whether a question is open that only another round can answer.
    pub(crate) fn has_open(&self) -> bool {
        !self.lock().open.is_empty()
    }

    pub(crate) fn take_open(&self) -> InputRequests {
        std::mem::take(&mut self.lock().open)
    }

    /// Begins the round again: what was asked in it so far, may be asked once more.
    pub(crate) fn restart(&self) {
        let mut asked = self.lock();
        asked.keys.clear();
        asked.open = InputRequests::default();
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

    pub(super) fn answers(&self) -> &InputResponses {
        &self.replay().earlier.answers
    }

    pub(super) fn answer(&self, key: &str) -> Option<Raw> {
        self.replay().earlier.answers.get(key).cloned()
    }

    pub(super) fn gate_state(&self) -> Option<Value> {
        self.replay().earlier.gate.clone()
    }

    /// As [`Self::ask`], of a call that runs as a task.
    pub(super) async fn ask_in(
        &self,
        task: &dyn Running,
        key: &str,
        request: InputRequest,
    ) -> Result<Raw> {
        let replay = self.replay();
        replay.claim(key)?;
        if let Some(answer) = replay.earlier.answers.get(key)
            && fits(&request, answer).is_ok()
        {
            return Ok(answer.clone());
        }
        let answer = task.ask(key, &request).await?;
        fits(&request, &answer)
            .map_err(|why| Error::validation(format!("answer to `{key}`: {why}")))?;
        Ok(answer)
    }

    pub(super) async fn ask(&self, key: &str, request: InputRequest) -> Result<Raw> {
        let replay = self.replay();
        replay.claim(key)?;
        if let Some(answer) = replay.earlier.answers.get(key)
            && fits(&request, answer).is_ok()
        {
            return Ok(answer.clone());
        }
        match self {
            Self::Await(asker, _) => {
                let answer = asker.ask(&request).await?;
                fits(&request, &answer)
                    .map_err(|why| Error::validation(format!("answer to `{key}`: {why}")))?;
                Ok(answer)
            }
            Self::Replay(_) => {
                replay.open(key, request);
                // The session drops this future once it is pending and answers with what is open.
                std::future::pending().await
            }
        }
    }
}

/// Whether an answer has the shape of what was asked. One that a client sends along and that has
/// not is asked for again.
pub(crate) fn fits(request: &InputRequest, answer: &Raw) -> std::result::Result<(), String> {
    fn shape<T: DeserializeOwned>(answer: &Raw) -> std::result::Result<T, String> {
        answer.decode().map_err(|e| e.to_string())
    }
    match request {
        InputRequest::Elicit(params) => fits_form(params, &shape(answer)?),
        InputRequest::CreateMessage(_) => shape::<CreateMessageResult>(answer).map(drop),
        InputRequest::ListRoots => shape::<ListRootsResult>(answer).map(drop),
        _ if answer.is_object() => Ok(()),
        _ => Err("must be an object".to_owned()),
    }
}

fn fits_form(asked: &ElicitParams, answer: &ElicitResult) -> std::result::Result<(), String> {
    let ElicitParams::Form(form) = asked else {
        return Ok(());
    };
    if answer.action != ElicitAction::Accept {
        return Ok(());
    }
    let empty = Map::new();
    let content = answer.content.as_ref().unwrap_or(&empty);
    match form.requested_schema.check(content) {
        // Fields that nobody asked for are found last, and hurt nobody.
        Ok(())
        | Err(Unfit {
            problem: Problem::Unknown,
            ..
        }) => Ok(()),
        Err(unfit) => Err(unfit.to_string()),
    }
}

/// Refuses to ask what the client did not say it can answer.
pub(crate) fn require(declared: &ClientCapabilities, request: &InputRequest) -> Result<()> {
    let (able, required) = match request {
        InputRequest::Elicit(ElicitParams::Url(_)) => {
            (declared.has_url(), json!({"elicitation": {"url": {}}}))
        }
        InputRequest::Elicit(_) => (declared.has_form(), json!({"elicitation": {}})),
        InputRequest::CreateMessage(params) if params.needs_tools() => (
            declared
                .sampling
                .as_ref()
                .is_some_and(|s| s.tools.is_some()),
            json!({"sampling": {"tools": {}}}),
        ),
        InputRequest::CreateMessage(_) => (declared.sampling.is_some(), json!({"sampling": {}})),
        InputRequest::ListRoots => (declared.roots.is_some(), json!({"roots": {}})),
        _ => (false, json!({})),
    };
    if able {
        Ok(())
    } else {
        Err(Error::missing_capability(&required))
    }
}

/// The form that asks for a `T`.
pub(super) fn form<T: JsonSchema>(message: String) -> Result<InputRequest> {
    let schema = crate::schema::form_of::<T>()?;
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
                .map_or(Value::Object(Map::new()), Value::Object);
            serde_json::from_value(content)
                .map(Elicited::Accepted)
                .map_err(|e| Error::validation(format!("answer to `{key}`: {e}")))
        }
    }
}
