//! The project's own commands: `cargo xtask tidy`, `ci`, `fuzz` and `soak`.

mod ci;
mod fuzz;
mod house;
mod soak;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::house::{House, say};

/// The project's own commands.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Checks what the compiler cannot: arrows between rooms, sizes, words, paths.
    Tidy,
    /// Runs the checks that a change must pass, each with its budget of time.
    Ci(ci::Arguments),
    /// Runs what decodes bytes from outside under libFuzzer.
    Fuzz(fuzz::Arguments),
    /// Measures the memory of thousands of idle sessions and streams.
    Soak(soak::Arguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> anyhow::Result<()> {
    let house = House::open()?;
    match command {
        Command::Tidy => tidy::run(&house),
        Command::Ci(arguments) => ci::run(&house, arguments),
        Command::Fuzz(arguments) => fuzz::run(&house, arguments),
        Command::Soak(arguments) => soak::run(&house, arguments),
    }
}
