//! `fastmcp policy prove`.

use clap::Args;

use crate::{Outcome, output};

const WHY_NOT: &str = "\
this build proves nothing about policies.

A proof over every request (\"no role without finance-write reaches a tool tagged financial\") needs Cedar's symbolic
compiler (the crate cedar-policy-symcc) and the solver cvc5, 1.3.1 or later, installed beside the command. Neither is part
of this build: the solver is a program of its own, and scopes, which a call needs beside its rules, are not Cedar policies
and would have to be translated as well.

What answers such questions for the roles and tools that there are:
  fastmcp policy matrix --json          every role by every tool, exact where it says allow, deny or confirm
  fastmcp policy test FILE              decisions that must stay as they are";

/// Prove what no request can do (not in this build: says what it would take)
#[derive(Debug, Args)]
pub(super) struct Prove {
    /// What would be proved
    #[arg(value_name = "QUESTION", trailing_var_arg = true)]
    _question: Vec<String>,
}

impl Prove {
    pub(super) fn run(self) -> anyhow::Result<Outcome> {
        output::complain(WHY_NOT);
        Ok(Outcome::Failed)
    }
}
