//! The checks that a change must pass: stages in a row, each with a budget of time.
//!
//! Continuous integration calls only this command, so that what it does can be done at a desk.

mod node;
mod package;
mod peer;
pub(crate) mod process;
pub(crate) mod server;
mod stage;
mod suite;

use std::{fmt::Write as _, time::Duration};

use anyhow::{Context as _, bail};

use crate::{
    ci::{
        process::Stopwatch,
        stage::{Outcome, STAGES, Stage},
    },
    house::{House, say},
};

/// What `cargo xtask ci` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Runs the long forms: more kills, more sessions, without a limit of time.
    #[arg(long)]
    full: bool,
    /// Runs only this stage; may be repeated.
    #[arg(long, value_name = "STAGE", value_parser = stage::names())]
    only: Vec<String>,
}

/// What a stage knows of the run that it belongs to.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    house: &'a House,
    full: bool,
    limit: Duration,
}

/// What became of a stage.
#[derive(Debug)]
struct Line {
    stage: &'static Stage,
    took: Duration,
    outcome: String,
}

/// Runs the stages in their order and stops at the first that fails.
///
/// # Errors
///
/// When a stage fails; the error begins with its name.
pub(crate) fn run(house: &House, arguments: &Arguments) -> anyhow::Result<()> {
    let chosen = |stage: &&Stage| {
        arguments.only.is_empty() || arguments.only.iter().any(|name| name == stage.name)
    };
    package::provide(STAGES.iter().filter(chosen).map(|stage| stage.name))?;
    let mut lines = Vec::new();
    let mut failure = None;
    for stage in STAGES.iter().filter(chosen) {
        say(&format!(
            "\n=== {}: {} (budget {})",
            stage.name,
            stage.what,
            seconds(stage.budget)
        ));
        let watch = Stopwatch::start();
        let outcome = (stage.run)(&Run {
            house,
            full: arguments.full,
            limit: stage.limit(arguments.full),
        });
        let took = watch.elapsed();
        let said = match &outcome {
            Ok(Outcome::Passed) if took > stage.budget && !arguments.full => {
                "passed, over its budget".to_owned()
            }
            Ok(Outcome::Passed) => "passed".to_owned(),
            Ok(Outcome::Skipped(why)) => format!("skipped: {why}"),
            Err(_) => "FAILED".to_owned(),
        };
        say(&format!(
            "=== {}: {said} after {}",
            stage.name,
            seconds(took)
        ));
        lines.push(Line {
            stage,
            took,
            outcome: said,
        });
        if let Err(error) = outcome {
            failure = Some(error.context(format!("stage `{}` failed", stage.name)));
            break;
        }
    }
    say(&table(&lines)?);
    match failure {
        Some(error) => Err(error),
        None if lines.is_empty() => bail!("no stage was chosen"),
        None => Ok(()),
    }
}

/// The table at the end, with the sum of all.
fn table(lines: &[Line]) -> anyhow::Result<String> {
    let mut table = format!("\n{:<12} {:>8} {:>8}  outcome\n", "stage", "time", "budget");
    for Line {
        stage,
        took,
        outcome,
    } in lines
    {
        writeln!(
            table,
            "{:<12} {:>8} {:>8}  {outcome}",
            stage.name,
            seconds(*took),
            seconds(stage.budget)
        )
        .context("cannot write the table")?;
    }
    let took = lines.iter().map(|line| line.took).sum();
    let budget = lines.iter().map(|line| line.stage.budget).sum();
    write!(
        table,
        "{:<12} {:>8} {:>8}",
        "all",
        seconds(took),
        seconds(budget)
    )
    .context("cannot write the table")?;
    Ok(table)
}

/// Whole seconds, for people.
fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs_f64().round())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Line, STAGES, table};

    #[test]
    fn the_table_shows_every_stage_and_the_sum() {
        let lines = [
            Line {
                stage: &STAGES[0],
                took: Duration::from_millis(1600),
                outcome: "passed".into(),
            },
            Line {
                stage: &STAGES[1],
                took: Duration::from_secs(5),
                outcome: "FAILED".into(),
            },
        ];
        let shown = table(&lines).expect("a table");
        let rows: Vec<_> = shown.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!(rows.len(), 4);
        assert!(
            rows[1].starts_with("fmt") && rows[1].ends_with("2 s     30 s  passed"),
            "{shown}"
        );
        assert!(rows[2].ends_with("FAILED"), "{shown}");
        assert!(
            rows[3].starts_with("all") && rows[3].contains("7 s"),
            "{shown}"
        );
    }
}
