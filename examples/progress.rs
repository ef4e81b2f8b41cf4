//! Pattern 8, progress: long work tells how far it is, and stops when nobody wants it any more.
//!
//! Run with: `cargo run -p fastmcp-examples --bin progress`

use fastmcp::prelude::*;

/// What was done.
#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Processed {
    processed: usize,
    total_length: usize,
}

/// Processes a dataset, telling of every tenth part.
#[tool]
async fn process_large_dataset(items: Vec<String>, ctx: Context) -> Result<Processed> {
    let total = items.len();
    ctx.info(format!("Processing {total} items")).await;
    let every = (total / 10).max(1);
    let mut total_length = 0;
    for (done, item) in (1..).zip(&items) {
        if ctx.cancellation().is_cancelled() {
            return Err(Error::cancelled());
        }
        total_length += item.len();
        if done % every == 0 || done == total {
            let told = format!("Processed {done}/{total} items");
            ctx.report_progress(done as f64, Some(total as f64), Some(&told))
                .await;
        }
    }
    ctx.info("Processing complete").await;
    Ok(Processed {
        processed: total,
        total_length,
    })
}

/// Works in stages, telling of the whole.
#[tool]
async fn multi_stage_operation(ctx: Context) -> &'static str {
    const STAGES: [&str; 4] = ["Download", "Extract", "Transform", "Load"];
    for (number, stage) in (0_u8..).zip(STAGES) {
        ctx.info(format!("Stage {}/{}: {stage}", number + 1, STAGES.len()))
            .await;
        let whole = f64::from(number + 1) * 100.0 / STAGES.len() as f64;
        ctx.report_progress(whole, Some(100.0), Some(stage)).await;
    }
    "complete"
}

fn server() -> FastMcp {
    FastMcp::new("ProgressDemo")
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

    #[tokio::test]
    async fn progress_reaches_the_client() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let hears = Arc::clone(&told);
        let client = Client::builder()
            .on_progress(move |progress| hears.lock().unwrap().push(progress.progress))
            .connect_server(&server().build().unwrap())
            .await
            .unwrap();
        let items: Vec<_> = (0..20).map(|n| format!("item {n}")).collect();
        let done = client
            .call_tool("process_large_dataset", json!({"items": items}))
            .await;
        assert_eq!(done.unwrap().data::<Processed>().unwrap().processed, 20);
        let told = told.lock().unwrap();
        assert_eq!(told.len(), 10);
        assert!(told.is_sorted() && told.last() == Some(&20.0));
    }
}
