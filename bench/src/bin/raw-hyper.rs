//! The endpoint by hand on bare hyper: nothing between the socket and the handler.

use std::{convert::Infallible, io};

use bytes::Bytes;
use fastmcp_bench::{
    raw,
    serve::{listen, terminated},
};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

/// As axum's own default.
const BODY_LIMIT: usize = 2 * 1024 * 1024;

fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

async fn mcp(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.uri().path() != "/mcp" {
        return Ok(empty(StatusCode::NOT_FOUND));
    }
    if request.method() != Method::POST {
        return Ok(empty(StatusCode::METHOD_NOT_ALLOWED));
    }
    let (parts, body) = request.into_parts();
    let Ok(body) = Limited::new(body, BODY_LIMIT).collect().await else {
        return Ok(empty(StatusCode::PAYLOAD_TOO_LARGE));
    };
    let answer = raw::answer(&parts.headers, &body.to_bytes());
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() = answer.status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    Ok(response)
}

async fn serve(listener: TcpListener) -> io::Result<()> {
    let connections = TaskTracker::new();
    loop {
        let (stream, _) = listener.accept().await?;
        // A connection that cannot have it is served all the same.
        let _without = stream.set_nodelay(true);
        let connection =
            http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(mcp));
        // How one connection ends is no matter of the bench: the client counts errors.
        connections.spawn(async move { drop(connection.await) });
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let listener = listen().await?;
    tokio::select! {
        served = serve(listener) => served?,
        ended = terminated() => ended?,
    }
    Ok(())
}
