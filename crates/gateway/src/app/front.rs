//! What every request meets first: whence it came, its correlation id, and the door that it wants.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{Router, body::Body, response::Response};
use fastmcp::transport::{
    ClientCertificate,
    http::{Body as McpBody, RemoteAddr},
};
use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Either},
};
use http::{HeaderName, HeaderValue, Method};
use hyper::body::Incoming;
use tower_service::Service;

use super::MCP_PATH;
use crate::door::{CORRELATION_ID, Door};

/// Both doors, for one connection. Every answer carries the id under which its request is recorded.
///
/// The MCP door is no route of the router's: each layer of it costs a call some allocations.
#[derive(Clone)]
pub(super) struct Front<M> {
    pub(super) door: Arc<Door>,
    pub(super) mcp: M,
    pub(super) rest: Router,
    pub(super) address: SocketAddr,
    pub(super) certificate: Option<ClientCertificate>,
}

impl<M> Service<http::Request<Incoming>> for Front<M>
where
    M: Service<http::Request<Incoming>, Response = http::Response<McpBody>, Error = Infallible>,
    M::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: http::Request<Incoming>) -> Self::Future {
        let header = HeaderName::from_static(CORRELATION_ID);
        let corr_id = self.door.corr_id(request.headers());
        let corr_id = HeaderValue::from_str(corr_id.as_str()).ok();
        if let Some(corr_id) = &corr_id {
            let headers = request.headers_mut();
            headers.insert(header.clone(), corr_id.clone());
        }
        let extensions = request.extensions_mut();
        extensions.insert(RemoteAddr(self.address));
        if let Some(certificate) = &self.certificate {
            extensions.insert(certificate.clone());
        }
        let is_head = request.method() == Method::HEAD;
        let answer = if request.uri().path() == MCP_PATH {
            Either::Left(self.mcp.call(request))
        } else {
            Either::Right(self.rest.call(request.map(Body::new)))
        };
        let answer = async move {
            let mut response = match answer {
                // The router sees to this for its own routes. Over HTTP/2 nobody else does.
                Either::Left(mcp) if is_head => mcp.await?.map(|_| Body::empty()),
                Either::Left(mcp) => mcp.await?.map(Body::new),
                Either::Right(rest) => rest.await?,
            };
            if let Some(corr_id) = corr_id {
                response.headers_mut().insert(header, corr_id);
            }
            Ok(response)
        };
        answer.boxed()
    }
}
