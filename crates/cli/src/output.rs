//! What people and scripts read.

use std::{
    error::Error,
    fmt::{self, Write as _},
    fs::File,
    io::{self, Read as _, Write as _},
    path::Path,
};

use anyhow::{Context as _, bail};
use serde::Serialize;

/// The command was used wrongly.
#[derive(Debug)]
pub(crate) struct Usage(String);

/// Standard output. That its reader is gone is told from any other connection that ends, such as one to a gateway.
pub(crate) struct Stdout(io::StdoutLock<'static>);

/// The reader of stdout is gone.
#[derive(Debug)]
struct Unread;

/// The person ended the command.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl Usage {
    /// Says what to give instead.
    #[expect(
        clippy::new_ret_no_self,
        reason = "it is only ever an error of a command"
    )]
    pub(crate) fn new(message: impl Into<String>) -> anyhow::Error {
        anyhow::Error::new(Self(message.into()))
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl io::Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(Unread::of)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(Unread::of)
    }
}

impl Unread {
    fn of(error: io::Error) -> io::Error {
        match error.kind() {
            io::ErrorKind::BrokenPipe => io::Error::new(io::ErrorKind::BrokenPipe, Self),
            _ => error,
        }
    }
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nobody reads the output any more")
    }
}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl Error for Usage {}
impl Error for Interrupted {}
impl Error for Unread {}

/// Locks stdout.
pub(crate) fn stdout() -> Stdout {
    Stdout(io::stdout().lock())
}

/// Writes `text` and a new line to stdout.
pub(crate) fn say(text: &str) -> anyhow::Result<()> {
    let mut stdout = stdout();
    writeln!(stdout, "{text}")
        .and_then(|()| stdout.flush())
        .context("cannot write to stdout")
}

/// Writes `value` as indented JSON to stdout.
pub(crate) fn say_json(value: &impl Serialize) -> anyhow::Result<()> {
    say(&serde_json::to_string_pretty(value).context("cannot be written as JSON")?)
}

/// Writes `text` to stderr. If even that fails, nobody is left to tell.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "fastmcp: {text}");
}

/// Whether the reader of stdout is gone. A gateway that hangs up is a failure, and must not pass for an empty answer.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .filter_map(io::Error::get_ref)
        .any(|cause| cause.is::<Unread>())
}

/// The error and its causes on one line; causes that the line tells already are left out.
pub(crate) fn told(error: &anyhow::Error) -> String {
    let mut causes = error.chain();
    let first = causes.next().map(ToString::to_string).unwrap_or_default();
    causes.fold(first, with_cause)
}

/// As [`told`], for errors of libraries.
pub(crate) fn told_of(error: &(dyn Error + 'static)) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        told = with_cause(told, error);
        cause = error.source();
    }
    told
}

fn with_cause(told: String, cause: &(dyn Error + 'static)) -> String {
    let cause = cause.to_string();
    if told.contains(&cause) {
        told
    } else {
        format!("{told}: {cause}")
    }
}

/// A file of at most `most` bytes.
pub(crate) fn read_small(path: &Path, most: u64) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(most + 1).read_to_end(&mut bytes))
        .with_context(|| format!("`{}` cannot be read", path.display()))?;
    if bytes.len() as u64 > most {
        bail!("`{}` is larger than {most} bytes", path.display());
    }
    Ok(bytes)
}

/// A text on one line.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Columns for people, each as wide as its widest cell.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or_default()
        })
        .collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            // Writing to a string cannot fail.
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text
}

/// Text from a log as a terminal may show it: control characters, which could move the cursor or forge lines, replaced.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_that_hangs_up_is_no_reader_that_is_gone() {
        let broken = || io::Error::from(io::ErrorKind::BrokenPipe);
        let hung_up = anyhow::Error::new(broken()).context("no gateway answers");
        assert!(!is_broken_pipe(&hung_up));
        let unread = anyhow::Error::new(Unread::of(broken())).context("cannot write to stdout");
        assert!(is_broken_pipe(&unread));
    }

    #[test]
    fn columns_line_up() {
        let rows = [["a", "bb", ""], ["ccc", "d", "e"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(table(&rows), "a    bb\nccc  d   e");
        assert_eq!(table(&[]), "");
    }

    #[test]
    fn causes_are_told_once() {
        let error = anyhow::anyhow!("disk is full")
            .context("log cannot be written: disk is full")
            .context("stopped");
        assert_eq!(told(&error), "stopped: log cannot be written: disk is full");
    }

    #[test]
    fn a_terminal_is_not_steered_by_what_is_shown() {
        assert_eq!(printable("a\u{1b}[2Jb\nc"), "a\u{fffd}[2Jb\u{fffd}c");
    }
}
