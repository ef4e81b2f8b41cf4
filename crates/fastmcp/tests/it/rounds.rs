//! What a client of 2026-07-28 carries between rounds: its time, its binding, its keys.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use fastmcp::{
    Class, Client, Component, Gate, Input, Leaf, Outcome, Target,
    auth::{Caller, testing},
    component::Kind,
    gate::Asks,
    middleware::prelude::*,
    prelude::*,
    seal::KeyRing,
    server::Engine,
    transport::memory::Memory,
};
use fastmcp_guard::clock::{ManualClock, Timestamp};
use fastmcp_protocol::{
    ProtocolVersion,
    elicit::{BooleanSchema, ElicitParams, ElicitSchema},
    mrtr::InputRequest,
};
use futures_util::future::BoxFuture;
use serde_json::Value;

use crate::eras::{modern, send};

#[derive(Debug, Deserialize, JsonSchema)]
struct City {
    name: String,
}

/// Asks which city.
#[tool]
async fn visit(ctx: Context, note: Option<String>) -> Result<String> {
    let city: City = ctx.elicit("city", "Which city?").await?;
    Ok(format!("{} {}", city.name, note.unwrap_or_default()))
}

/// Asks which city, under another name.
#[tool]
async fn leave(ctx: Context) -> Result<String> {
    let city: City = ctx.elicit("city", "Which city?").await?;
    Ok(city.name)
}

/// Asks which city for a prompt.
#[prompt(name = "visit")]
async fn greet(ctx: Context) -> Result<String> {
    let city: City = ctx.elicit("city", "Which city?").await?;
    Ok(city.name)
}

const OLD: [u8; 32] = [1; 32];
const NEW: [u8; 32] = [2; 32];

fn server(keys: &[[u8; 32]], clock: &Arc<ManualClock>) -> Server {
    FastMcp::new("rounds")
        .tool(visit)
        .tool(leave)
        .prompt(greet)
        .key_ring(KeyRing::new(keys).unwrap())
        .clock(clock.clone())
        .build()
        .unwrap()
}

fn caller(server: &Server, subject: &str) -> Memory<Engine> {
    Memory::connect(server.door().clone(), testing::caller(subject).build())
}

async fn call(memory: &Memory<Engine>, method: &str, params: Value) -> Value {
    let capabilities = json!({"elicitation": {}});
    send(memory, modern(method, params, &capabilities)).await.1
}

/// The parameters of `visit`, with a state and the answer to its question.
fn answered(state: &str) -> Value {
    json!({
        "name": "visit",
        "arguments": {"note": "today"},
        "requestState": state,
        "inputResponses": {"city": {"action": "accept", "content": {"name": "Rome"}}},
    })
}

async fn begin(memory: &Memory<Engine>) -> String {
    let first = json!({"name": "visit", "arguments": {"note": "today"}});
    let asked = call(memory, "tools/call", first).await;
    asked["result"]["requestState"].as_str().unwrap().to_owned()
}

fn is_refused(reply: &Value) -> bool {
    reply["error"]["code"] == -32602 && reply["result"].is_null()
}

#[tokio::test]
async fn a_state_expires() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_unix_seconds(1_000)));
    let ada = caller(&server(&[OLD], &clock), "ada");
    let state = begin(&ada).await;
    clock.advance(Duration::from_secs(599));
    let done = call(&ada, "tools/call", answered(&state)).await;
    assert_eq!(done["result"]["structuredContent"]["result"], "Rome today");
    // What has no effect of its own may be repeated: the answer may have been lost.
    let again = call(&ada, "tools/call", answered(&state)).await;
    assert_eq!(again["result"], done["result"]);
    clock.advance(Duration::from_secs(1));
    let late = call(&ada, "tools/call", answered(&state)).await;
    assert!(is_refused(&late), "{late}");
    assert!(
        late["error"]["message"]
            .as_str()
            .unwrap()
            .contains("expired")
    );
}

/// Whose call of what, whether it goes on with an earlier round, what the gate finds of that, and the refusal.
type Heard = (String, bool, Option<Value>, String);

/// Lets everybody in, asks everybody, and hears of whom the framework refuses.
#[derive(Debug, Default)]
struct Hearing {
    heard: Mutex<Vec<Heard>>,
}

impl Gate for Hearing {
    fn class(&self, _: &Caller) -> Class {
        Class::default()
    }

    fn visible(&self, _: &Caller, _: &Component) -> bool {
        true
    }

    fn invoke(
        &self,
        context: Context,
        _: Target,
        input: Input,
        leaf: Leaf,
    ) -> BoxFuture<'_, Result<Outcome>> {
        if context.gate_state().is_some() {
            return leaf.run(context, input);
        }
        let form = ElicitSchema::default().required("ok", BooleanSchema::default());
        let mut asks = Asks::default();
        let question = ElicitParams::form("May it?", form);
        asks.requests.set("city", InputRequest::Elicit(question));
        asks.state = Some(json!("seen"));
        Box::pin(async move { Ok(Outcome::InputRequired(asks)) })
    }

    fn refused(
        &self,
        context: Context,
        target: Target,
        _: Input,
        error: Error,
    ) -> BoxFuture<'_, Error> {
        let who = context.caller().subject().to_owned();
        let tool = target.component().key().to_owned();
        let heard = (
            format!("{who} {tool}"),
            context.continues(),
            context.gate_state(),
            error.message().to_owned(),
        );
        self.heard.lock().unwrap().push(heard);
        Box::pin(async move { error })
    }

    fn unknown<'a>(
        &'a self,
        context: Context,
        kind: Kind,
        name: &'a str,
        error: Error,
    ) -> BoxFuture<'a, Error> {
        let who = context.caller().subject().to_owned();
        let heard = (
            format!("{who} {kind:?} {name}"),
            context.continues(),
            context.gate_state(),
            error.message().to_owned(),
        );
        self.heard.lock().unwrap().push(heard);
        Box::pin(async move {
            if name == "which" {
                let city: Result<City> = context.elicit("city", "Which city?").await;
                return Error::not_found(city.unwrap().name);
            }
            Error::not_found("nobody knows it")
        })
    }
}

/// Does nothing, as a layer.
struct Nothing;

impl Middleware for Nothing {
    async fn on_request(&self, context: MiddlewareContext, next: Next<'_>) -> Result<Response> {
        next.run(context).await
    }
}

#[tokio::test]
async fn the_gate_hears_of_names_that_nobody_knows() {
    for is_layered in [false, true] {
        let gate = Arc::new(Hearing::default());
        let plain = FastMcp::new("unknown").tool(visit).prompt(greet);
        let plain = plain.gate(gate.clone());
        let server = match is_layered {
            true => plain.middleware(Nothing),
            false => plain,
        };
        let server = server.build().unwrap();
        for revision in [ProtocolVersion::LATEST, ProtocolVersion::LATEST_LEGACY] {
            let builder = Client::builder().revision(revision);
            let client = builder.connect_server(&server).await.unwrap();
            let tool = client.call_tool("no_such", json!({})).await.unwrap_err();
            let prompt = client.get_prompt("no_such", json!({})).await.unwrap_err();
            for told in [tool, prompt] {
                assert!(told.to_string().contains("nobody knows it"), "{told}");
            }
            let heard = std::mem::take(&mut *gate.heard.lock().unwrap());
            let [tool, prompt] = &heard[..] else {
                panic!("{heard:?}");
            };
            assert!(tool.0.ends_with(" Tool no_such"), "{tool:?}");
            assert!(prompt.0.ends_with(" Prompt no_such"), "{prompt:?}");
            assert!(tool.3.contains("no_such"), "{tool:?}");
            let asks = client.call_tool("which", json!({})).await.unwrap_err();
            assert!(asks.to_string().contains("internal error"), "{asks}");
            gate.heard.lock().unwrap().clear();
        }
    }
}

#[tokio::test]
async fn the_gate_hears_of_rounds_that_do_not_come_to_it() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_unix_seconds(1_000)));
    let gate = Arc::new(Hearing::default());
    let server = FastMcp::new("rounds")
        .tool(visit)
        .key_ring(KeyRing::new(&[OLD]).unwrap())
        .clock(clock.clone())
        .gate(gate.clone())
        .build()
        .unwrap();
    let (ada, bob) = (caller(&server, "ada"), caller(&server, "bob"));
    let state = begin(&ada).await;
    assert!(gate.heard.lock().unwrap().is_empty());
    let stolen = call(&bob, "tools/call", answered(&state)).await;
    assert!(is_refused(&stolen), "{stolen}");
    clock.advance(Duration::from_secs(600));
    let late = call(&ada, "tools/call", answered(&state)).await;
    assert!(is_refused(&late), "{late}");
    let heard = std::mem::take(&mut *gate.heard.lock().unwrap());
    let [stolen, late] = &heard[..] else {
        panic!("{heard:?}");
    };
    assert!(stolen.0.starts_with("bob ") && stolen.0.contains("visit"));
    assert_eq!((stolen.1, &stolen.2), (true, &None), "it opens nothing");
    assert!(stolen.3.contains("requestState"), "{stolen:?}");
    assert!(late.0.starts_with("ada ") && late.3.contains("expired"));
    assert_eq!(late.2, Some(json!("seen")), "what the gate had put there");
}

#[tokio::test]
async fn a_state_belongs_to_its_caller_its_method_and_its_arguments() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_unix_seconds(1_000)));
    let server = server(&[OLD], &clock);
    let (ada, bob) = (caller(&server, "ada"), caller(&server, "bob"));
    let state = begin(&ada).await;
    assert!(is_refused(
        &call(&bob, "tools/call", answered(&state)).await
    ));
    let with = |name: &str, value: Value| {
        let mut params = answered(&state);
        params[name] = value;
        params
    };
    for params in [
        with("arguments", json!({"note": "tomorrow"})),
        with("arguments", json!({})),
        with("name", json!("leave")),
        with("requestState", json!("")),
        with("requestState", json!(format!("{state}-TAMPERED"))),
        with("requestState", json!(format!("{state}="))),
        with("requestState", json!(format!(" {state}"))),
        with("requestState", json!(state[..state.len() - 4])),
        with("requestState", json!("A".repeat(20_000))),
        with("requestState", json!(7)),
    ] {
        let reply = call(&ada, "tools/call", params.clone()).await;
        assert!(is_refused(&reply), "{params}: {reply}");
    }
    let as_prompt = json!({"name": "visit", "arguments": {}, "requestState": state});
    assert!(is_refused(&call(&ada, "prompts/get", as_prompt).await));
    let reordered = with("arguments", json!({"note": "today"}));
    assert!(call(&ada, "tools/call", reordered).await["error"].is_null());
    for at in (0..state.len()).step_by(7) {
        let mut forged = state.clone().into_bytes();
        forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
        let forged = String::from_utf8(forged).unwrap();
        let reply = call(&ada, "tools/call", answered(&forged)).await;
        assert!(is_refused(&reply), "byte {at}");
    }
}

#[tokio::test]
async fn keys_rotate_and_a_new_definition_ends_what_was_begun() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_unix_seconds(1_000)));
    let before = begin(&caller(&server(&[OLD], &clock), "ada")).await;
    let rotated = caller(&server(&[NEW, OLD], &clock), "ada");
    let done = call(&rotated, "tools/call", answered(&before)).await;
    assert!(done["error"].is_null(), "{done}");
    let after = begin(&rotated).await;
    let retired = caller(&server(&[NEW], &clock), "ada");
    assert!(call(&retired, "tools/call", answered(&after)).await["error"].is_null());
    assert!(is_refused(
        &call(&retired, "tools/call", answered(&before)).await
    ));

    let server = server(&[NEW], &clock);
    let ada = caller(&server, "ada");
    let state = begin(&ada).await;
    server
        .registry()
        .edit(|all| {
            use fastmcp::IntoTool;
            let changed = FastMcp::new("other").tool(visit.into_tool().description("Another."));
            let changed = changed.build().unwrap();
            let changed = changed
                .registry()
                .snapshot()
                .of_kind(fastmcp::registry::Kind::Tool)
                .next()
                .cloned();
            all.retain(|c| c.key() != "visit" || c.kind() != fastmcp::registry::Kind::Tool);
            all.extend(changed);
        })
        .unwrap();
    assert!(is_refused(
        &call(&ada, "tools/call", answered(&state)).await
    ));
}
