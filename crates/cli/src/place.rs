//! Where a gateway's configuration and data are: what all commands ask for in the same way.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;
use fastmcp_gateway::config::{
    self, Errors, Flags, Loaded,
    part::{self, AuditPart, ListenerPart, StatePart, TokenPart},
};

/// Where the gateway's configuration and data are.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Place {
    /// Folder of keys, state, audit and policies [default: .fastmcp; variable FASTMCP_DATA_DIR]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Configuration file [default: fastmcp.yaml where it exists; variable FASTMCP_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

impl Place {
    /// Reads the configuration for a command that works with the data.
    pub(crate) fn load(&self, bind: Option<SocketAddr>) -> anyhow::Result<Loaded> {
        Ok(config::load(environment(), &self.flags(bind))?)
    }

    /// Reads the configuration for a command that only looks.
    pub(crate) fn preview(&self, bind: Option<SocketAddr>) -> Result<Loaded, Errors> {
        config::preview(environment(), &self.flags(bind))
    }

    /// Reads what the commands on the audit log use.
    pub(crate) fn audit(&self) -> Result<AuditPart, Errors> {
        part::audit_part(environment(), &self.flags(None))
    }

    /// Reads what the commands on operations, labels and keys use.
    pub(crate) fn state(&self) -> Result<StatePart, Errors> {
        part::state_part(environment(), &self.flags(None))
    }

    /// Reads what the commands on tokens use.
    pub(crate) fn tokens(&self) -> Result<TokenPart, Errors> {
        part::token_part(environment(), &self.flags(None))
    }

    /// Reads where the file of API keys is.
    pub(crate) fn api_keys(&self) -> Result<PathBuf, Errors> {
        part::api_keys_part(environment(), &self.flags(None))
    }

    /// Reads where the policy is.
    pub(crate) fn policy(&self) -> Result<PathBuf, Errors> {
        part::policy_part(environment(), &self.flags(None))
    }

    /// Reads where the gateway listens.
    pub(crate) fn listener(&self) -> Result<ListenerPart, Errors> {
        part::listener_part(environment(), &self.flags(None))
    }

    fn flags(&self, bind: Option<SocketAddr>) -> Flags {
        Flags {
            bind,
            data_dir: self.data_dir.clone(),
            config: self.config.clone(),
        }
    }
}

/// A variable that a command alone reads, and no gateway.
pub(crate) fn variable(name: &str) -> Option<String> {
    environment()
        .find(|(found, value)| found == name && !value.is_empty())
        .map(|(_, value)| value)
}

/// The variables of the process. What is not UTF-8 shows as such where it is used, and fails to be a value there.
pub(crate) fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().map(|(name, value)| {
        (
            name.to_string_lossy().into_owned(),
            value.to_string_lossy().into_owned(),
        )
    })
}
