//! `requestState`: what a modern client carries from round to round.
//!
//! Sealed, and bound to the caller, the method, the component and its definition, and the
//! arguments: nothing of it can be forged, moved to another call or used after its time.
//!
//! Source: MCP 2026-07-28, basic/patterns/mrtr, "Security Considerations".

use std::time::Duration;

use aws_lc_rs::digest::{Context as Hasher, SHA256};
use fastmcp_auth::Caller;
use fastmcp_guard::clock::{Clock, Timestamp};
use fastmcp_guard::seal::KeyRing;
use fastmcp_protocol::{
    ErrorCode, Method, RpcError,
    args::{Args, ArgsLimits},
    mrtr::InputResponses,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    context::Earlier,
    engine::session::random_id,
    error::{Error, Result},
    gate::{Input, Target},
};

/// How often one call may ask.
const MAX_ROUNDS: u8 = 10;
/// Bytes of a sealed state.
const MAX_BYTES: usize = 16 * 1024;

/// What is remembered between rounds.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct State {
    expires: Timestamp,
    round: u8,
    /// Names the call for [`crate::Context::once`].
    #[serde(default)]
    pub(crate) operation: Option<String>,
    pub(crate) answers: InputResponses,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) gate: Option<Value>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub(crate) remembered: Map<String, Value>,
}

impl State {
    /// What a handler finds of it.
    pub(crate) fn known(&self) -> Earlier {
        Earlier {
            answers: self.answers.clone(),
            gate: self.gate.clone(),
            remembered: self.remembered.clone(),
        }
    }

    /// The state for the next round, which the client has to begin within `within`.
    pub(crate) fn next(&self, known: Earlier, clock: &dyn Clock, within: Duration) -> Result<Self> {
        if self.round >= MAX_ROUNDS {
            return Err(Error::internal(format!(
                "input was asked for in {MAX_ROUNDS} rounds already"
            )));
        }
        Ok(Self {
            expires: clock.now().saturating_add(within),
            round: self.round + 1,
            operation: match &self.operation {
                Some(operation) => Some(operation.clone()),
                None => Some(random_id()?),
            },
            answers: known.answers,
            gate: known.gate,
            remembered: known.remembered,
        })
    }

    /// Seals the state for its binding.
    pub(crate) fn seal(&self, ring: &KeyRing, binding: &[u8]) -> Result<String> {
        let text = serde_json::to_vec(self)?;
        let sealed = ring.seal_text(binding, &text)?;
        if sealed.len() > MAX_BYTES {
            return Err(Error::internal(format!(
                "state between rounds is larger than {MAX_BYTES} bytes"
            )));
        }
        Ok(sealed)
    }

    /// Opens what a client sent back. Whether it may still be used is asked of [`Self::in_time`].
    pub(crate) fn open(ring: &KeyRing, binding: &[u8], sealed: &str) -> Result<Self> {
        if sealed.len() > MAX_BYTES {
            return Err(refused("`requestState` is too long"));
        }
        let text = ring
            .open_text(binding, sealed)
            .map_err(|_| refused("`requestState` is not one of this call"))?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// Refuses a state whose time is over.
    pub(crate) fn in_time(&self, clock: &dyn Clock) -> Result<()> {
        if self.expires <= clock.now() {
            return Err(refused("`requestState` has expired; call again without it"));
        }
        Ok(())
    }
}

fn refused(why: &'static str) -> Error {
    Error::protocol(RpcError::new(ErrorCode::INVALID_PARAMS, why))
}

/// What a state is bound to.
pub(crate) fn binding(
    caller: &Caller,
    method: Method,
    target: &Target,
    input: &Input,
) -> Result<Vec<u8>> {
    let args = Args::parse(input.args.as_ref(), &ArgsLimits::default())
        .map_err(|e| Error::protocol(RpcError::invalid_params(e.to_string())))?;
    let mut hasher = Hasher::new(&SHA256);
    let component = target.component();
    let parts: [&[u8]; 6] = [
        caller.principal().as_str().as_bytes(),
        method.as_str().as_bytes(),
        component.key().as_bytes(),
        &component.definition_hash(),
        input.uri.as_ref().map_or(&[][..], |u| u.as_bytes()),
        &args.canonical(),
    ];
    hasher.update(b"fastmcp/mrtr/v1\n");
    for part in parts {
        hasher.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hasher.update(part);
    }
    Ok(hasher.finish().as_ref().to_vec())
}
