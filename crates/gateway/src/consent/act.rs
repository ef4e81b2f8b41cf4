//! A call that acts, and how that ends.

use fastmcp_protocol::Raw;

use super::answer::keep;
use crate::{
    call::TokenMeta,
    provider::{Effect, ProviderError},
    state::{
        machine::Effect as Happened,
        ticket::{Acting, Lost, Ticket},
    },
};

/// What a call holds while it acts. Only [`Hold::act`](super::Hold::act) makes one.
#[derive(Debug)]
pub struct Act(pub(super) Doing);

#[derive(Debug)]
pub(super) enum Doing {
    /// Nothing durable.
    Nothing,
    /// A claim that needs no fence: nothing happens but reading.
    Reads(Ticket),
    /// A claim that has said that it acts.
    Acts(Acting),
}

impl Act {
    /// Records how the act ended. A result that cannot be recorded is returned all the same: it
    /// happened.
    pub async fn end(self, outcome: &Result<(Raw, TokenMeta), ProviderError>) {
        match self.0 {
            Doing::Nothing => {}
            Doing::Reads(ticket) => {
                if let Err(lost) = Box::pin(read(ticket, outcome)).await {
                    tracing::warn!(error = %lost, "what a call has read is not kept; it can be made again");
                }
            }
            Doing::Acts(acting) => {
                if let Err(lost) = Box::pin(acted(acting, outcome)).await {
                    not_recorded(&lost);
                }
            }
        }
    }
}

/// Records what a call has read. One that has failed can be made again: it did nothing.
async fn read(
    ticket: Ticket,
    outcome: &Result<(Raw, TokenMeta), ProviderError>,
) -> Result<(), Lost> {
    match outcome {
        Ok((result, token_meta)) => match keep(result, token_meta) {
            Ok(kept) => ticket.answer(&kept).await,
            Err(error) => ticket.fail(&error.to_string()).await,
        },
        Err(error) => ticket.fail(&error.message).await,
    }
}

async fn acted(
    acting: Acting,
    outcome: &Result<(Raw, TokenMeta), ProviderError>,
) -> Result<(), Lost> {
    match outcome {
        Ok((result, token_meta)) => match keep(result, token_meta) {
            Ok(kept) => acting.complete(&kept).await,
            Err(error) => acting.unknown(&error.to_string()).await,
        },
        Err(error) => match error.effect {
            Effect::None => acting.fail(Happened::None, &error.message).await,
            Effect::Definite => acting.fail(Happened::Definite, &error.message).await,
            Effect::Maybe => acting.unknown(&error.message).await,
        },
    }
}

fn not_recorded(lost: &Lost) {
    if let Lost::Late { source, .. } = lost {
        tracing::warn!(error = %source, "outcome of an operation is not recorded yet; it is tried on");
    } else {
        tracing::error!(error = %lost, "outcome of an operation was not recorded; recovery will mark it unknown");
    }
}
