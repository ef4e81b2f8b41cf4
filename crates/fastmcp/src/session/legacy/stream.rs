//! The stream on which the server speaks without being asked, and coming back to streams.

use std::{borrow::Cow, sync::Arc};

use bytestring::ByteString;
use fastmcp_auth::Caller;
use fastmcp_protocol::{
    ErrorCode, Method, Raw, Request, RpcError,
    jsonrpc::{encode_call, encode_error},
    logging::LoggingLevel,
    resource::{self, SubscribeParams},
};
use fastmcp_transport::{Frame, Outlet, Reply, replay::ResumeError};
use serde_json::json;

use super::{Exchange, Found, find, is_primed, ping};
use crate::{
    engine::{
        Engine,
        session::{Session, lock},
    },
    error::{Error, Result},
    registry::Rules,
    session::listen::{Stream, Wishes},
};

/// Serves a GET request, or the output of a connection.
pub(in crate::session) async fn listen(
    engine: &Arc<Engine>,
    exchange: Exchange,
    last_event_id: Option<ByteString>,
) -> Reply {
    if exchange.peer.connection.is_some() {
        return speak(engine, &exchange).await;
    }
    let session = match find(engine, &exchange) {
        Found::Session(session) => session,
        Found::Unnamed => return Reply::Status(405),
        Found::Unknown => return Reply::Status(404),
    };
    match last_event_id {
        Some(last) => resume(engine, &exchange, &session, &last).await,
        None => open(engine, &exchange, &session).await,
    }
}

/// Speaks on a connection that carries everything, whenever a session is open on it.
async fn speak(engine: &Arc<Engine>, exchange: &Exchange) -> Reply {
    let mut changes = engine.registry.hear();
    let heard = Heard::On(engine, exchange);
    let stream = stream(engine, exchange, exchange.outlet.clone());
    tokio::select! {
        () = stream.run(&mut changes, &heard) => {}
        () = ping::run(engine, &heard, &stream.outlet) => {}
    }
    Reply::Status(200)
}

/// Opens the general stream. There is one per session, so that each message goes out on exactly one.
async fn open(engine: &Arc<Engine>, exchange: &Exchange, session: &Arc<Session>) -> Reply {
    let primed = is_primed(session.version);
    let outlet = session.replay.stream(exchange.outlet.clone(), primed);
    {
        let mut general = lock(&session.general);
        if general.is_read() {
            return Reply::Status(409);
        }
        // What changes from here on is told. Who holds the receiver has filled the slot before.
        if let Ok(mut changes) = session.changes.try_lock() {
            changes.get_or_insert_with(|| engine.registry.hear());
        }
        general.reader = Some(exchange.outlet.clone());
        let before = std::mem::replace(&mut general.number, session.replay.begin(&outlet));
        if let Some(before) = before {
            session.replay.end(before);
        }
    }
    if !primed && exchange.outlet.send(Frame::comment()).await.is_err() {
        return Reply::Status(200);
    }
    serve(engine, exchange, session, outlet).await
}

/// Goes on with a stream whose connection broke, or that we let go.
async fn resume(
    engine: &Arc<Engine>,
    exchange: &Exchange,
    session: &Arc<Session>,
    last: &str,
) -> Reply {
    let reader = &exchange.outlet;
    let resumed = match session.replay.resume(last, reader.clone()) {
        Ok(resumed) => resumed,
        Err(error) => return refuse(error),
    };
    let is_general = {
        let mut general = lock(&session.general);
        let is_general = general.number == Some(resumed.number());
        if is_general {
            general.reader = Some(reader.clone());
        }
        is_general
    };
    // The response's headers go out with the first frame, though nothing may have been missed.
    if reader.send(Frame::comment()).await.is_err() {
        return Reply::Status(200);
    }
    if resumed.is_lossy() && *lock(&session.log_level) <= LoggingLevel::Warning {
        let params = json!({
            "level": LoggingLevel::Warning,
            "data": "messages of this stream were dropped, for the client stayed away for too long",
        });
        let text = encode_call(
            None,
            Method::NotificationMessage.as_str(),
            Some(&params.to_string()),
        );
        if reader.send(Frame::message(text)).await.is_err() {
            return Reply::Status(200);
        }
    }
    match resumed.replay().await {
        Some(outlet) if is_general => serve(engine, exchange, session, outlet).await,
        Some(_) => {
            // The call writes; its end, or the client's leaving, ends this.
            reader.closed().await;
            Reply::Status(200)
        }
        None => Reply::Status(200),
    }
}

fn refuse(error: ResumeError) -> Reply {
    let error = RpcError::new(ErrorCode::INVALID_REQUEST, error.to_string());
    Reply::with_status(400, encode_error(None, &error))
}

/// Tells the changes that the session has not heard of yet, until the reader is gone.
async fn serve(
    engine: &Arc<Engine>,
    exchange: &Exchange,
    session: &Arc<Session>,
    outlet: Outlet,
) -> Reply {
    let mut changes = tokio::select! {
        changes = session.changes.lock() => changes,
        () = exchange.outlet.closed() => return Reply::Status(200),
    };
    let changes = changes.get_or_insert_with(|| engine.registry.hear());
    let heard = Heard::Of(session);
    let stream = stream(engine, exchange, outlet);
    tokio::select! {
        () = session.closed.cancelled() => {}
        () = stream.run(changes, &heard) => {}
        () = ping::run(engine, &heard, &stream.outlet) => {}
    }
    Reply::Status(200)
}

/// Takes note of the resources whose changes the session wants to hear of.
pub(super) fn subscribe(
    engine: &Engine,
    caller: &Caller,
    session: Option<&Session>,
    method: Method,
    request: &Request,
) -> Result<()> {
    /// Subscriptions of one session.
    const MAX: usize = 1_024;
    let params: SubscribeParams<'_> =
        Raw::decode_params(request.params.as_ref()).map_err(Error::protocol)?;
    let session = session.ok_or_else(|| {
        Error::protocol(RpcError::invalid_params(
            "subscriptions need a session; initialize first",
        ))
    })?;
    let mut subscribed = lock(&session.subscribed);
    if method == Method::ResourcesUnsubscribe {
        subscribed.remove(params.uri.as_ref());
        return Ok(());
    }
    let sight = engine.sight(caller, session.visibility.rules());
    if !engine.shows(&sight, &params.uri) {
        return Err(Error::protocol(resource::not_found(&params.uri)));
    }
    if subscribed.len() >= MAX {
        return Err(Error::protocol(RpcError::invalid_params(format!(
            "a session subscribes to at most {MAX} resources"
        ))));
    }
    subscribed.insert(params.uri.into_owned());
    Ok(())
}

fn stream<'a>(engine: &'a Engine, exchange: &'a Exchange, outlet: Outlet) -> Stream<'a> {
    Stream {
        engine,
        caller: &exchange.caller,
        reader: exchange.outlet.clone(),
        outlet,
        cancel: exchange.cancel.clone(),
        tag: None,
    }
}

/// What a session wants to hear of, as it subscribes and unsubscribes.
pub(super) enum Heard<'a> {
    Of(&'a Arc<Session>),
    /// Of the session that is open on a connection, if one is.
    On(&'a Engine, &'a Exchange),
}

impl Heard<'_> {
    /// The session, where there is one.
    pub(super) fn session(&self) -> Option<Arc<Session>> {
        match self {
            Self::Of(session) => Some(Arc::clone(session)),
            Self::On(engine, exchange) => match find(engine, exchange) {
                Found::Session(session) => Some(session),
                _ => None,
            },
        }
    }
}

impl Wishes for Heard<'_> {
    fn wants(&self, method: Method, uri: Option<&str>) -> bool {
        self.session().is_some_and(|s| s.wants(method, uri))
    }

    fn resources(&self) -> Cow<'_, [String]> {
        let subscribed = self
            .session()
            .map(|s| lock(&s.subscribed).iter().cloned().collect());
        Cow::Owned(subscribed.unwrap_or_default())
    }

    fn rules(&self) -> Option<Arc<Rules>> {
        self.session()?.visibility.rules()
    }
}
