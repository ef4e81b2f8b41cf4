//! `fastmcp policy schema`.

use clap::Args;

use crate::{Outcome, output};

/// Print the Cedar schema against which every policy is checked
///
/// It is the same for every gateway of this version. Editors and Cedar's own tools check `.cedar` files against it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fastmcp policy schema >policies/fastmcp.cedarschema
  cedar validate --schema policies/fastmcp.cedarschema --policies policies/limits.cedar")]
pub(super) struct Schema {}

impl Schema {
    pub(super) fn run(self) -> anyhow::Result<Outcome> {
        output::say(fastmcp_policy::SCHEMA.trim())?;
        Ok(Outcome::Passed)
    }
}
