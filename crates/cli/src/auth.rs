//! `fastmcp auth`: what clients need to be let in.

mod cimd;

use clap::{Args, Subcommand};

use crate::Outcome;

/// Write and check what a client is known by to authorization servers
#[derive(Debug, Args)]
pub(crate) struct Auth {
    #[command(subcommand)]
    command: AuthCommand,
}

#[derive(Debug, Subcommand)]
enum AuthCommand {
    Cimd(cimd::Cimd),
}

impl Auth {
    pub(crate) fn run(self) -> anyhow::Result<Outcome> {
        match self.command {
            AuthCommand::Cimd(cimd) => cimd.run(),
        }
    }
}
