//! Our client against servers that others wrote: what it lists, calls, reads, answers and hears.
//!
//! Run with: `peer-client twin --url http://127.0.0.1:3000/mcp`, or with a program after `--`.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use clap::{Parser, ValueEnum};
use fastmcp::{
    Client, Error, Result,
    client::{CallOptions, ClientBuilder},
    protocol::{
        ProtocolVersion,
        content::ResourceContents,
        elicit::{ElicitParams, ElicitResult},
        resource::ReadResourceResult,
        roots::Root,
        sampling::CreateMessageResult,
    },
    transport::wire::stdio::StdioWireConfig,
};
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;

/// How long reports of progress may take that were sent before a result.
const REPORTS: Duration = Duration::from_secs(10);

/// Tries our client on one server.
#[derive(Debug, Parser)]
#[command(name = "peer-client")]
struct Options {
    /// What the server has.
    peer: Peer,
    /// Its Streamable HTTP endpoint.
    #[arg(long, conflicts_with_all = ["sse", "command"])]
    url: Option<String>,
    /// Its endpoint for HTTP with server-sent events, as it was in 2024-11-05.
    #[arg(long, conflicts_with = "command")]
    sse: Option<String>,
    /// The revision that is spoken; whichever the server knows, where it is not given.
    #[arg(long)]
    revision: Option<String>,
    /// The revision that must be agreed on.
    #[arg(long)]
    expect: String,
    /// Leaves questions out: the server cannot ask in this revision.
    #[arg(long)]
    unasked: bool,
    /// A folder that a server of files may use.
    #[arg(long)]
    folder: Option<PathBuf>,
    /// The program that serves on standard input and output, and its arguments.
    #[arg(last = true)]
    command: Vec<String>,
}

/// What a server has.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Peer {
    /// What our own fixtures for the official SDKs have.
    Twin,
    /// What `@modelcontextprotocol/server-everything` has.
    Everything,
    /// What `@modelcontextprotocol/server-filesystem` has.
    Filesystem,
}

/// What the client was asked for.
#[derive(Debug, Default)]
struct Asked {
    forms: AtomicUsize,
    samples: AtomicUsize,
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let asked = Arc::new(Asked::default());
    let client = connect(&options, &asked).await?;
    let spoken = client.protocol_version();
    ensure(spoken.as_str() == options.expect, || {
        format!("{spoken} was agreed on, not {}", options.expect)
    })?;
    match options.peer {
        Peer::Twin => twin(&client, &asked, options.unasked).await?,
        Peer::Everything => everything(&client, &asked).await?,
        Peer::Filesystem => filesystem(&client, options.folder.as_ref()).await?,
    }
    client.close().await;
    Ok(())
}

fn ensure(holds: bool, why: impl FnOnce() -> String) -> Result<()> {
    if holds {
        Ok(())
    } else {
        Err(Error::internal(why()))
    }
}

async fn connect(options: &Options, asked: &Arc<Asked>) -> Result<Client> {
    let mut builder = answering(Arc::clone(asked));
    if matches!(options.peer, Peer::Everything) {
        builder = builder.roots(vec![Root::new("file:///srv/project")]);
    }
    if let Some(name) = &options.revision {
        let revision = ProtocolVersion::parse(name).ok_or_else(|| {
            Error::validation(format!("`--revision`: `{name}` is not known here"))
        })?;
        builder = builder.revision(revision);
    }
    if let Some(url) = &options.url {
        return builder.connect_url(url).await;
    }
    if let Some(url) = &options.sse {
        return builder.connect_sse(url).await;
    }
    let (program, arguments) = options
        .command
        .split_first()
        .ok_or_else(|| Error::validation("name a server: `--url`, `--sse` or `-- PROGRAM`"))?;
    let command = StdioWireConfig::new(program, arguments).inherit(std::env::vars_os());
    builder.connect_command(&command).await
}

/// A client whose user fills in every field, and whose model says one word.
fn answering(asked: Arc<Asked>) -> ClientBuilder {
    let also = Arc::clone(&asked);
    Client::builder()
        .on_elicit(move |question| {
            asked.forms.fetch_add(1, Ordering::SeqCst);
            std::future::ready(Ok(filled(&question.params)))
        })
        .on_sample(move |_| {
            also.samples.fetch_add(1, Ordering::SeqCst);
            std::future::ready(Ok(CreateMessageResult::text("indeed", "no-model")))
        })
}

/// The required fields, each with a text that names it; the others are left to their defaults.
fn filled(params: &ElicitParams) -> ElicitResult {
    let ElicitParams::Form(form) = params else {
        return ElicitResult::decline();
    };
    let fields = form.requested_schema.required.iter();
    ElicitResult::accept(
        fields
            .map(|name| (name.clone(), json!(format!("my {name}"))))
            .collect::<Map<_, _>>(),
    )
}

/// Calls a tool; returns the text of its result.
async fn text(client: &Client, tool: &str, arguments: Value) -> Result<String> {
    let result = client.call_tool(tool, arguments).await?;
    Ok(result.text().to_owned())
}

fn contains(said: &str, words: &str) -> Result<()> {
    ensure(said.contains(words), || {
        format!("`{words}` is missing in `{said}`")
    })
}

fn read_text(read: &ReadResourceResult) -> &str {
    match read.contents.first() {
        Some(ResourceContents::Text(contents)) => &contents.text,
        _ => "",
    }
}

/// Waits until a call of `tool` has made `expected` reports of progress. On some wires they come by
/// another way than the result, and so perhaps after it.
async fn progress(client: &Client, tool: &str, arguments: Value, expected: u32) -> Result<()> {
    let heard = Arc::new(Semaphore::new(0));
    let counted = Arc::clone(&heard);
    let options = CallOptions::new().on_progress(move |_| counted.add_permits(1));
    client.call_tool_with(tool, arguments, &options).await?;
    let all = tokio::time::timeout(REPORTS, heard.acquire_many(expected)).await;
    ensure(all.is_ok(), || {
        let missing = heard.available_permits();
        format!("`{tool}`: {missing} of {expected} reports of progress were heard")
    })
}

async fn twin(client: &Client, asked: &Asked, unasked: bool) -> Result<()> {
    let tools = client.list_tools().await?;
    ensure(tools.iter().any(|tool| tool.name == "introduce"), || {
        format!("`introduce` is missing in {tools:?}")
    })?;
    let sum = client.call_tool("add", json!({"a": 1, "b": 2})).await?;
    ensure(sum.structured_content() == Some(json!({"sum": 3})), || {
        format!("no sum: {sum:?}")
    })?;
    if tools.iter().any(|tool| tool.name == "locate") {
        let said = text(client, "locate", json!({"region": "eu wést"})).await?;
        contains(&said, "located in eu wést")?;
    }
    let failed = client.call_tool_raw("fail", json!({})).await?;
    ensure(failed.is_error(), || format!("`fail` did not: {failed:?}"))?;
    let unknown = client.call_tool_raw("nobody_knows", json!({})).await;
    let refused = match &unknown {
        Err(_) => true,
        Ok(result) => result.is_error(),
    };
    ensure(refused, || {
        format!("an unknown tool was called: {unknown:?}")
    })?;
    progress(client, "count", json!({}), 3).await?;
    let read = client.read_resource("memo://motto").await?;
    contains(read_text(&read), "measure twice")?;
    ensure(
        client.read_resource("memo://nowhere").await.is_err(),
        || "a missing resource was read".to_owned(),
    )?;
    let prompt = client.get_prompt("greet", json!({"name": "Ada"})).await?;
    let said = prompt
        .messages
        .first()
        .and_then(|one| one.content.as_text());
    contains(said.unwrap_or_default(), "Say hello to Ada.")?;
    if unasked {
        return Ok(());
    }
    let said = text(client, "introduce", json!({})).await?;
    contains(&said, "my name likes my color")?;
    let forms = asked.forms.load(Ordering::SeqCst);
    ensure(forms == 2, || format!("asked {forms} times, not twice"))
}

async fn everything(client: &Client, asked: &Asked) -> Result<()> {
    let said = text(client, "echo", json!({"message": "what is said"})).await?;
    contains(&said, "what is said")?;
    contains(
        &text(client, "get-sum", json!({"a": 20, "b": 22})).await?,
        "42",
    )?;
    let place = json!({"location": "New York"});
    let weather = client.call_tool("get-structured-content", place).await?;
    ensure(weather.structured_content().is_some(), || {
        format!("no structured content: {weather:?}")
    })?;
    let long = json!({"duration": 1, "steps": 4});
    progress(client, "trigger-long-running-operation", long, 3).await?;
    text(client, "trigger-elicitation-request", json!({})).await?;
    let forms = asked.forms.load(Ordering::SeqCst);
    ensure(forms == 1, || format!("asked {forms} times, not once"))?;
    let question = json!({"prompt": "Is it so?", "maxTokens": 10});
    let said = text(client, "trigger-sampling-request", question).await?;
    contains(&said, "indeed")?;
    let samples = asked.samples.load(Ordering::SeqCst);
    ensure(samples == 1, || format!("the model ran {samples} times"))?;
    let said = text(client, "get-roots-list", json!({})).await?;
    contains(&said, "file:///srv/project")?;
    let listed = client.list_resources().await?;
    let first = listed
        .first()
        .ok_or_else(|| Error::internal("no resource is listed"))?;
    let read = client.read_resource(&first.uri).await?;
    ensure(!read.contents.is_empty(), || {
        format!("`{}` is empty", first.uri)
    })?;
    let read = client
        .read_resource("demo://resource/dynamic/text/7")
        .await?;
    contains(read_text(&read), "7")?;
    let city = json!({"city": "Porto", "state": "north"});
    let prompt = client.get_prompt("args-prompt", city).await?;
    let said = prompt
        .messages
        .first()
        .and_then(|one| one.content.as_text());
    contains(said.unwrap_or_default(), "Porto")
}

async fn filesystem(client: &Client, folder: Option<&PathBuf>) -> Result<()> {
    let folder = folder.ok_or_else(|| Error::validation("`--folder` is missing"))?;
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let written = json!({"path": path("note.txt"), "content": "kept for later"});
    text(client, "write_file", written).await?;
    let said = text(client, "read_text_file", json!({"path": path("note.txt")})).await?;
    contains(&said, "kept for later")?;
    let said = text(client, "list_directory", json!({"path": path("")})).await?;
    contains(&said, "note.txt")?;
    let outside = json!({"path": "/etc/hostname"});
    let refused = client.call_tool_raw("read_text_file", outside).await?;
    ensure(refused.is_error(), || {
        format!("a file outside was read: {refused:?}")
    })
}
