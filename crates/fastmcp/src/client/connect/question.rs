//! Requests of legacy servers to their client.

use std::sync::Arc;

use fastmcp_protocol::{
    ErrorCode, Request, RpcError,
    jsonrpc::{encode_error, encode_result},
    legacy,
};
use fastmcp_transport::Outgoing;

use super::dress::headers;
use crate::client::{
    handler::Handlers,
    link::{Link, Question},
};

/// Begins to answer a request of the server. Modern servers make none, and get no answer.
///
/// Source: MCP 2025-11-25, client; MCP 2026-07-28, basic, "Messages".
pub(in crate::client) fn asked(link: &Arc<Link>, request: Request, handlers: Option<&Handlers>) {
    if link.agreed.load().is_stateless() {
        tracing::warn!(method = %request.method, "a request of the server is passed over");
        return;
    }
    let Some(question) = link.take_on(request.id.clone()) else {
        tracing::warn!(id = %request.id, "a request of the server is refused: too many are open");
        return;
    };
    let answering = Arc::clone(link);
    let handlers = handlers.cloned().unwrap_or_else(|| link.handlers().clone());
    link.tasks.spawn(async move {
        let answer = tokio::select! {
            answer = answer(&handlers, &request, &question) => answer,
            () = question.cancelled.cancelled() => return,
            () = answering.stop.cancelled() => return,
        };
        let outgoing = Outgoing {
            id: None,
            method: request.method,
            body: answer.into(),
            headers: headers(&answering.agreed.load()),
            resumable: false,
        };
        if let Err(error) = answering.wire.notify(outgoing).await {
            tracing::warn!(%error, "the answer to a request of the server was not carried");
        }
    });
}

/// The response to `request`.
async fn answer(handlers: &Handlers, request: &Request, question: &Question) -> String {
    let id = &question.id;
    if request.method == "ping" {
        return encode_result(id, "{}");
    }
    let asked = match legacy::asked(&request.method, request.params.as_ref()) {
        Ok(asked) => asked,
        Err(error) => return encode_error(Some(id), &error),
    };
    if !handlers.answers(&asked) {
        let error = RpcError::method_not_found(&request.method);
        return encode_error(Some(id), &error);
    }
    match handlers.answer(&id.to_string(), asked).await {
        Ok(answer) => encode_result(id, answer.as_str()),
        Err(error) => {
            // What a handler refuses, a person or a policy refused. Source: MCP 2025-11-25,
            // client/sampling, "Error Handling".
            let refused = RpcError::new(ErrorCode(-1), error.shown(true).into_owned());
            encode_error(Some(id), &refused)
        }
    }
}
