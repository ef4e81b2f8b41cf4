//! `fastmcp operations`: calls that are confirmed or keyed, looked at and settled.

mod act;
mod list;
mod opened;
mod row;
mod settle;
mod show;

pub(crate) use act::{RECORDED_LATER, record, untold};
pub(crate) use opened::{Opened, Sealed};
pub(crate) use settle::{name, open_log};

use clap::{Args, Subcommand};
use fastmcp_gateway::state::operation::OperationId;

use crate::Outcome;

/// Look at operations, and settle those of unknown outcome
///
/// An operation is a call that was confirmed or has an idempotency key. These commands may be used while the gateway runs.
#[derive(Debug, Args)]
pub(crate) struct Operations {
    #[command(subcommand)]
    command: OperationsCommand,
}

#[derive(Debug, Subcommand)]
enum OperationsCommand {
    List(list::List),
    Show(show::Show),
    Settle(settle::Settle),
}

impl Operations {
    pub(crate) fn run(self) -> anyhow::Result<Outcome> {
        match self.command {
            OperationsCommand::List(list) => list.run(),
            OperationsCommand::Show(show) => show.run(),
            OperationsCommand::Settle(settle) => settle.run(),
        }
    }
}

/// Which operation.
#[derive(Clone, Debug, Args)]
struct Which {
    /// The operation's id
    #[arg(value_name = "ID", value_parser = id)]
    id: OperationId,
    /// Its tenant; needed only where there are very many operations
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
}

fn id(text: &str) -> Result<OperationId, String> {
    OperationId::parse(text).map_err(|error| error.to_string())
}
