//! One call, passed on.

use std::{sync::Arc, time::Duration};

use fastmcp_protocol::{
    ErrorCode, Raw,
    capability::ClientCapabilities,
    meta,
    mrtr::{InputRequest, InputRequired, InputResponses},
    ordered::Ordered,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::mpsc;

use super::park::{Event, Parking, Question, Running, ask};
use crate::{
    call::{Asks, Input, Outcome, Payload},
    client::{CallOptions, Client, Handlers, Step},
    context::{Context, require},
    error::{Error, ErrorKind, Result},
};

/// How long a call may wait for its client.
const ANSWER_WITHIN: Duration = Duration::from_secs(600);
/// How long a call may take upstream, with all the waiting for its client.
const MAX_TIME: Duration = Duration::from_secs(2 * 60 * 60);
/// The extension whose results only its own methods can follow.
const TASKS: &str = "io.modelcontextprotocol/tasks";

/// The server behind the proxy.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) client: Client,
    pub(super) parking: Arc<Parking>,
}

/// What the proxy wants to see again with a client's answers; sealed by the session on its way.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Way {
    /// The upstream keeps nothing: its own state, and what it asked.
    State {
        upstream: Option<String>,
        asked: Vec<String>,
    },
    /// The call waits here.
    Parked(String),
}

/// Where a call that is driven comes to a stop.
enum Stop {
    Step(Result<Step>),
    Asked(Vec<Question>),
}

impl Upstream {
    /// Passes one round of a call on.
    pub(super) async fn forward(
        &self,
        method: &'static str,
        name: &str,
        context: Context,
        input: Input,
    ) -> Result<Outcome> {
        let way = context
            .gate_state()
            .map(serde_json::from_value::<Way>)
            .transpose()?;
        let mut params = params(name, &input)?;
        let running = match way {
            Some(Way::Parked(id)) => match self.resume(&id, &context)? {
                Ok(running) => running,
                Err(still_open) => return Ok(still_open),
            },
            Some(Way::State { upstream, asked }) => {
                answers(&mut params, &context, upstream, &asked)?;
                self.begin(method, params, &context)
            }
            None => {
                // Answers without a state: the upstream says whether it takes them.
                let given = context.input_responses();
                if !given.is_empty() {
                    params.insert("inputResponses".to_owned(), serde_json::to_value(given)?);
                }
                self.begin(method, params, &context)
            }
        };
        self.drive(running, &context).await
    }

    /// Begins a call upstream.
    fn begin(
        &self,
        method: &'static str,
        params: Map<String, Value>,
        context: &Context,
    ) -> Running {
        let principal = context.caller().principal();
        let (sender, events, under_way) = self.parking.enter(principal.as_str());
        let options = options(context, &sender);
        let call = self.client.clone().relay(method, params, options);
        Running {
            call: Box::pin(call),
            events,
            _under_way: under_way,
        }
    }

    /// Goes on with a call that waits, or says again what is still open.
    fn resume(&self, id: &str, context: &Context) -> Result<std::result::Result<Running, Outcome>> {
        // Never repeated: what it did so far, nobody here knows.
        let mut parked = self.parking.take(id).ok_or_else(|| {
            Error::tool("the call that asked is gone; nothing was repeated. Call again if you still want it")
        })?;
        let mut open = Vec::new();
        for question in std::mem::take(&mut parked.open) {
            match context.input_response(&question.key) {
                // Whoever asked may be gone; then the call says why.
                Some(answer) => drop(question.answer.send(Ok(answer))),
                None => open.push(question),
            }
        }
        if open.is_empty() {
            return Ok(Ok(parked.running));
        }
        self.wait(parked.running, open, context).map(Err)
    }

    /// Runs a call until it is over or asks.
    async fn drive(&self, mut running: Running, context: &Context) -> Result<Outcome> {
        match advance(&mut running, context).await? {
            Stop::Step(step) => self.outcome(step.map_err(own)?, context),
            Stop::Asked(questions) => {
                // The upstream was told that everything can be asked; whether this client can be,
                // only its call tells. Given up here, the call is cancelled upstream.
                for question in &questions {
                    require(context.client_capabilities(), &question.request)?;
                }
                self.wait(running, questions, context)
            }
        }
    }

    fn wait(&self, running: Running, open: Vec<Question>, context: &Context) -> Result<Outcome> {
        let principal = context.caller().principal();
        let (id, requests) = self
            .parking
            .park(principal.as_str(), running, open, ANSWER_WITHIN)?;
        Ok(Outcome::InputRequired(Asks {
            requests,
            state: Some(serde_json::to_value(Way::Parked(id))?),
        }))
    }

    fn outcome(&self, step: Step, context: &Context) -> Result<Outcome> {
        let asked: InputRequired = match step {
            Step::Complete(raw) => return Ok(Outcome::Complete(Payload::Raw(bare(&raw)?))),
            Step::Asked(asked) => asked,
        };
        for (_, request) in asked.input_requests.iter() {
            require(context.client_capabilities(), request)?;
        }
        let keys = asked.input_requests.iter().map(|(key, _)| key.to_owned());
        let way = Way::State {
            asked: keys.collect(),
            upstream: asked.request_state,
        };
        Ok(Outcome::InputRequired(Asks {
            requests: asked.input_requests,
            state: Some(serde_json::to_value(way)?),
        }))
    }
}

/// Polls a call and passes on what is said meanwhile.
async fn advance(running: &mut Running, context: &Context) -> Result<Stop> {
    loop {
        let event = tokio::select! {
            biased;
            () = context.cancellation().cancelled() => return Err(Error::cancelled()),
            Some(event) = running.events.recv() => event,
            step = &mut running.call => {
                while let Ok(event) = running.events.try_recv() {
                    pass(event, context).await;
                }
                return Ok(Stop::Step(step));
            }
        };
        let Some(question) = pass(event, context).await else {
            continue;
        };
        let mut questions = vec![question];
        while let Ok(event) = running.events.try_recv() {
            questions.extend(pass(event, context).await);
        }
        return Ok(Stop::Asked(questions));
    }
}

/// Passes an event on; a question is given back.
async fn pass(event: Event, context: &Context) -> Option<Question> {
    match event {
        Event::Progress(p) => {
            context
                .report_progress(p.progress, p.total, p.message.as_deref())
                .await;
            None
        }
        Event::Log(message) => {
            context.pass_log(&message).await;
            None
        }
        Event::Asks(question) => Some(question),
    }
}

/// What the upstream is told of a call: what its client can be asked, and what it wants to hear.
fn options(context: &Context, events: &mpsc::Sender<Event>) -> CallOptions {
    let asking = events.clone();
    let handlers = Handlers::all(move |key: String, request: InputRequest| {
        let asking = asking.clone();
        Box::pin(async move { ask(&asking, key, request).await })
    });
    let logging = events.clone();
    let mut options = CallOptions::new()
        .max_time(MAX_TIME)
        .handlers(handlers)
        .capabilities(declared(context.client_capabilities()))
        // A reader that is slower than 64 messages misses some; nothing waits for it.
        .on_log(move |message| drop(logging.try_send(Event::Log(Box::new(message.clone())))));
    let meta = context.meta();
    if context.progress_token().is_some() {
        let events = events.clone();
        options = options.on_progress(move |progress| {
            drop(events.try_send(Event::Progress(progress.clone())));
        });
    }
    if let Some(level) = context.log_level() {
        options = options.meta(meta::LOG_LEVEL, level.as_str());
    }
    for (key, value) in [
        ("traceparent", &meta.traceparent),
        ("tracestate", &meta.tracestate),
        ("baggage", &meta.baggage),
    ] {
        if let Some(value) = value {
            options = options.meta(key, &**value);
        }
    }
    options
}

/// The capabilities of a client that its calls take along.
fn declared(capabilities: &ClientCapabilities) -> ClientCapabilities {
    let mut declared = capabilities.clone();
    if let Some(extensions) = &mut declared.extensions {
        extensions.remove(TASKS);
    }
    declared
}

fn params(name: &str, input: &Input) -> Result<Map<String, Value>> {
    let mut params = Map::new();
    if let Some(uri) = &input.uri {
        params.insert("uri".to_owned(), Value::String(uri.to_string()));
        return Ok(params);
    }
    params.insert("name".to_owned(), Value::String(name.to_owned()));
    if let Some(args) = &input.args {
        params.insert("arguments".to_owned(), args.decode()?);
    }
    Ok(params)
}

/// Adds the client's answers to what the upstream asked, and the state that it gave.
fn answers(
    params: &mut Map<String, Value>,
    context: &Context,
    upstream: Option<String>,
    asked: &[String],
) -> Result<()> {
    let mut answers = InputResponses::default();
    for key in asked {
        if let Some(answer) = context.input_response(key) {
            answers.answer(key, &answer)?;
        }
    }
    if !asked.is_empty() {
        params.insert("inputResponses".to_owned(), serde_json::to_value(answers)?);
    }
    if let Some(state) = upstream {
        params.insert("requestState".to_owned(), Value::String(state));
    }
    Ok(())
}

/// A result without the members that are the upstream's own: they are said anew.
fn bare(raw: &Raw) -> Result<Raw> {
    let mut members = Ordered::new();
    for (name, value) in raw.decode::<Ordered<Raw>>()? {
        match &*name {
            "resultType" | "ttlMs" | "cacheScope" => {}
            "_meta" => {
                let mut meta: Map<String, Value> = value.decode()?;
                meta.remove(meta::SERVER_INFO);
                if !meta.is_empty() {
                    members.set(name, Raw::of(&meta)?);
                }
            }
            _ => {
                members.set(name, value);
            }
        }
    }
    Ok(Raw::of(&members)?)
}

/// An upstream's error in the proxy's own words, where they are about the proxy and not the client.
fn own(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Protocol(ErrorCode::HEADER_MISMATCH | ErrorCode::UNSUPPORTED_VERSION) => {
            Error::internal(format!(
                "the upstream refuses the proxy: {}",
                error.message()
            ))
        }
        _ => error,
    }
}
