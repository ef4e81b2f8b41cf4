//! A server at one path of an address.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use anyhow::Context as _;
use bytes::Bytes;
use fastmcp::{
    Server,
    server::Engine,
    transport::{
        Limits,
        http::{Body, HttpConfig, HttpService, Serve},
    },
};
use http::{Request, Response, StatusCode};
use tokio_util::task::TaskTracker;
use tower_service::Service;

use super::Endpoint;
use crate::reach::failed;

/// How long calls may take to finish in the end.
const FINISH_WITHIN: Duration = Duration::from_secs(10);

impl Endpoint {
    /// Where it is.
    pub(crate) fn url(&self) -> anyhow::Result<String> {
        let address = self
            .listener
            .local_addr()
            .context("cannot tell the address")?;
        Ok(format!("http://{address}{}", self.path))
    }

    /// Serves until the server shuts down; then lets calls finish.
    pub(crate) async fn serve(self, server: &Server) -> anyhow::Result<()> {
        server
            .start()
            .await
            .map_err(|error| failed("the server cannot start", &error))?;
        let config = HttpConfig {
            hosts: self.hosts,
            ..HttpConfig::default()
        };
        let endpoint = server.http_service(config);
        let path: Arc<str> = self.path.into();
        let serve = Serve::new(
            Limits::default(),
            server.shutdown().clone(),
            TaskTracker::new(),
        );
        let served = serve.run(self.listener, |address: SocketAddr| AtPath {
            endpoint: endpoint.from_address(address),
            path: Arc::clone(&path),
        });
        let all_finished = served.await.context("the listener failed");
        server.finish(FINISH_WITHIN).await;
        if !all_finished? {
            tracing::warn!("some calls did not finish in time");
        }
        Ok(())
    }
}

/// The endpoint at its path, and nothing elsewhere.
#[derive(Clone)]
struct AtPath {
    endpoint: HttpService<Engine>,
    path: Arc<str>,
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl<B> Service<Request<B>> for AtPath
where
    HttpService<Engine>: Service<Request<B>, Response = Response<Body>, Error = Infallible>,
    <HttpService<Engine> as Service<Request<B>>>::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let path = request.uri().path();
        if path.trim_end_matches('/') == self.path.trim_end_matches('/') {
            return Box::pin(self.endpoint.call(request));
        }
        let told = Bytes::from(format!("the MCP endpoint is at {}\n", self.path));
        Box::pin(async move {
            let mut response = Response::new(Body::bytes(told));
            *response.status_mut() = StatusCode::NOT_FOUND;
            Ok(response)
        })
    }
}
