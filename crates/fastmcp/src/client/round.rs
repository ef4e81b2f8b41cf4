//! A call from its first message to its result, with the rounds in which a server asks first.
//!
//! Source: MCP 2026-07-28, basic/patterns/mrtr.

use std::{sync::Arc, time::Duration};

use fastmcp_protocol::{
    Raw,
    discover::{ResultEnvelope, ResultKind},
    elicit::{ElicitAction, ElicitParams, ElicitResult, ElicitUrl},
    mrtr::{InputRequest, InputRequired, InputResponses},
};
use fastmcp_transport::{WireError, WireKind};
use serde_json::{Map, Value};

use super::{
    cache::Shelf,
    call::{Answer, Call, CallOptions, Params},
    connect::{self, Remedy},
    link::Link,
    task::{is_task, may_pass},
};
use crate::{
    error::{Error, Result},
    telemetry::{self, Asked},
};

/// The first pause before a call that a server wants repeated without having asked anything.
const PAUSE: Duration = Duration::from_millis(50);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

impl Link {
    /// Calls `method` and answers what is asked meanwhile. Answers that may be used again are.
    pub(super) async fn request(
        self: &Arc<Self>,
        method: &str,
        params: Map<String, Value>,
        options: &CallOptions,
    ) -> Result<Raw> {
        if !Shelf::takes(method) {
            return Box::pin(self.rounds(method, params.into(), options))
                .await
                .map(|(answer, _)| answer.result);
        }
        let key = serde_json::to_string(&params)?;
        if let Some(kept) = self.shelf.get(method, &key) {
            return Ok(kept);
        }
        let generation = self.shelf.generation();
        let answered = Box::pin(self.rounds(method, params.into(), options)).await;
        let (result, asked) = match answered {
            Ok((answer, asked)) => (answer.result, asked),
            Err(error) => return self.stale(method, &key, error),
        };
        if !asked {
            self.shelf.keep(method, &key, &result, generation);
        }
        Ok(result)
    }

    /// What was kept of an answer, where the server could not be asked anew and the cache may stand in.
    fn stale(&self, method: &str, key: &str, error: Error) -> Result<Raw> {
        if may_pass(&error)
            && let Some(kept) = self.shelf.stale(method, key)
        {
            tracing::warn!(method, %error, "a stale answer stands in for one that did not come");
            return Ok(kept);
        }
        Err(error)
    }

    /// The result, and whether anything was asked before it.
    pub(super) async fn rounds(
        self: &Arc<Self>,
        method: &str,
        mut params: Params<'_>,
        options: &CallOptions,
    ) -> Result<(Answer, bool)> {
        let mut pause = PAUSE;
        for round in 0..self.config.max_rounds.max(1) {
            let call = Call {
                method,
                params: &params,
                options,
            };
            let result = match self.send(call).await {
                Ok(result) => result,
                Err(error) => match connect::addresses(&error) {
                    Some(addresses) => {
                        // What few calls come to stands in a box, here and below, lest every call carries it.
                        Box::pin(self.open(addresses)).await?;
                        continue;
                    }
                    None => return Err(error),
                },
            };
            if ResultEnvelope::begins_complete(&result) {
                return Ok((result, round > 0));
            }
            let envelope = ResultEnvelope::peek(&result)?;
            match self.agreed.load().kind(&envelope) {
                ResultKind::Complete => return Ok((result, round > 0)),
                ResultKind::InputRequired if may_ask(method) => {}
                ResultKind::InputRequired => return Err(unknown_result(method, "input_required")),
                ResultKind::Other(kind) if is_task(self, method, kind, options) => {
                    if options.as_task {
                        return Ok((result, true));
                    }
                    return Ok((Box::pin(self.finish_task(&result)).await?.into(), true));
                }
                ResultKind::Other(other) => return Err(unknown_result(method, other)),
                _ => return Err(unknown_result(method, "of a later kind")),
            }
            let asked: InputRequired = result.decode()?;
            if asked.input_requests.is_empty() {
                // A state alone, which the reader made sure of: call again.
                tokio::time::sleep(pause).await;
                pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
            }
            let answers = Box::pin(self.answer(&asked)).await?;
            continue_with(&mut params.others, &answers, asked.request_state)?;
        }
        Err(Error::internal(format!(
            "server asked for input in {} rounds",
            self.config.max_rounds
        )))
    }

    async fn answer(&self, asked: &InputRequired) -> Result<InputResponses> {
        let mut answers = InputResponses::default();
        let handlers = self.handlers().clone();
        for (key, request) in asked.input_requests.iter() {
            let answer = handlers.answer(key, request.clone()).await?;
            answers.answer(key, &answer)?;
        }
        Ok(answers)
    }

    /// Has the user open what a server wants opened before it is called again.
    async fn open(&self, addresses: Vec<(String, ElicitUrl)>) -> Result<()> {
        let handlers = self.handlers().clone();
        for (id, address) in addresses {
            let request = InputRequest::Elicit(ElicitParams::Url(address));
            let answer: ElicitResult = handlers.answer(&id, request).await?.decode()?;
            if answer.action != ElicitAction::Accept {
                return Err(Error::declined("the user did not open the address"));
            }
        }
        Ok(())
    }

    /// Sends one message and reads its answer, within a span of its own where somebody wants any.
    pub(super) async fn send(self: &Arc<Self>, call: Call<'_>) -> Result<Answer> {
        if !telemetry::is_wanted() {
            return self.deliver(call).await;
        }
        let target = call.params.target("name");
        let target = target.or_else(|| call.params.target("uri"));
        let asked = Asked {
            method: call.method,
            version: self.agreed.load().version().as_str(),
            target,
            over_http: matches!(self.wire.kind(), WireKind::Http | WireKind::Sse),
        };
        Box::pin(asked.observe(self.deliver(call))).await
    }

    /// Sends one message and reads its answer; what is in the way of it is put right once.
    async fn deliver(self: &Arc<Self>, call: Call<'_>) -> Result<Answer> {
        let patience = self.patience(call.options);
        let (mut renewed, mut refreshed) = (false, false);
        loop {
            let agreed = self.agreed.load_full();
            let outgoing = connect::dress(self, &agreed, call)?;
            let attending = call.options.attending();
            let answered = Box::pin(self.exchange(outgoing, patience, attending)).await;
            match connect::remedy(self, &agreed, call, &answered) {
                Some(Remedy::Agree) if !renewed => {
                    renewed = true;
                    Box::pin(connect::agree_again(self, &agreed)).await?;
                }
                Some(Remedy::ListTools) if !refreshed => {
                    refreshed = true;
                    self.shelf.forget("tools/list");
                    Box::pin(self.list_tools()).await?;
                }
                _ => {
                    let outcome = answered.map_err(failure)?.outcome;
                    return outcome.map_err(|e| Error::protocol(agreed.canonical_error(e)));
                }
            }
        }
    }
}

/// What a caller is told where no answer came.
pub(super) fn failure(error: WireError) -> Error {
    match error {
        WireError::Timeout(_) => Error::timeout(),
        other => Error::from(other),
    }
}

/// Whether results of `method` may ask first. Source: MCP 2026-07-28, basic/patterns/mrtr.
pub(super) fn may_ask(method: &str) -> bool {
    matches!(method, "tools/call" | "prompts/get" | "resources/read")
}

/// Puts answers and state of this round in place of those of the last.
fn continue_with(
    params: &mut Map<String, Value>,
    answers: &InputResponses,
    state: Option<String>,
) -> Result<()> {
    if answers.is_empty() {
        params.remove("inputResponses");
    } else {
        params.insert("inputResponses".to_owned(), serde_json::to_value(answers)?);
    }
    match state {
        Some(state) => params.insert("requestState".to_owned(), Value::String(state)),
        None => params.remove("requestState"),
    };
    Ok(())
}

pub(super) fn unknown_result(method: &str, kind: &str) -> Error {
    let mut kind = kind.to_owned();
    kind.truncate(kind.floor_char_boundary(64));
    Error::internal(format!(
        "{method}: server answered with result type `{kind}`, which is unknown"
    ))
}
