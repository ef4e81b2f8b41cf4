//! Which revision a server speaks, found out by asking.
//!
//! | answer to `server/discover` | then |
//! |---|---|
//! | a description | its newest revision that is known here; `initialize` where it names old ones alone |
//! | `-32022` with what is supported | the same; asked again, with the same revision too |
//! | 401, 403, 408, 429, 5xx, no connection | an error: it says nothing of revisions |
//! | no answer in time | over HTTP an error, else `initialize` |
//! | the process is gone | a new process, and `initialize` |
//! | any other | `initialize` |
//!
//! Source: MCP 2026-07-28, basic/versioning and basic/transports, "Backward Compatibility".

use std::sync::Arc;

use fastmcp_protocol::{
    Era, ErrorCode, ProtocolVersion, RpcError,
    discover::DiscoverResult,
    header::SESSION_ID,
    initialize::{InitializeParams, InitializeResult},
    legacy,
};
use fastmcp_transport::{WireError, WireKind};
use serde_json::{Map, Value};

use super::{Agreed, dress, listen, notification, watch};
use crate::{
    client::{
        call::{Answered, Attending, Call, CallOptions, Patience},
        link::Link,
        round::failure,
    },
    error::{Error, Result},
};

/// Questions before a server counts as one that cannot make up its mind.
const MAX_PROBES: usize = 3;

/// What is said first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::client) enum Start {
    /// A question, unless only an old revision may be spoken.
    Asking,
    /// The old greeting: the process before this one did not survive the question.
    Greeting,
}

/// Why nothing was agreed on.
#[derive(Debug)]
pub(in crate::client) enum Failed {
    /// The process is gone; a new one may be greeted.
    Gone(Error),
    /// The endpoint takes neither question nor greeting, and may be one of HTTP with SSE.
    Refused(Error),
    /// Anything else.
    For(Error),
}

impl Failed {
    pub(in crate::client) fn into_error(self) -> Error {
        match self {
            Self::Gone(error) | Self::Refused(error) | Self::For(error) => error,
        }
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::For(error)
    }
}

/// What a server said to the question.
enum Probed {
    Agreed(Arc<Agreed>),
    Older,
}

/// Agrees with the server on a revision, and begins to listen where it speaks unasked.
pub(in crate::client) async fn negotiate(link: &Arc<Link>, start: Start) -> Result<(), Failed> {
    if matches!(link.wire.kind(), WireKind::Stdio | WireKind::Sse) {
        // One stream for everything: what belongs to no request is read from the start.
        listen::start(link);
    }
    let only = link.config.revision.map(ProtocolVersion::era);
    // What only ever spoke HTTP with SSE knows no newer revision.
    let asking = start == Start::Asking && link.wire.kind() != WireKind::Sse;
    if only != Some(Era::Legacy) && asking {
        match probe(link, only.is_none()).await? {
            Probed::Agreed(agreed) => {
                link.agreed.store(agreed);
                return Ok(());
            }
            Probed::Older => {}
        }
    }
    match greet(link).await {
        // A slow starter that missed the question.
        Err(Greeted::Supports(_)) if only.is_none() => match probe(link, false).await? {
            Probed::Agreed(agreed) => {
                link.agreed.store(agreed);
                Ok(())
            }
            Probed::Older => Err(Failed::For(nothing_in_common(&[]))),
        },
        Err(Greeted::Supports(error) | Greeted::Other(error)) => Err(Failed::For(error)),
        Err(Greeted::Refused(error)) => Err(Failed::Refused(error)),
        Ok(()) => Ok(()),
    }
}

/// Agrees anew with a server that forgot what was `lost`. One caller does, the others wait for it.
pub(in crate::client) async fn agree_again(link: &Arc<Link>, lost: &Arc<Agreed>) -> Result<()> {
    let _one = link.negotiating.lock().await;
    if !Arc::ptr_eq(&link.agreed.load(), lost) {
        return Ok(());
    }
    let start = if lost.is_stateless() {
        Start::Asking
    } else {
        Start::Greeting
    };
    match negotiate(link, start).await {
        Ok(()) => {
            watch::resume(link).await;
            Ok(())
        }
        Err(failed) => Err(failed.into_error()),
    }
}

/// Asks `server/discover`. Without `older`, a server that does not know it is an error.
async fn probe(link: &Arc<Link>, older: bool) -> Result<Probed, Failed> {
    let mut version = link
        .config
        .revision
        .filter(|v| v.era() == Era::Modern)
        .unwrap_or(ProtocolVersion::LATEST);
    for _ in 0..MAX_PROBES {
        let proposed = Agreed::proposed(version);
        let answered = ask(link, &proposed, "server/discover", &Map::new()).await;
        let (supported, described) = match answered {
            Ok(answered) => match said(answered)? {
                Said::Described(described) => {
                    (described.supported_versions.clone(), Some(described))
                }
                Said::Supports(supported) => (supported, None),
                Said::Other(_) if older => return Ok(Probed::Older),
                Said::Other(error) => return Err(Failed::For(error)),
            },
            Err(error) => return no_answer(link, older, error),
        };
        let common = choose(link, &supported);
        match (common, described) {
            (Some(common), Some(described)) if common.era() == Era::Modern => {
                let agreed = Agreed::discovered(common, *described);
                return Ok(Probed::Agreed(Arc::new(agreed)));
            }
            // Named in the error: asked again, though it may be what was asked with.
            (Some(common), None) if common.era() == Era::Modern => version = common,
            (Some(_), _) if older => return Ok(Probed::Older),
            _ => return Err(Failed::For(nothing_in_common(&supported))),
        }
    }
    Err(Failed::For(Error::internal(format!(
        "the server refuses revision {version}, which it says it supports"
    ))))
}

/// What a server said to `server/discover`.
enum Said {
    Described(Box<DiscoverResult>),
    Supports(Vec<String>),
    Other(Error),
}

fn said(answered: Answered) -> Result<Said, Failed> {
    let error = match answered.outcome {
        Ok(result) => match result.decode::<DiscoverResult>() {
            Ok(described) => return Ok(Said::Described(Box::new(described))),
            Err(error) => return Ok(Said::Other(error.into())),
        },
        Err(error) => error,
    };
    if is_no_verdict(answered.status) {
        return Err(Failed::For(Error::protocol(error)));
    }
    Ok(match supported_in(&error) {
        Some(supported) => Said::Supports(supported),
        None => Said::Other(Error::protocol(error)),
    })
}

/// What it means that the question was not answered.
fn no_answer(link: &Link, older: bool, error: WireError) -> Result<Probed, Failed> {
    let stdio = link.wire.kind() == WireKind::Stdio;
    match error {
        WireError::Status { status, .. } if older && !is_no_verdict(status) => Ok(Probed::Older),
        WireError::Timeout(_) if older && link.wire.kind() != WireKind::Http => Ok(Probed::Older),
        WireError::Closed(_) | WireError::Broken(_) if older && stdio => {
            Err(Failed::Gone(failure(error)))
        }
        other => Err(Failed::For(failure(other))),
    }
}

/// Whether a status says nothing of revisions.
const fn is_no_verdict(status: u16) -> bool {
    matches!(status, 401 | 403 | 408 | 429 | 500..)
}

/// The revisions that an error says are supported.
fn supported_in(error: &RpcError) -> Option<Vec<String>> {
    if error.code != ErrorCode::UNSUPPORTED_VERSION {
        return None;
    }
    let supported = error.data.as_ref()?.get("supported")?.as_array()?;
    let names = supported.iter().filter_map(Value::as_str);
    Some(names.map(str::to_owned).collect())
}

/// The newest revision that the server names and that may be spoken here.
fn choose(link: &Link, supported: &[String]) -> Option<ProtocolVersion> {
    ProtocolVersion::ALL
        .iter()
        .copied()
        .filter(|v| link.config.revision.is_none_or(|only| only == *v))
        .find(|v| supported.iter().any(|name| name == v.as_str()))
}

fn nothing_in_common(supported: &[String]) -> Error {
    let mut named = supported.join(", ");
    named.truncate(named.floor_char_boundary(200));
    Error::internal(format!(
        "the server speaks no revision that this client may speak; it names: {named}"
    ))
}

/// Why a greeting was not returned.
enum Greeted {
    /// The server named the revisions that it knows instead.
    Supports(Error),
    /// The endpoint does not take such messages.
    Refused(Error),
    Other(Error),
}

/// Opens a session.
///
/// Source: MCP 2025-11-25, basic/lifecycle, "Initialization".
async fn greet(link: &Arc<Link>) -> Result<(), Greeted> {
    let other = |error: Error| Greeted::Other(error);
    let version = link
        .config
        .revision
        .filter(|v| v.era() == Era::Legacy)
        .unwrap_or(ProtocolVersion::LATEST_LEGACY);
    let params = InitializeParams {
        protocol_version: version.as_str().into(),
        capabilities: legacy::client_capabilities(&link.capabilities(), version, true),
        client_info: legacy::implementation(&link.config.info, version),
    };
    let params = match serde_json::to_value(params) {
        Ok(Value::Object(params)) => params,
        Ok(_) => Map::new(),
        Err(error) => return Err(other(error.into())),
    };
    let proposed = Agreed::proposed(version);
    let answered = match ask(link, &proposed, "initialize", &params).await {
        Ok(answered) => answered,
        Err(
            error @ WireError::Status {
                status: 400 | 404 | 405 | 406 | 415,
                ..
            },
        ) => return Err(Greeted::Refused(failure(error))),
        Err(error) => return Err(other(failure(error))),
    };
    let result = answered.outcome.map_err(|error| {
        let supports = supported_in(&error).is_some();
        let error = Error::protocol(error);
        if supports {
            Greeted::Supports(error)
        } else {
            Greeted::Other(error)
        }
    })?;
    let result: InitializeResult = result.decode().map_err(|e| other(e.into()))?;
    let spoken = spoken(&result.protocol_version)
        .filter(|v| v.era() == Era::Legacy)
        .filter(|v| link.config.revision.is_none_or(|only| only == *v))
        .ok_or_else(|| {
            other(nothing_in_common(std::slice::from_ref(
                &result.protocol_version,
            )))
        })?;
    let (described, server) = legacy::discover_result(result);
    let agreed = Agreed {
        version: spoken,
        described,
        server: Some(server),
        session: answered.headers.get(SESSION_ID).cloned(),
    };
    let ready = notification(&agreed, "notifications/initialized", None);
    link.agreed.store(Arc::new(agreed));
    let said = link.wire.notify(ready);
    tokio::time::timeout(link.config.timeout, said)
        .await
        .map_err(|_| other(Error::timeout()))?
        .map_err(|e| other(failure(e)))?;
    listen::start(link);
    listen::ready(link).await;
    watch::restore_level(link).await;
    Ok(())
}

/// The revision of this name. What 2024-11-05 says, 2025-03-26 says as well.
fn spoken(name: &str) -> Option<ProtocolVersion> {
    if name == "2024-11-05" {
        return Some(ProtocolVersion::V2025_03_26);
    }
    ProtocolVersion::parse(name)
}

/// One request as it is, whatever is in its way: what is agreed on is being settled.
pub(super) async fn ask(
    link: &Arc<Link>,
    proposed: &Agreed,
    method: &str,
    params: &Map<String, Value>,
) -> Result<Answered, WireError> {
    let (options, params) = (CallOptions::default(), params.clone().into());
    let call = Call {
        method,
        params: &params,
        options: &options,
    };
    let mut outgoing = dress(link, proposed, call)
        .map_err(|error| WireError::Unreadable(error.message().to_owned()))?;
    if method == "initialize" {
        // The greeting itself settles the revision; nothing is resumed before.
        outgoing.headers.clear();
        outgoing.resumable = false;
    }
    let probing = proposed.is_stateless() && link.wire.kind() != WireKind::Http;
    let patience = if probing {
        let most = link.config.probe.min(link.config.timeout);
        Patience { idle: most, most }
    } else {
        // The first message is often the one that somebody has to log in for.
        link.patience(&options)
    };
    Box::pin(link.exchange(outgoing, patience, Attending::default())).await
}
