//! Resources and completions.

use fastmcp::{FastMcp, Json, auth::Caller, protocol::completion::CompleteParams, resource};
use serde_json::{Value, json};

use crate::tool::PIXEL;

/// A text that never changes.
#[resource(
    "test://static-text",
    name = "Static Text Resource",
    mime_type = "text/plain",
    inline
)]
fn static_text() -> &'static str {
    "This is the content of the static text resource."
}

/// A picture that never changes.
#[resource(
    "test://static-binary",
    name = "Static Binary Resource",
    mime_type = "image/png",
    inline
)]
fn static_binary() -> Vec<u8> {
    PIXEL.to_vec()
}

/// A text that may be watched.
#[resource(
    "test://watched-resource",
    name = "Watched Resource",
    mime_type = "text/plain",
    inline
)]
fn watched() -> &'static str {
    "Watched resource content"
}

/// Data by its id.
#[resource(
    "test://template/{id}/data",
    name = "Resource Template",
    mime_type = "application/json",
    inline
)]
fn template(id: String) -> Json<Value> {
    Json(json!({"id": id, "templateTest": true, "data": format!("Data for ID: {id}")}))
}

/// The values for the argument that is being typed.
async fn complete(_: Caller, params: CompleteParams<'static>) -> Vec<String> {
    ["paris", "park", "party"]
        .into_iter()
        .filter(|value| value.starts_with(params.argument.value.as_ref()))
        .map(str::to_owned)
        .collect()
}

/// Adds the resources and the completions.
pub(crate) fn add(server: FastMcp) -> FastMcp {
    server
        .resource(static_text)
        .resource(static_binary)
        .resource(watched)
        .resource(template)
        .completion(complete)
}
