//! Asking a legacy client: our request on its open stream, its answer in another message.

use std::{fmt, sync::Arc, sync::atomic::Ordering, time::Duration};

use fastmcp_protocol::{
    Raw, RequestId, RpcError,
    jsonrpc::encode_call,
    legacy,
    mrtr::{InputRequest, InputRequests, InputResponses},
    wire::with_meta,
};
use fastmcp_transport::{Frame, Outlet};
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::{
    context::Asker,
    engine::{
        Engine,
        session::{Session, lock},
    },
    error::{Error, Result},
    session::listen::answered,
};

/// Asks on the stream of one request.
pub(super) struct OnStream {
    session: Arc<Session>,
    outlet: Outlet,
    cancel: CancellationToken,
    shutdown: CancellationToken,
    /// How long a client may take: a question that nobody will answer must not live for ever.
    within: Duration,
}

impl OnStream {
    pub(super) fn new(
        session: &Arc<Session>,
        outlet: &Outlet,
        cancel: &CancellationToken,
        engine: &Engine,
    ) -> Self {
        Self {
            session: Arc::clone(session),
            outlet: outlet.clone(),
            cancel: cancel.clone(),
            shutdown: engine.shutdown.clone(),
            within: engine.answer_within,
        }
    }

    /// Asks everything that a gate wants to know, one after the other.
    pub(super) async fn all(&self, requests: InputRequests) -> Result<InputResponses> {
        let mut answers = InputResponses::default();
        for (key, request) in requests.iter() {
            crate::context::require(&self.session.capabilities, request)?;
            answers.answer(key, &answered(self.put(request, None).await?)?)?;
        }
        Ok(answers)
    }

    /// Asks one thing, with `meta` as its `_meta`; what the client answers, an error among it.
    pub(super) async fn put(
        &self,
        request: &InputRequest,
        meta: Option<&str>,
    ) -> Result<std::result::Result<Raw, RpcError>> {
        let id = self.session.next_id.fetch_add(1, Ordering::Relaxed);
        let (answer, answered_by) = oneshot::channel();
        lock(&self.session.asked).insert(id, answer);
        let _forget = Forget {
            session: &self.session,
            id,
        };
        let (method, params) = legacy::input_request(
            request,
            self.session.version,
            &crate::engine::session::random_id()?,
        )
        .map_err(|e| Error::tool(format!("the client cannot be asked: {e}")))?;
        let params = params.as_ref().map(Raw::as_str);
        let tagged = meta.map(|meta| with_meta(params.unwrap_or("{}"), meta));
        let text = encode_call(
            Some(&RequestId::Number(id)),
            method.as_str(),
            tagged.as_deref().or(params),
        );
        self.outlet
            .send(Frame::message(text))
            .await
            .map_err(|_| Error::declined("the client is gone and cannot be asked"))?;
        let ended = || Error::declined("the session ended before the client answered");
        let outcome = tokio::select! {
            outcome = answered_by => outcome.map_err(|_| ended())?,
            () = self.session.closed.cancelled() => return Err(ended()),
            () = self.shutdown.cancelled() => return Err(Error::declined("the server is shutting down")),
            () = self.cancel.cancelled() => return Err(Error::cancelled()),
            () = tokio::time::sleep(self.within) => return Err(Error::declined("the client did not answer in time")),
        };
        Ok(outcome)
    }
}

impl fmt::Debug for OnStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnStream")
            .field("session", &self.session.id)
            .finish_non_exhaustive()
    }
}

impl Asker for OnStream {
    fn ask<'a>(&'a self, request: &'a InputRequest) -> BoxFuture<'a, Result<Raw>> {
        Box::pin(async move { answered(self.put(request, None).await?) })
    }
}

/// Forgets a question whose asker is gone.
pub(super) struct Forget<'a> {
    pub(super) session: &'a Session,
    pub(super) id: i64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        lock(&self.session.asked).remove(&self.id);
    }
}
