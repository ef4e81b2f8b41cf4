//! `fastmcp policy prove`, in a build without the prover.

use clap::Args;

use crate::{Outcome, output};

const WHY_NOT: &str = "\
this build proves nothing about policies: it was made without the feature `prove`.

Build the command with it (`cargo build -p fastmcp-cli --features prove`), and install the solver cvc5 beside it
(Debian and Ubuntu: apt-get install cvc5).

What answers such questions for the roles and tools that there are:
  fastmcp policy matrix --json          every role by every tool, exact where it says allow, deny or confirm
  fastmcp policy test FILE              decisions that must stay as they are";

/// Prove what no request can do (not in this build: says what it would take)
#[derive(Debug, Args)]
pub(super) struct Prove {
    /// What would be proved
    #[arg(
        value_name = "QUESTION",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    _question: Vec<String>,
}

impl Prove {
    pub(super) fn run(self) -> anyhow::Result<Outcome> {
        output::complain(WHY_NOT);
        Ok(Outcome::Failed)
    }
}
