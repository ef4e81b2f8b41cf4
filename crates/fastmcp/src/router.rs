//! From a request to the component that answers it.

use std::sync::Arc;

use bytestring::ByteString;
use fastmcp_protocol::{
    Method, ProtocolVersion, Raw, Request, RpcError, completion::CompleteParams,
    discover::PaginatedParams, mrtr::InputResponses, prompt::GetPromptParams,
    resource::ReadResourceParams, tool::CallToolParams,
};

use crate::{
    call::{Input, Kind},
    component::Component,
    engine::Engine,
    error::{Error, Result},
    gate::{Leaf, Target},
    registry::{self, PageKey},
    respond,
};

/// A call that was resolved, and what came with it from an earlier round.
pub(crate) struct Resolved {
    pub(crate) target: Target,
    pub(crate) leaf: Leaf,
    pub(crate) input: Input,
    pub(crate) responses: Option<InputResponses>,
    pub(crate) request_state: Option<String>,
}

/// Resolves `tools/call`, `resources/read` and `prompts/get`.
pub(crate) fn resolve(
    engine: &Engine,
    caller: &fastmcp_auth::Caller,
    method: Method,
    request: &Request,
) -> Result<Resolved> {
    let params = request.params.as_ref();
    let snapshot = engine.registry.snapshot();
    let found = |component: Arc<Component>, input, responses, request_state: Option<_>| Resolved {
        target: Target {
            component: Arc::clone(&component),
        },
        leaf: Leaf { component },
        input,
        responses,
        request_state,
    };
    match method {
        Method::ToolsCall => {
            let p: CallToolParams<'_> = Raw::decode_params(params).map_err(Error::protocol)?;
            let component = snapshot
                .find(engine.gate(), caller, Kind::Tool, &p.name)
                .ok_or_else(|| unknown("tool", &p.name))?;
            let input = Input {
                args: arguments(params, p.arguments),
                uri: None,
            };
            Ok(found(
                component,
                input,
                p.input_responses,
                p.request_state.map(Into::into),
            ))
        }
        Method::PromptsGet => {
            let p: GetPromptParams<'_> = Raw::decode_params(params).map_err(Error::protocol)?;
            let component = snapshot
                .find(engine.gate(), caller, Kind::Prompt, &p.name)
                .ok_or_else(|| unknown("prompt", &p.name))?;
            let input = Input {
                args: arguments(params, p.arguments),
                uri: None,
            };
            Ok(found(
                component,
                input,
                p.input_responses,
                p.request_state.map(Into::into),
            ))
        }
        _ => {
            let p: ReadResourceParams<'_> = Raw::decode_params(params).map_err(Error::protocol)?;
            let (component, _) = snapshot
                .find_resource(engine.gate(), caller, &p.uri)
                .ok_or_else(|| unknown("resource", &p.uri))?;
            let input = Input {
                args: None,
                uri: Some(p.uri.as_ref().into()),
            };
            Ok(found(
                component,
                input,
                p.input_responses,
                p.request_state.map(Into::into),
            ))
        }
    }
}

fn arguments(params: Option<&Raw>, arguments: Option<&serde_json::value::RawValue>) -> Option<Raw> {
    let whole = params?.clone().into_inner();
    arguments.map(|raw| Raw::slice(&whole, raw))
}

fn unknown(what: &str, name: &str) -> Error {
    let shown: String = name.chars().take(128).collect();
    Error::not_found(format!("unknown {what} `{shown}`"))
}

/// One page of a list, encoded.
pub(crate) fn list(
    engine: &Engine,
    caller: &fastmcp_auth::Caller,
    kind: Kind,
    version: ProtocolVersion,
    request: &Request,
) -> Result<ByteString> {
    let p: PaginatedParams<'_> =
        Raw::decode_params(request.params.as_ref()).map_err(Error::protocol)?;
    let offset = registry::offset(p.cursor.as_deref()).map_err(Error::protocol)?;
    let snapshot = engine.registry.snapshot();
    let key = PageKey {
        kind,
        class: engine.gate().class(caller),
        version,
        offset,
    };
    snapshot.page(key, || {
        let visible: Vec<_> = snapshot
            .of_kind(kind)
            .filter(|c| engine.gate().visible(caller, c))
            .collect();
        if offset > 0 && offset >= visible.len() {
            return Err(Error::protocol(RpcError::invalid_params(
                "`cursor` is beyond the end of the list",
            )));
        }
        let size = engine.page_size.unwrap_or(usize::MAX);
        let page: Vec<_> = visible
            .iter()
            .skip(offset)
            .take(size)
            .map(|c| c.definition())
            .collect();
        let end = offset.saturating_add(page.len());
        let next = (end < visible.len()).then(|| registry::cursor(end));
        respond::encode_list(kind, version, &page, next)
    })
}

/// Reads the parameters of `completion/complete`.
pub(crate) fn completion(request: &Request) -> Result<CompleteParams<'_>> {
    Raw::decode_params(request.params.as_ref()).map_err(Error::protocol)
}
