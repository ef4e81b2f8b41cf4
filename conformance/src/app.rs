//! MCP Apps: a tool that shows a document, and a tool for that document.

use fastmcp::{
    Context, FastMcp, ResourceBuilder, ToolResult,
    component::{IntoResource, IntoTool},
    protocol::app::{Csp, ResourceUi, ToolUi},
    resource, tool,
};

const DOCUMENT: &str = "ui://weather/view.html";

/// Shows the weather.
#[tool(name = "test_show_weather", read_only)]
async fn show_weather(_context: Context) -> ToolResult {
    ToolResult::text("Sunny, 21 degrees")
}

/// Tells the document of a newer weather.
#[tool(name = "test_refresh_weather", read_only)]
async fn refresh_weather(_context: Context) -> ToolResult {
    ToolResult::text("Still sunny")
}

/// The document.
#[resource("ui://weather/view.html", name = "Weather view", inline)]
fn view() -> &'static str {
    "<!doctype html><title>Weather</title><p>Sunny, 21 degrees</p>"
}

fn document() -> ResourceBuilder {
    view.into_resource().ui(ResourceUi {
        csp: Some(Csp {
            connect_domains: vec!["https://api.weather.example".to_owned()],
            ..Csp::default()
        }),
        prefers_border: Some(true),
        ..ResourceUi::default()
    })
}

/// Adds the tools and the document.
pub(crate) fn add(server: FastMcp) -> FastMcp {
    server
        .tool(show_weather.into_tool().ui(ToolUi::new(DOCUMENT)))
        .tool(refresh_weather.into_tool().ui(ToolUi::app_only()))
        .resource(document())
}
