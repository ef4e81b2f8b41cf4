//! The metadata of the protected resource, beside the endpoint.

use std::{
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use bytestring::ByteString;
use fastmcp_auth::ResourceMetadata;
use fastmcp_transport::http::{Body, HttpService};
use http::{HeaderValue, Method, Request, Response, header};
use tower_service::Service;

use super::Engine;

/// Serves the document at its path to everybody, and hands everything else on.
#[derive(Clone, Debug)]
pub(super) struct WithMetadata {
    service: HttpService<Engine>,
    document: Option<Arc<Document>>,
}

#[derive(Debug)]
struct Document {
    path: String,
    json: ByteString,
}

impl WithMetadata {
    pub(super) fn new(service: HttpService<Engine>, metadata: Option<&ResourceMetadata>) -> Self {
        let document = metadata.map(|metadata| {
            Arc::new(Document {
                path: metadata.path(),
                json: metadata.to_json().into(),
            })
        });
        Self { service, document }
    }

    /// The same for one connection from `address`.
    pub(super) fn on_connection_from(&self, address: SocketAddr) -> Self {
        Self {
            service: self.service.from_address(address),
            document: self.document.clone(),
        }
    }
}

impl<B> Service<Request<B>> for WithMetadata
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: std::fmt::Display,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let asked = |document: &&Arc<Document>| {
            request.method() == Method::GET && request.uri().path() == document.path
        };
        let Some(document) = self.document.as_ref().filter(asked) else {
            return self.service.call(request);
        };
        let mut response = Response::new(Body::full(document.json.clone()));
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        Box::pin(async move { Ok(response) })
    }
}
