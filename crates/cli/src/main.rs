//! The command `fastmcp`: a governed gateway for the tools that AI agents use.
//!
//! Each command is a module that takes its arguments and says whether it passed. What a command is about goes to
//! stdout, everything else to stderr. This is the one place that reads the process's environment.

mod approvals;
mod audit;
mod doctor;
mod labels;
mod logging;
mod operations;
mod output;
mod place;
mod policy;
mod serve;
mod token;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A governed gateway for the tools that AI agents use.
#[derive(Debug, Parser)]
#[command(
    name = "fastmcp",
    version,
    arg_required_else_help = true,
    after_help = "\
Begin here:
  fastmcp serve                                        start the gateway; nothing need be set up
  fastmcp token mint --sub agent-1 --role data-analyst mint a token for it
  fastmcp audit verify                                 prove that its record is whole
  fastmcp doctor                                       look for what is wrong with a set-up

Exit codes: 0 done, 1 failed, 2 wrong usage."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Token(token::Token),
    Audit(audit::Audit),
    Approvals(approvals::Approvals),
    Operations(operations::Operations),
    Labels(labels::Labels),
    Policy(policy::Policy),
    Doctor(doctor::Doctor),
}

/// How a command ended that could do its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// What was asked for is so.
    Passed,
    /// It is not so, and the command has said why.
    Failed,
}

fn main() -> ExitCode {
    let ended = match Cli::parse().command {
        Command::Serve(serve) => serve.run(),
        Command::Token(token) => token.run(),
        Command::Audit(audit) => audit.run(),
        Command::Approvals(approvals) => approvals.run(),
        Command::Operations(operations) => operations.run(),
        Command::Labels(labels) => labels.run(),
        Command::Policy(policy) => policy.run(),
        Command::Doctor(doctor) => doctor.run(),
    };
    match ended {
        Ok(Outcome::Passed) => ExitCode::SUCCESS,
        Ok(Outcome::Failed) => ExitCode::FAILURE,
        // Whoever read the output has seen enough, as `head` does.
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::complain(&output::told(&error));
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
