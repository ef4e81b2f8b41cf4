//! Pattern 8, progress: long work tells how far it is, and stops when nobody wants it any more.
//!
//! Run with: `cargo run -p fastmcp-examples --bin progress`

use fastmcp::{prelude::*, protocol::content::ResourceContents};

/// A dataset: a line for each item.
#[resource("data://fruit", mime_type = "text/plain")]
async fn fruit() -> String {
    let kinds = ["apple", "pear", "plum", "quince"];
    kinds
        .iter()
        .cycle()
        .take(40)
        .copied()
        .collect::<Vec<_>>()
        .join("\n")
}

/// What was done.
#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Processed {
    processed: usize,
    results: Vec<String>,
}

/// The lines of a resource of this server.
async fn load_dataset(file_uri: &str, ctx: &Context) -> Result<Vec<String>> {
    let read = ctx.read_resource(file_uri).await?;
    match read.contents.first() {
        Some(ResourceContents::Text(text)) => Ok(text.text.lines().map(str::to_owned).collect()),
        _ => Err(ToolError::new(format!("`{file_uri}` has no text")).into()),
    }
}

/// Processes a dataset, telling of every tenth part.
#[tool]
async fn process_large_dataset(file_uri: String, ctx: Context) -> Result<Processed> {
    ctx.info(format!("Loading dataset from {file_uri}")).await;
    let data = load_dataset(&file_uri, &ctx).await?;
    let total = data.len();
    ctx.info(format!("Processing {total} items")).await;

    let every = (total / 10).max(1);
    let mut results = Vec::with_capacity(total);
    for (done, item) in (1..).zip(data) {
        // Work that nobody waits for any more is not done.
        if ctx.cancellation().is_cancelled() {
            return Err(Error::cancelled());
        }
        results.push(item.to_uppercase());
        if done % every == 0 || done == total {
            let status = format!("Processed {done}/{total} items");
            ctx.report_progress(done as f64, Some(total as f64), Some(&status))
                .await;
        }
    }
    ctx.info("Processing complete").await;
    Ok(Processed {
        processed: total,
        results,
    })
}

/// How it ended.
#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Status {
    status: String,
}

/// Works in stages, telling of the whole.
#[tool]
async fn multi_stage_operation(ctx: Context) -> Status {
    const STAGES: [&str; 4] = ["Download", "Extract", "Transform", "Load"];
    const ITEMS: u16 = 100;
    for (number, stage) in (0..).zip(STAGES) {
        ctx.info(format!("Stage {}/{}: {stage}", number + 1, STAGES.len()))
            .await;
        for item in 1..=ITEMS {
            let overall = f64::from(number * ITEMS + item) / STAGES.len() as f64;
            let status = format!("{stage}: {item}/{ITEMS}");
            ctx.report_progress(overall, Some(100.0), Some(&status))
                .await;
        }
    }
    Status {
        status: "complete".to_owned(),
    }
}

fn server() -> FastMcp {
    FastMcp::new("ProgressDemo")
        .resource(fruit)
        .tool(process_large_dataset)
        .tool(multi_stage_operation)
}

#[tokio::main]
async fn main() -> Result<()> {
    server().run().await
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    async fn client() -> (Client, Arc<Mutex<Vec<f64>>>) {
        let told = Arc::new(Mutex::new(Vec::new()));
        let hears = Arc::clone(&told);
        let server = server().build().unwrap();
        let client = Client::builder()
            .on_progress(move |progress| hears.lock().unwrap().push(progress.progress))
            .connect_server(&server)
            .await;
        (client.unwrap(), told)
    }

    #[tokio::test]
    async fn every_tenth_part_is_told() {
        let (client, told) = client().await;
        let fruit = json!({"file_uri": "data://fruit"});
        let done = client
            .call_tool("process_large_dataset", fruit)
            .await
            .unwrap();
        let done: Processed = done.data().unwrap();
        assert_eq!((done.processed, done.results[0].as_str()), (40, "APPLE"));
        let told = told.lock().unwrap();
        assert_eq!(told.len(), 10);
        assert!(told.is_sorted() && told.last() == Some(&40.0));
    }

    #[tokio::test]
    async fn stages_are_parts_of_a_whole() {
        let (client, told) = client().await;
        let done = client
            .call_tool("multi_stage_operation", json!({}))
            .await
            .unwrap();
        assert_eq!(done.data::<Status>().unwrap().status, "complete");
        let told = told.lock().unwrap();
        assert_eq!(told.len(), 400);
        assert!(told.is_sorted() && told.last() == Some(&100.0));
    }
}
