//! From a request to the component that answers it.

pub(crate) mod skill;

use std::sync::Arc;

use bytestring::ByteString;
use fastmcp_protocol::{
    Method, ProtocolVersion, Raw, Request, RpcError, completion::CompleteParams,
    discover::PaginatedParams, meta::Peek, mrtr::InputResponses, prompt::GetPromptParams,
    resource::ReadResourceParams, tool::CallToolParams,
};

use crate::{
    call::{Input, Kind},
    component::{Component, Definition, Version},
    engine::Engine,
    error::{Error, Result},
    gate::{Leaf, Target},
    registry::{self, PageKey, Sight, Snapshot},
    respond,
};

/// A call that was resolved, and what came with it from an earlier round.
pub(crate) struct Resolved {
    pub(crate) target: Target,
    pub(crate) leaf: Leaf,
    pub(crate) input: Input,
    /// What few calls bring.
    pub(crate) continued: Option<Box<Continued>>,
}

/// What a call brings from an earlier round.
pub(crate) struct Continued {
    pub(crate) responses: Option<InputResponses>,
    pub(crate) request_state: Option<String>,
}

/// Resolves `tools/call`, `resources/read` and `prompts/get`.
pub(crate) fn resolve(
    engine: &Engine,
    sight: &Sight<'_>,
    method: Method,
    request: &Request,
    peek: &Peek,
) -> Result<Resolved> {
    let snapshot = engine.registry.snapshot();
    let addressed = Addressed::read(method, request, peek)?;
    let target = &*addressed.target;
    if let Some(version) = &peek.meta.component_version {
        let component = of_version(engine, sight, method, target, version)?;
        return Ok(resolved(component, method, addressed));
    }
    let (what, component) = match method {
        Method::ToolsCall => ("tool", snapshot.find(sight, Kind::Tool, target)),
        Method::PromptsGet => ("prompt", snapshot.find(sight, Kind::Prompt, target)),
        _ => {
            let found = snapshot.find_resource(sight, target);
            ("resource", found.map(|(component, _)| component))
        }
    };
    let component = component.ok_or_else(|| unknown(what, target))?;
    Ok(resolved(component, method, addressed))
}

/// The component in the version that the request names.
fn of_version(
    engine: &Engine,
    sight: &Sight<'_>,
    method: Method,
    target: &str,
    version: &str,
) -> Result<Arc<Component>> {
    let snapshot = engine.registry.snapshot();
    let wanted = Version::parse(version).map_err(|e| {
        let wrong = format!("`params._meta.fastmcp.version`: {}", e.message());
        Error::protocol(RpcError::invalid_params(wrong))
    })?;
    let (what, found) = match method {
        Method::ToolsCall => (
            "tool",
            snapshot.find_version(sight, (Kind::Tool, target), &wanted),
        ),
        Method::PromptsGet => (
            "prompt",
            snapshot.find_version(sight, (Kind::Prompt, target), &wanted),
        ),
        _ => (
            "resource",
            snapshot.find_resource_version(sight, target, &wanted),
        ),
    };
    let shown: String = target.chars().take(128).collect();
    found.ok_or_else(|| Error::not_found(format!("unknown {what} `{shown}` in version `{wanted}`")))
}

fn resolved(component: Arc<Component>, method: Method, addressed: Addressed) -> Resolved {
    let is_resource = !matches!(method, Method::ToolsCall | Method::PromptsGet);
    Resolved {
        target: Target {
            component: Arc::clone(&component),
        },
        leaf: Leaf::new(component),
        input: Input {
            args: addressed.arguments,
            uri: is_resource.then_some(addressed.target),
        },
        continued: addressed.continued,
    }
}

/// The code of a call that was resolved, for its next round.
pub(crate) fn leaf(target: &Target) -> Leaf {
    Leaf::new(Arc::clone(&target.component))
}

/// What a call addresses and brings along.
struct Addressed {
    target: ByteString,
    arguments: Option<Raw>,
    continued: Option<Box<Continued>>,
}

impl Addressed {
    /// Reads the parameters of a call. Those of a first round were all seen by the first look at the
    /// request; the others, and those that are wrong, are read by their type.
    fn read(method: Method, request: &Request, peek: &Peek) -> Result<Self> {
        if let Some(target) = &peek.target
            && !peek.continues
            && peek.arguments.as_ref().is_none_or(Raw::is_object)
        {
            return Ok(Self {
                target: target.clone(),
                arguments: peek.arguments.clone(),
                continued: None,
            });
        }
        let params = request.params.as_ref();
        let (target, arguments, responses, request_state) = match method {
            Method::ToolsCall => {
                let p: CallToolParams<'_> = Raw::decode_params(params).map_err(Error::protocol)?;
                (p.name, p.arguments, p.input_responses, p.request_state)
            }
            Method::PromptsGet => {
                let p: GetPromptParams<'_> = Raw::decode_params(params).map_err(Error::protocol)?;
                (p.name, p.arguments, p.input_responses, p.request_state)
            }
            _ => {
                let p: ReadResourceParams<'_> =
                    Raw::decode_params(params).map_err(Error::protocol)?;
                (p.uri, None, p.input_responses, p.request_state)
            }
        };
        Ok(Self {
            target: target.as_ref().into(),
            arguments: arguments.and_then(|raw| params.map(|params| params.part(raw))),
            continued: Some(Box::new(Continued {
                responses,
                request_state: request_state.map(Into::into),
            })),
        })
    }
}

fn unknown(what: &str, name: &str) -> Error {
    let shown: String = name.chars().take(128).collect();
    Error::not_found(format!("unknown {what} `{shown}`"))
}

/// Who looks at a list.
pub(crate) struct Viewer<'a, F> {
    pub(crate) sight: Sight<'a>,
    pub(crate) version: ProtocolVersion,
    /// Whether the client shows documents of MCP Apps; rarely asked.
    pub(crate) shows_apps: F,
}

/// One page of a list, encoded. Tools for documents of MCP Apps alone are listed for clients that show
/// such documents: others would hand them to their model.
pub(crate) fn list(
    engine: &Engine,
    viewer: Viewer<'_, impl FnOnce() -> bool>,
    kind: Kind,
    request: &Request,
) -> Result<ByteString> {
    let Viewer {
        sight,
        version,
        shows_apps,
    } = viewer;
    let p: PaginatedParams<'_> =
        Raw::decode_params(request.params.as_ref()).map_err(Error::protocol)?;
    let offset = registry::offset(p.cursor.as_deref()).map_err(Error::protocol)?;
    let snapshot = engine.registry.snapshot();
    // Only lists with such tools differ, so only those are asked for.
    let apps = kind == Kind::Tool && snapshot.has_app_only() && shows_apps();
    // Each check is asked once: what it says decides on the page and on who shares it.
    let decides = sight.has_rules() || engine.is_checked(&snapshot);
    let allowed: Option<Vec<_>> =
        decides.then(|| snapshot.every(kind).map(|c| sight.visible(c)).collect());
    let key = PageKey {
        kind,
        class: engine.class(sight.caller()),
        allowed: allowed.clone(),
        version,
        offset,
        apps,
    };
    snapshot.page(key, || {
        let visible = select(&snapshot, kind, apps, |place, c| match &allowed {
            Some(allowed) => allowed.get(place) == Some(&true),
            None => sight.visible(c),
        });
        let all: Vec<_> = visible.iter().map(|c| c.definition()).collect();
        encode(engine, version, kind, offset, &all)
    })
}

/// What the lists of a caller show.
pub(crate) fn shown(
    engine: &Engine,
    sight: &Sight<'_>,
    kind: Kind,
    apps: bool,
) -> Vec<Arc<Component>> {
    let snapshot = engine.registry.snapshot();
    let visible = select(&snapshot, kind, apps, |_, c| sight.visible(c));
    visible.into_iter().cloned().collect()
}

/// What a list shows to who sees what `sees` says, by the place of a component in the snapshot.
fn select(
    snapshot: &Snapshot,
    kind: Kind,
    apps: bool,
    sees: impl Fn(usize, &Arc<Component>) -> bool,
) -> Vec<&Arc<Component>> {
    let visible = snapshot
        .every(kind)
        .enumerate()
        .filter(|(place, c)| c.is_listed() && (apps || !c.is_app_only()) && sees(*place, c))
        .map(|(_, component)| component)
        .collect();
    snapshot.highest(visible)
}

/// The page that a request asks for of a list that is made anew.
pub(crate) fn page(
    engine: &Engine,
    version: ProtocolVersion,
    kind: Kind,
    request: &Request,
    all: &[Definition],
) -> Result<ByteString> {
    let p: PaginatedParams<'_> =
        Raw::decode_params(request.params.as_ref()).map_err(Error::protocol)?;
    let offset = registry::offset(p.cursor.as_deref()).map_err(Error::protocol)?;
    let all: Vec<_> = all.iter().collect();
    encode(engine, version, kind, offset, &all)
}

fn encode(
    engine: &Engine,
    version: ProtocolVersion,
    kind: Kind,
    offset: usize,
    all: &[&Definition],
) -> Result<ByteString> {
    if offset > 0 && offset >= all.len() {
        return Err(Error::protocol(RpcError::invalid_params(
            "`cursor` is beyond the end of the list",
        )));
    }
    let size = engine.page_size.unwrap_or(usize::MAX);
    let page: Vec<_> = all.iter().skip(offset).take(size).copied().collect();
    let end = offset.saturating_add(page.len());
    let next = (end < all.len()).then(|| registry::cursor(end));
    respond::encode_list(kind, version, !engine.stateless_http, &page, next)
}

/// Reads the parameters of `completion/complete`.
pub(crate) fn completion(request: &Request) -> Result<CompleteParams<'static>> {
    let params: CompleteParams<'_> =
        Raw::decode_params(request.params.as_ref()).map_err(Error::protocol)?;
    Ok(params.into_owned())
}
