//! The command `fastmcp`: MCP servers written, run and used, and a governed gateway for the tools that AI agents use.
//!
//! Each command is a module that takes its arguments and says whether it passed. What a command is about goes to
//! stdout, everything else to stderr. This is the one place that reads the process's environment.

mod approvals;
mod audit;
mod auth;
mod call;
mod configured;
mod declared;
mod definition;
mod dev;
mod discover;
mod doctor;
mod front;
mod generate;
mod inspect;
mod install;
mod keys;
mod labels;
mod list;
mod logging;
mod operations;
mod output;
mod place;
mod policy;
mod project;
mod reach;
mod run;
mod serve;
mod shell;
mod surroundings;
mod target;
mod token;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Write, run and use MCP servers, and govern the tools that AI agents use.
#[derive(Debug, Parser)]
#[command(
    name = "fastmcp",
    version,
    arg_required_else_help = true,
    after_help = "\
Begin here:
  fastmcp dev                                          run the server of this folder while you write it
  fastmcp list https://mcp.example.com/mcp             what a server has
  fastmcp call . add a=2 b=3                           call a tool
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
    Run(Box<run::Run>),
    Dev(Box<dev::Dev>),
    List(Box<list::List>),
    Call(Box<call::Call>),
    Inspect(Box<inspect::Inspect>),
    Install(Box<install::Install>),
    GenerateCli(Box<generate::GenerateCli>),
    Discover(discover::Discover),
    Auth(auth::Auth),
    Serve(serve::Serve),
    Token(token::Token),
    Audit(audit::Audit),
    Approvals(approvals::Approvals),
    Operations(operations::Operations),
    Labels(labels::Labels),
    Keys(keys::Keys),
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

/// The exit code of wrong usage, as clap has it.
const MISUSED: u8 = 2;
/// The exit code of a process that an interrupt ended: 128 and the number of SIGINT. Source: POSIX shells.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let ended = match Cli::parse().command {
        Command::Run(run) => run.run(),
        Command::Dev(dev) => dev.run(),
        Command::List(list) => list.run(),
        Command::Call(call) => call.run(),
        Command::Inspect(inspect) => inspect.run(),
        Command::Install(install) => install.run(),
        Command::GenerateCli(generate) => generate.run(),
        Command::Discover(discover) => discover.run(),
        Command::Auth(auth) => auth.run(),
        Command::Serve(serve) => serve.run(),
        Command::Token(token) => token.run(),
        Command::Audit(audit) => audit.run(),
        Command::Approvals(approvals) => approvals.run(),
        Command::Operations(operations) => operations.run(),
        Command::Labels(labels) => labels.run(),
        Command::Keys(keys) => keys.run(),
        Command::Policy(policy) => policy.run(),
        Command::Doctor(doctor) => doctor.run(),
    };
    match ended {
        Ok(Outcome::Passed) => ExitCode::SUCCESS,
        Ok(Outcome::Failed) => ExitCode::FAILURE,
        // Whoever read the output has seen enough, as `head` does.
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        // Whoever ended the command knows.
        Err(error) if error.is::<output::Interrupted>() => ExitCode::from(INTERRUPTED),
        Err(error) => {
            output::complain(&output::told(&error));
            if error.is::<output::Usage>() {
                ExitCode::from(MISUSED)
            } else {
                ExitCode::FAILURE
            }
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
