//! The REST door, exactly as the contract has it.

mod answer;
mod approvals;
mod decline;
mod describe;
mod desk;
mod ready;
mod register;
mod reply;

use std::{
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::{Path, Request, State, rejection::PathRejection},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use fastmcp::{
    Server,
    transport::{
        ClientCertificate, Limits, Reason, TurnedAway,
        http::{Intake, RemoteAddr, Unread},
    },
};
use fastmcp_auth::Caller;
use fastmcp_guard::clock::{Clock, Timestamp};
use fastmcp_protocol::{
    Raw,
    args::{Args, ArgsLimits, Node},
};
use http::{HeaderMap, StatusCode, header, request::Parts};
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    call::{Call, CanConfirm, CorrId, Presented},
    door::Door,
    error::{Code, Error},
    manifest::Manifest,
    pipeline::Pipeline,
    state::{self, operation::IdempotencyKey},
};

pub use describe::OpenApiDocument;
pub use desk::Desk;
pub(crate) use desk::SESSION as SIGNED_IN;
pub use ready::{Admission, Looks};

/// What the REST door needs.
#[derive(Debug)]
pub struct Rest {
    /// The way of a call.
    pub pipeline: Arc<Pipeline>,
    /// Who comes in.
    pub door: Door,
    /// The MCP server, which shows the same catalogue.
    pub server: Server,
    /// Durable state, for `/ready`.
    pub state: state::State,
    /// Who can be let in, for `/ready`.
    pub admission: Arc<dyn Admission>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// When the gateway started.
    pub started: Timestamp,
    /// The version that `/health` tells.
    pub version: String,
    /// To which tenant a manifest belongs that names none.
    pub default_tenant: String,
    /// What `/ready` found last, which answers without a token everywhere.
    pub looks: Looks,
    /// Whether `/metrics` answers without a token: on loopback.
    pub open_metrics: bool,
    /// Finishes calls whose client went away.
    pub tracker: TaskTracker,
    /// Who is signed in at a browser.
    pub desk: Desk,
    /// The description of this door.
    pub document: OpenApiDocument,
    /// What a request may cost, as on the MCP door.
    pub limits: Limits,
    /// Bounds requests under way of known callers.
    pub calls: Arc<Semaphore>,
}

/// The routes.
pub fn router(rest: Arc<Rest>) -> Router {
    Router::new()
        .route("/tool-catalog", get(catalog))
        .route("/tools/{tool_id}/invoke", post(invoke))
        .route("/tools/{tool_id}/confirm", post(confirm))
        .route("/tools/{tool_id}/decline", post(decline::decline))
        .route("/manifests/register", post(register::register))
        .route("/approvals", get(desk::list))
        .route(
            "/approvals/{operation_id}",
            get(desk::show).post(desk::decide),
        )
        .route("/approvals/sign-in", post(desk::sign_in))
        .route("/approvals/sign-out", post(desk::sign_out))
        .route("/approvals/desk.css", get(desk::style))
        .route("/health", get(health))
        .route("/ready", get(ready::ready))
        .route("/metrics", get(metrics))
        .route("/openapi.json", get(describe::openapi))
        .route("/docs", get(describe::docs))
        .method_not_allowed_fallback(async |headers: HeaderMap| {
            let error = Error::new(Code::NotFound, "Method not allowed on this path");
            reply::with_status(&error, StatusCode::METHOD_NOT_ALLOWED, &headers)
        })
        .fallback(async |headers: HeaderMap| {
            let error = Error::new(Code::NotFound, "No such path; GET /docs lists them");
            reply::with_status(&error, StatusCode::NOT_FOUND, &headers)
        })
        .with_state(rest)
}

/// One request after its door.
struct Entered {
    rest: Arc<Rest>,
    corr_id: CorrId,
    caller: Caller,
    headers: HeaderMap,
    cancel: CancellationToken,
}

impl Entered {
    async fn admit(
        rest: Arc<Rest>,
        parts: &mut Parts,
        corr_id: &CorrId,
        cancel: CancellationToken,
    ) -> Result<Self, Response> {
        let headers = std::mem::take(&mut parts.headers);
        let certificate = parts.extensions.get::<ClientCertificate>();
        let admitted = rest
            .door
            .admit(&headers, address(parts), certificate, corr_id)
            .await;
        match admitted {
            Ok(caller) => Ok(Self {
                rest,
                corr_id: corr_id.clone(),
                caller,
                headers,
                cancel,
            }),
            Err(refused) => {
                let mut response = reply::error(&refused.error, corr_id);
                if let Some(challenge) = refused.challenge {
                    response
                        .headers_mut()
                        .insert(header::WWW_AUTHENTICATE, challenge);
                }
                Err(response)
            }
        }
    }

    /// A place among the requests under way; that there is none is recorded.
    fn place(&self) -> Result<OwnedSemaphorePermit, Box<Response>> {
        let taken = Arc::clone(&self.rest.calls).try_acquire_owned();
        taken.map_err(|_| {
            let message = "Too many requests are under way";
            let why = TurnedAway::new(Reason::Busy, message);
            let door = &self.rest.door;
            door.turned_away(&self.headers, None, Some(&self.caller), why);
            let busy = Error::new(Code::Unavailable, message);
            let busy = busy.with_retry_after(Duration::from_secs(1));
            Box::new(reply::error(&busy, &self.corr_id))
        })
    }

    /// The answer to a request whose body did not come in, which is recorded.
    fn unread(&self, unread: &Unread) -> Response {
        let message = unread.to_string();
        let why = TurnedAway::new(Reason::Body, &message);
        let door = &self.rest.door;
        door.turned_away(&self.headers, None, Some(&self.caller), why);
        reply::unread(unread, &self.corr_id)
    }

    /// What was read of a request; what could not be read is recorded as refused.
    async fn fit<T>(
        &self,
        (tool_id, action): (&str, &str),
        read: Result<T, Error>,
    ) -> Result<T, Error> {
        match read {
            Ok(read) => Ok(read),
            Err(why) => {
                let call = self.bare(tool_id, None);
                let pipeline = &self.rest.pipeline;
                Err(pipeline.turn_away(&call, (action, None), why).await)
            }
        }
    }

    fn call(&self, tool_id: &str, args: Option<Raw>) -> Result<Call, Error> {
        let key = self
            .headers
            .get("idempotency-key")
            .map(|v| v.to_str().unwrap_or_default());
        let idempotency_key = key
            .map(|key| {
                IdempotencyKey::parse(key)
                    .map_err(|e| Error::invalid(format!("header `Idempotency-Key`: {e}")))
            })
            .transpose()?;
        Ok(Call {
            idempotency_key,
            ..self.bare(tool_id, args)
        })
    }

    fn bare(&self, tool_id: &str, args: Option<Raw>) -> Call {
        Call {
            caller: self.caller.clone(),
            corr_id: self.corr_id.clone(),
            tool_id: tool_id.chars().take(160).collect(),
            args,
            client: None,
            session: None,
            idempotency_key: None,
            presented: Presented::Nothing,
            can_confirm: CanConfirm::Yes,
            can_attach: false,
            cancel: self.cancel.clone(),
        }
    }
}

fn address(parts: &Parts) -> Option<IpAddr> {
    parts
        .extensions
        .get::<RemoteAddr>()
        .map(|RemoteAddr(address): &RemoteAddr| SocketAddr::ip(address))
}

/// Authenticates, takes a place, reads the body and handles it, to its end even when the client goes away.
async fn enter<F, Fut>(rest: Arc<Rest>, request: Request, handle: F) -> Response
where
    F: FnOnce(Entered, Bytes) -> Fut + Send + 'static,
    Fut: Future<Output = Result<Response, Error>> + Send + 'static,
{
    let (mut parts, body) = request.into_parts();
    let corr_id = rest.door.corr_id(&parts.headers);
    let intake = Intake::of(parts.version, &parts.headers);
    let cancel = CancellationToken::new();
    let tracker = rest.tracker.clone();
    let entered = Entered::admit(rest, &mut parts, &corr_id, cancel.clone()).await;
    // Who is nobody known must not take the places of calls, however slowly its body comes.
    let placed = entered
        .map_err(Box::new)
        .and_then(|entered| Ok((entered.place()?, entered)));
    let (permit, entered) = match placed {
        Ok(placed) => placed,
        Err(refused) => {
            let usable = intake.refuse(body).await;
            return if usable {
                *refused
            } else {
                intake.closing(*refused)
            };
        }
    };
    let body = match intake.read(body, &entered.rest.limits).await {
        Ok(body) => body,
        Err(unread) => return intake.closing(entered.unread(&unread)),
    };
    let id = corr_id.clone();
    let handled = Box::pin(async move {
        // Held until the call ends, not until its client hangs up.
        let _permit = permit;
        handle(entered, body)
            .await
            .unwrap_or_else(|e| reply::error(&e, &id))
    });
    Finish {
        call: Some(handled),
        cancel,
        tracker,
    }
    .await
}

/// The tool or the operation that a path names.
type Named = Result<Path<String>, PathRejection>;

fn named(path: Named) -> Result<String, Error> {
    match path {
        Ok(Path(name)) => Ok(name),
        Err(rejection) => Err(Error::invalid(format!(
            "path: {}; encode names in it as UTF-8 with percent signs",
            rejection.body_text()
        ))),
    }
}

/// A call that is finished even when nobody waits for it any more.
struct Finish {
    call: Option<Pin<Box<dyn Future<Output = Response> + Send>>>,
    cancel: CancellationToken,
    tracker: TaskTracker,
}

impl Future for Finish {
    type Output = Response;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Response> {
        let Some(call) = &mut self.call else {
            return Poll::Pending;
        };
        let response = std::task::ready!(call.as_mut().poll(cx));
        self.call = None;
        Poll::Ready(response)
    }
}

impl Drop for Finish {
    fn drop(&mut self) {
        let Some(call) = self.call.take() else { return };
        self.cancel.cancel();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            self.tracker.spawn_on(
                async move {
                    drop(call.await);
                },
                &runtime,
            );
        }
    }
}

fn json_body(body: &Bytes) -> Result<Raw, Error> {
    let text = std::str::from_utf8(body).map_err(|_| Error::invalid("body is not UTF-8"))?;
    if text.trim().is_empty() {
        return Raw::parse("{}").map_err(Error::internal);
    }
    let raw = Raw::parse(text.to_owned())
        .map_err(|e| Error::invalid(format!("body is not JSON: {e}")))?;
    if raw.is_object() {
        Ok(raw)
    } else {
        Err(Error::invalid("body must be a JSON object"))
    }
}

/// Lists the tools that the caller may use.
#[utoipa::path(get, path = "/tool-catalog", tag = "tools", responses(
    (status = 200, description = "The caller's tenant and the tools it may use"),
    (status = 401, description = "UNAUTHORIZED"), (status = 403, description = "FORBIDDEN")), security(("bearer" = [])))]
async fn catalog(State(rest): State<Arc<Rest>>, request: Request) -> Response {
    enter(rest, request, async |entered: Entered, _| {
        let call = entered.call("", None);
        let call = entered.fit(("", "catalog:list"), call).await?;
        let tools = entered.rest.pipeline.list(&call).await?;
        let manifests: Vec<&Manifest> =
            tools.iter().map(crate::catalog::Target::manifest).collect();
        Ok(reply::json(
            StatusCode::OK,
            &json!({"tenant": entered.caller.tenant(), "tools": manifests}),
        ))
    })
    .await
}

/// Calls a tool; the body is its arguments.
#[utoipa::path(post, path = "/tools/{toolId}/invoke", tag = "tools",
    params(("toolId" = String, Path, description = "For example `database:listTables`"),
        ("Idempotency-Key" = Option<String>, Header, description = "The call happens once under this key"),
        ("X-Correlation-Id" = Option<String>, Header, description = "Comes back in the response, logs and records")),
    responses((status = 200, description = "`{toolId, result, token_meta}`"),
        (status = 202, description = "`{requires_confirmation, action_token, expires_at}`"),
        (status = 401, description = "UNAUTHORIZED"), (status = 403, description = "FORBIDDEN"), (status = 404, description = "NOT_FOUND"),
        (status = 409, description = "CONFLICT"), (status = 413, description = "PAYLOAD_TOO_LARGE"), (status = 422, description = "VALIDATION_ERROR"),
        (status = 429, description = "RATE_LIMITED"), (status = 502, description = "FAILED_DEPENDENCY"), (status = 503, description = "UNAVAILABLE")),
    security(("bearer" = [])))]
async fn invoke(State(rest): State<Arc<Rest>>, path: Named, request: Request) -> Response {
    enter(rest, request, async move |entered: Entered, body| {
        let tool_id = entered.fit(("", "tools.invoke"), named(path)).await?;
        let read = json_body(&body).and_then(|args| entered.call(&tool_id, Some(args)));
        let call = entered.fit((&tool_id, "tools.invoke"), read).await?;
        answer::of(&call, entered.rest.pipeline.invoke(&call).await?)
    })
    .await
}

/// Confirms a call: the action token and exactly the arguments that it was issued for.
#[utoipa::path(post, path = "/tools/{toolId}/confirm", tag = "tools",
    params(("toolId" = String, Path, description = "As it was invoked"),
        ("X-Action-Token" = Option<String>, Header, description = "The token, where the body is exactly the arguments"),
        ("Idempotency-Key" = Option<String>, Header, description = "Repeating the confirmation under this key gives the same result")),
    responses((status = 200, description = "`{toolId, result, token_meta}`"), (status = 401, description = "Unknown token, or other arguments"),
        (status = 403, description = "Another caller's token"), (status = 409, description = "Expired or used")),
    security(("bearer" = [])))]
async fn confirm(State(rest): State<Arc<Rest>>, path: Named, request: Request) -> Response {
    enter(rest, request, async move |entered: Entered, body| {
        let tool_id = entered.fit(("", "tools.confirm"), named(path)).await?;
        let read = json_body(&body)
            .and_then(|body| confirmation(&entered, &tool_id, &body))
            .and_then(|(token, args)| Ok((token, entered.call(&tool_id, Some(args))?)));
        let (token, mut call) = entered.fit((&tool_id, "tools.confirm"), read).await?;
        call.presented = Presented::Token(token);
        answer::of(&call, entered.rest.pipeline.invoke(&call).await?)
    })
    .await
}

/// The token and the arguments, in any of the contract's three forms.
fn confirmation(entered: &Entered, tool_id: &str, body: &Raw) -> Result<(String, Raw), Error> {
    #[derive(Deserialize)]
    struct Nested<'a> {
        #[serde(borrow)]
        input: &'a RawValue,
    }
    if let Some(token) = entered.headers.get("x-action-token") {
        let token = token
            .to_str()
            .map_err(|_| Error::invalid("header `X-Action-Token` is not ASCII"))?;
        return Ok((token.to_owned(), body.clone()));
    }
    let whole = Args::parse(Some(body), &ArgsLimits::default())
        .map_err(|e| Error::invalid(format!("body: {e}")))?;
    let token = whole
        .member("action_token")
        .and_then(Node::as_str)
        .ok_or_else(|| Error::invalid("`action_token` is missing: put it into the body, or into the header X-Action-Token"))?
        .to_owned();
    let nested = whole.iter().len() == 2 && matches!(whole.member("input"), Some(Node::Object(_)));
    // A tool that has an argument `input` of its own gets flat arguments.
    let own = entered
        .rest
        .pipeline
        .catalog
        .resolve(&entered.caller, tool_id)
        .is_ok_and(|target| {
            target
                .manifest()
                .inputs
                .pointer("/properties/input")
                .is_some()
        });
    if nested && !own {
        let Nested { input } = body
            .decode()
            .map_err(|e| Error::invalid(format!("body: {e}")))?;
        return Ok((token, body.part(input)));
    }
    Ok((token, whole.without("action_token").to_raw()))
}

/// Says that the process lives.
#[utoipa::path(get, path = "/health", tag = "operation", responses((status = 200, description = "`{status: \"healthy\", timestamp, version, uptime}`")))]
async fn health(State(rest): State<Arc<Rest>>) -> Response {
    let now = rest.clock.now();
    reply::json(
        StatusCode::OK,
        &json!({
            "status": "healthy",
            "timestamp": crate::audit::rfc3339(now),
            "version": rest.version,
            "uptime": now.since(rest.started).as_secs(),
        }),
    )
}

/// Metrics in the OpenMetrics text format. Beyond loopback they need a token with the scope `metrics.read`.
#[utoipa::path(get, path = "/metrics", tag = "operation", responses((status = 200, description = "OpenMetrics text"), (status = 401, description = "UNAUTHORIZED"), (status = 403, description = "FORBIDDEN")))]
async fn metrics(State(rest): State<Arc<Rest>>, request: Request) -> Response {
    if rest.open_metrics {
        return exposition(&rest);
    }
    enter(rest, request, async |entered: Entered, _| {
        let permitted = entered.rest.pipeline.policy.permit_metrics(&entered.caller);
        entered.fit(("", "metrics.read"), permitted).await?;
        Ok(exposition(&entered.rest))
    })
    .await
}

fn exposition(rest: &Rest) -> Response {
    let uptime = rest.clock.now().since(rest.started);
    let telemetry = &rest.pipeline.telemetry;
    telemetry.audited(&rest.pipeline.audit.health());
    telemetry.issuers(&rest.admission.issuers());
    match telemetry.render(uptime) {
        Ok(text) => (
            [(
                header::CONTENT_TYPE,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
            )],
            text,
        )
            .into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// The answer to a request that names a host or origin which is not allowed.
#[must_use]
pub fn forbidden_host(door: &Door, error: &impl std::fmt::Display, request: &Request) -> Response {
    let error = Error::new(Code::Forbidden, format!("Access denied: {error}"));
    let peer = request.extensions().get::<RemoteAddr>();
    let peer = peer.map(|RemoteAddr(address)| address.ip());
    let why = TurnedAway::new(Reason::Host, error.message());
    door.turned_away(request.headers(), peer, None, why);
    reply::with_status(&error, StatusCode::FORBIDDEN, request.headers())
}
