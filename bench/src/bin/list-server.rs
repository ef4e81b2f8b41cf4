//! The server of this framework with the 200 tools whose list the bench measures, defaults throughout.

use fastmcp::{
    Context, FastMcp, Outcome, Payload, Result,
    component::{Component, Definition},
    gate::Input,
    protocol::tool::{CallToolResult, JsonSchema, Tool},
    transport::http::HttpConfig,
};
use fastmcp_bench::{
    catalogue,
    serve::{listen, terminated},
};
use futures_util::future::BoxFuture;

/// The list is what is measured: a call says that it came.
fn called(_: Context, _: Input) -> BoxFuture<'static, Result<Outcome>> {
    Box::pin(async {
        Ok(Outcome::Complete(Payload::Tool(CallToolResult::text(
            "called",
        ))))
    })
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut server = FastMcp::new("bench");
    for entry in catalogue::entries() {
        let tool = Tool::new(entry.name, JsonSchema::parse(entry.schema)?)
            .with_description(entry.description);
        server = server.component(Component::new(Definition::Tool(tool), called));
    }
    let server = server.build()?;
    let listener = listen().await?;
    tokio::select! {
        served = server.serve_http(listener, HttpConfig::default()) => served?,
        ended = terminated() => ended?,
    }
    Ok(())
}
