//! The endpoint by hand on axum, with its extractors, as most would write it.

use axum::{Router, body::Bytes, response::IntoResponse, routing::post, serve::ListenerExt as _};
use fastmcp_bench::{
    raw,
    serve::{listen, terminated},
};
use http::{HeaderMap, header};

async fn mcp(headers: HeaderMap, body: Bytes) -> impl IntoResponse {
    let answer = raw::answer(&headers, &body);
    (
        answer.status,
        [(header::CONTENT_TYPE, "application/json")],
        answer.body,
    )
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let router = Router::new().route("/mcp", post(mcp));
    let listener = listen().await?.tap_io(|stream| {
        // A connection that cannot have it is served all the same.
        let _without = stream.set_nodelay(true);
    });
    tokio::select! {
        served = axum::serve(listener, router) => served?,
        ended = terminated() => ended?,
    }
    Ok(())
}
