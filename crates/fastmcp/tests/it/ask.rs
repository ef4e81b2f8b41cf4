//! Asking the user, the model and for folders, in both eras.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use fastmcp::{
    ToolBuilder,
    prelude::*,
    protocol::{
        elicit::{ElicitAction, ElicitParams, ElicitResult, ElicitSchema, NumberSchema},
        roots::Root,
        sampling::{CreateMessageParams, CreateMessageResult, SamplingContent, SamplingMessage},
    },
    registry::{Change, Kind},
    transport::{Reply, Step},
};
use serde_json::Value;

#[derive(Debug, Deserialize, JsonSchema)]
struct City {
    name: String,
}

fn question() -> CreateMessageParams {
    CreateMessageParams::new(vec![SamplingMessage::user("Which country?")], 20)
}

/// Asks everybody at once.
#[tool]
async fn survey(ctx: Context) -> Result<String> {
    let (city, country, roots) = tokio::try_join!(
        ctx.elicit::<City>("city", "Which city?"),
        ctx.sample("country", question()),
        ctx.roots("roots"),
    )?;
    let country = country.content.first().and_then(SamplingContent::as_text);
    Ok(format!("{} {country:?} {}", city.name, roots.len()))
}

/// Asks for a number from 1 to 5.
#[tool]
async fn rate(ctx: Context) -> Result<String> {
    let form = ElicitSchema::default().required("stars", NumberSchema::integer().between(1, 5));
    let answer = ctx
        .elicit_raw("stars", ElicitParams::form("How many?", form))
        .await?;
    match answer.action {
        ElicitAction::Accept => Ok(json!(answer.content).to_string()),
        other => Ok(format!("{other:?}")),
    }
}

fn fields(value: &Value) -> ElicitResult {
    ElicitResult::accept(value.as_object().unwrap().clone())
}

#[tokio::test]
async fn questions_that_are_joined_go_out_together() {
    let server = FastMcp::new("ask").tool(survey).build().unwrap();
    let client = Client::connect(&server)
        .await
        .unwrap()
        .on_elicit(|_, _| fields(&json!({"name": "Rome"})))
        .on_sample(|_, _| CreateMessageResult::text("Italy", "test"))
        .with_roots(vec![Root::new("file:///a"), Root::new("file:///b")]);
    let answer = client.call_tool("survey", json!({})).await.unwrap();
    assert_eq!(answer.text(), r#"Rome Some("Italy") 2"#);
    let cannot = Client::connect(&server)
        .await
        .unwrap()
        .on_elicit(|_, _| ElicitResult::cancel());
    let error = cannot.call_tool("survey", json!({})).await.unwrap_err();
    assert_eq!(
        error.data(),
        Some(&json!({"requiredCapabilities": {"sampling": {}}}))
    );
}

#[tokio::test]
async fn a_form_that_is_filled_in_wrongly_is_shown_again() {
    let server = FastMcp::new("ask").tool(rate).build().unwrap();
    let shown = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&shown);
    let client = Client::connect(&server)
        .await
        .unwrap()
        .on_elicit(move |_, _| match counted.fetch_add(1, Ordering::Relaxed) {
            0 => fields(&json!({"stars": 9})),
            _ => fields(&json!({"stars": 4, "of": "a field that nobody asked for"})),
        });
    let answer = client.call_tool("rate", json!({})).await.unwrap();
    assert!(answer.text().contains(r#""stars":4"#), "{}", answer.text());
    assert_eq!(shown.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn what_is_remembered_is_computed_once() {
    let computed = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&computed);
    let quote = ToolBuilder::new("quote", move |(), ctx: Context| {
        let counted = Arc::clone(&counted);
        async move {
            let compute = || async { Ok(counted.fetch_add(1, Ordering::Relaxed) + 100) };
            let price: usize = ctx.remember("price", compute).await?;
            let city: City = ctx
                .elicit("city", format!("For {price}, where to?"))
                .await?;
            let again: City = ctx.elicit("again", "Sure?").await?;
            Ok::<_, Error>(format!("{price} to {} {}", city.name, again.name))
        }
    });
    let server = FastMcp::new("ask").tool(quote).build().unwrap();
    let client = Client::connect(&server)
        .await
        .unwrap()
        .on_elicit(|key, _| fields(&json!({"name": key})));
    let answer = client.call_tool("quote", json!({})).await.unwrap();
    assert_eq!(answer.text(), "100 to city again");
    assert_eq!(
        computed.load(Ordering::Relaxed),
        1,
        "three rounds, one computation"
    );
}

#[tokio::test]
async fn an_older_client_is_asked_on_its_stream_and_its_answers_are_checked() {
    let server = FastMcp::new("ask").tool(rate).tool(survey).build().unwrap();
    let memory = server.memory();
    let request = |id: i64, method: &str, params: Value| {
        json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
            .to_string()
            .into()
    };
    let capabilities = json!({"elicitation": {}, "sampling": {}, "roots": {}});
    let hello = json!({"protocolVersion": "2025-11-25", "capabilities": capabilities, "clientInfo": {"name": "t", "version": "1"}});
    assert!(matches!(
        memory.send(&request(1, "initialize", hello)).next().await,
        Step::Done(_)
    ));

    let answers = [
        (
            "rate",
            vec![json!({"action": "accept", "content": {"stars": 9}})],
            "answer to `stars`: field `stars` must be at most 5",
        ),
        ("rate", vec![json!({"action": "decline"})], "Decline"),
        (
            "survey",
            vec![
                json!({"action": "accept", "content": {"name": "Oslo"}}),
                json!({"role": "assistant", "content": {"type": "text", "text": "Norway"}, "model": "m"}),
                json!({"roots": []}),
            ],
            r#"Oslo Some(\"Norway\") 0"#,
        ),
    ];
    for (index, (tool, answers, wanted)) in (2..).zip(answers) {
        let mut call = memory.send(&request(index, "tools/call", json!({"name": tool})));
        for answer in answers {
            let Step::Frame(frame) = call.next().await else {
                panic!("nothing was asked")
            };
            let asked: Value = serde_json::from_str(&frame.data).unwrap();
            let answer = json!({"jsonrpc": "2.0", "id": asked["id"], "result": answer}).to_string();
            assert!(matches!(
                memory.send(&answer.into()).next().await,
                Step::Done(Reply::Accepted)
            ));
        }
        let Step::Done(Reply::Message { body, .. }) = call.next().await else {
            panic!("no answer")
        };
        assert!(body.contains(wanted), "{body}");
    }
}

#[tokio::test]
async fn a_handler_tells_of_changes() {
    let touch = ToolBuilder::new("touch", |(), ctx: Context| async move {
        ctx.notify(Change::List(Kind::Prompt));
        ctx.notify(Change::Resource("data://x".to_owned()));
    });
    let server = FastMcp::new("ask").tool(touch).build().unwrap();
    let mut changes = server.registry().subscribe();
    let client = Client::connect(&server).await.unwrap();
    client.call_tool("touch", json!({})).await.unwrap();
    assert_eq!(changes.recv().await.unwrap(), Change::List(Kind::Prompt));
    assert_eq!(
        changes.recv().await.unwrap(),
        Change::Resource("data://x".to_owned())
    );
}

#[tokio::test]
async fn an_answer_that_comes_too_late_is_refused() {
    use std::time::Duration;

    use fastmcp_guard::clock::{ManualClock, Timestamp};

    let clock = Arc::new(ManualClock::new(Timestamp::default()));
    let server = FastMcp::new("ask")
        .tool(rate)
        .clock(Arc::clone(&clock) as _)
        .answer_within(Duration::from_secs(5))
        .build()
        .unwrap();
    let patience = |seconds| {
        let clock = Arc::clone(&clock);
        move |_: &str, _: &_| {
            clock.advance(Duration::from_secs(seconds));
            fields(&json!({"stars": 3}))
        }
    };
    let answered = async |seconds| {
        let client = Client::connect(&server).await.unwrap();
        let client = client.on_elicit(patience(seconds));
        client.call_tool("rate", json!({})).await
    };
    assert_eq!(answered(4).await.unwrap().text(), r#"{"stars":3}"#);
    let late = answered(5).await.unwrap_err();
    assert!(late.message().contains("has expired"), "{late:?}");
}
