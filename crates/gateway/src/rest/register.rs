//! New tools.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::{Request, State},
    response::Response,
};
use fastmcp_protocol::{
    Raw,
    args::{Args, ArgsLimits},
};
use http::StatusCode;
use serde_json::json;

use super::{Entered, Rest, enter, json_body, reply};
use crate::{call::Call, error::Error, manifest::Manifest, mcp};

/// Registers a tool.
#[utoipa::path(post, path = "/manifests/register", tag = "manifests",
    responses((status = 201, description = "`{status: \"registered\", toolId}`"), (status = 403, description = "FORBIDDEN"), (status = 422, description = "VALIDATION_ERROR")),
    security(("bearer" = [])))]
pub(super) async fn register(State(rest): State<Arc<Rest>>, request: Request) -> Response {
    enter(rest, request, async |entered: Entered, body| {
        let read = registration(&entered, &body);
        let (call, manifest) = entered.fit(("", "manifests.register"), read).await?;
        let tool_id = manifest.tool_id.clone();
        entered.rest.pipeline.register(&call, manifest).await?;
        mcp::refresh(&entered.rest.server, &entered.rest.pipeline)
            .map_err(|e| Error::internal(e.message()))?;
        Ok(reply::json(
            StatusCode::CREATED,
            &json!({"status": "registered", "toolId": tool_id}),
        ))
    })
    .await
}

/// The manifest to register, of the caller's tenant unless it names one.
fn registration(entered: &Entered, body: &Bytes) -> Result<(Call, Manifest), Error> {
    let raw = json_body(body)?;
    let args = Args::parse(Some(&raw), &ArgsLimits::default())
        .map_err(|e| Error::invalid(format!("manifest: {e}")))?;
    let mut manifest = manifest_of(&raw)?;
    if args.member("tenant").is_none() {
        manifest.tenant = entered
            .caller
            .tenant()
            .unwrap_or(&entered.rest.default_tenant)
            .to_owned();
    }
    let call = entered.call(manifest.tool_id.as_str(), None)?;
    Ok((call, manifest))
}

fn manifest_of(raw: &Raw) -> Result<Manifest, Error> {
    let mut text = serde_json::Deserializer::from_str(raw.as_str());
    serde_path_to_error::deserialize(&mut text).map_err(|e| match e.path().to_string().as_str() {
        "." => Error::invalid(format!("manifest: {}", e.inner())),
        field => Error::invalid(format!("manifest: `{field}`: {}", e.inner())),
    })
}
