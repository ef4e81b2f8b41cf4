//! The description of the REST door, and a page that shows it.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::header;
use utoipa::{
    Modify, OpenApi,
    openapi::security::{Http, HttpAuthScheme, SecurityScheme},
};

use super::Rest;

/// `/openapi.json` and `/docs`, made once.
#[derive(Clone, Debug)]
pub struct OpenApiDocument {
    json: String,
    page: String,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "FastMCP gateway",
        description = "Governed tools over REST. The same tools are served over MCP at /mcp. Errors are `{\"error\": {code, message, corr_id, details?}}`.",
        license(name = "MIT OR Apache-2.0")
    ),
    paths(
        super::catalog,
        super::invoke,
        super::confirm,
        super::decline::decline,
        super::register::register,
        super::approvals::list,
        super::approvals::show,
        super::approvals::decide,
        super::health,
        super::ready::ready,
        super::metrics
    ),
    modifiers(&Bearer)
)]
struct Described;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        let mut scheme = Http::new(HttpAuthScheme::Bearer);
        scheme.bearer_format = Some("JWT".to_owned());
        components.add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

impl OpenApiDocument {
    /// Describes version `version` of the door.
    ///
    /// # Errors
    ///
    /// When the description cannot be written as JSON.
    pub fn new(version: &str) -> Result<Self, serde_json::Error> {
        let mut described = Described::openapi();
        version.clone_into(&mut described.info.version);
        let value = serde_json::to_value(&described)?;
        Ok(Self {
            json: value.to_string(),
            page: page(&value),
        })
    }

    /// The description, OpenAPI 3.1.
    #[must_use]
    pub fn json(&self) -> &str {
        &self.json
    }

    /// The page, which needs no script.
    #[must_use]
    pub fn page(&self) -> &str {
        &self.page
    }
}

fn page(document: &serde_json::Value) -> String {
    let mut rows = String::new();
    let paths = document.get("paths").and_then(|p| p.as_object());
    for (path, operations) in paths.into_iter().flatten() {
        for (method, operation) in operations.as_object().into_iter().flatten() {
            let summary = operation
                .get("summary")
                .and_then(|s| s.as_str())
                .unwrap_or_default();
            let responses = operation.get("responses").and_then(|r| r.as_object());
            let answers: Vec<String> = responses
                .into_iter()
                .flatten()
                .map(|(status, response)| {
                    let text = response
                        .get("description")
                        .and_then(|d| d.as_str())
                        .unwrap_or_default();
                    format!("<li><b>{}</b> {}</li>", escape(status), escape(text))
                })
                .collect();
            rows.push_str(&format!(
                "<section><h2><code>{} {}</code></h2><p>{}</p><ul>{}</ul></section>",
                method.to_uppercase(),
                escape(path),
                escape(summary),
                answers.join("")
            ));
        }
    }
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>FastMCP gateway</title>\
         <style>body{{font:16px/1.5 system-ui;max-width:50rem;margin:2rem auto;padding:0 1rem}}h2{{font-size:1.1rem;margin-top:2rem}}</style>\
         <h1>FastMCP gateway</h1><p>The machine-readable description is <a href=\"/openapi.json\">/openapi.json</a>. MCP clients connect to <code>/mcp</code>.</p>{rows}</html>"
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// The description for programs.
pub(super) async fn openapi(State(rest): State<Arc<Rest>>) -> Response {
    (
        [(header::CONTENT_TYPE, "application/json")],
        rest.document.json().to_owned(),
    )
        .into_response()
}

/// The description for people.
pub(super) async fn docs(State(rest): State<Arc<Rest>>) -> Response {
    (
        [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (
                header::CONTENT_SECURITY_POLICY,
                "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
            ),
        ],
        rest.document.page().to_owned(),
    )
        .into_response()
}
