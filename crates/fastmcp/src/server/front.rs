//! What a server says over HTTP: its routes, and at every other path the endpoint.

use std::{
    convert::Infallible,
    fmt,
    net::SocketAddr,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use fastmcp_auth::Caller;
use fastmcp_transport::{
    ClientCertificate, Denied, Door as _, Limits, Peer,
    http::{AllowedHosts, Body, HttpService, Intake, RemoteAddr},
};
use futures_util::FutureExt as _;
use http::{HeaderValue, Method, Request, Response, StatusCode, header, request::Parts};
use tokio::sync::Semaphore;
use tower_service::Service;

use super::{Engine, Server};
use crate::{
    error::Error,
    route::{IntoRouteResponse as _, Route, RouteRequest, RouteResponse, refusal},
};

/// Everything that a server says over HTTP, as a tower service: see [`Server::http_app`](super::Server::http_app).
#[derive(Clone, Debug)]
pub struct HttpApp {
    endpoint: HttpService<Engine>,
    shared: Arc<Shared>,
    address: Option<SocketAddr>,
}

#[derive(Debug)]
struct Shared {
    engine: Arc<Engine>,
    limits: Limits,
    hosts: AllowedHosts,
    /// How many requests to routes are under way.
    visits: Semaphore,
}

impl HttpApp {
    pub(super) fn new(
        endpoint: HttpService<Engine>,
        server: &Server,
        limits: Limits,
        hosts: AllowedHosts,
    ) -> Self {
        Self {
            endpoint,
            shared: Arc::new(Shared {
                engine: Arc::clone(&server.engine),
                visits: Semaphore::new(limits.concurrent_calls),
                limits,
                hosts,
            }),
            address: None,
        }
    }

    /// The same for one connection from `address`.
    pub(super) fn on_connection_from(&self, address: SocketAddr) -> Self {
        Self {
            endpoint: self.endpoint.from_address(address),
            shared: Arc::clone(&self.shared),
            address: Some(address),
        }
    }
}

impl<B> Service<Request<B>> for HttpApp
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: fmt::Display,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future =
        Pin<Box<dyn Future<Output = std::result::Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::result::Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let routes = self.shared.engine.routes.as_ref();
        let found = routes.and_then(|r| r.find(request.method(), request.uri().path()));
        let Some((route, params)) = found else {
            return self.endpoint.call(request);
        };
        let head_alone = request.method() == Method::HEAD;
        let visit = Visit {
            shared: Arc::clone(&self.shared),
            address: self.address,
            params,
        };
        Box::pin(async move { Ok(sent(visit.answer(route, request).await, head_alone)) })
    }
}

/// The answer as it goes out; HEAD gets the head alone.
fn sent(mut response: RouteResponse, head_alone: bool) -> Response<Body> {
    if !head_alone {
        return response.map(Body::bytes);
    }
    let length = HeaderValue::from(response.body().len());
    response
        .headers_mut()
        .insert(header::CONTENT_LENGTH, length);
    response.map(|_| Body::empty())
}

/// One request to one route.
struct Visit {
    shared: Arc<Shared>,
    address: Option<SocketAddr>,
    params: Vec<(String, String)>,
}

impl Visit {
    async fn answer<B>(self, route: Route, request: Request<B>) -> RouteResponse
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: fmt::Display,
    {
        let (mut head, body) = request.into_parts();
        let intake = Intake::of(head.version, &head.headers);
        let Ok(_under_way) = self.shared.visits.try_acquire() else {
            let busy = &"too many requests are under way; try again";
            return intake.closing(refusal(StatusCode::SERVICE_UNAVAILABLE, busy));
        };
        let caller = match self.enter(&route, &mut head).await {
            Ok(caller) => caller,
            Err(refused) => {
                let usable = intake.refuse(body).await;
                return if usable {
                    *refused
                } else {
                    intake.closing(*refused)
                };
            }
        };
        let limits = Limits {
            message_bytes: route.max_body,
            ..self.shared.limits.clone()
        };
        let body = match intake.read(body, &limits).await {
            Ok(body) => body,
            Err(unread) => {
                let status = StatusCode::from_u16(unread.status());
                let status = status.unwrap_or(StatusCode::BAD_REQUEST);
                return intake.closing(refusal(status, &unread));
            }
        };
        let request = RouteRequest {
            head,
            body,
            params: self.params,
            caller,
            address: self.address,
            values: Arc::clone(&self.shared.engine.values),
        };
        handle(&route, request, self.shared.limits.call_timeout).await
    }

    /// Who is let in.
    async fn enter(
        &self,
        route: &Route,
        head: &mut Parts,
    ) -> std::result::Result<Caller, Box<RouteResponse>> {
        let engine = &self.shared.engine;
        if !route.any_host {
            let checked = self.shared.hosts.check(&head.uri, &head.headers);
            checked.map_err(|error| Box::new(refusal(StatusCode::FORBIDDEN, &error)))?;
        }
        let caller = if route.authenticated {
            let address = self
                .address
                .or_else(|| head.extensions.get::<RemoteAddr>().map(|a| a.0));
            let peer = Peer::http(std::mem::take(&mut head.headers), address)
                .with_certificate(head.extensions.get::<ClientCertificate>().cloned());
            let admitted = engine.admit(&peer).await;
            head.headers = peer.headers;
            admitted.map_err(|denied| Box::new(deny(denied)))?
        } else {
            Caller::anonymous()
        };
        let started = engine.life.start(&engine.tracker).await;
        started.map_err(|error| {
            let why = error.shown(engine.mask).into_owned();
            Box::new(refusal(StatusCode::SERVICE_UNAVAILABLE, &why))
        })?;
        Ok(caller)
    }
}

fn deny(denied: Denied) -> RouteResponse {
    let status = StatusCode::from_u16(denied.status).unwrap_or(StatusCode::UNAUTHORIZED);
    let mut response = refusal(status, &denied.error.message);
    if let Some(challenge) = denied.challenge {
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

async fn handle(route: &Route, request: RouteRequest, within: Duration) -> RouteResponse {
    let work = AssertUnwindSafe(async { (route.handle)(request).await });
    match tokio::time::timeout(within, work.catch_unwind()).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => Error::internal("its handler panicked").into_response(),
        Err(_) => refusal(
            StatusCode::GATEWAY_TIMEOUT,
            &format_args!("it took longer than {} s", within.as_secs_f64()),
        ),
    }
}
