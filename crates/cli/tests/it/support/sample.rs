//! A server of this process, for the command to use over a real socket.

use fastmcp::{
    prelude::*,
    protocol::{content::Role, sampling::CreateMessageParams},
    transport::http::HttpConfig,
};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Adds two numbers.
#[tool(read_only)]
async fn add(a: i64, b: i64) -> i64 {
    a + b
}

/// Says what it was given.
#[tool]
async fn tell(
    text: String,
    loud: Option<bool>,
    tags: Option<Vec<String>>,
    times: Option<u32>,
) -> Json<Told> {
    Json(Told {
        text,
        times,
        loud,
        tags,
    })
}

/// What was given.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Told {
    text: String,
    times: Option<u32>,
    loud: Option<bool>,
    tags: Option<Vec<String>>,
}

/// Never works.
#[tool]
async fn fail() -> Result<String> {
    Err(ToolError::new("the disk is full").into())
}

/// Draws a dot.
#[tool]
async fn draw() -> Image {
    Image::new(b"\x89PNG dot".to_vec(), "image/png")
}

/// Works in steps.
#[tool]
async fn work(ctx: Context) -> String {
    for step in 1..=2 {
        ctx.report_progress(f64::from(step), Some(2.0), Some("step"))
            .await;
    }
    "worked".to_owned()
}

/// How many seats.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Seats {
    seats: u8,
    window: Option<bool>,
}

/// Books seats.
#[tool]
async fn book(ctx: Context) -> Result<String> {
    let seats: Seats = ctx.elicit("seats", "How many seats?").await?;
    Ok(format!("{} seats, window: {:?}", seats.seats, seats.window))
}

/// Asks a model.
#[tool]
async fn think(ctx: Context) -> Result<String> {
    let question: CreateMessageParams = serde_json::from_value(json!({
        "messages": [{"role": "user", "content": {"type": "text", "text": "why?"}}],
        "maxTokens": 10
    }))?;
    let answer = ctx.sample("why", question).await?;
    Ok(if answer.role == Role::User {
        "user"
    } else {
        "assistant"
    }
    .to_owned())
}

/// The settings.
#[resource("config://app", mime_type = "application/json")]
async fn settings() -> String {
    r#"{"debug": false}"#.to_owned()
}

/// A greeting for somebody.
#[resource("greeting://{name}")]
async fn greeting(name: String) -> String {
    format!("Hello, {name}!")
}

/// Asks for a review.
#[prompt]
fn review(code: String, #[arg(default = "short".to_owned())] style: String) -> String {
    format!("Write a {style} review of: {code}")
}

/// A running server. Dropped, it ends.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) url: String,
    stop: CancellationToken,
}

impl Sample {
    /// Starts one, at a port that is free.
    pub(crate) async fn start() -> Self {
        let server = FastMcp::new("sample")
            .version("1.2.3")
            .instructions("Use it for tests.")
            .tool(add)
            .tool(tell)
            .tool(fail)
            .tool(draw)
            .tool(work)
            .tool(book)
            .tool(think)
            .resource(settings)
            .resource(greeting)
            .prompt(review);
        Self::serve(server).await
    }

    /// Starts another server.
    pub(crate) async fn serve(server: FastMcp) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let server = server.build().unwrap();
        let stop = server.shutdown().clone();
        TaskTracker::new().spawn(async move {
            server
                .serve_http(listener, HttpConfig::default())
                .await
                .unwrap();
        });
        Self { url, stop }
    }
}

impl Drop for Sample {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
